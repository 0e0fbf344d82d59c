# SPDX-License-Identifier: Apache-2.0
"""Writes that wait share a commit, and each caller is told what became of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipse.errors import DuplicateOperation, HeightConflict, InputError, StoreBusy, StoreError, VerificationError
from ipse.store import wal
from ipse.store.rows import AppendRow
from ipse.store.store import Store
from ipse.store.writer import MAX_GROUP
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId
from tests.store.samples import filled, fork_row, row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as opened:
        yield opened


@contextmanager
def held_off(store: Store) -> Iterator[None]:
    """Somebody else holds the file's write lock: whoever writes meanwhile waits."""
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    while not condition():
        time.sleep(0.001)


def many_forks(store: Store, count: int) -> list[ForkId]:
    rows = [fork_row() for _ in range(count)]
    for each in rows:
        store.create_fork(each)
    return [each.fork_id for each in rows]


def commits(store: Store) -> list[str]:
    """The list that each later commit of the store will be added to."""
    seen: list[str] = []
    store._connection.set_trace_callback(lambda sql: seen.append(sql) if sql == "COMMIT" else None)
    return seen


def test_appends_that_wait_share_one_commit(store: Store) -> None:
    forks = many_forks(store, 2 * MAX_GROUP + 1)
    seen = commits(store)
    with held_off(store):
        futures = [store.append_async(fork, row(1), expected_head=NO_DIGEST) for fork in forks]
        assert not any(future.done() for future in futures)
    for future in futures:
        future.result()
    assert len(seen) == 3
    assert [store.verify(fork).seq for fork in forks] == [1] * len(forks)


def test_threads_that_wait_share_commits_too(store: Store) -> None:
    forks = many_forks(store, 16)
    seen = commits(store)
    threads = [
        threading.Thread(target=store.append, args=(fork, row(1)), kwargs={"expected_head": NO_DIGEST})
        for fork in forks
    ]
    with held_off(store):
        for thread in threads:
            thread.start()
        until(lambda: len(store._writer._waiting) == len(forks))
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    assert [store.verify(fork).seq for fork in forks] == [1] * len(forks)


def test_a_refused_row_fails_only_its_own_caller(store: Store) -> None:
    (taken, rows), (other, _) = filled(store, 1), filled(store, 0)
    good = [row(1), row(2)]
    with held_off(store):
        futures: list[tuple[Future[None], type[Exception] | None]] = [
            (store.append_async(fork, each, expected_head=head), error)
            for fork, each, head, error in (
                (taken, row(3), rows[0].digest, HeightConflict),
                (other, good[0], NO_DIGEST, None),
                (taken, rows[0], NO_DIGEST, DuplicateOperation),
                (other, good[0], NO_DIGEST, DuplicateOperation),
                (taken, row(2, op_id=b"short"), rows[0].digest, InputError),
                (fork_row().fork_id, row(1), NO_DIGEST, InputError),
                (other, good[1], good[0].digest, None),
            )
        ]
        with pytest.raises(VerificationError):
            store.append_async(other, AppendRow(3, bytes(16), bytes(32), b"data"), expected_head=good[1].digest)
    for future, error in futures:
        assert type(future.exception()) is (error or type(None))
    assert [r.data for r in store.records(taken)] == [rows[0].data]
    assert [r.data for r in store.records(other)] == [r.data for r in good]


def test_after_a_refused_record_those_that_follow_it_are_refused(store: Store) -> None:
    fork, _ = filled(store, 0)
    rows = [row(1), row(2, op_id=b"short"), row(3)]
    heads = [NO_DIGEST, rows[0].digest, rows[1].digest]
    with held_off(store):
        futures = [store.append_async(fork, each, expected_head=head) for each, head in zip(rows, heads, strict=True)]
    assert [type(future.exception()) for future in futures] == [type(None), InputError, HeightConflict]
    assert store.verify(fork).seq == 1


def test_who_never_gets_the_lock_is_busy_and_nothing_of_the_group_is_there(tmp_path: Path) -> None:
    with Store.open(tmp_path, busy_seconds=0.05) as store:
        forks = many_forks(store, 3)
        with held_off(store):
            futures = [store.append_async(fork, row(1), expected_head=NO_DIGEST) for fork in forks]
            assert {type(future.exception()) for future in futures} == {StoreBusy}
        assert [store.verify(fork).seq for fork in forks] == [0, 0, 0]
        store.append(forks[0], row(1), expected_head=NO_DIGEST)


def test_writes_keep_the_order_in_which_they_were_asked_for(store: Store) -> None:
    fork, _ = filled(store, 0)
    with held_off(store):
        future = store.append_async(fork, row(1), expected_head=NO_DIGEST)
        thread = threading.Thread(target=store.put_snapshot, args=(fork, 1, b"after it"))
        thread.start()
    thread.join()
    future.result()
    snapshot = store.latest_snapshot(fork, 1)
    assert snapshot is not None
    assert snapshot.data == b"after it"


