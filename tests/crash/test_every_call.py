# SPDX-License-Identifier: Apache-2.0
"""Every system call of a store's first eight appends fails once, in every way: the file is sound, nothing is lost.

From the making of the file to its closing. SQLite renames nothing; the call is in the list so that it stays so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ipse.errors import InputError, IpseError
from ipse.store.store import Store
from ipse.wire.ids import ForkId, new_fork_id
from tests.crash.harness import acknowledged, check_history, new_forks
from tests.crash.test_disk_errors import inject
from tests.store.samples import fork_row

CALLS = ("fdatasync", "fsync", "pwrite64", "write", "ftruncate", "openat", "unlink", "rename")
FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")
LAST = 8


def height_left(root: Path, fork: ForkId) -> int:
    """Of a fork that may not have been made; the store is fit for use in any case."""
    with Store.open(root) as store:
        store.check_file()
        try:
            store.fork(fork)
        except InputError:
            store.create_fork(fork_row(fork))
    return check_history(root, fork)


def suffer_all(root: Path, call: str, fault: str) -> int:
    """Every call of this kind, one run each; how many there were."""
    when = 0
    while True:
        fork = new_fork_id()
        folder = root / f"{call} {when + 1}"
        folder.mkdir()
        output, reached = inject(folder, fork, "make", LAST, call, fault, when + 1)
        acks = acknowledged(output)
        height = height_left(folder / "data", fork)
        assert acks == list(range(1, len(acks) + 1))
        assert len(acks) <= height <= len(acks) + 1
        if not reached:
            assert len(acks) == LAST
            assert b"error" not in output
            return when
        when += 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_fails_once_and_nothing_acknowledged_is_lost(tmp_path: Path, fault: str) -> None:
    counts = {call: suffer_all(tmp_path, call, fault) for call in CALLS}
    print(f"{fault}: {sum(counts.values())} runs, {counts}")
    assert counts["fdatasync"] >= 12
    assert counts["pwrite64"] >= 60
    assert min(counts["fsync"], counts["openat"], counts["ftruncate"], counts["unlink"]) >= 1
    assert counts["rename"] == 0


def crowd(root: Path, fault: str, when: int) -> bool:
    """Appends to eight forks at once; whether the n-th sync was reached."""
    forks = new_forks(root / "data", 8)
    output, reached = inject(root, ",".join(forks), "crowd", 4, "fdatasync", fault, when)
    errors = [line.split()[2] for line in output.decode().splitlines() if line.startswith("error ")]
    assert set(errors) <= {"StoreError", "StorePoisoned"}
    assert reached or not errors
    for fork in forks:
        acks = acknowledged(output, fork)
        assert acks == list(range(1, len(acks) + 1))
        assert len(acks) <= check_history(root / "data", fork) <= len(acks) + 1
    return reached


def test_a_commit_that_fails_fails_all_of_its_group_and_nothing_else(tmp_path: Path) -> None:
    assert crowd(tmp_path, "error=EIO", 2)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_commit_of_groups_fails_once_and_nothing_acknowledged_is_lost(tmp_path: Path, fault: str) -> None:
    when = 1
    while crowd(tmp_path / str(when), fault, when):
        when += 1
    assert when > 4


def test_no_store_is_left_half_made_by_a_failed_call(tmp_path: Path) -> None:
    for when in (1, 3):
        folder = tmp_path / str(when)
        folder.mkdir()
        fork = new_fork_id()
        output, reached = inject(folder, fork, "make", LAST, "pwrite64", "error=EIO", when)
        assert reached
        assert b"ack" not in output
        try:
            assert height_left(folder / "data", fork) == 0
        except IpseError as error:
            pytest.fail(f"call {when}: {error}")
