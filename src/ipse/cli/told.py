# SPDX-License-Identifier: Apache-2.0
"""Updates, records and sizes, told to people or to programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ipse.cli.screen import first_line

if TYPE_CHECKING:
    from ipse.forks.interact import LearningReport
    from ipse.forks.log import LogEntry
    from ipse.forks.recall import HistoryEntry
    from ipse.forks.relearn import Relearned
    from ipse.forks.takeback import TakenBack

_BESIDE_WORDS = 61
"""Columns of a history that are not the words."""

BUDGET_MS = {"gradient_ms": 10, "update_ms": 5, "record_ms": 20, "total_ms": 35}
"""HIP-6's budget for one interaction (R66-R69)."""

BUDGET_FORK_BYTES = 111_000_000
"""HIP-6's budget for one fork (R62)."""


def learned_line(report: LearningReport, what: str = "learned") -> str:
    """``learned · loss 3.41 → 3.10 · change 0.70 · 34 ms · record 12``.

    Loss is in nats per token, on the words learned from, before and after the update; the size of the
    change is the Euclidean norm of the update in real units.
    """
    if report.inner_steps == 0:
        return f"recorded, not learned · {report.total_ms:.0f} ms · record {report.seq}"
    return (
        f"{what} · loss {report.loss_before:.2f} → {report.loss_after:.2f} · change {report.change:.2f}"
        f" · {report.total_ms:.0f} ms · record {report.seq}"
    )


def learned_json(report: LearningReport) -> dict[str, Any]:
    """The same for programs."""
    return {
        "record": report.seq,
        "loss_before": report.loss_before,
        "loss_after": report.loss_after or None,
        "change": report.change,
        "inner_steps": report.inner_steps,
        "gradient_ms": report.gradient_ms,
        "update_ms": report.update_ms,
        "record_ms": report.record_ms,
        "total_ms": report.total_ms,
    }


def rollback_line(done: TakenBack, height: int) -> str:
    """What one rollback did, in a sentence."""
    where = f"as it was after record {done.target_seq}" if done.target_seq else "as it was before its first record"
    return f"The fork is {where}; records taken out: {done.out}, given back: {done.back}; its height is {height}."


def rollback_json(done: TakenBack, height: int) -> dict[str, Any]:
    """The same for programs."""
    return {"record": done.seq, "to": done.target_seq, "out": done.out, "back": done.back, "height": height}


def relearned_lines(done: Relearned) -> str:
    """What one undo with replay did, in a few lines."""
    known = f", {done.known} by an earlier run" if done.known else ""
    gone = f"; judgements left out: {done.left_out}" if done.left_out else ""
    back = f"To take all of that back: ipse fork rollback {done.rollback - 1}"
    if done.left:
        return (
            f"Stopped by Ctrl-C: {done.anew} records made anew{known}, {done.left} to go.\n"
            f"To go on: ipse fork undo {done.gone} --replay\n{back}"
        )
    if not done.anew and done.known:
        return f"Record {done.gone} was undone with replay before, and nothing was left to do.\n{back}"
    return (
        f"The fork is as if record {done.gone} had never been; later records made anew: {done.anew}{known}{gone}; "
        f"it moved by {done.moved:.2f}; its height is {done.height}.\n{back}"
    )


def relearned_json(done: Relearned) -> dict[str, Any]:
    """The same for programs."""
    return {
        "undone": done.gone,
        "rollback": done.rollback,
        "anew": done.anew,
        "known": done.known,
        "left": done.left,
        "left_out": done.left_out,
        "moved": done.moved,
        "height": done.height,
    }


def history_table(entries: Sequence[HistoryEntry], width: int) -> Table:
    """One row a record, oldest first, in so many columns."""
    room = max(12, min(80, width - _BESIDE_WORDS))
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("record", justify="right", min_width=6)
    table.add_column("when", min_width=16)
    table.add_column("kind", min_width=11)
    table.add_column("loss", justify="right", min_width=11)
    table.add_column("change", justify="right", min_width=6)
    table.add_column("words", no_wrap=True)
    for entry in entries:
        learned = entry.change > 0
        loss = f"{entry.loss_before:.2f}" if learned and entry.kind != "import" else ""
        if learned and entry.loss_after:  # a replay does not measure it
            loss += f" → {entry.loss_after:.2f}"
        change = f"{entry.change:.2f}" if learned else ""
        words = Text(first_line(_words(entry), room), style="strike dim" if entry.undone else "")
        table.add_row(
            str(entry.seq),
            when(entry.timestamp_ms),
            entry.kind,
            loss,
            change,
            words,
        )
    return table


def _words(entry: HistoryEntry) -> str:
    """What one record is about."""
    if entry.kind in ("interaction", "import"):
        about = entry.input_text
    elif entry.rating:
        about = f"{'good' if entry.rating > 0 else 'bad'}: the reply of record {entry.target_seq}"
    elif entry.kind == "rollback":
        about = f"to record {entry.target_seq}" if entry.target_seq else "to the beginning"
    elif entry.output_text:
        about = f"better for record {entry.target_seq}: {entry.output_text}"
    else:
        about = f"of record {entry.target_seq}" if entry.target_seq else ""
    if entry.rolled_back:
        return f"(rolled back) {about}"
    return f"(undone) {about}" if entry.undone else about


def log_table(entries: Sequence[LogEntry]) -> Table:
    """One row a record, oldest first: what is in the clear."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("record", justify="right", min_width=6)
    table.add_column("when", min_width=16)
    table.add_column("kind", min_width=11)
    table.add_column("bytes", justify="right", min_width=5)
    table.add_column("digest", min_width=16)
    table.add_column("of", justify="right")
    table.add_column("counts", no_wrap=True)
    for entry in entries:
        record = entry.record
        by = f"{'rollback' if entry.rolled_back else 'undo'} {entry.taken_out_by}"
        table.add_row(
            str(record.seq),
            when(record.timestamp_ms),
            record.kind.name.lower(),
            str(record.size),
            record.digest.hex()[:16],
            str(entry.target_seq) if entry.target_seq else "",
            f"no: {by}" if entry.taken_out_by else "yes",
        )
    return table


def log_json(entry: LogEntry) -> dict[str, Any]:
    """The same for programs, and everything else that is in the clear."""
    return {
        **asdict(entry.record),
        "kind": entry.record.kind.name.lower(),
        "target_seq": entry.target_seq,
        "counts": not entry.taken_out_by,
        "taken_out_by": entry.taken_out_by,
        "rolled_back": entry.rolled_back,
    }


def when(timestamp_ms: int) -> str:
    """Unix milliseconds as local date and time, to the minute."""
    return datetime.fromtimestamp(timestamp_ms / 1000).strftime("%Y-%m-%d %H:%M")


def readable_bytes(count: int) -> str:
    """Bytes for people, in decimal units.

    >>> readable_bytes(7168), readable_bytes(111_000_000)
    ('7.2 kB', '111.0 MB')
    """
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.1f} kB"
    if count < 1_000_000_000:
        return f"{count / 1_000_000:.1f} MB"
    return f"{count / 1_000_000_000:.1f} GB"
