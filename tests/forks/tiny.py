# SPDX-License-Identifier: Apache-2.0
"""Forks of a few numbers on a real store: what is learned is drawn, not computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ipse.forks.home import Home, OpenFork
from ipse.ledger.record import Feedback, Record, RecordKind
from ipse.model.layout import StateLayout, build_layout
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
