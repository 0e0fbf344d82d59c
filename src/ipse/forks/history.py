# SPDX-License-Identifier: Apache-2.0
"""The fold: a fork is the sum of its records, and nothing else.

    z_n = sum of the updates of those of records 1..n that count
    p_n = sum of their parts of the prior

Every record counts that no UNDO or ROLLBACK took out; `ipse.forks.withdrawal` is the law. These two carry no
numbers: they name a record, and the fold subtracts and adds whatever thereby stops or begins to count. After a
ROLLBACK to record N the sum is bit for bit that of N, prior and height too. After an UNDO, later updates stay
though they were computed in the presence of the one that is taken out; the sum is exactly that of all the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ipse.errors import InputError, StateOverflow, VerificationError
from ipse.forks.withdrawal import Withdrawal, withdrawn
from ipse.ledger.chain import ChainHead
from ipse.ledger.record import Record, RecordKind, record_digest
from ipse.model.layout import StateLayout
from ipse.model.state import PersonalState
from ipse.wire.digest import NO_DIGEST

_MAGIC = b"ipse snapshot 2\n"
_HEAD = struct.Struct("<QQI")
_WITHDRAWAL = struct.Struct("<QQ?")
_INT32 = np.iinfo(np.int32)


class Earlier(Protocol):
    """The records of a history so far."""

    def find(self, op_id: bytes) -> Record:
        """By operation. Raises InputError when there is none."""

    def at(self, seq: int) -> Record:
        """By number."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Where a fork stands after some number of records.

    Attributes:
        layout: which number is what.
        head: number and digest of the last record folded.
        height: updates in the sum.
        z: (d,) int64, the personal state's sum.
        prior: (d,) int64, the prior's sum, in the same fixed point.
        withdrawals: every undo and rollback so far, whether it counts or not.
        out: the records that do not count -> the record that took each out. Follows from ``withdrawals``.
    """

    layout: StateLayout
    head: ChainHead
    height: int
    z: NDArray[np.int64]
    prior: NDArray[np.int64]
    withdrawals: tuple[Withdrawal, ...] = ()
    out: Mapping[int, int] = field(default_factory=dict)

    @property
    def state(self) -> PersonalState:
        """The personal state. Raises StateOverflow if a number left int32: an update may not be folded in then."""
        if self.z.size and (int(self.z.max()) > _INT32.max or int(self.z.min()) < _INT32.min):
            raise StateOverflow(
                "The update would push a personal number past its range of +-2048.",
                "Undo an earlier turn, or lower the learning rate; nothing was applied.",
            )
        return PersonalState(self.layout, self.z.astype(np.int32))

    @property
    def rollbacks(self) -> frozenset[int]:
        """Numbers of the rollbacks so far."""
        return frozenset(w.seq for w in self.withdrawals if w.rollback)

    def same_as(self, other: Folded) -> bool:
        """Whether both are the same in every number that is kept."""
        mine, theirs = (
            (at.layout.digest, at.head, at.height, at.withdrawals, dict(at.out), at.z.tobytes(), at.prior.tobytes())
            for at in (self, other)
        )
        return mine == theirs

    def outcome(self, withdrawal: Withdrawal) -> tuple[Mapping[int, int], frozenset[int]]:
        """What an undo or rollback of the next number would make of this.

        Returns:
            ``out`` after it, and the records with content (no undo, no rollback) that stop or begin to count.
        """
        controls = {w.seq for w in self.withdrawals}
        if withdrawal.rollback or withdrawal.target_seq in controls:
            out = withdrawn((*self.withdrawals, withdrawal))
        else:
            out = {**self.out, withdrawal.target_seq: withdrawal.seq}
        return out, frozenset((self.out.keys() ^ out.keys()) - controls)


def empty(layout: StateLayout) -> Folded:
    """A new fork."""
    zeros = np.zeros(layout.size, dtype=np.int64)
    return Folded(layout, ChainHead(0, NO_DIGEST), 0, zeros, zeros)


def can_be_undone(record: Record) -> bool:
    """Whether there is anything in it that its owner could want out: numbers, words, or another such record."""
    corrected = record.feedback is not None and record.feedback.edited_output
    return bool(record.update or corrected) or record.kind in (
        RecordKind.INTERACTION,
        RecordKind.UNDO,
        RecordKind.ROLLBACK,
    )


def step(at: Folded, record: Record, digest: bytes, earlier: Earlier) -> Folded:
    """Fold one more record in.

    Args:
        earlier: the records before it; only an UNDO or ROLLBACK asks.

    Raises:
        VerificationError: the record holds no valid update, or takes out what it cannot; names it.
    """
    moved = replace(at, head=ChainHead(record.seq, digest))
    if record.kind not in (RecordKind.UNDO, RecordKind.ROLLBACK):
        return _summed(moved, record, 1)
    withdrawal = _withdrawal(at, record, earlier)
    out, changed = at.outcome(withdrawal)
    moved = replace(moved, withdrawals=(*at.withdrawals, withdrawal), out=out)
    for seq in sorted(changed):
        moved = _summed(moved, earlier.at(seq), -1 if seq in out else 1)
    return moved


def _withdrawal(at: Folded, record: Record, earlier: Earlier) -> Withdrawal:
    rollback = record.kind == RecordKind.ROLLBACK
    if rollback and not record.target_op_id:
        return Withdrawal(record.seq, 0, rollback)
    try:
        target = earlier.find(record.target_op_id)
    except InputError as error:
        raise VerificationError(f"Record {record.seq} names an operation that is not in this history.") from error
    if target.seq >= record.seq:
        raise VerificationError(f"Record {record.seq} names record {target.seq}, which does not come before it.")
    if not rollback and (target.seq in at.out or not can_be_undone(target)):
        raise VerificationError(f"Record {record.seq} undoes record {target.seq}, which is not in the sum.")
    return Withdrawal(record.seq, target.seq, rollback)


def _summed(at: Folded, source: Record, sign: int) -> Folded:
    """With the numbers of one record added or subtracted."""
    try:
        if source.update:
            change = at.layout.read_update(source.update)
            at = replace(at, z=at.z + sign * change.astype(np.int64), height=at.height + sign)
        if source.prior_update:
            change = at.layout.read_update(source.prior_update)
            at = replace(at, prior=at.prior + sign * change.astype(np.int64))
    except VerificationError as error:
        raise VerificationError(f"Record {source.seq}: {error.message}", error.hint) from error
    return at


class _Seen:
    """The records of a fold from zero, all in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._by_op: dict[bytes, Record] = {}

    def add(self, record: Record) -> None:
        self.records.append(record)
        self._by_op[record.op_id] = record

    def find(self, op_id: bytes) -> Record:
        if op_id not in self._by_op:
            raise InputError("There is no such record in this history.", "See `ipse fork history`.")
        return self._by_op[op_id]

    def at(self, seq: int) -> Record:
        return self.records[seq - 1]


