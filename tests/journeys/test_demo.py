# SPDX-License-Identifier: Apache-2.0
"""What the README promises of ``ipse demo``, held to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.sessions import run_ipse
from tests.house.repository import ROOT


@pytest.mark.slow
def test_the_demo_shows_two_forks_each_best_at_its_own_user_and_the_same_after_a_restart(tmp_path: Path) -> None:
    words = ("--quick", "--json", "--data", str(tmp_path / "kept"), "--png", str(tmp_path / "curves.png"))
    done = run_ipse("demo", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = json.loads(done.stdout)
    ada, bert = shown["users"]
    for own, other in ((ada, bert), (bert, ada)):
        losses = own["losses_after"]
        assert losses[own["user"]] < own["loss_before"]
        assert losses[own["user"]] < other["losses_after"][own["user"]]
        assert own["curve"][0][1] == pytest.approx(own["loss_before"], abs=1e-3)
        assert own["records"] == own["taught_turns"]
        assert own["held_out_turns"] >= 5
    assert shown["each_is_best_at_home"]
    assert shown["same_answers_after_restart"]
    assert shown["bytes_of_state"] == shown["numbers"] * 4 < 100_000
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert run_ipse("doctor", "--data", str(tmp_path / "kept")).returncode == 0
    again = run_ipse("demo", *words)
    assert again.returncode == 2, "a folder with forks is not taught over"


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    """Headings and the names of rows and columns; figures differ from machine to machine."""
    done = run_ipse("demo", "--quick", "--png", str(tmp_path / "curves.png"))
    assert done.returncode == 0
    readme = (ROOT / "README.md").read_text()
    block = readme.split("<!-- begin:demo -->")[1].split("<!-- end:demo -->")[0]
    printed = {line.strip() for line in done.stdout.decode().splitlines()}
    headings = [line for line in block.splitlines() if re.match(r"[A-Z]", line)]
    assert len(headings) >= 6
    assert [line for line in headings if line not in printed] == []
    labels = re.findall(r"^  (the base|ada's fork|bert's fork|here|HIP-6's budget)\b", block, re.MULTILINE)
    assert set(labels) >= {"the base", "ada's fork", "bert's fork", "here", "HIP-6's budget"}
    assert [label for label in labels if not any(line.startswith(label) for line in printed)] == []
