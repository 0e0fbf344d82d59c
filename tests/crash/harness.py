# SPDX-License-Identifier: Apache-2.0
"""Starting writers, and checking what they leave behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from ipse.store.store import Store
from ipse.wire.ids import ForkId
from tests.crash.writer import link
from tests.store.samples import fork_row

REPOSITORY = Path(__file__).resolve().parents[2]
ENDLESS = 10**9


def new_store(root: Path) -> ForkId:
    """A store with one empty fork."""
    return new_forks(root, 1)[0]


def new_forks(root: Path, count: int) -> list[ForkId]:
    """A store with so many."""
    rows = [fork_row() for _ in range(count)]
    with Store.open(root) as store:
        for row in rows:
            store.create_fork(row)
    return [row.fork_id for row in rows]


def start(root: Path, fork: str, mode: str, last: int, prefix: Iterable[str] = ()) -> subprocess.Popen[bytes]:
    """A writer process; ``prefix`` goes before its command line (strace). Several forks are joined by commas."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.crash.writer", str(root), fork, mode, str(last)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))},
    )


def acknowledged(output: bytes, fork: str = "") -> list[int]:
    """Numbers of the records that the writer was told to be durable. A line cut off by a kill does not count."""
    lines = output.decode().splitlines(keepends=True)
    end = f" {fork}\n" if fork else "\n"
    return [int(line.split()[1]) for line in lines if line.startswith("ack ") and line.endswith(end)]


def check_history(root: Path, fork: ForkId) -> int:
    """Height of a fork whose every record is the one that the writer meant for its place."""
    with Store.open(root, create=False) as store:
        head = store.verify(fork)
        previous = bytes(32)
        for seq, record in enumerate(store.records(fork), start=1):
            assert record.data == link(seq, previous).data
            previous = record.digest
        store.check_file()
        return head.seq


@cache
def why_not() -> str:
    """Why strace cannot be used here; empty if it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"tracing is not permitted here: {done.stderr.strip()[:80]}" if done.returncode else ""


@contextmanager
def mounted(point: Path, *options: str) -> Iterator[Path]:
    """A file system mounted there for a while; skips the test where that is not permitted."""
    point.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(point)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)
