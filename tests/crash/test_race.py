# SPDX-License-Identifier: Apache-2.0
"""Two processes on one fork: each number is won by exactly one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import acknowledged, check_history, new_store, start


def race(root: Path, last: int) -> tuple[list[int], int]:
    """Numbers won by all, and how often somebody lost."""
    fork = new_store(root)
    processes = [start(root, fork, "race", last) for _ in range(2)]
    won: list[int] = []
    losses = 0
    for process in processes:
        output, complaints = process.communicate(timeout=120)
        assert complaints == b""
        won += acknowledged(output)
        losses += output.count(b"lost ")
    assert check_history(root, fork) == last
    return won, losses


def test_of_two_writers_exactly_one_wins_each_number(tmp_path: Path) -> None:
    won, _ = race(tmp_path, 150)
    assert sorted(won) == list(range(1, 151))


@pytest.mark.slow
def test_in_a_long_race_each_number_is_won_once_and_the_loser_is_told(tmp_path: Path) -> None:
    won, losses = race(tmp_path, 2000)
    assert sorted(won) == list(range(1, 2001))
    assert losses > 0
