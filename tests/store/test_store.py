# SPDX-License-Identifier: Apache-2.0
"""What a store keeps, and what it refuses."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.errors import DuplicateOperation, HeightConflict, InputError, StoreDamaged, StoreRolledBack, VerificationError
from ipse.ledger.chain import check_chain
from ipse.store.rows import AppendRow, Head, StoredRecord, StoredSnapshot
from ipse.store.store import Store
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OwnerId, new_fork_id
from tests.ledger.samples import KEY, chain
from tests.store.samples import filled, fork_row, row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as opened:
        yield opened


def test_a_fork_comes_back_as_it_was_given(store: Store) -> None:
    first, second, third = fork_row(), fork_row(owner="bob"), fork_row()
    for fork in (first, second, third):
        store.create_fork(fork)
    assert store.fork(second.fork_id) == second
    assert store.forks() == [first, second, third]
    assert store.forks(OwnerId("alice")) == [first, third]
    assert store.forks(OwnerId("carol")) == []
    assert store.head(first.fork_id) == Head(0, NO_DIGEST)


def test_a_fork_id_is_taken_once(store: Store) -> None:
    fork = fork_row()
    store.create_fork(fork)
    with pytest.raises(InputError, match="already"):
        store.create_fork(fork)


def test_an_unknown_fork_is_an_input_error_everywhere(store: Store) -> None:
    nobody = new_fork_id()
    for call in (
        lambda: store.fork(nobody),
        lambda: store.head(nobody),
        lambda: list(store.records(nobody)),
        lambda: store.record(nobody, 1),
        lambda: store.verify(nobody),
        lambda: store.append(nobody, row(1), expected_head=NO_DIGEST),
        lambda: store.put_snapshot(nobody, 0, b""),
    ):
        with pytest.raises(InputError):
            call()


def test_records_come_back_in_order_with_their_bytes_and_digests(store: Store) -> None:
    fork, rows = filled(store, 5)
    expected = [StoredRecord(r.seq, r.op_id, r.digest, r.data) for r in rows]
    assert list(store.records(fork)) == expected
    assert list(store.records(fork, after_seq=3)) == expected[3:]
    assert list(store.records(fork, after_seq=5)) == []
    assert store.record(fork, 4) == expected[3]
    assert store.record_of(fork, rows[2].op_id) == expected[2]
    assert store.record_of(fork, bytes(16)) is None
    assert store.head(fork) == store.verify(fork) == Head(5, rows[-1].digest)
    for seq in (0, 6, -1):
        with pytest.raises(InputError):
            store.record(fork, seq)


def test_many_records_are_read_in_pieces_and_survive_reopening(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fork, rows = filled(store, 260)  # more than one piece, and enough to fold the log twice
        assert [r.digest for r in store.records(fork)] == [r.digest for r in rows]
    with Store.open(tmp_path, create=False) as store:
        assert [r.digest for r in store.records(fork)] == [r.digest for r in rows]
        store.check_file()


def test_real_records_can_be_checked_as_a_chain_from_the_store(store: Store) -> None:
    fork = fork_row(KEY.fork_id)
    store.create_fork(fork)
    previous = NO_DIGEST
    for seq, data in enumerate(chain(3), start=1):
        appended = row(seq, data)
        store.append(fork.fork_id, appended, expected_head=previous)
        previous = appended.digest
    head, _ = check_chain((r.data for r in store.records(fork.fork_id)), fork.fork_id)
    assert (head.seq, head.digest) == (3, store.head(fork.fork_id).digest)


def test_an_append_to_a_head_that_moved_is_a_height_conflict_and_changes_nothing(store: Store) -> None:
    fork, rows = filled(store, 2)
    for bad, head in (
        (row(3), rows[0].digest),
        (row(3), NO_DIGEST),
        (row(2), rows[1].digest),
        (row(4), rows[1].digest),
        (row(1), NO_DIGEST),
    ):
        with pytest.raises(HeightConflict, match=f"{fork} is at record 2"):
            store.append(fork, bad, expected_head=head)
    assert store.verify(fork) == Head(2, rows[1].digest)
    store.append(fork, row(3), expected_head=rows[1].digest)


def test_an_operation_is_taken_once_even_by_a_retry_that_knows_only_the_old_head(store: Store) -> None:
    fork, rows = filled(store, 2)
    other = fork_row()
    store.create_fork(other)
    with pytest.raises(DuplicateOperation):
        store.append(fork, rows[1], expected_head=rows[0].digest)
    with pytest.raises(DuplicateOperation):
        store.append(fork, row(3, op_id=rows[0].op_id), expected_head=rows[1].digest)
    with pytest.raises(DuplicateOperation):
        store.append(other.fork_id, row(1, op_id=rows[0].op_id), expected_head=NO_DIGEST)
    assert store.head(fork).seq == 2


def test_a_row_with_the_wrong_digest_is_refused(store: Store) -> None:
    fork, rows = filled(store, 1)
    with pytest.raises(VerificationError, match=f"Record 2 of fork {fork}"):
        store.append(fork, AppendRow(2, bytes(16), bytes(32), b"data"), expected_head=rows[0].digest)
    assert store.head(fork).seq == 1


def test_a_row_of_the_wrong_shape_is_refused_and_the_store_goes_on(store: Store) -> None:
    fork, rows = filled(store, 1)
    with pytest.raises(InputError):
        store.append(fork, row(2, op_id=b"short"), expected_head=rows[0].digest)
    store.append(fork, row(2), expected_head=rows[0].digest)


def test_snapshots_are_found_by_height_and_can_be_dropped(store: Store) -> None:
    fork, _ = filled(store, 4)
    assert store.latest_snapshot(fork, 4) is None
    for seq in (0, 2, 4):
        store.put_snapshot(fork, seq, b"state %d" % seq)
    store.put_snapshot(fork, 2, b"again")
    assert store.latest_snapshot(fork, 4) == StoredSnapshot(4, b"state 4")
    assert store.latest_snapshot(fork, 3) == StoredSnapshot(2, b"again")
    assert store.latest_snapshot(fork, 1) == StoredSnapshot(0, b"state 0")
    store.drop_snapshots(fork, before_seq=4)
    assert store.latest_snapshot(fork, 3) is None
    assert store.latest_snapshot(fork, 4) is not None
    store.drop_snapshots(fork)
    assert store.latest_snapshot(fork, 4) is None
    with pytest.raises(InputError):
        store.put_snapshot(fork, 5, b"")


def test_the_bytes_of_a_fork_are_those_of_its_records_and_snapshots(store: Store) -> None:
    fork, rows = filled(store, 2)
    filled(store, 1)
    assert store.bytes_of(fork) == sum(len(r.data) for r in rows)
    store.put_snapshot(fork, 2, bytes(500))
    assert store.bytes_of(fork) == sum(len(r.data) for r in rows) + 500


def test_dropping_snapshots_of_one_fork_leaves_those_of_others(store: Store) -> None:
    (one, _), (two, _) = filled(store, 1), filled(store, 1)
    store.put_snapshot(one, 1, b"one")
    store.put_snapshot(two, 1, b"two")
    store.drop_snapshots(one)
    assert store.latest_snapshot(two, 1) == StoredSnapshot(1, b"two")


def test_a_marker_is_swapped_only_by_who_knows_its_value(store: Store) -> None:
    assert store.marker("seen") is None
    assert not store.swap_marker("seen", b"", b"1")
    assert store.swap_marker("seen", None, b"1")
    assert not store.swap_marker("seen", None, b"2")
    assert not store.swap_marker("seen", b"2", b"3")
    assert store.swap_marker("seen", b"1", b"2")
    assert store.marker("seen") == b"2"


def test_of_threads_that_swap_a_marker_each_change_is_won_once(store: Store) -> None:
    won: list[bytes] = []

    def work(name: bytes) -> None:
        for number in range(20):
            before = store.marker("seen")
            value = name + b"%d" % number
            if store.swap_marker("seen", before, value):
                won.append(before or b"")

    threads = [threading.Thread(target=work, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won)) > 0  # no value was ever replaced twice


def test_threads_share_a_store_and_each_number_is_won_once(store: Store) -> None:
    fork = fork_row()
    store.create_fork(fork)
    won: list[int] = []

    def work() -> None:
        for _ in range(20):
            head = store.head(fork.fork_id)
            try:
                store.append(fork.fork_id, row(head.seq + 1), expected_head=head.digest)
                won.append(head.seq + 1)
            except HeightConflict:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, store.verify(fork.fork_id).seq + 1))


# What happened to the file behind the store's back is found and named.


def tampered(path: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(sql, values)
    connection.close()


def test_a_changed_record_is_named(store: Store) -> None:
    fork, _ = filled(store, 3)
    tampered(store.path, "UPDATE record SET data = x'00' WHERE seq = 2")
    for call in (lambda: list(store.records(fork)), lambda: store.record(fork, 2), lambda: store.verify(fork)):
        with pytest.raises(VerificationError, match=f"Record 2 of fork {fork} is damaged"):
            call()
    assert store.record(fork, 3).seq == 3


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_missing_record_is_named_also_at_the_end(store: Store, gone: int) -> None:
    fork, _ = filled(store, 3)
    tampered(store.path, "DELETE FROM record WHERE seq = ?", gone)
    for call in (lambda: list(store.records(fork)), lambda: store.record(fork, gone), lambda: store.verify(fork)):
        with pytest.raises(VerificationError, match=f"Record {gone} of fork {fork} is missing"):
            call()


def test_a_head_that_does_not_fit_is_named(store: Store) -> None:
    fork, rows = filled(store, 3)
    tampered(store.path, "UPDATE head SET digest = ?", rows[0].digest)
    with pytest.raises(VerificationError, match=f"head of fork {fork}"):
        store.verify(fork)


def test_a_head_that_was_put_back_is_found(store: Store) -> None:
    fork, rows = filled(store, 3)
    tampered(store.path, "UPDATE head SET seq = 2, digest = ?", rows[2].digest)
    with pytest.raises(VerificationError, match=f"head of fork {fork}"):
        store.verify(fork)


def test_a_broken_index_is_found_by_the_check_of_the_file(store: Store) -> None:
    filled(store, 3)
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = sql || ' WHERE owner < 1' WHERE name = 'fork_by_owner'")
    connection.commit()
    connection.close()
    store.close()
    with Store.open(store.path.parent) as again, pytest.raises(StoreDamaged):
        again.check_file()


def test_a_record_that_the_head_does_not_know_is_damage_when_its_number_comes(store: Store) -> None:
    fork, rows = filled(store, 3)
    tampered(store.path, "UPDATE head SET seq = 2, digest = ?", rows[1].digest)
    with pytest.raises(StoreRolledBack, match="and 3 was seen already"):
        store.append(fork, row(3), expected_head=rows[1].digest)
    store.go_on(fork)
    with pytest.raises(StoreDamaged):
        store.append(fork, row(3), expected_head=rows[1].digest)


def test_the_file_costs_little_more_than_the_records(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        filled(store, 50)
        store.close()
        few = store.path.stat().st_size
    with Store.open(tmp_path) as store:
        filled(store, 250)
    per_record = (store.path.stat().st_size - few) / 250
    assert per_record < 1000 * 1.25


def test_an_import_is_all_of_its_records_or_nothing(store: Store) -> None:
    fork, rows = fork_row(), [row(seq) for seq in range(1, 6)]
    other, taken = filled(store, 1)
    for wrong, error in (
        ([*rows[:2], rows[3]], HeightConflict),
        ([*rows[:2], AppendRow(3, taken[0].op_id, rows[2].digest, rows[2].data)], DuplicateOperation),
        ([*rows[:2], AppendRow(3, rows[2].op_id, rows[3].digest, rows[2].data)], VerificationError),
    ):
        with pytest.raises(error):
            store.import_fork(fork, wrong, expected_head=NO_DIGEST)
        assert [each.fork_id for each in store.forks()] == [other]
    store.import_fork(fork, rows[:3], expected_head=NO_DIGEST)
    with pytest.raises(DuplicateOperation):
        store.import_fork(fork, rows, expected_head=NO_DIGEST)
    with pytest.raises(HeightConflict):
        store.import_fork(fork, rows[3:], expected_head=NO_DIGEST)
    store.import_fork(fork, rows[3:], expected_head=rows[2].digest)
    assert [each.data for each in store.records(fork.fork_id)] == [each.data for each in rows]
    assert store.verify(fork.fork_id) == Head(5, rows[4].digest)
