# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: nothing acknowledged is lost, nothing is doubled, no number is left out."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.crash.harness import ENDLESS, acknowledged, check_history, new_store, start


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


@pytest.mark.slow
def test_a_writer_killed_60_times_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=60, seed=2)
