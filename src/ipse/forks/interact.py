# SPDX-License-Identifier: Apache-2.0
"""START HERE: the life of one interaction, top to bottom.

    life = UserModelLifecycle(home, base, owner="ada")
    output = life.interact(UserInput("Good morning!"), on_text=print)    # 1 the reply, streamed
    report = life.learn_pending()                                        # 2-6 what was learned from it

    1  generate     the context (found turns, newest turns, the message) through the base with this fork's state
    2  objective    which words count: the user's own
    3  gradient     one batch of two rows: at the fork's state, and at public weights for the prior
    4  clip         each row by itself
    5  update       normalised, decayed, quantised; exactly the quantised integers are added
    6  record       sealed, chained, durable; only now is it reported as learned

Learning happens after the reply has been shown and before the same user's next request is answered. The text
and its update are one record, so a crash leaves both or neither. When another process appended first, the
fork is read again and the step is computed anew: a fork has one history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ipse.errors import DuplicateOperation, HeightConflict, InputError, StoreBusy
from ipse.forks.adopt import Adopted, adopt
from ipse.forks.fork import ModelFork
from ipse.forks.home import Home, now_ms
from ipse.forks.lesson import NOTHING, Lesson, correction_lesson, ordinary_lesson, since
from ipse.forks.message import clean_message
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import HistoryEntry, Recall
from ipse.forks.relearn import Relearned, Step, begin, relearn, repeat
from ipse.forks.takeback import TakenBack, rollback, undo, undoable
from ipse.learning.explain import Why, explain
from ipse.learning.general import general_examples
from ipse.learning.memory import Exchange
from ipse.learning.objective import disliked, edited, liked, own_words
from ipse.learning.step import StepSettings
from ipse.ledger.record import Feedback, Metrics, Record, RecordKind
from ipse.model.base import Base
from ipse.model.chat import Turn
from ipse.model.generate import Reply, Sampling, generate, usual_sampling
from ipse.model.gradient import Example
from ipse.model.state import Int32Vector, PersonalState
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId, OwnerId, new_op_id

Appended = TypeVar("Appended")

ATTEMPTS = 5
"""How often a step is computed anew because somebody else appended first."""

CONTEXT_EXCHANGES = 3
"""Exchanges before a message that its example sees, at most."""

REHEARSED = 3
"""Earlier exchanges that a correction rehearses."""


@dataclass(frozen=True, slots=True)
class UserInput:
    """What the user says."""

    text: str
    system: str = ""


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What the fork answered.

    Attributes:
        op_id: names this interaction; its record will carry it.
        prompt_tokens: of the context that was read.
        generate_ms: until the last token.
    """

    text: str
    op_id: bytes
    finish: str
    prompt_tokens: int
    generate_ms: float


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What one record taught, and what it took. Losses in nats per token, durations in milliseconds.

    Attributes:
        loss_after: 0 when it was not measured: teaching a whole transcript spares the extra forward pass.
        change: l2 norm of the update, real units; 0 when nothing was learned.
        inner_steps: 1 for ordinary talk, more for a correction.
    """

    seq: int
    op_id: bytes
    loss_before: float
    loss_after: float
    change: float
    gradient_ms: float
    update_ms: float
    record_ms: float
    total_ms: float
    inner_steps: int


@dataclass(frozen=True, slots=True)
class _Pending:
    """An interaction whose reply was shown and that is not recorded yet."""

    op_id: bytes
    before: tuple[Turn, ...]
    message: str
    reply: str
    generate_ms: float


class UserModelLifecycle:
    """One owner's model and its life (the proposal's ``UserModelLifecycle``, R1-R11).

    Not thread-safe: one conversation at a time. Two processes may share a fork; the store decides who is first.
    """

    def __init__(
        self,
        home: Home,
        base: Base,
        owner: str = "me",
        *,
        fork_id: ForkId | None = None,
        settings: StepSettings | None = None,
        sampling: Sampling | None = None,
        use_memory: bool = True,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.base = base
        self.settings = settings or StepSettings()
        self.sampling = sampling or usual_sampling(base)
        self.learning = True
        self.incognito = False
        self._clock_ms = clock_ms
        self._use_memory = use_memory
        self._open: OpenFork = (
            home.open_or_create(owner, base.layout, base.reference.name)
            if fork_id is None
            else home.open_fork(fork_id, base.layout)
        )
        self._recall = Recall(self._open)
        self._pending: _Pending | None = None
        self._aside: list[Exchange] = []
        """Incognito exchanges: context of this session, kept nowhere."""
        self._general: list[Example] | None = None

    # -- the life of an interaction ---------------------------------------------------------------

    @property
    def fork(self) -> ModelFork:
        """The fork as it is now."""
        return self._open.fork

    @property
    def state(self) -> PersonalState:
        return self._open.folded.state

    def interact(
        self,
        given: UserInput,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        sampling: Sampling | None = None,
    ) -> ModelOutput:
        """Answer a message. What it teaches is pending afterwards: see :meth:`learn_pending`.

        Raises:
            InputError: an empty message, or one with control characters.
            MessageTooLong: it does not fit the window; nothing was changed.
        """
        message = clean_message(given.text)
        self.learn_pending()
        self._recall.catch_up()
        sampling = sampling or self.sampling
        turns = self._context(message, given.system, sampling)
        started = time.perf_counter()
        prompt = self.base.tokenizer.prompt(turns)
        sampling = replace(sampling, recalled=self._recalled(message))
        (reply,) = generate(
            self.base,
            [prompt],
            [self.state],
            sampling,
            on_text=None if on_text is None else lambda _, piece: on_text(piece),
            cancelled=cancelled,
        )
        spent = since(started)
        op_id = new_op_id()
        self._settle(op_id, message, reply, spent)
        return ModelOutput(reply.text, op_id, reply.finish, len(prompt), spent)

    def learn_pending(self) -> LearningReport | None:
        """Learn from the last interaction and record it. None when nothing is pending, or incognito."""
        pending = self._pending
        if pending is None:
            return None
        report = self._record_interaction(pending, measure=True, learns=self.learning)
        self._pending = None
        return report

    def teach(
        self, turns: Sequence[Turn], *, reply: str = "", op_id: bytes | None = None, measure: bool = False
    ) -> LearningReport | None:
        """Learn from a conversation that took place elsewhere, without generating.

        Args:
            turns: ends with the user's turn to learn from; what stands before it is its context.
            reply: what followed, remembered as the reply.
            op_id: name of the operation; one that is recorded already is skipped.
            measure: also measure the loss after the update.

        Returns:
            None when it was recorded before.
        """
        if not turns or turns[-1].role != "user":
            raise InputError("There is no message of the user to learn from.", "Give turns that end with the user's.")
        self.learn_pending()
        if op_id is not None and self._open.has(op_id):
            return None
        message = clean_message(turns[-1].text)
        try:
            pending = _Pending(op_id or new_op_id(), tuple(turns[:-1]), message, reply, 0.0)
            return self._record_interaction(pending, measure=measure, learns=self.learning)
        except DuplicateOperation:
            return None

    # -- what the owner says of it ----------------------------------------------------------------

    def edit(self, text: str, *, op_id: bytes | None = None) -> LearningReport:
        """The reply should have been this. The correction is learned in several inner steps, under a guard."""
        better = clean_message(text)
        return self._judge(self._target(op_id), Feedback(edited_output=better), new_op_id())

    def rate(self, good: bool, *, op_id: bytes | None = None) -> LearningReport:
        """Thumbs up or down for a reply."""
        return self._judge(self._target(op_id), Feedback(rating=1 if good else -1), new_op_id())

    def undo(self, seq: int | None = None) -> int:
        """Take one record out of what counts, by an appended record.

        Args:
            seq: number of the record; None means the newest one that taught something and counts.

        Returns:
            The number of the record that was undone.
        """
        self.learn_pending()
        blank = self._blank(RecordKind.UNDO, new_op_id())
        return self._first_or_anew(lambda: undo(self._open, self._recall, seq, blank)).target_seq

    def rollback(self, seq: int) -> TakenBack:
        """Make the fork what it was when record ``seq`` was its newest (0: before the first), by an appended record.

        Raises:
            InputError: there is no such record, or nothing would change.
        """
        self.learn_pending()
        blank = self._blank(RecordKind.ROLLBACK, new_op_id())
        return self._first_or_anew(lambda: rollback(self._open, self._recall, seq, blank))

    def relearn(
        self,
        seq: int,
        *,
        on_step: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Relearned:
        """Make the fork what it would be had record ``seq`` never happened: learn anew what came later and counts.

        Stopped or killed in the middle, the same call finishes it; see :mod:`ipse.forks.relearn`.

        Args:
            on_step: told (steps done, steps in all).
            cancelled: asked between steps.

        Raises:
            InputError: there is no such record, nothing would change, or another such undo is not finished.
        """
        self.learn_pending()
        blank = self._blank(RecordKind.ROLLBACK, new_op_id())
        replay = self._first_or_anew(lambda: begin(self._open, self._recall, seq, blank))
        return relearn(self._open, self._recall, replay, self._again, on_step=on_step, cancelled=cancelled)

    def adopt(self, values: Int32Vector, note: str) -> Adopted:
        """Add a change that was made elsewhere, by an appended record; see :func:`ipse.forks.adopt.adopt`."""
        self.learn_pending()
        blank = self._blank(RecordKind.IMPORT, new_op_id())
        return self._first_or_anew(lambda: adopt(self._open, self._recall, values, note, blank))

    def history(self) -> list[HistoryEntry]:
        """Everything that happened to this fork, oldest first."""
        self._recall.catch_up()
        return self._recall.entries(self._open.folded)

    def why(self) -> Why:
        """What the newest update changed, in words."""
        target = undoable(self._open, self._recall, None)
        return explain(self.base, self.base.layout.read_update(target.update), target.seq)

    def close(self) -> None:
        """Finish what is pending."""
        self.learn_pending()

    # -- inside -----------------------------------------------------------------------------------

    def _context(self, message: str, system: str, sampling: Sampling) -> list[Turn]:
        reserve = min(sampling.max_new_tokens, self.base.window // 2)
        budget = self.base.window - reserve - 8
        return self._recall.memory.context(
            message,
            self.base.tokenizer,
            budget,
            system=system,
            first=0 if self._use_memory else self._recall.session_start,
            aside=self._aside,
        )

    def _recalled(self, message: str) -> tuple[tuple[int, ...], ...]:
        """What the owner said the reply to this message should have been, as tokens."""
        better = self._recall.corrected(message) if self._use_memory else ""
        if not better:
            return ()
        tokens, spans = self.base.tokenizer.encode([Turn("user", message), Turn("assistant", better)])
        return (tuple(tokens[spans[-1].start : spans[-1].stop]),)

    def _settle(self, op_id: bytes, message: str, reply: Reply, generate_ms: float) -> None:
        if self.incognito:
            self._aside.append(Exchange(message, reply.text))
            return
        before = tuple(self._recall.turns_before(None, CONTEXT_EXCHANGES))
        self._pending = _Pending(op_id, before, message, reply.text, generate_ms)

    def _record_interaction(self, pending: _Pending, *, measure: bool, learns: bool) -> LearningReport:
        started = time.perf_counter()
        turns = [*pending.before[-2 * CONTEXT_EXCHANGES :], Turn("user", pending.message)]
        example = own_words(self.base.tokenizer, turns)

        def lesson(state: PersonalState) -> Lesson:
            return self._ordinary(example, state, prior=True, measure=measure) if learns else NOTHING

        return self._record(
            self._blank(RecordKind.INTERACTION, pending.op_id),
            lesson,
            lambda record: replace(record, input_text=pending.message, output_text=pending.reply),
            started,
            pending.generate_ms,
        )

    def _judge(self, target: tuple[int, HistoryEntry], feedback: Feedback, op_id: bytes) -> LearningReport:
        """Learn a judgement of a reply: position in memory and entry of its interaction."""
        started = time.perf_counter()
        position, entry = target
        context = self._recall.turns_before(position, CONTEXT_EXCHANGES)
        if feedback.edited_output:
            asked = [*context, Turn("user", entry.input_text)]
            better = edited(self.base.tokenizer, asked, feedback.edited_output)
            guard = [*self._rehearsal(position), *self._general_set()]

            def lesson(state: PersonalState) -> Lesson:
                return correction_lesson(self.base, state, better, guard)
        else:
            turns = [*context, *entry.exchange.turns]
            example = (liked if feedback.rating > 0 else disliked)(self.base.tokenizer, turns)

            def lesson(state: PersonalState) -> Lesson:
                return self._ordinary(example, state, prior=False, measure=True)

        return self._record(
            self._blank(RecordKind.FEEDBACK, op_id),
            lesson,
            lambda record: replace(record, target_op_id=entry.op_id, feedback=feedback),
            started,
            0.0,
        )

    def _again(self, step: Step) -> None:
        """Do one step of a replay."""
        old = step.old
        if step.as_it_is:
            blank = self._blank(old.kind, step.op_id)
            self._first_or_anew(lambda: repeat(self._open, self._recall, step, blank))
        elif old.feedback is not None:
            self._judge(self._recall.interaction(step.target), old.feedback, step.op_id)
        else:
            before = tuple(self._recall.turns_before(None, CONTEXT_EXCHANGES))
            pending = _Pending(step.op_id, before, old.input_text, old.output_text, old.metrics.generate_ms)
            self._record_interaction(pending, measure=old.metrics.loss_after > 0, learns=step.learned)

    def _record(
        self,
        blank: Record,
        teach: Callable[[PersonalState], Lesson],
        make: Callable[[Record], Record],
        started: float,
        generate_ms: float,
    ) -> LearningReport:
        """Compute a lesson at the present state and append it; anew if somebody else was first."""

        def once() -> LearningReport:
            lesson = teach(self.state)

            def filled(record: Record) -> Record:
                metrics = Metrics(
                    loss_before=lesson.loss_before,
                    loss_after=lesson.loss_after,
                    update_l2_norm=lesson.update.norm if lesson.update else 0.0,
                    trained_tokens=lesson.trained_tokens,
                    generate_ms=round(generate_ms),
                    learn_ms=round(since(started)),
                )
                return replace(
                    make(record),
                    update=lesson.update.coded if lesson.update else b"",
                    prior_update=lesson.prior.coded if lesson.prior else b"",
                    learning_rate=lesson.update.learning_rate if lesson.update else 0.0,
                    metrics=metrics,
                )

            recording = time.perf_counter()
            record = self._open.append(filled, blank=blank)
            self._recall.add(record)
            return LearningReport(
                record.seq,
                record.op_id,
                lesson.loss_before,
                lesson.loss_after,
                lesson.update.norm if lesson.update else 0.0,
                lesson.gradient_ms,
                lesson.update_ms,
                since(recording),
                since(started),
                lesson.inner_steps,
            )

        return self._first_or_anew(once)

    def _first_or_anew(self, attempt: Callable[[], Appended]) -> Appended:
        """What it appended; tried anew from what is there now if somebody else appended first."""
        for _ in range(ATTEMPTS - 1):
            try:
                return attempt()
            except (HeightConflict, StoreBusy):
                self._open.reload()
                self._recall.refresh()
        return attempt()

    def _ordinary(self, example: Example, state: PersonalState, *, prior: bool, measure: bool) -> Lesson:
        height = self._open.folded.height
        return ordinary_lesson(self.base, self.settings, example, state, height, prior=prior, measure=measure)

    def _target(self, op_id: bytes | None) -> tuple[int, HistoryEntry]:
        """The interaction that feedback speaks of: the newest, or the named one."""
        if self.incognito and self._aside:
            raise InputError("Nothing is learned from an incognito turn.", "Leave incognito first.")
        self.learn_pending()
        self._recall.catch_up()
        return self._recall.interaction(op_id)

    def _rehearsal(self, position: int) -> list[Example]:
        return [
            own_words(self.base.tokenizer, [Turn("user", exchange.message)])
            for exchange in self._recall.exchanges_before(position, REHEARSED)
        ]

    def _general_set(self) -> list[Example]:
        if self._general is None:
            self._general = general_examples(self.base.tokenizer)
        return self._general

    def _blank(self, kind: RecordKind, op_id: bytes) -> Record:
        return Record(
            fork_id=self._open.row.fork_id,
            owner=OwnerId(self._open.row.owner),
            seq=0,
            op_id=op_id,
            kind=kind,
            timestamp_ms=self._clock_ms(),
            previous_digest=NO_DIGEST,
        )
