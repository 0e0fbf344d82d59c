# SPDX-License-Identifier: Apache-2.0
"""What the README promises of ``ipse demo``, held to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.sessions import run_ipse


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
