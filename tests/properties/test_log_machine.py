# SPDX-License-Identifier: Apache-2.0
"""The log against a plain list of entries: any order of calls, by two handles, gives the list's roots and proofs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ipse.errors import HeightConflict
from ipse.ledger.checkpoint import cosign, open_checkpoint
from ipse.ledger.log import LogWriter
from ipse.ledger.publiclog import check_log
from ipse.ledger.tiles import bundles_of, encode_bundle, tiles_of
from ipse.ledger.tree import consistency_proof, inclusion_proof, leaf_hash, list_reader, root_hash, verify_consistency
from ipse.ledger.treehead import TreeHead
from ipse.store.store import Store
from tests.ledger.logs import KNOWN_WITNESSES, ORIGIN, TIME_S, WITNESSES, tile_bytes


class LogMachine(RuleBasedStateMachine):
    """Two handles on one log, as two processes would have, and what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        self.heads: dict[int, bytes] = {}
        self.cosigned = 0
        self.open()

    def open(self) -> None:
        self.stores = [Store.open(self.root), Store.open(self.root)]
        self.writers = [LogWriter.open(store, origin=ORIGIN, clock=lambda: TIME_S) for store in self.stores]

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def teardown(self) -> None:
        assert check_log(self.writers[0].public, self.writers[0].log) == self.expected()
        self.stores[0].check_file()
        self.close()
        shutil.rmtree(self.root)

    def expected(self) -> TreeHead:
        return TreeHead(ORIGIN, len(self.entries), root_hash(self.leaves))

    @rule(which=st.integers(0, 1), count=st.one_of(st.integers(1, 5), st.sampled_from([250, 256, 300, 600])))
    def append(self, which: int, count: int) -> None:
        writer, new = self.writers[which], [os.urandom(32) for _ in range(count)]
        if writer.head.size != len(self.entries):
            with pytest.raises(HeightConflict):
                writer.append(new)
            writer.reload()
        done = writer.append(new)
        assert done.index == len(self.entries)
        self.entries += new
        self.leaves += map(leaf_hash, new)
        head = open_checkpoint(done.checkpoint, writer.log).head
        assert self.heads.setdefault(head.size, head.root) == head.root
        self.cosigned = 0

    @rule(which=st.integers(0, 1), witness=st.integers(0, 1))
    def keep_a_cosignature(self, which: int, witness: int) -> None:
        writer = self.writers[which]
        writer.reload()
        writer.replace_checkpoint(cosign(writer.public.checkpoint(), WITNESSES[witness], time_s=TIME_S))
        self.cosigned |= 1 << witness

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), which=st.integers(0, 1))
    def prove(self, data: st.DataObject, which: int) -> None:
        size, public = len(self.entries), self.writers[which].public
        index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
        proof = public.prove(index)
        assert proof.hashes == inclusion_proof(index, size, list_reader(self.leaves))
        assert proof.verify(leaf_hash(self.entries[index]), self.writers[which].log).head == self.expected()
        growth = public.consistency(old)
        assert growth.proof == consistency_proof(old, size, list_reader(self.leaves))
        for then, root in self.heads.items():  # every checkpoint that ever left is one of this history
            grown = public.consistency(then)
            verify_consistency(then, root, size, self.expected().root, grown.proof)

    @invariant()
    def every_handle_shows_what_the_list_says(self) -> None:
        head = self.expected()
        for writer in self.writers:
            public = writer.public
            assert public.head() == head
            opened = open_checkpoint(public.checkpoint(), writer.log, KNOWN_WITNESSES)
            assert opened.head == head
            known = {KNOWN_WITNESSES.index(each.key) for each in opened.cosignatures}
            assert known == {bit for bit in (0, 1) if self.cosigned >> bit & 1}
            assert public.rolled_back() == ""

    @invariant()
    def every_tile_is_the_one_of_the_definition(self) -> None:
        size, public = len(self.entries), self.writers[0].public
        for tile in tiles_of(size):
            assert public.tile(tile) == tile_bytes(tile, self.leaves)
        for tile in bundles_of(size):
            assert public.tile(tile) == encode_bundle(self.entries[tile.index * 256 :][: tile.width])


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


@pytest.mark.slow
def test_the_log_is_like_the_list_in_long_runs_too() -> None:
    run_state_machine_as_test(LogMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
