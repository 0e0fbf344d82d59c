# SPDX-License-Identifier: Apache-2.0
"""A fork's history from outside: every record in the clear, and which of them count. Needs no key and no base.

The law of what counts (`ipse.forks.withdrawal`) asks for kinds and targets only, and both are in the clear. Whether
an undo names something that can be undone takes the key, and is not asked here; what else is not checked,
`ipse.ledger.outline` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipse.errors import VerificationError
from ipse.forks.withdrawal import Withdrawal, withdrawn
from ipse.ledger.outline import ClearRecord, outline
from ipse.ledger.record import RecordKind
from ipse.store.store import Store
from ipse.wire.ids import ForkId


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record of a log.

    Attributes:
        record: what is in the clear.
        target_seq: the record that it speaks of, 0 if none.
        taken_out_by: the undo or rollback by which it does not count, 0 if it counts.
        rolled_back: that was a rollback.
    """

    record: ClearRecord
    target_seq: int
    taken_out_by: int
    rolled_back: bool


def read_log(store: Store, fork_id: ForkId) -> list[LogEntry]:
    """All records of a fork, oldest first, chain checked from the first.

    Raises:
        InputError: there is no such fork.
        VerificationError: names the first record that does not fit, or whose target is not before it.
        StoreError: the store cannot be read.
    """
    records = list(outline((stored.data for stored in store.records(fork_id)), fork_id))
    targets = _targets(records)
    withdrawals = [
        Withdrawal(record.seq, target, record.kind == RecordKind.ROLLBACK)
        for record, target in zip(records, targets, strict=True)
        if record.kind in (RecordKind.UNDO, RecordKind.ROLLBACK)
    ]
    out, rollbacks = withdrawn(withdrawals), {w.seq for w in withdrawals if w.rollback}
    return [
        LogEntry(record, target, out.get(record.seq, 0), out.get(record.seq) in rollbacks)
        for record, target in zip(records, targets, strict=True)
    ]


def _targets(records: Sequence[ClearRecord]) -> list[int]:
    """The number of the record that each one speaks of, 0 for none."""
    numbers: dict[bytes, int] = {}
    targets = []
    for record in records:
        target = numbers.get(record.target_op_id, 0) if record.target_op_id else 0
        takes_out = record.kind in (RecordKind.UNDO, RecordKind.ROLLBACK)
        named = record.target_op_id or record.kind == RecordKind.UNDO
        if takes_out and named and not target:
            raise VerificationError(
                f"Record {record.seq} of fork {record.fork_id}: it names an operation that is not before it.",
                "Restore the store from a copy.",
            )
        targets.append(target)
        numbers[record.op_id] = record.seq
    return targets
