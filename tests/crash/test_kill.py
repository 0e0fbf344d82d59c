# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: nothing acknowledged is lost, nothing is doubled, no number is left out."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.crash.harness import ENDLESS, acknowledged, check_history, new_forks, new_store, start
from tests.crash.writer import AHEAD


def kill_cycles(root: Path, cycles: int, seed: int) -> None:
    fork = new_store(root)
    randomness = random.Random(seed)
    height = 0
    for _ in range(cycles):
        process = start(root, fork, "write", ENDLESS)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(randomness.uniform(0, 0.15))
        process.kill()
        output, complaints = process.communicate()
        assert complaints == b""
        acks = acknowledged(output)
        before, height = height, check_history(root, fork)
        last = acks[-1] if acks else before
        assert acks == list(range(before + 1, last + 1))
        assert last <= height <= last + 1  # one more may be durable whose acknowledgement was cut off
    assert height > cycles


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=6, seed=1)


def kill_under_load(root: Path, cycles: int, seed: int) -> None:
    """As above, with a thread for each of several forks in one process, and groups of appends in one commit."""
    forks = new_forks(root, 6)
    randomness = random.Random(seed)
    heights = dict.fromkeys(forks, 0)
    for _ in range(cycles):
        process = start(root, ",".join(forks), "load", ENDLESS)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(randomness.uniform(0, 0.15))
        process.kill()
        output, complaints = process.communicate()
        assert complaints == b""
        for place, fork in enumerate(forks):
            acks = acknowledged(output, fork)
            before, heights[fork] = heights[fork], check_history(root, fork)
            last = acks[-1] if acks else before
            assert acks == list(range(before + 1, last + 1))
            assert last <= heights[fork] <= last + (1 if place % 2 else AHEAD)
    assert min(heights.values()) > 0


def test_a_process_killed_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_under_load(tmp_path, cycles=4, seed=3)


@pytest.mark.slow
def test_a_process_killed_150_times_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    for part in range(10):  # a new store now and then, since every cycle reads all of it
        kill_under_load(tmp_path / str(part), cycles=15, seed=10 + part)


@pytest.mark.slow
def test_a_writer_killed_60_times_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=60, seed=2)