def folds(records: Iterable[tuple[Record, bytes]], layout: StateLayout) -> Iterator[Folded]:
    """The history from zero, (record, its bytes) in order: where the fork stood after no record, and after each."""
    seen, at = _Seen(), empty(layout)
    yield at
    for record, data in records:
        at = step(at, record, record_digest(data), seen)
        seen.add(record)
        yield at


def fold(records: Iterable[tuple[Record, bytes]], layout: StateLayout) -> Folded:
    """The last of :func:`folds`."""
    at = empty(layout)
    for after in folds(records, layout):
        at = after
    return at


def write_snapshot(at: Folded) -> bytes:
    """A fold as bytes. A snapshot is a cache: whoever doubts it folds the records."""
    parts = [
        _MAGIC,
        at.layout.digest,
        at.head.digest,
        _HEAD.pack(at.head.seq, at.height, len(at.withdrawals)),
        *(_WITHDRAWAL.pack(w.seq, w.target_seq, w.rollback) for w in at.withdrawals),
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
    numbers = start + count * _WITHDRAWAL.size
    if len(data) != numbers + 16 * layout.size:
        raise VerificationError("This snapshot is cut short.", "It is only a cache: ignore it.")
    withdrawals = tuple(Withdrawal(*fields) for fields in _WITHDRAWAL.iter_unpack(data[start:numbers]))
    if not all(w.target_seq < w.seq <= seq for w in withdrawals):
        raise VerificationError("This snapshot takes out what is not there.", "It is only a cache: ignore it.")
    z, prior = np.frombuffer(data, "<i8", offset=numbers).reshape(2, layout.size).astype(np.int64)
    return Folded(layout, ChainHead(seq, digest), height, z, prior, withdrawals, withdrawn(withdrawals))
