# SPDX-License-Identifier: Apache-2.0
"""What verifying a fork finds, and what it cannot."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ipse.errors import VerificationError
from ipse.forks.home import Home
from ipse.forks.verify import verify_fork
from ipse.ledger.record import record_digest
from ipse.store.store import FILE_NAME
from tests.forks.tiny import Life, tiny_fork


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


def test_verify_passes_a_fork_whatever_happened_to_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.forks.openfork.SNAPSHOT_EVERY", 2)
    life = Life(home)
    assert verify_fork(home.store, life.fork).records == 0
    life.learn("a", "b", "c")
    life.rollback(1)
    life.undo(4)
    found = verify_fork(home.store, tiny_fork(home))
    assert (found.records, found.counting, found.height, found.snapshot_seq) == (5, 4, 3, 4)
    assert found.head == life.now.head.digest


def test_verify_names_a_record_that_was_altered_before_the_snapshot(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipse.forks.openfork.SNAPSHOT_EVERY", 4)
    life = Life(home)
    life.learn("a", "b", "c", "d")
    with closing(sqlite3.connect(home.root / FILE_NAME)) as db, db:
        data = bytearray(db.execute("SELECT data FROM record WHERE seq = 2").fetchone()[0])
        data[40] ^= 1
        digest = record_digest(bytes(data))
        db.execute("UPDATE record SET data = ?, digest = ? WHERE seq = 2", (bytes(data), digest))
    opened = tiny_fork(home)  # from the snapshot: it never reads record 2
    with pytest.raises(VerificationError, match=re.escape(f"Record 2 of fork {opened.row.fork_id}")):
        verify_fork(home.store, opened)


def test_verify_finds_a_snapshot_or_a_state_that_is_not_the_sum(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    fork_id = life.fork.row.fork_id
    wrong = replace(life.now, z=life.now.z + 1)
    home.store.put_snapshot(fork_id, 2, life.fork.sealed_snapshot(wrong))
    with pytest.raises(VerificationError, match="The snapshot at record 2"):
        verify_fork(home.store, tiny_fork(home))
    opened = tiny_fork(home)
    home.store.drop_snapshots(fork_id)
    with pytest.raises(VerificationError, match="The state in use at record 2"):
        verify_fork(home.store, opened)
    home.store.put_snapshot(fork_id, 2, b"not a snapshot")
    with pytest.raises(VerificationError, match=r"The snapshot at record 2 .* is damaged"):
        verify_fork(home.store, tiny_fork(home))


def test_verify_does_not_notice_a_cut_off_end(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    with closing(sqlite3.connect(home.root / FILE_NAME)) as db, db:
        db.execute("DELETE FROM record WHERE seq = 2")
        db.execute("UPDATE head SET seq = 1, digest = ?", (life.was[1].head.digest,))
    assert verify_fork(home.store, tiny_fork(home)).records == 1
