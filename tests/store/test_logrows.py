# SPDX-License-Identifier: Apache-2.0
"""The log's rows: they only grow, one head is swapped for another, and a store from before them keeps its records."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ipse.errors import HeightConflict, InputError, StoreDamaged
from ipse.store.logrows import LogRow, LogRows, TileRow
from ipse.store.schema import APPLICATION_ID, VERSION, m001_initial
from ipse.store.store import Store
from ipse.wire.digest import NO_DIGEST
from tests.store.samples import fork_row, row

EMPTY = LogRow("log.example", 0, bytes(32), b"signed")
TWO = LogRow("log.example", 2, bytes([2]) * 32, b"signed too")
ENTRIES = [bytes([number]) * 32 for number in (1, 2)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


@pytest.fixture
def rows(store: Store) -> LogRows:
    found = LogRows(store)
    with found.changing() as change:
        change.start(EMPTY)
        change.advance(EMPTY, TWO, ENTRIES, [TileRow(0, 0, b"".join(ENTRIES))])
    return found


def test_what_was_added_is_there_again(rows: LogRows) -> None:
    assert rows.head() == TWO
    assert rows.entries(0, 256) == ENTRIES
    assert rows.entries(1, 1) == ENTRIES[1:]
    assert rows.entries(2, 1) == []
    assert rows.tile(0, 0) == b"".join(ENTRIES)
    assert rows.tile(0, 1) is None
    assert rows.counts() == (2, 1)


def test_a_head_that_moved_is_not_swapped_and_nothing_is_added(rows: LogRows) -> None:
    for old in (EMPTY, replace(TWO, root=bytes(32)), replace(TWO, origin="other.example")):
        new = LogRow("log.example", old.size + 1, bytes(32), b"")
        with pytest.raises(HeightConflict), rows.changing() as change:
            change.advance(old, new, [bytes(32)], [])
    assert rows.head() == TWO
    assert rows.counts() == (2, 1)


def test_a_tile_grows_at_its_end_or_not_at_all(rows: LogRows) -> None:
    new = LogRow("log.example", 3, bytes([3]) * 32, b"")
    for hashes in (bytes(96), b"".join(ENTRIES)[:32], b"".join(reversed(ENTRIES)) + bytes(32)):
        with pytest.raises(StoreDamaged, match="tile 0 of level 0"), rows.changing() as change:
            change.advance(TWO, new, [bytes(32)], [TileRow(0, 0, hashes)])
    with rows.changing() as change:
        change.advance(TWO, new, [bytes(32)], [TileRow(0, 0, b"".join(ENTRIES) + bytes(32))])
    assert rows.tile(0, 0) == b"".join(ENTRIES) + bytes(32)


def test_a_head_grows_by_its_entries(rows: LogRows) -> None:
    with pytest.raises(InputError), rows.changing() as change:
        change.advance(TWO, LogRow("log.example", 4, bytes(32), b""), [bytes(32)], [])


def test_an_entry_of_another_size_is_refused_and_the_store_goes_on(rows: LogRows) -> None:
    new = LogRow("log.example", 3, bytes([3]) * 32, b"")
    with pytest.raises(InputError), rows.changing() as change:
        change.advance(TWO, new, [bytes(31)], [])
    with rows.changing() as change:
        change.advance(TWO, new, [bytes(32)], [])
    assert rows.counts() == (3, 1)


def test_an_entry_behind_the_head_is_damage(rows: LogRows, store: Store) -> None:
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("INSERT INTO log_entry VALUES (2, zeroblob(32))")
        other.commit()
    with pytest.raises(StoreDamaged), rows.changing() as change:
        change.advance(TWO, LogRow("log.example", 3, bytes(32), b""), [bytes(32)], [])


def test_a_gap_ends_what_is_read(rows: LogRows, store: Store) -> None:
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("DELETE FROM log_entry WHERE number = 0")
        other.commit()
    assert rows.entries(0, 2) == []


def test_a_new_start_leaves_nothing_of_the_old_log_and_everything_else(rows: LogRows, store: Store) -> None:
    fork = fork_row()
    store.create_fork(fork)
    with rows.changing() as change:
        change.start(replace(EMPTY, origin="new.example"))
    assert rows.head() == replace(EMPTY, origin="new.example")
    assert rows.counts() == (0, 0)
    assert store.forks() == [fork]


def test_a_store_of_the_first_version_keeps_its_records_and_gets_a_log(tmp_path: Path) -> None:
    fork, first, second = fork_row(), row(1), row(2)
    with closing(sqlite3.connect(tmp_path / "ipse.db")) as old:
        m001_initial(old)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO fork VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            (fork.fork_id, fork.owner, fork.base_id, fork.base_name, fork.layout_digest, fork.key_check, 5),
        )
        old.execute("INSERT INTO head VALUES (1, 2, ?)", (second.digest,))
        for each in (first, second):
            old.execute("INSERT INTO record VALUES (1, ?, ?, ?, ?)", (each.seq, each.op_id, each.digest, each.data))
        old.execute("INSERT INTO marker VALUES ('replay', x'bb')")
        old.commit()
    with Store.open(tmp_path, create=False) as store:
        assert store._read("PRAGMA user_version", ()) == [(VERSION,)]
        assert store.forks() == [replace(fork, created_ms=5)]
        assert [r.data for r in store.records(fork.fork_id)] == [first.data, second.data]
        assert store.verify(fork.fork_id).digest == second.digest != NO_DIGEST
        assert store.marker("replay") == b"\xbb"
        assert LogRows(store).head() is None
        store.append(fork.fork_id, row(3), expected_head=second.digest)
        with LogRows(store).changing() as change:
            change.start(EMPTY)
        store.check_file()