def test_a_cancelled_append_writes_nothing(store: Store) -> None:
    fork, other = many_forks(store, 2)
    with held_off(store):
        store.append_async(other, row(1), expected_head=NO_DIGEST)
        future = store.append_async(fork, row(1), expected_head=NO_DIGEST)
        assert future.cancel()
    store.append(fork, row(1), expected_head=NO_DIGEST)
    assert (store.verify(fork).seq, store.verify(other).seq) == (1, 1)


def test_closing_finishes_what_was_queued_and_takes_no_more(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        forks = many_forks(store, 100)
        futures = [store.append_async(fork, row(1), expected_head=NO_DIGEST) for fork in forks]
    assert [future.exception() for future in futures] == [None] * 100
    with pytest.raises(StoreError, match="is closed"):
        store.append(forks[0], row(1), expected_head=NO_DIGEST)
    assert sorted(os.listdir(tmp_path)) == ["ipse.db", "seen"]
    with Store.open(tmp_path) as store:
        assert [store.verify(fork).seq for fork in forks] == [1] * 100


def test_an_interrupted_waiter_leaves_the_queue_and_the_others_go_on(store: Store) -> None:
    forks = many_forks(store, 3)
    threads = [
        threading.Thread(target=store.append, args=(fork, row(1)), kwargs={"expected_head": NO_DIGEST})
        for fork in forks[:2]
    ]

    def interrupt() -> None:
        until(lambda: len(store._writer._waiting) == 2)
        threads[1].start()
        until(lambda: len(store._writer._waiting) == 3)
        os.kill(os.getpid(), signal.SIGINT)

    with held_off(store):
        threads[0].start()
        until(lambda: len(store._writer._waiting) == 1)
        helper = threading.Thread(target=interrupt)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            store.append(forks[2], row(1), expected_head=NO_DIGEST)
        helper.join()
    for thread in threads:
        thread.join()
    assert [store.verify(fork).seq for fork in forks] == [1, 1, 0]
    store.append(forks[2], row(1), expected_head=NO_DIGEST)


def led_by_an_interrupted_thread(store: Store, work: Callable[[], object], act: Callable[[], None]) -> None:
    """This thread leads and is interrupted; ``act`` is done by another one while it waits for the file's lock."""
    holding = threading.Event()

    def meanwhile() -> None:
        with held_off(store):
            holding.set()
            until(lambda: store._writer._led)
            act()

    helper = threading.Thread(target=meanwhile)
    helper.start()
    holding.wait()
    with pytest.raises(KeyboardInterrupt):
        work()
    helper.join()


def test_a_leader_interrupted_before_its_turn_writes_nothing_and_the_others_go_on(store: Store) -> None:
    forks = many_forks(store, 3)
    futures: list[Future[None]] = []

    def act() -> None:
        futures.extend(store.append_async(fork, row(1), expected_head=NO_DIGEST) for fork in forks[1:])
        os.kill(os.getpid(), signal.SIGINT)

    led_by_an_interrupted_thread(store, lambda: store.append(forks[0], row(1), expected_head=NO_DIGEST), act)
    assert [future.exception() for future in futures] == [None, None]
    assert [store.verify(fork).seq for fork in forks] == [0, 1, 1]


def test_a_leader_interrupted_in_the_middle_tells_the_others_and_a_retry_is_safe(store: Store) -> None:
    forks = many_forks(store, 2)
    rows = [row(1), row(1)]
    futures: list[Future[None]] = []

    def act() -> None:
        for fork, each in zip(forks, rows, strict=True):
            futures.append(store.append_async(fork, each, expected_head=NO_DIGEST))

    def interrupted(db: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    led_by_an_interrupted_thread(store, lambda: store._writer.run(interrupted), act)
    assert [type(future.exception()) for future in futures] == [StoreError, StoreError]
    for fork, each in zip(forks, rows, strict=True):
        store.append(fork, each, expected_head=NO_DIGEST)
        assert store.verify(fork).seq == 1


def test_the_write_ahead_log_is_moved_into_the_file_in_the_background(store: Store) -> None:
    before = store.path.stat().st_size
    filled(store, 20)
    until(lambda: store.path.stat().st_size > before)


def test_the_write_ahead_log_starts_anew_while_somebody_writes_without_pause(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "EVERY_SECONDS", 0.01)
    log = store.path.with_name("ipse.db-wal")
    fork, _ = filled(store, 0)
    previous, written = NO_DIGEST, 0
    started: set[bytes] = set()
    while len(started) < 4:  # the first bytes of the log hold a number that changes each time it starts anew
        written += 1
        new = row(written)
        store.append(fork, new, expected_head=previous)
        previous = new.digest
        with log.open("rb") as stream:
            started.add(stream.read(24)[16:])
    assert store.verify(fork).seq == written
