# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a witness: it may lose an answer, never its memory, and never signs a second history."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipse.client.witness import ask
from ipse.errors import NetworkError, VerificationError
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.tree import consistency_proof
from ipse.ledger.witness import Seen, last_seen
from ipse.store.store import Store
from tests.crash.harness import REPOSITORY
from tests.ledger.logs import KNOWN_WITNESSES, LOG, ORIGIN, TIME_S
from tests.server.serving import History

NAMES = [f"entry {number}" for number in range(400)]
ONE = History.of(*NAMES)


@contextmanager
def witness(root: Path, mode: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A witness process and its address; it is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.witnessing", str(root), mode],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))},
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().split()[1]
    finally:
        process.kill()
        process.communicate()


def cosigned(url: str, history: History, size: int, old: int = 0) -> bytes:
    def prove(seen: int) -> tuple[bytes, ...]:
        return consistency_proof(seen, size, history.read(size))

    return ask(url, KNOWN_WITNESSES, history.checkpoint(size), LOG, old_size=old, prove=prove)


def memory(root: Path) -> Seen:
    with Store.open(root, create=False) as store:
        return last_seen(store, ORIGIN)


def test_killed_between_memory_and_answer_it_remembers_and_answers_when_it_is_asked_again(tmp_path: Path) -> None:
    with witness(tmp_path, "die") as (process, url):
        with pytest.raises(NetworkError):
            cosigned(url, ONE, 5)
        assert process.wait(60) == -9
    assert memory(tmp_path) == Seen(5, ONE.head(5).root, TIME_S)
    other = History.of("put in", *NAMES)
    with witness(tmp_path, "serve") as (_, url):
        for size in (4, 5, 9):
            with pytest.raises(VerificationError, match="a tree of 5 entries"):
                cosigned(url, other, size)
        lines = cosigned(url, ONE, 5)
    assert len(open_checkpoint(ONE.checkpoint(5) + lines, LOG, KNOWN_WITNESSES).cosignatures) == 2


def kill_cycles(root: Path, cycles: int, seed: int) -> None:
    """Ask for ever larger trees; kill at a random moment; nothing that was answered is forgotten."""
    randomness = random.Random(seed)
    asked, answered = 0, 0
    for _ in range(cycles):
        with witness(root, "serve") as (process, url):
            timer = threading.Timer(randomness.uniform(0, 0.15), process.kill)
            timer.start()
            try:
                while asked < len(NAMES) - 1:
                    asked += 1
                    cosigned(url, ONE, asked, asked - 1)
                    answered = asked
            except NetworkError:
                pass  # killed
            timer.join()
        seen = memory(root)
        assert answered <= seen.size <= asked
        assert seen.root == ONE.head(seen.size).root
    assert answered > cycles


def test_a_killed_witness_forgets_nothing_that_it_answered(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=4, seed=1)


@pytest.mark.slow
def test_a_witness_killed_40_times_forgets_nothing_that_it_answered(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=40, seed=2)
