# SPDX-License-Identifier: Apache-2.0
"""Exact unlearning: the fork as it would be had one record never happened.

An undo subtracts what a record taught. What was learned later was computed in its presence, and stays. A replay
computes that anew: a ROLLBACK to the record before the one to be gone, then one new record for each later one that
counts, with the same words, in the same order, learned from where the fork then stands. Undos and rollbacks are not
played again; what counts when the replay begins is what is done again:

- interactions and judgements are learned anew; what was only recorded, with learning off, is only recorded again;
- imports are added again as they are;
- what was undone later and lies before the record to be gone is undone again, first;
- a judgement of a reply that does not count is left out: there is no such reply any more.

State, prior and height are then those of a fork that lived so, bit for bit. The words before a message are those that
the fork remembers at that point. So it was for what was said in a chat; a turn of a file (`ipse replay`) saw the turns
of its file, which no record holds, and is learned anew in the context of the fork's own memory.

Killed or stopped in the middle, the fork is only rolled back further, and the same call again finishes the rest
(`ipse.forks.replayed`). What was said in between stays, before the rest. Nothing leaves the history: whoever has the
key can read there what is gone from the numbers. This is no erasure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ipse.errors import DuplicateOperation, InputError
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import Recall
from ipse.forks.replayed import removed_by, rollback_op, step_op
from ipse.forks.takeback import SEE_HISTORY, taken_out, undoable
from ipse.forks.withdrawal import Withdrawal, withdrawn
from ipse.ledger.record import Record, RecordKind
from ipse.model.layout import ONE

_CONTROLS = (RecordKind.UNDO, RecordKind.ROLLBACK)


@dataclass(frozen=True, slots=True)
class Step:
    """One record to be made anew.

    Attributes:
        old: what it was.
        op_id: the operation that does it again.
        target: the operation that a judgement or an undo speaks of now, else empty.
    """

    old: Record
    op_id: bytes
    target: bytes = b""

    @property
    def learned(self) -> bool:
        """Whether the old record was a step of learning (or an attempt at one), and not only words or an import."""
        return bool(self.old.update) or self.old.metrics.loss_before > 0

    @property
    def as_it_is(self) -> bool:
        """Whether its content is taken over: there is nothing in it to compute."""
        feedback = self.old.feedback
        judged = self.old.kind == RecordKind.FEEDBACK and feedback and (feedback.edited_output or feedback.rating)
        return not judged and self.old.kind != RecordKind.INTERACTION


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay, as the history tells it.

    Attributes:
        gone: the record that never happened.
        start: the rollback that began it.
        steps: everything to be made anew, in order.
        left_out: judgements of replies that do not count.
    """

    gone: Record
    start: Record
    steps: tuple[Step, ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relearned:
    """What one call of an undo with replay did.

    Attributes:
        gone: number of the record that never happened.
        rollback: number of the rollback that began the replay; a rollback to the record before takes it all back.
        anew: records made anew by this call.
        known: those that an earlier call had made.
        left: those still to be made, 0 unless it was stopped: call again.
        left_out: judgements of replies that do not count.
        moved: l2 norm of what the state changed by since before the replay, real units.
        height: of the fork now.
    """

    gone: int
    rollback: int
    anew: int
    known: int
    left: int
    left_out: int
    moved: float
    height: int


def relearn(
    opened: OpenFork,
    recall: Recall,
    replay: Replay,
    do: Callable[[Step], None],
    *,
    on_step: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Relearned:
    """Do what is still to be done of a replay that has begun.

    Args:
        do: learns one interaction or judgement anew and records it, under the step's operation.
        on_step: told (steps done, steps in all) before the first and after each.
        cancelled: asked between steps.

    Raises:
        StateOverflow, StoreError: of the step that was reached; call again to go on.
    """
    waiting = list(pending(opened, replay))
    whole, anew = len(replay.steps), 0
    known = sum(opened.has(step.op_id) for step in replay.steps)
    for number, step in enumerate(waiting):
        if on_step is not None:
            on_step(whole - len(waiting) + number, whole)
        if cancelled is not None and cancelled():
            break
        recall.catch_up()
        try:
            do(step)
            anew += 1
        except DuplicateOperation:  # another process does the same and was faster
            known += 1
    else:
        if on_step is not None:
            on_step(whole, whole)
    before, after = opened.folded_at(replay.start.seq - 1), opened.folded
    return Relearned(
        gone=replay.gone.seq,
        rollback=replay.start.seq,
        anew=anew,
        known=known,
        left=len(list(pending(opened, replay))),
        left_out=replay.left_out,
        moved=float(np.linalg.norm((after.z - before.z) / ONE)),
        height=after.height,
    )


def begin(opened: OpenFork, recall: Recall, seq: int, blank: Record) -> Replay:
    """The replay without record ``seq``: the one that was begun and still counts, or a new one, begun here.

    Args:
        blank: of the rollback; its kind, operation and target are set here.

    Raises:
        InputError: there is no such record; it is out and nothing that counts was learned in its presence; or a
            replay without another record is not finished.
        HeightConflict: somebody else was first; try again.
    """
    recall.catch_up()
    opened.check_number(seq)
    mine, others = _begun(opened, seq)
    for other in others:
        if any(pending(opened, other)):
            raise InputError(
                f"The undo of record {other.gone.seq} with replay is not finished.",
                f"Finish it with `ipse fork undo {other.gone.seq} --replay`, or take it back with "
                f"`ipse fork rollback {other.start.seq - 1}`.",
            )
    if mine is not None:
        return mine
    gone = undoable(opened, recall, seq, even_out=True)
    at = opened.folded
    over = [w.seq for w in at.withdrawals if w.rollback and w.seq > seq > w.target_seq and w.seq not in at.out]
    if over:  # what was learned in its presence went with it
        raise taken_out(opened, seq, over[-1])
    op_id = rollback_op(gone.op_id, at.head.digest)
    records = [record for record, _ in opened.records()]
    steps, left_out = _plan(records, at.withdrawals, gone, op_id, at.head.seq + 1)
    if seq in at.out and all(record.seq in at.out or record.kind in _CONTROLS for record in records[seq:]):
        raise InputError(f"Record {seq} was undone before, and nothing that counts was learned after it.", SEE_HISTORY)
    target = records[seq - 2].op_id if seq > 1 else b""
    blank = replace(blank, kind=RecordKind.ROLLBACK, op_id=op_id, target_op_id=target)
    try:
        start = opened.append(lambda placed: placed, blank=blank)
    except DuplicateOperation:  # another process began the same at the same moment
        return begin(opened, recall, seq, blank)
    recall.add(start)
    return Replay(gone, start, steps, left_out)


def pending(opened: OpenFork, replay: Replay) -> Iterator[Step]:
    """The steps that are still to be done, in order.

    Not those whose target was taken out since: that was the owner's wish, and newer.
    """
    known, waiting = list(opened.folded.withdrawals), set[bytes]()
    for step in replay.steps:
        if opened.has(step.op_id):
            continue
        if step.target and step.target not in waiting:
            target = opened.find(step.target).seq if opened.has(step.target) else 0
            if not target or target in withdrawn(known):
                continue
            if step.old.kind == RecordKind.UNDO:
                known.append(Withdrawal(opened.folded.head.seq + len(known) + 1, target, rollback=False))
        waiting.add(step.op_id)
        yield step


def repeat(opened: OpenFork, recall: Recall, step: Step, blank: Record) -> None:
    """Append a step in which there is nothing to compute: an import as it is, or an undo.

    Raises:
        HeightConflict: somebody else was first; try again.
    """
    old = step.old
    same = replace(blank, kind=old.kind, op_id=step.op_id, target_op_id=step.target or old.target_op_id)
    if old.kind != RecordKind.UNDO:
        same = replace(
            same,
            input_text=old.input_text,
            output_text=old.output_text,
            update=old.update,
            prior_update=old.prior_update,
            feedback=old.feedback,
            metrics=old.metrics,
            learning_rate=old.learning_rate,
        )
    recall.add(opened.append(lambda placed: placed, blank=same))


# -- inside ---------------------------------------------------------------------------------------


def _begun(opened: OpenFork, seq: int) -> tuple[Replay | None, list[Replay]]:
    """The replay without record ``seq`` that was begun and counts, and all others that were and do."""
    at = opened.folded
    starts = [w for w in at.withdrawals if w.rollback and w.seq not in at.out]
    found = [(w.seq, gone) for w in starts if (gone := removed_by(opened, w.seq)) is not None]
    if not found:
        return None, []
    records = [record for record, _ in opened.records()]
    replays = []
    for number, gone in found:
        start = records[number - 1]
        replays.append(Replay(gone, start, *_plan(records, at.withdrawals, gone, start.op_id, number)))
    mine = [replay for replay in replays if replay.gone.seq == seq]
    return (mine[-1] if mine else None), [replay for replay in replays if replay.gone.seq != seq]


def _plan(
    records: Sequence[Record], withdrawals: Sequence[Withdrawal], gone: Record, rollback: bytes, start: int
) -> tuple[tuple[Step, ...], int]:
    """What is to be made anew after a rollback of number ``start``, and how many judgements are left out.

    Follows from the records before ``start`` alone, so it is the same at every call.
    """
    known = [w for w in withdrawals if w.seq < start]
    out = withdrawn(known)
    undos, out_before = _undone_later(known, out, gone.seq)
    steps = [Step(records[by - 1], step_op(rollback, records[by - 1].op_id), records[t - 1].op_id) for t, by in undos]
    numbers = {record.op_id: record.seq for record in records[: start - 1]}
    replies = {
        r.seq: r.op_id for r in records[: gone.seq - 1] if r.kind == RecordKind.INTERACTION and r.seq not in out_before
    }
    left_out = 0
    for old in records[gone.seq : start - 1]:
        if old.seq in out or old.kind in _CONTROLS:
            continue
        op_id, target = step_op(rollback, old.op_id), b""
        if old.kind == RecordKind.INTERACTION:
            replies[old.seq] = op_id
        elif old.kind == RecordKind.FEEDBACK:
            target = replies.get(numbers.get(old.target_op_id, 0), b"")
            if not target:
                left_out += 1
                continue
        steps.append(Step(old, op_id, target))
    return tuple(steps), left_out


def _undone_later(
    known: Sequence[Withdrawal], out: dict[int, int], gone: int
) -> tuple[list[tuple[int, int]], set[int]]:
    """What is older than ``gone`` and was undone after it, each with its undo, in an order to undo it in again.

    Newest first, because an undo or a rollback decides only on what is older than itself: once all that is newer is
    settled, whether a record counts is settled too. No rollback reaches past ``gone`` here: that was refused.

    Returns:
        The pairs of numbers, and all of the older records that do not count then.
    """
    later = {w.target_seq: w.seq for w in known if not w.rollback and w.seq > gone > w.target_seq and w.seq not in out}
    settled = [w for w in known if w.seq < gone]
    first = max((w.seq for w in known), default=gone) + 1
    undos: list[tuple[int, int]] = []
    for target in sorted(later, reverse=True):
        if target not in withdrawn(settled):
            settled.append(Withdrawal(first + len(undos), target, rollback=False))
            undos.append((target, later[target]))
    return undos, set(withdrawn(settled))
