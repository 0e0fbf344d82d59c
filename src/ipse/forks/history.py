# SPDX-License-Identifier: Apache-2.0
"""The fold: a fork is the sum of its records, and nothing else.

    z_n = sum of the updates of records 1..n that were not undone
    p_n = sum of their parts of the prior

An UNDO record carries no numbers: it names the operation whose update leaves the sum. Later updates were
computed in the presence of the one that is taken out; the sum afterwards is exactly that of all the others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ipse.errors import StateOverflow, VerificationError
from ipse.ledger.record import ChainHead, Record, RecordKind, record_digest
from ipse.model.layout import StateLayout
from ipse.model.state import PersonalState
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OP_ID_BYTES

_MAGIC = b"ipse snapshot 1\n"
_HEAD = struct.Struct("<QQI")
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Folded:
    """Where a fork stands after some number of records.

    Attributes:
        layout: which number is what.
        head: number and digest of the last record folded.
        height: updates in the sum.
        z: (d,) int64, the personal state's sum.
        prior: (d,) int64, the prior's sum, in the same fixed point.
        undone: operations whose update was taken out.
    """

    layout: StateLayout
    head: ChainHead
    height: int
    z: NDArray[np.int64]
    prior: NDArray[np.int64]
    undone: frozenset[bytes] = frozenset()

    @property
    def state(self) -> PersonalState:
        """The personal state. Raises StateOverflow if a number left int32: an update may not be folded in then."""
        if self.z.size and (int(self.z.max()) > _INT32.max or int(self.z.min()) < _INT32.min):
            raise StateOverflow(
                "The update would push a personal number past its range of +-2048.",
                "Undo an earlier turn, or lower the learning rate; nothing was applied.",
            )
        return PersonalState(self.layout, self.z.astype(np.int32))


def empty(layout: StateLayout) -> Folded:
    """A new fork."""
    zeros = np.zeros(layout.size, dtype=np.int64)
    return Folded(layout, ChainHead(0, NO_DIGEST), 0, zeros, zeros)


def step(at: Folded, record: Record, digest: bytes, find: Callable[[bytes], Record]) -> Folded:
    """Fold one more record in.

    Args:
        find: gives an earlier record by its operation id; only an UNDO asks.

    Raises:
        VerificationError: the record holds no valid update, or undoes what cannot be undone.
    """
    sign, source, undone = 1, record, at.undone
    if record.kind == RecordKind.UNDO:
        source = find(record.target_op_id)
        if source.op_id in undone or not (source.update or source.kind == RecordKind.INTERACTION):
            raise VerificationError(f"Record {record.seq} undoes record {source.seq}, which is not in the sum.")
        sign, undone = -1, undone | {source.op_id}
    moved = replace(at, head=ChainHead(record.seq, digest), undone=undone)
    if source.update:
        change = at.layout.read_update(source.update)
        moved = replace(moved, z=at.z + sign * change.astype(np.int64), height=at.height + sign)
    if source.prior_update:
        change = at.layout.read_update(source.prior_update)
        moved = replace(moved, prior=at.prior + sign * change.astype(np.int64))
    return moved


def fold(records: Iterable[tuple[Record, bytes]], layout: StateLayout) -> Folded:
    """The whole history from zero: (record, its bytes) in order."""
    seen: dict[bytes, Record] = {}

    def find(op_id: bytes) -> Record:
        if op_id not in seen:
            raise VerificationError("A record undoes an operation that is not in this history.")
        return seen[op_id]

    at = empty(layout)
    for record, data in records:
        at = step(at, record, record_digest(data), find)
        seen[record.op_id] = record
    return at


def write_snapshot(at: Folded) -> bytes:
    """A fold as bytes. A snapshot is a cache: whoever doubts it folds the records."""
    parts = [
        _MAGIC,
        at.layout.digest,
        at.head.digest,
        _HEAD.pack(at.head.seq, at.height, len(at.undone)),
        *sorted(at.undone),
        at.z.astype("<i8").tobytes(),
        at.prior.astype("<i8").tobytes(),
    ]
    return b"".join(parts)


def read_snapshot(data: bytes, layout: StateLayout) -> Folded:
    """Inverse of :func:`write_snapshot`.

    Raises:
        VerificationError: not a snapshot, or one of another layout.
    """
    start = len(_MAGIC) + 64 + _HEAD.size
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : len(_MAGIC) + 32] != layout.digest or len(data) < start:
        raise VerificationError("This is not a snapshot of this fork's layout.", "It is only a cache: ignore it.")
    digest = data[len(_MAGIC) + 32 : len(_MAGIC) + 64]
    seq, height, count = _HEAD.unpack(data[start - _HEAD.size : start])
    numbers = start + count * OP_ID_BYTES
    if len(data) != numbers + 16 * layout.size:
        raise VerificationError("This snapshot is cut short.", "It is only a cache: ignore it.")
    undone = frozenset(data[i : i + OP_ID_BYTES] for i in range(start, numbers, OP_ID_BYTES))
    z, prior = np.frombuffer(data, "<i8", offset=numbers).reshape(2, layout.size).astype(np.int64)
    return Folded(layout, ChainHead(seq, digest), height, z, prior, undone)
