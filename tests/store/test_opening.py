# SPDX-License-Identifier: Apache-2.0
"""Opening: what is made, what is refused, and with which error."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from ipse.errors import InputError, IpseError, StoreBusy, StoreDamaged, StoreError, StoreForeign, VerificationError
from ipse.store.schema import APPLICATION_ID, VERSION
from ipse.store.store import Store
from tests.store.samples import filled, fork_row, row


def test_folder_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store.open(tmp_path / "a" / "data") as store:
            filled(store, 1)
            folder = tmp_path / "a" / "data"
            seen = folder / "seen"
            files = [file for file in folder.iterdir() if file != seen]
            assert {file.name for file in files} == {"ipse.db", "ipse.db-wal", "ipse.db-shm"}
            assert stat.S_IMODE(seen.stat().st_mode) == 0o700
            files += seen.iterdir()
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


def test_the_file_says_that_it_is_ours_and_is_durable(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:

        def value(name: str) -> object:
            return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert value("application_id") == APPLICATION_ID == int.from_bytes(b"Ipse", "big")
        assert value("user_version") == VERSION
        assert value("journal_mode") == "wal"
        assert value("synchronous") == 2
        assert value("foreign_keys") == 1
        strict = store._connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
        assert all(flag for name, flag in strict if not name.startswith("sqlite_"))


def test_nothing_there_is_an_input_error_unless_asked_to_create(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Store.open(tmp_path / "data", create=False)
    assert list(tmp_path.iterdir()) == []
    Store.open(tmp_path / "data").close()
    Store.open(tmp_path / "data", create=False).close()


def test_an_empty_file_left_by_a_crash_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "ipse.db").touch()
    with Store.open(tmp_path) as store:
        filled(store, 1)


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ipse.db"
    for statement in ("CREATE TABLE theirs (x)", "PRAGMA application_id = 12345", "PRAGMA user_version = 3"):
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
        before = path.read_bytes()
        with pytest.raises(StoreForeign, match="another program"):
            Store.open(tmp_path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["ipse.db"]


def test_tables_of_a_newer_ipse_are_refused_and_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "ipse.db") as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreForeign, match="newer Ipse") as caught:
        Store.open(tmp_path)
    assert "Update" in caught.value.hint


def test_garbage_is_damage(tmp_path: Path) -> None:
    for garbage in (b"hello", os.urandom(20_000), b"SQLite format 3\0" + os.urandom(8000)):
        (tmp_path / "ipse.db").write_bytes(garbage)
        with pytest.raises(StoreDamaged):
            Store.open(tmp_path)
        assert (tmp_path / "ipse.db").read_bytes() == garbage


def test_a_folder_or_a_file_in_the_way_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "one" / "ipse.db").mkdir(parents=True)
    (tmp_path / "two").write_text("")
    for name in ("one", "two"):
        with pytest.raises(StoreError):
            Store.open(tmp_path / name)


@pytest.mark.parametrize("name", ["with space", "per%cent", "que?stion", "ha#sh", "ünï"])
def test_any_name_of_a_folder_will_do(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name) as store:
        filled(store, 1)
    assert (tmp_path / name / "ipse.db").exists()


@pytest.mark.parametrize("_round", range(8))
def test_many_may_make_the_same_store_at_once(tmp_path: Path, _round: int) -> None:
    failures: list[Exception] = []

    def work() -> None:
        try:
            with Store.open(tmp_path / "data") as store:
                filled(store, 2)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Store.open(tmp_path / "data") as store:
        assert len(store.forks()) == 6


def test_a_writer_that_does_not_let_go_makes_the_others_busy_and_not_poisoned(tmp_path: Path) -> None:
    with Store.open(tmp_path, busy_seconds=0.05) as store:
        fork, rows = filled(store, 1)
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            store.append(fork, row(2), expected_head=rows[0].digest)
        with pytest.raises(StoreBusy):
            Store.open(tmp_path, busy_seconds=0.05)
        assert store.head(fork).seq == 1
        other.execute("ROLLBACK")
        other.close()
        store.append(fork, row(2), expected_head=rows[0].digest)


def damaged_copy(folder: Path, good: bytes, at: int, bit: int) -> Path:
    bad = bytearray(good)
    bad[at] ^= 1 << bit
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / "ipse.db").write_bytes(bad)
    return folder


def test_a_flipped_bit_anywhere_gives_right_answers_or_an_error_of_ours(tmp_path: Path) -> None:
    with Store.open(tmp_path / "good") as store:
        fork, rows = filled(store, 30)
    good = (tmp_path / "good" / "ipse.db").read_bytes()
    randomness = random.Random(7)
    for _ in range(80):
        folder = damaged_copy(tmp_path / "bad", good, randomness.randrange(len(good)), randomness.randrange(8))
        try:
            with Store.open(folder) as store:
                assert [r.data for r in store.records(fork)] == [r.data for r in rows]
                assert store.verify(fork).seq == 30
        except IpseError:
            continue


def test_a_flipped_bit_in_a_record_is_found_and_the_record_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "good") as store:
        fork, rows = filled(store, 30)
    good = (tmp_path / "good" / "ipse.db").read_bytes()
    randomness = random.Random(7)
    for wrong in rows:
        at = good.index(wrong.data) + randomness.randrange(len(wrong.data))
        folder = damaged_copy(tmp_path / "bad", good, at, randomness.randrange(8))
        with Store.open(folder) as store, pytest.raises(VerificationError, match=f"Record {wrong.seq} of fork {fork}"):
            store.verify(fork)


def test_a_store_works_from_a_file_cut_short_or_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fork, _ = filled(store, 30)
    path = tmp_path / "ipse.db"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(IpseError), Store.open(tmp_path) as store:
        store.verify(fork)


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.create_fork(fork_row())
    store.close()
    store.close()
