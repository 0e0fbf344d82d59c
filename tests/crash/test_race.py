# SPDX-License-Identifier: Apache-2.0
"""Two processes on one fork: each number is won by exactly one of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from ipse.errors import HeightConflict
from ipse.store.rows import AppendRow, Head
from ipse.store.store import Store
from tests.crash.harness import acknowledged, check_history, new_store, start
from tests.crash.writer import link


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
def test_two_that_start_from_the_same_head_1000_times_make_one_history(tmp_path: Path) -> None:
    fork = new_store(tmp_path)
    with Store.open(tmp_path) as one, Store.open(tmp_path) as two, ThreadPoolExecutor(2) as pool:
        for _ in range(1000):
            head = one.head(fork)
            assert two.head(fork) == head
            together = Barrier(2)

            def attempt(store: Store, head: Head = head, together: Barrier = together) -> str:
                row = link(head.seq + 1, head.digest)
                row = AppendRow(row.seq, os.urandom(16), row.digest, row.data)
                together.wait()
                try:
                    store.append(fork, row, expected_head=head.digest)
                except HeightConflict:
                    return "lost"
                return "won"

            assert sorted(pool.map(attempt, (one, two))) == ["lost", "won"]
    assert check_history(tmp_path, fork) == 1000


@pytest.mark.slow
def test_in_a_long_race_each_number_is_won_once_and_the_loser_is_told(tmp_path: Path) -> None:
    won, losses = race(tmp_path, 2000)
    assert sorted(won) == list(range(1, 2001))
    assert losses > 0
