# SPDX-License-Identifier: Apache-2.0
"""What an owner takes back: one record (undo), or everything after one (rollback).

Each is one appended record that names another; `ipse.forks.withdrawal` says what counts afterwards. What would
change nothing is refused, so that the history stays worth reading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ipse.errors import InputError
from ipse.forks.history import can_be_undone
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import Recall
from ipse.forks.replayed import learned_anew, removed_by
from ipse.forks.withdrawal import Withdrawal
from ipse.ledger.record import Record, RecordKind

SEE_HISTORY = "See `ipse fork history`."
_ALL_BACK = "To have the fork of before it back, run `ipse fork rollback {}`."


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What one undo or rollback did.

    Attributes:
        seq: the record that says so: undo it, and this is taken back too.
        target_seq: the record that was undone, or up to which the fork was rolled back.
        out: how many records with content stopped counting.
        back: how many began to count again.
    """

    seq: int
    target_seq: int
    out: int
    back: int


def undoable(opened: OpenFork, recall: Recall, seq: int | None, *, even_out: bool = False) -> Record:
    """The record that is to be taken out.

    An interaction that taught nothing (learning was off) may be named too: undone, it is no longer remembered. So
    may an undo or a rollback.

    Args:
        seq: None means the newest record that taught something and counts.
        even_out: a named one that does not count will do.

    Raises:
        InputError: there is no such record, it does not count, or there is nothing in it.
    """
    out = opened.folded.out
    if seq is None:
        for entry in reversed(recall.entries(opened.folded)):
            if entry.change and not entry.undone:
                return opened.at(entry.seq)
        raise InputError("Nothing was learned yet, so there is nothing to undo.", "Talk a little first.")
    opened.check_number(seq)
    record = opened.at(seq)
    if removed_by(opened, seq) is not None:  # all would count that it took out, and what was learned anew for it
        raise InputError(f"Record {seq} began an undo with replay.", _ALL_BACK.format(seq - 1))
    if seq in out and not even_out:
        raise taken_out(opened, seq, out[seq])
    if not can_be_undone(record):
        raise InputError(f"Record {seq} taught nothing, so there is nothing to undo.", SEE_HISTORY)
    return record


def taken_out(opened: OpenFork, seq: int, by: int) -> InputError:
    """Why a record cannot be taken out again, and how to have it back."""
    if by not in opened.folded.rollbacks:
        return InputError(f"Record {seq} was undone before.", f"To have it back, undo record {by}.")
    anew = learned_anew(opened, by, seq)
    if anew:
        return InputError(f"Record {seq} was learned anew as record {anew}.", f"Undo record {anew} instead.")
    if removed_by(opened, by) is not None:
        return InputError(f"Record {seq} was taken out before, by the replay of record {by}.", _ALL_BACK.format(by - 1))
    return InputError(
        f"Record {seq} was taken out before, by the rollback of record {by}.",
        f"To have it back, undo record {by}: that gives back all that it took out.",
    )


def undo(opened: OpenFork, recall: Recall, seq: int | None, blank: Record) -> TakenBack:
    """Take one record out. Raises as :func:`undoable` and :meth:`OpenFork.append` do."""
    recall.catch_up()
    return _append(opened, recall, replace(blank, kind=RecordKind.UNDO), undoable(opened, recall, seq))


def rollback(opened: OpenFork, recall: Recall, seq: int, blank: Record) -> TakenBack:
    """Make the fork what it was when record ``seq`` was its newest; 0 is before the first.

    Raises:
        InputError: there is no such record, or the fork is like that already.
        HeightConflict: somebody else was first; try again.
    """
    recall.catch_up()
    opened.check_number(seq, least=0)
    at = opened.folded
    _, changed = at.outcome(Withdrawal(at.head.seq + 1, seq, rollback=True))
    if not changed:
        raise InputError(f"The fork is as it was after record {seq} already, so there is nothing to do.", SEE_HISTORY)
    target = opened.at(seq) if seq else None
    return _append(opened, recall, replace(blank, kind=RecordKind.ROLLBACK), target)


def _append(opened: OpenFork, recall: Recall, blank: Record, target: Record | None) -> TakenBack:
    before = opened.folded
    blank = replace(blank, target_op_id=target.op_id if target else b"")
    record = opened.append(lambda placed: placed, blank=blank)
    recall.add(record)
    after = opened.folded
    own = {w.seq for w in after.withdrawals}
    return TakenBack(
        record.seq,
        target.seq if target else 0,
        len(after.out.keys() - before.out.keys() - own),
        len(before.out.keys() - after.out.keys() - own),
    )
