# SPDX-License-Identifier: Apache-2.0
"""``ipse generate`` answers with the fork that is meant."""

from __future__ import annotations

import json
from pathlib import Path

from ipse.forks.home import Home
from ipse.model.base import load_base
from tests.cli.inprocess import Ipse


def test_a_fork_that_is_named_by_its_id_answers_though_its_owner_has_a_newer_one(ipse: Ipse, tmp_path: Path) -> None:
    base = load_base()
    with Home.open(tmp_path / "data") as home:
        older, newer = (home.create_fork("ada", base.layout, "base").row.fork_id for _ in range(2))
    for wanted in (older, newer):
        done = ipse(
            "generate", "--json", "--greedy", "--max-tokens", "1", "--fork", wanted, "--data", tmp_path / "data", "Hi"
        )
        assert done.code == 0
        assert json.loads(done.out)["fork"] == wanted
