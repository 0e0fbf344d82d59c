# SPDX-License-Identifier: Apache-2.0
"""The store against a plain list: any order of calls, with reopening in between, gives the same answers."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from ipse.errors import DuplicateOperation, HeightConflict, InputError
from ipse.store.erasure import Erasure
from ipse.store.rows import AppendRow
from ipse.store.store import Store
from ipse.wire.digest import NO_DIGEST, sha256
from ipse.wire.ids import ForkId
from tests.store.samples import fork_row, row

VALUES = st.binary(max_size=2)


class StoreMachine(RuleBasedStateMachine):
    """Two handles on one file, as two processes would have, and what they should hold."""

    forks = Bundle("forks")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.handles = [Store.open(self.root), Store.open(self.root)]
        self.expected: dict[ForkId, list[AppendRow]] = {}
        self.snapshots: dict[ForkId, dict[int, bytes]] = {}
        self.markers: dict[str, bytes] = {}
        self.erased: dict[ForkId, list[AppendRow]] = {}

    def teardown(self) -> None:
        for handle in self.handles:
            handle.check_file()
            handle.close()
        shutil.rmtree(self.root)

    def digest(self, fork: ForkId, seq: int) -> bytes:
        return self.expected[fork][seq - 1].digest if seq else NO_DIGEST

    @rule(target=forks, which=st.integers(0, 1))
    def create(self, which: int) -> ForkId:
        fork = fork_row()
        self.handles[which].create_fork(fork)
        self.expected[fork.fork_id], self.snapshots[fork.fork_id] = [], {}
        return fork.fork_id

    @rule(fork=forks, which=st.integers(0, 1), size=st.integers(0, 20_000))
    def append(self, fork: ForkId, which: int, size: int) -> None:
        height = len(self.expected[fork])
        new = row(height + 1, os.urandom(size))
        self.handles[which].append(fork, new, expected_head=self.digest(fork, height))
        self.expected[fork].append(new)

    @rule(fork=forks, which=st.integers(0, 1), behind=st.integers(1, 3))
    def append_to_an_old_head(self, fork: ForkId, which: int, behind: int) -> None:
        height = len(self.expected[fork]) - behind
        if height >= 0:
            with pytest.raises(HeightConflict):
                self.handles[which].append(fork, row(height + 1), expected_head=self.digest(fork, height))

    @rule(fork=forks, which=st.integers(0, 1), back=st.integers(1, 3))
    def repeat_an_operation(self, fork: ForkId, which: int, back: int) -> None:
        height = len(self.expected[fork])
        if height >= back:
            again = row(height + 1, op_id=self.expected[fork][-back].op_id)
            with pytest.raises(DuplicateOperation):
                self.handles[which].append(fork, again, expected_head=self.digest(fork, height))

    @rule(
        which=st.integers(0, 1),
        asked=st.lists(st.tuples(forks, st.sampled_from(("good", "old head", "repeated", "misshapen"))), max_size=8),
    )
    def append_several_at_once(self, which: int, asked: list[tuple[ForkId, str]]) -> None:
        waiting: list[tuple[Future[None], type[Exception] | None]] = []
        for fork, kind in asked:
            rows = self.expected[fork]
            head, seq = self.digest(fork, len(rows)), len(rows) + 1
            new = row(seq)
            error: type[Exception] | None = None
            if kind == "old head":
                head, error = sha256(head), HeightConflict
            elif kind == "repeated" and rows:
                new, error = row(seq, op_id=rows[0].op_id), DuplicateOperation
            elif kind == "misshapen":
                new, error = row(seq, op_id=b"short"), InputError
            else:
                rows.append(new)
            waiting.append((self.handles[which].append_async(fork, new, expected_head=head), error))
        for future, error in waiting:
            assert type(future.exception()) is (error or type(None))

    @rule(fork=forks, which=st.integers(0, 1), back=st.integers(0, 3), data=st.binary(max_size=50))
    def put_snapshot(self, fork: ForkId, which: int, back: int, data: bytes) -> None:
        seq = max(0, len(self.expected[fork]) - back)
        self.handles[which].put_snapshot(fork, seq, data)
        self.snapshots[fork][seq] = data

    @rule(fork=forks, which=st.integers(0, 1))
    def drop_snapshots(self, fork: ForkId, which: int) -> None:
        self.handles[which].drop_snapshots(fork)
        self.snapshots[fork].clear()

    @rule(key=st.sampled_from("ab"), which=st.integers(0, 1), expected=VALUES, value=VALUES, right=st.booleans())
    def swap_marker(self, key: str, which: int, expected: bytes, value: bytes, right: bool) -> None:
        before = self.markers.get(key)
        given = before if right else expected
        assert self.handles[which].swap_marker(key, given, value) == (given == before)
        if given == before:
            self.markers[key] = value

    @rule(fork=consumes(forks), which=st.integers(0, 1))
    def begin_to_erase(self, fork: ForkId, which: int) -> None:
        Erasure(self.handles[which]).begin(fork, lambda data: len(data) % 2 == 0, 1)
        self.erased[fork] = self.expected.pop(fork)
        self.snapshots.pop(fork)

    @rule(which=st.integers(0, 1))
    def finish_erasing(self, which: int) -> None:
        erasure = Erasure(self.handles[which])
        for fork in erasure.erased():
            if fork.unfinished:
                assert fork.unfinished.records == len(self.erased[fork.fork_id])
                erasure.fold()
                erasure.drop_records(fork.fork_id)
                erasure.rewrite()
                erasure.finish(fork.fork_id)
        files = b"".join(path.read_bytes() for path in self.root.rglob("*") if path.is_file())
        gone = [row.data for rows in self.erased.values() for row in rows if len(row.data) >= 32]
        assert [data for data in gone if data[:32] in files or data[-32:] in files] == []

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.handles[which].close()
        self.handles[which] = Store.open(self.root, create=False)

    @rule(fork=forks, after=st.integers(0, 5))
    def read_a_tail(self, fork: ForkId, after: int) -> None:
        expected = [r.data for r in self.expected[fork][after:]]
        assert [r.data for r in self.handles[0].records(fork, after)] == expected

    @invariant()
    def both_handles_hold_what_the_list_holds(self) -> None:
        for handle in self.handles:
            assert [fork.fork_id for fork in handle.forks()] == list(self.expected)
            for fork, rows in self.erased.items():
                assert Erasure(handle).digests(fork) == [row.digest for row in rows]
            for key in "ab":
                assert handle.marker(key) == self.markers.get(key)
            for fork, rows in self.expected.items():
                head = handle.verify(fork)
                assert (head.seq, head.digest) == (len(rows), self.digest(fork, len(rows)))
                assert [(r.seq, r.op_id) for r in handle.records(fork)] == [(r.seq, r.op_id) for r in rows]
                kept = handle.latest_snapshot(fork, len(rows))
                newest = max(self.snapshots[fork], default=None)
                assert (kept and kept.seq) == newest
                assert newest is None or (kept and kept.data) == self.snapshots[fork][newest]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


@pytest.mark.slow
def test_the_store_is_like_the_list_in_long_runs_too() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None))
