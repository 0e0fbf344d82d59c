# SPDX-License-Identifier: Apache-2.0
"""A process that takes a bundle in is killed at a system call: the fork is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipse.forks.carry import carried_out, received, take_in
from ipse.forks.home import Home
from ipse.vault.keys import load_root_key, write_root_key
from ipse.wire.ids import ForkId
from tests.crash.harness import REPOSITORY, why_not
from tests.forks.tiny import LAYOUT, Life, append, turn

RECORDS = 40


@dataclass
class Sent:
    """Two installations of one root; ``bundle`` has ``records`` records, of which the second has ``before``."""

    home: Path
    bundle: Path
    fork_id: ForkId
    before: int
    records: int


def sent(root: Path, before: int) -> Sent:
    """A fork of many records on its way, of which the other installation has some or none."""
    with Home.open(root / "here") as here:
        life = Life(here)
        fork_id = life.fork.row.fork_id
        write_root_key(root / "there" / "root.key", load_root_key(here.keys.key_path))
        with Home.open(root / "there") as there:
            for number in range(RECORDS):
                if number == before and before:
                    take_in(there, received(there, carried_out(here, fork_id)))
                append(life.fork, turn(f"message {number} " + "x" * 2000))
        (root / "bundle").write_bytes(carried_out(here, fork_id))
    return Sent(root / "there", root / "bundle", fork_id, before, RECORDS)


def killed_at(made: Sent, scratch: Path, call: str, when: int) -> bool:
    """Kill a copy of the second installation at the n-th call; whether that came. Then look, and finish."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(made.home, scratch)
    trace = scratch.parent / "trace"
    inject = ["strace", "-f", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    for name in ("ipse.db", "ipse.db-wal"):
        inject += ["-P", str(scratch / name)]
    subprocess.run(
        [*inject, sys.executable, "-m", "tests.crash.carrier", str(scratch), str(made.bundle)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))},
        capture_output=True,
        check=False,
        timeout=120,
    )
    with Home.open(scratch) as there:
        info = there.find(made.fork_id)
        has = info.records if info else 0
        assert (info is not None) == (has > 0), "a fork without its records"
        assert has in (made.before, made.records)
        assert take_in(there, received(there, made.bundle.read_bytes())).added == made.records - has
        assert there.open_fork(made.fork_id, LAYOUT).folded.head.seq == made.records
        there.store.check_file()
    return "SIGKILL" in trace.read_text()


@pytest.mark.parametrize("before", [0, 20])
def test_a_killed_import_leaves_the_whole_fork_or_what_was_there(tmp_path: Path, before: int) -> None:
    if why_not():
        pytest.skip(why_not())
    made = sent(tmp_path, before)
    assert all(killed_at(made, tmp_path / "copy", "pwrite64", when) for when in (1, 6, 12))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
@pytest.mark.parametrize("before", [0, 20])
def test_an_import_killed_at_any_call_leaves_the_whole_fork_or_what_was_there(
    tmp_path: Path, before: int, call: str
) -> None:
    if why_not():
        pytest.skip(why_not())
    made, when = sent(tmp_path, before), 0
    while when == 0 or killed_at(made, tmp_path / "copy", call, when):
        when += 1
    assert when > 1
