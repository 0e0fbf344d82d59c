# SPDX-License-Identifier: Apache-2.0
"""Forks of a few numbers on a real store: what is learned is drawn, not computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ipse.forks.history import Folded, fold
from ipse.forks.home import Home
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import Recall
from ipse.forks.takeback import TakenBack, rollback, undo
from ipse.ledger.record import Feedback, Record, RecordKind, record_digest, seal_record
from ipse.model.layout import StateLayout, build_layout
from ipse.store.rows import AppendRow
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId, OwnerId, new_op_id
from ipse.wire.update import encode_update, quantise

LAYOUT: StateLayout = build_layout(
    "00" * 8, "b", 2, (("layers.0.qkv", "attention"), ("layers.0.down", "ffn")), hidden_size=5, layers=1
)


def tiny_fork(home: Home, owner: str = "ada") -> OpenFork:
    return home.open_or_create(owner, LAYOUT, "tiny")


def blank(kind: RecordKind) -> Record:
    return Record(
        fork_id=ForkId(""),
        owner=OwnerId("ada"),
        seq=0,
        op_id=new_op_id(),
        kind=kind,
        timestamp_ms=0,
        previous_digest=NO_DIGEST,
    )


def numbers(rng: np.random.Generator, bits: int = 4) -> tuple[bytes, np.ndarray]:
    """An update: as it is recorded, and its numbers as int64."""
    values = quantise(rng.standard_normal(LAYOUT.size) * 1e5, LAYOUT.groups, bits)
    return encode_update(values, LAYOUT.groups, bits), values.astype(np.int64)


def turn(text: str, update: bytes = b"", prior: bytes = b"") -> Record:
    said = replace(blank(RecordKind.INTERACTION), input_text=text, output_text=f"I heard: {text}")
    return replace(said, update=update, prior_update=prior)


def edit(of: Record, text: str, update: bytes) -> Record:
    feedback = Feedback(edited_output=text)
    return replace(blank(RecordKind.FEEDBACK), target_op_id=of.op_id, feedback=feedback, update=update)


def append(opened: OpenFork, record: Record) -> Record:
    return opened.append(
        lambda placed: replace(
            record, fork_id=placed.fork_id, seq=placed.seq, owner=placed.owner, previous_digest=placed.previous_digest
        ),
        blank=record,
    )


class Life:
    """One tiny fork: what it learns is drawn."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.fork: OpenFork = tiny_fork(home)
        self.recall = Recall(self.fork)
        self.was = [self.fork.folded]
        self._rng = np.random.default_rng(7)

    def learn(self, *texts: str) -> None:
        for text in texts:
            self.keep(append(self.fork, turn(text, numbers(self._rng)[0], numbers(self._rng, 1)[0])))

    def keep(self, record: Record) -> None:
        self.recall.add(record)
        self.was.append(self.fork.folded)

    def undo(self, seq: int | None = None) -> TakenBack:
        done = undo(self.fork, self.recall, seq, blank(RecordKind.UNDO))
        self.was.append(self.fork.folded)
        return done

    def rollback(self, seq: int) -> TakenBack:
        done = rollback(self.fork, self.recall, seq, blank(RecordKind.ROLLBACK))
        self.was.append(self.fork.folded)
        return done

    @property
    def now(self) -> Folded:
        """As it is here, which must be as it is after opening it again, and by its records alone."""
        again = tiny_fork(self.home)
        assert again.folded.same_as(self.fork.folded)
        assert fold(again.records(), LAYOUT).same_as(self.fork.folded)
        remembered = Recall(again)
        assert words(remembered) == words(self.recall)
        return self.fork.folded


def words(recall: Recall) -> list[str]:
    return [recall.memory[i].message for i in range(len(recall.memory))]


def same_sum(one: Folded, other: Folded) -> bool:
    return (one.height, one.z.tobytes(), one.prior.tobytes()) == (
        other.height,
        other.z.tobytes(),
        other.prior.tobytes(),
    )


def forged(life: Life, kind: RecordKind, target: bytes) -> None:
    """Append a record that this program refuses to make."""
    head = life.fork.folded.head
    record = replace(
        blank(kind),
        fork_id=life.fork.row.fork_id,
        seq=head.seq + 1,
        previous_digest=head.digest,
        target_op_id=target,
    )
    _, data, _ = life.home.sealed(life.fork.row.fork_id).seal(record, life.fork.access)
    row = AppendRow(record.seq, record.op_id, record_digest(data), data)
    life.home.store.append(life.fork.row.fork_id, row, expected_head=head.digest)


def unsigned(life: Life, *texts: str) -> None:
    """Append turns in the form of before signatures and data keys."""
    fork_id = life.fork.row.fork_id
    for text in texts:
        head = life.home.store.head(fork_id)
        record = replace(turn(text), fork_id=fork_id, seq=head.seq + 1, previous_digest=head.digest)
        data = seal_record(record, life.home.sealed(fork_id).keys.key(0))
        row = AppendRow(record.seq, record.op_id, record_digest(data), data)
        life.home.store.append(fork_id, row, expected_head=head.digest)
