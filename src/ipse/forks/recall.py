# SPDX-License-Identifier: Apache-2.0
"""What a fork's records say, as history for the owner and as memory for the next reply.

Records are opened once, when first needed. Remembered are the interactions that count (`ipse.forks.withdrawal`),
with the edits that count: an undone or rolled back interaction is no longer remembered, an undone edit gives the
first reply back, and after a rollback memory holds what it held then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipse.errors import InputError
from ipse.forks.history import Folded
from ipse.forks.openfork import OpenFork
from ipse.learning.memory import Exchange, Memory, same_message
from ipse.ledger.record import Record, RecordKind
from ipse.model.chat import Turn


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One record, as its owner may read it.

    Attributes:
        kind: interaction, feedback, undo, rollback or import.
        target_seq: the record that feedback, an undo or a rollback speaks of, else 0.
        output_text: of an interaction, the reply; of an edit, the better reply.
        rating: -1, 0 or 1.
        change: l2 norm of its update, 0 when it has none.
        undone: it does not count: an undo or a rollback took it out.
        rolled_back: it was a rollback.
    """

    seq: int
    op_id: bytes
    kind: str
    timestamp_ms: int
    input_text: str
    output_text: str
    loss_before: float
    loss_after: float
    change: float
    undone: bool
    target_seq: int = 0
    rating: int = 0
    rolled_back: bool = False

    @property
    def exchange(self) -> Exchange:
        return Exchange(self.input_text, self.output_text)


class Recall:
    """The opened history of one fork."""

    def __init__(self, opened: OpenFork) -> None:
        self._opened = opened
        self._entries: list[HistoryEntry] | None = None
        self._by_op: dict[bytes, int] = {}
        self._memory: Memory | None = None
        self._positions: list[int] = []
        """Position in memory -> index of its interaction among the entries."""
        self._edited: list[int] = []
        """Positions in memory whose reply the owner edited, ascending."""
        self._session_seq = opened.folded.head.seq

    def refresh(self) -> None:
        """Read everything again: somebody else wrote to the fork."""
        self._entries = None
        self._memory = None

    def catch_up(self) -> None:
        """Read again what somebody else has written meanwhile, the fork included."""
        if self._opened.behind:
            self._opened.reload()
            self.refresh()

    def add(self, record: Record) -> None:
        """Take a record in that was just appended."""
        if self._entries is None:
            return
        self._take(self._entries, record)
        plain = record.kind == RecordKind.INTERACTION
        if self._memory is not None and plain:
            self._positions.append(len(self._entries) - 1)
            self._memory.add(self._entries[-1].exchange)
        elif record.kind != RecordKind.FEEDBACK or (record.feedback and record.feedback.edited_output):
            self._memory = None

    # -- as history -------------------------------------------------------------------------------

    def entries(self, at: Folded) -> list[HistoryEntry]:
        """All records, oldest first, and which of them count there."""
        out, rollbacks = at.out, at.rollbacks
        return [replace(e, undone=e.seq in out, rolled_back=out.get(e.seq) in rollbacks) for e in self._all()]

    def interaction(self, op_id: bytes | None) -> tuple[int, HistoryEntry]:
        """Position in memory and entry of an interaction, as it stands now: the newest, or the named one."""
        memory = self.memory
        for position in range(len(memory) - 1, -1, -1):
            entry = self._all()[self._positions[position]]
            if op_id is None or entry.op_id == op_id:
                return position, replace(entry, output_text=memory[position].reply)
        raise InputError("There is no reply to judge yet.", "Say something first.")

    # -- as memory --------------------------------------------------------------------------------

    @property
    def memory(self) -> Memory:
        """The exchanges that are remembered."""
        if self._memory is None:
            entries = self._all()
            out = self._opened.folded.out
            edits = {
                e.target_seq: e.output_text
                for e in entries
                if e.kind == "feedback" and e.output_text and e.seq not in out
            }
            self._positions = [i for i, e in enumerate(entries) if e.kind == "interaction" and e.seq not in out]
            self._edited = [p for p, i in enumerate(self._positions) if entries[i].seq in edits]
            self._memory = Memory(
                [Exchange(e.input_text, edits.get(e.seq, e.output_text)) for e in (entries[i] for i in self._positions)]
            )
        return self._memory

    @property
    def session_start(self) -> int:
        """Position in memory of the first exchange of this session."""
        memory = self.memory
        entries = self._all()
        return next((p for p, i in enumerate(self._positions) if entries[i].seq > self._session_seq), len(memory))

    def corrected(self, message: str) -> str:
        """The newest edit that the owner made to a reply to this same message, or nothing."""
        memory = self.memory
        for position in reversed(self._edited):  # few, however long the history is
            if same_message(memory[position].message, message):
                return memory[position].reply
        return ""

    def exchanges_before(self, position: int | None, count: int) -> Sequence[Exchange]:
        """At most ``count`` exchanges before a position (None: the newest)."""
        memory = self.memory
        stop = len(memory) if position is None else position
        return [memory[i] for i in range(max(0, stop - count), stop)]

    def turns_before(self, position: int | None, count: int) -> list[Turn]:
        """The same, as turns."""
        return [turn for exchange in self.exchanges_before(position, count) for turn in exchange.turns]

    # -- inside -----------------------------------------------------------------------------------

    def _all(self) -> list[HistoryEntry]:
        if self._entries is None:
            entries: list[HistoryEntry] = []
            self._by_op = {}
            for record, _ in self._opened.records():
                self._take(entries, record)
            self._entries = entries
        return self._entries

    def _take(self, entries: list[HistoryEntry], record: Record) -> None:
        feedback = record.feedback
        self._by_op[record.op_id] = record.seq
        entries.append(
            HistoryEntry(
                record.seq,
                record.op_id,
                record.kind.name.lower(),
                record.timestamp_ms,
                record.input_text,
                feedback.edited_output if feedback else record.output_text,
                record.metrics.loss_before,
                record.metrics.loss_after,
                record.metrics.update_l2_norm,
                False,
                self._by_op.get(record.target_op_id, 0),
                feedback.rating if feedback else 0,
            )
        )
