# SPDX-License-Identifier: Apache-2.0
"""A change that was made elsewhere becomes one record of a fork, like everything that it learned itself.

The record is of kind IMPORT and holds the change exactly (32 bits a number: a sum is no small step) and a line that
says where it came from. It is folded, undone and rolled back as any other; it is no interaction, so no reply
remembers it, and it has no part in the prior: nobody knows what the change was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ipse.errors import InputError
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import Recall
from ipse.ledger.record import Metrics, Record, RecordKind
from ipse.model.layout import ONE
from ipse.wire.update import encode_update

RAW_BITS = 32


@dataclass(frozen=True, slots=True)
class Adopted:
    """What one import did.

    Attributes:
        seq: its record: undo it, and the change is taken back.
        height: the fork's, afterwards.
        change: l2 norm, real units.
    """

    seq: int
    height: int
    change: float


def adopt(opened: OpenFork, recall: Recall, values: NDArray[np.int32], note: str, blank: Record) -> Adopted:
    """Append a change as one IMPORT record.

    Args:
        values: (d,) int32, in the state's fixed point.
        note: where it came from, for the owner; sealed as all text is.
        blank: its operation and time.

    Raises:
        InputError: the change is nothing.
        StateOverflow: the sum would leave its range; nothing was recorded.
        HeightConflict: somebody else was first; try again.
    """
    norm = float(np.linalg.norm(values.astype(np.float64))) / ONE
    if norm == 0.0:
        raise InputError("What is to be imported changes nothing.", "Nothing was recorded.")
    coded = encode_update(values, opened.folded.layout.groups, RAW_BITS)
    record = opened.append(
        lambda placed: replace(placed, update=coded, input_text=note, metrics=Metrics(update_l2_norm=norm)),
        blank=replace(blank, kind=RecordKind.IMPORT),
    )
    recall.add(record)
    return Adopted(record.seq, opened.folded.height, norm)
