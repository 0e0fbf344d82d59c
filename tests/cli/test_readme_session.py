# SPDX-License-Identifier: Apache-2.0
"""The session in the README, run again: the commands work as written, and print what stands there.

What differs from run to run (ids, digests, times, sizes) may differ; every other word must be the same.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.sessions import Step, run_step
from tests.house.repository import ROOT

VARIES = (
    (r"[fi]_[0-9a-z]{26,32}", "..."),
    (r"ipse\.local/[a-z2-7]{16}", "..."),
    (r"[0-9a-f]{64}", "..."),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "..."),
    (r"[\d.]+ kB", "..."),
    (r"[^ ]*(ada\.bundle|proof\.ipse)", "..."),
    (r"\b\d\.\d\d\b", "..."),
    (r"\d+ ms", "..."),
)


def session() -> list[Step]:
    """The block as steps."""
    block = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- begin:yours -->")[1].split("<!-- end:yours -->")[0]
    )
    steps: list[Step] = []
    for number, line in enumerate(block.splitlines()):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif steps and not line.startswith("```"):
            for pattern, anything in VARIES:
                line = re.sub(pattern, anything, line)
            steps[-1].out.append(line)
    for step in steps:
        while step.out and not step.out[-1]:
            step.out.pop()
    return steps


def test_the_session_in_the_readme_goes_as_written(tmp_path: Path) -> None:
    wrong: list[str] = []
    steps = session()
    assert len(steps) > 5
    for step in steps:
        step.command = _in(tmp_path, step.command)
        wrong += run_step(step, {})
    assert wrong == []


def _in(folder: Path, command: str) -> str:
    """The command with its files and data in a folder of the test."""
    talk = Path(__file__).with_name("talk.json")
    command = command.replace("talk.json", str(talk))
    command = re.sub(r"(?<= )(ada\.bundle|proof\.ipse)", rf"{folder}/\1", command)
    return f"{command} --data {folder / 'home'}" if "verify record" not in command else command
