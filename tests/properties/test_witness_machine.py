# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked of a witness, in any order: its cosigned trees are one history, and never shrink.

A log with two histories that part somewhere, honest and lying old sizes and proofs, several handles on one memory,
reopened in between, and a clock that jumps.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ipse.errors import ClockError
from ipse.ledger.checkpoint import open_checkpoint, sign_checkpoint
from ipse.ledger.keys import SignatureType
from ipse.ledger.tree import consistency_proof
from ipse.ledger.treehead import TreeHead
from ipse.ledger.witness import AddCheckpoint, Refusal, Seen, Witness, add_log, last_seen
from ipse.store.store import Store
from tests.ledger.logs import KEYS, LOG, ORIGIN, TIME_S, note_key
from tests.server.serving import Clock, History

MOST = 12
WITNESS = note_key("witness.example/one", SignatureType.ML_DSA_44_COSIGNATURE, 4)
SIZES = st.integers(0, MOST)


class WitnessMachine(RuleBasedStateMachine):
    """Two handles on one memory, two histories, and the list of all that was ever cosigned."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.stores = [Store.open(self.root) for _ in range(2)]
        add_log(self.stores[0], LOG)
        self.cosigned: list[tuple[int, bytes, int]] = []

    @initialize(parting=SIZES)
    def part(self, parting: int) -> None:
        start = [f"entry {number}" for number in range(parting)]
        self.histories = [History.of(*start, *(f"{name} {n}" for n in range(parting, MOST))) for name in "ab"]

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        shutil.rmtree(self.root)

    def last(self) -> tuple[int, bytes, int]:
        seen = Seen()
        return self.cosigned[-1] if self.cosigned else (seen.size, seen.root, seen.time_s)

    def submit(self, which: int, body: bytes) -> bytes | Refusal | None:
        """The answer, None where the clock was refused; what is cosigned is noted."""
        try:
            answer = Witness([WITNESS], self.stores[which], self.clock).add_checkpoint(body)
        except ClockError:
            assert self.clock.now_s < self.last()[2]
            return None
        if isinstance(answer, bytes):
            checkpoint = open_checkpoint(AddCheckpoint.from_bytes(body).checkpoint + answer, LOG, [WITNESS.verifier()])
            head, (signed,) = checkpoint.head, checkpoint.cosignatures
            self.cosigned.append((head.size, head.root, signed.time_s))
        return answer

    @rule(which=st.integers(0, 1), branch=st.integers(0, 1), size=SIZES, old=st.none() | SIZES)
    def ask(self, which: int, branch: int, size: int, old: int | None) -> None:
        """An honest proof from the right old size or another one, on either branch."""
        history, (last_size, last_root, last_time) = self.histories[branch], self.last()
        old = last_size if old is None else old
        proof = consistency_proof(old, size, history.read(size)) if old <= size else ()
        answer = self.submit(which, AddCheckpoint(old, proof, history.checkpoint(size)).to_bytes())
        continues = last_size == 0 or history.head(last_size).root == last_root
        wanted = old == last_size <= size and continues and self.clock.now_s >= last_time
        assert isinstance(answer, bytes) == wanted

    @rule(which=st.integers(0, 1), branch=st.integers(0, 1), size=SIZES, other=st.integers(0, 1), old=SIZES)
    def ask_with_a_proof_of_the_other_history(self, which: int, branch: int, size: int, other: int, old: int) -> None:
        last_size = self.last()[0]
        old = min(old, size)
        proof = consistency_proof(old, size, self.histories[other].read(size))
        self.submit(which, AddCheckpoint(last_size, proof, self.histories[branch].checkpoint(size)).to_bytes())

    @rule(which=st.integers(0, 1), size=SIZES, root=st.binary(min_size=32, max_size=32), old=SIZES, count=SIZES)
    def ask_with_nonsense(self, which: int, size: int, root: bytes, old: int, count: int) -> None:
        data = sign_checkpoint(TreeHead(ORIGIN, size + 1, root), KEYS, time_s=TIME_S)
        answer = self.submit(which, AddCheckpoint(old, (root,) * count, data).to_bytes())
        if self.last()[0] and answer is not None and self.last()[:2] != (size + 1, root):
            assert isinstance(answer, Refusal)

    @rule(which=st.integers(0, 1), seconds=st.integers(-3, 10))
    def wait(self, which: int, seconds: int) -> None:
        self.clock.now_s += seconds

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = Store.open(self.root, create=False)

    @invariant()
    def what_was_cosigned_is_one_growing_history(self) -> None:
        roots: dict[int, bytes] = {}
        for size, root, _ in self.cosigned:
            assert roots.setdefault(size, root) == root
        for (before, _, earlier), (after, _, later) in zip(self.cosigned, self.cosigned[1:], strict=False):
            assert before <= after
            assert earlier <= later
        for store in self.stores:
            seen = last_seen(store, ORIGIN)
            assert (seen.size, seen.root, seen.time_s) == self.last()


TestWitness = WitnessMachine.TestCase
TestWitness.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


@pytest.mark.slow
def test_a_witness_signs_one_history_in_long_runs_too() -> None:
    run_state_machine_as_test(
        WitnessMachine, settings=settings(max_examples=200, stateful_step_count=50, deadline=None)
    )
