# SPDX-License-Identifier: Apache-2.0
"""Two processes that sign, and one that dies: no size of the log is ever signed with two root hashes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from ipse.ledger.log import LogWriter
from ipse.ledger.publiclog import check_log
from ipse.ledger.tree import read_root
from ipse.store.store import Store
from tests.crash.harness import ENDLESS, REPOSITORY, why_not


def start(root: Path, last: int, prefix: Iterable[str] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.crash.logwriter", str(root), str(last)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))},
    )


def signed(output: bytes) -> list[tuple[int, str]]:
    """Size and root hash of each checkpoint that left. A line cut off by a kill does not count."""
    lines = [line.split() for line in output.decode().splitlines(keepends=True) if line.endswith("\n")]
    return [(int(words[1]), words[2]) for words in lines if words[0] == "ack"]


def check_history(root: Path, checkpoints: list[tuple[int, str]]) -> int:
    """Size of a log of which all these checkpoints are."""
    with Store.open(root, create=False) as store:
        writer = LogWriter.open(store)
        head = check_log(writer.public, writer.log)
        read = writer.public.reader(head.size)
        assert [hex_root for size, hex_root in checkpoints if read_root(size, read).hex() != hex_root] == []
        assert writer.public.rolled_back() == ""
        store.check_file()
        return head.size


def race(root: Path, last: int) -> int:
    """How often somebody was too late."""
    processes = [start(root, last) for _ in range(2)]
    won: list[tuple[int, str]] = []
    losses = 0
    for process in processes:
        output, complaints = process.communicate(timeout=600)
        assert complaints == b""
        won += signed(output)
        losses += output.count(b"lost ")
    assert sorted(size for size, _ in won) == list(range(1, last + 1))
    assert check_history(root, won) == last
    return losses


def kill_cycles(root: Path, cycles: int, seed: int) -> None:
    randomness, left = random.Random(seed), list[tuple[int, str]]()
    for _ in range(cycles):
        process = start(root, ENDLESS)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(randomness.uniform(0, 0.2))
        process.kill()
        output, complaints = process.communicate()
        assert complaints == b""
        left += signed(output)
        size = check_history(root, left)
        assert len({number for number, _ in left}) == len(left)
        assert not left or left[-1][0] <= size
    assert len(left) > cycles


def test_of_two_that_sign_each_size_is_signed_by_one(tmp_path: Path) -> None:
    race(tmp_path, 60)


@pytest.mark.slow
def test_in_a_race_of_a_thousand_no_size_is_signed_twice(tmp_path: Path) -> None:
    assert race(tmp_path, 1000) > 0


def test_a_killed_signer_leaves_a_log_of_which_every_checkpoint_is_that_left(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=5, seed=1)


@pytest.mark.slow
def test_a_signer_killed_40_times_leaves_a_log_of_which_every_checkpoint_is_that_left(tmp_path: Path) -> None:
    kill_cycles(tmp_path, cycles=40, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
@pytest.mark.parametrize("call", ["fdatasync", "fsync", "pwrite64"])
def test_a_fault_at_any_call_leaves_a_log_of_which_every_checkpoint_is_that_left(
    tmp_path: Path, call: str, fault: str
) -> None:
    """Of a process that makes the log, its keys and 6 checkpoints; then another one goes on."""
    if why_not():
        pytest.skip(why_not())
    when, reached = 0, True
    while reached and when < 400:
        when += 1 if call != "pwrite64" else 3
        root, trace = tmp_path / str(when), tmp_path / f"{when}.trace"
        inject = ["strace", "-f", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
        output, complaints = start(root, 6, inject).communicate(timeout=120)
        assert b"Traceback" not in complaints, complaints.decode()
        reached = "INJECTED" in trace.read_text() or "SIGKILL" in trace.read_text()
        assert reached or b"ack 6 " in output
        more, complaints = start(root, 8).communicate(timeout=120)
        assert (complaints, b"error" in more) == (b"", False), (when, output, more, complaints)
        assert check_history(root, signed(output) + signed(more)) == 8
