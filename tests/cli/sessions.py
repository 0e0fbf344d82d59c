# SPDX-License-Identifier: Apache-2.0
"""Scripted sessions: small text files that say what a command is given and what it prints.

    # a comment
    $ ipse chat --data $DATA       a command; $DATA is a fresh folder, $TMP the one above it, $HERE this one;
                                   $TMP/passphrase and $TMP/other hold a passphrase each
    < Ahoy!                        a line for its standard input
    > ipse › ...                   a line of its standard output
    ! error: ...                   a line of its standard error
    = 2                            its exit code, 0 unless it says otherwise

``...`` stands for anything within a line, a line of only ``> ...`` for any lines. What is not written down must
not appear: a command without ``!`` prints nothing on standard error.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path


@dataclass
class Step:
    """One command of a session."""

    line: int
    command: str
    given: list[str] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def read_session(path: Path) -> list[Step]:
    """The steps of a session file."""
    steps: list[Step] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, _, rest = line.partition(" ")
        if mark == "$":
            steps.append(Step(number, rest))
        elif mark == "<":
            steps[-1].given.append(rest)
        elif mark == ">":
            steps[-1].out.append(rest)
        elif mark == "!":
            steps[-1].err.append(rest)
        elif mark == "=":
            steps[-1].code = int(rest)
        elif line and mark != "#":
            raise ValueError(f"{path.name}:{number}: not a session line: {line}")
    return steps


def run_ipse(*words: str, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ipse.cli", *words],
        input=given,
        capture_output=True,
        check=False,
        timeout=300,
        env=clean_environment() | environment,
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Ipse, and a plain terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IPSE_") or name == "IPSE_CACHE"}
    return kept | {"PYTHONIOENCODING": "utf-8", "TERM": "dumb", "NO_COLOR": "1"}


def run_step(step: Step, variables: Mapping[str, str]) -> list[str]:
    """Run one step.

    Returns:
        What did not go as written; empty when all did.
    """
    words = shlex.split(step.command)
    if words[0] != "ipse":
        raise ValueError(f"line {step.line}: a session runs ipse, not {words[0]}")
    words = [re.sub(r"\$([A-Z]+)", lambda m: variables[m[1]], word) for word in words[1:]]
    done = run_ipse(*words, given="".join(f"{line}\n" for line in step.given).encode())
    wrong = []
    if done.returncode != step.code:
        wrong.append(f"exit code {done.returncode}, expected {step.code}")
    for name, expected, data in (("standard output", step.out, done.stdout), ("standard error", step.err, done.stderr)):
        text = "\n".join(line.rstrip() for line in data.decode().splitlines())
        if not re.fullmatch(_pattern(expected), text):
            wrong.append(f"{name} is\n{text}\n-- expected\n" + "\n".join(expected))
    return [f"line {step.line}, {step.command}: {what}" for what in wrong]


def _pattern(lines: list[str]) -> str:
    parts = []
    for number, line in enumerate(lines):
        end = "" if number == len(lines) - 1 else "\n"
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*" + (".*" if not end else ""))
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.rstrip().split("...")) + end)
    return "".join(parts)


def some_talk(path: Path, dialogues: int) -> int:
    """Write the first dialogues of a scripted user to a file; returns how many turns of hers are in it."""
    whole = files("ipse").joinpath("shipped", "examples", "ada.jsonl").read_text(encoding="utf-8")
    lines = whole.splitlines()[:dialogues]
    path.write_text("\n".join(lines), encoding="utf-8")
    return sum(role == "user" for line in lines for role, _ in json.loads(line)["turns"])
