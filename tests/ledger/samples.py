# SPDX-License-Identifier: Apache-2.0
"""Records to test with: an ordinary one, and a chain of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ipse.ledger.record import Feedback, Metrics, Record, RecordKind, record_digest, seal_record
from ipse.vault.keys import ForkKey, RootKey, fork_key
from ipse.wire.coordinates import Coordinates
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OwnerId, new_fork_id
from ipse.wire.update import Bits, quantise

ROOT = RootKey(bytes(range(32)))
KEY = fork_key(ROOT, new_fork_id(bytes))
COORDINATES = Coordinates(np.zeros((1804, 768), np.int16), 11)
"""Of a basis like the shipped one: 768 steps in 12 groups. What they expand to does not matter here."""


INPUT = "Could you help me write a short note to my sister? She has just moved to Lisbon and misses home a lot."
OUTPUT = "Of course! How about: Dear Ana, home is quieter without you, but we are so proud of you. Call us soon!"


def coded_update(seed: int, bits: Bits) -> bytes:
    """A coded update like those of ordinary talk: 4 bits a step, 1 in the prior."""
    x = np.random.default_rng(seed).normal(size=COORDINATES.count) * 5e3
    return COORDINATES.encode(quantise(x, COORDINATES.groups, bits), bits)


def interaction(seq: int = 1, previous: bytes = NO_DIGEST, *, key: ForkKey = KEY, **changes: Any) -> Record:
    """An ordinary interaction: 102 + 102 characters of English, 4-bit update and 1-bit prior."""
    record = Record(
        fork_id=key.fork_id,
        owner=OwnerId("alice"),
        seq=seq,
        op_id=seq.to_bytes(16, "big"),
        kind=RecordKind.INTERACTION,
        timestamp_ms=1_790_000_000_000 + seq,
        previous_digest=previous,
        input_text=INPUT,
        output_text=OUTPUT,
        update=coded_update(seq, 4),
        prior_update=coded_update(-seq % 1000, 1),
        metrics=Metrics(
            loss_before=2.53, loss_after=2.31, update_l2_norm=0.7, trained_tokens=28, generate_ms=812, learn_ms=41
        ),
        learning_rate=0.02,
    )
    return replace(record, **changes)


def feedback(seq: int, previous: bytes, **changes: Any) -> Record:
    """An edit of the first reply."""
    return interaction(
        seq,
        previous,
        kind=RecordKind.FEEDBACK,
        target_op_id=(1).to_bytes(16, "big"),
        input_text="",
        output_text="",
        feedback=Feedback(rating=-1, edited_output="Shorter, please."),
        **changes,
    )


def chain(length: int, key: ForkKey = KEY) -> list[bytes]:
    """A fork's sealed records, each following the one before."""
    out: list[bytes] = []
    for seq in range(1, length + 1):
        out.append(seal_record(interaction(seq, record_digest(out[-1]) if out else NO_DIGEST, key=key), key))
    return out
