# SPDX-License-Identifier: Apache-2.0
"""Small lives, lived twice: by a fork on a real store, and by plain lists that know no record.

What is learned is drawn, from everything that a lesson may depend on: the numbers, the height, the words before and
the words themselves. So two lives agree in their numbers only if every lesson was taught at the same state in the same
context.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ipse.forks.home import Home
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import Recall
from ipse.forks.relearn import Relearned, Step, begin, relearn, repeat
from ipse.forks.takeback import rollback, undo
from ipse.learning.memory import Exchange
from ipse.ledger.record import Feedback, Metrics, Record, RecordKind
from tests.forks.tiny import LAYOUT, append, blank, numbers, tiny_fork

CONTEXT = 2


@dataclass(frozen=True)
class Event:
    """``say`` (``learns`` or not), ``edit``, ``good``, ``bad``, ``undo``, ``rollback``, ``import`` or ``nothing``."""

    what: str
    target: int = 0
    learns: bool = True


Numbers = tuple[NDArray[np.int64], NDArray[np.int64], int]


def lesson(at: Numbers, before: Sequence[Exchange], about: str) -> tuple[bytes, bytes, NDArray[np.int64], Numbers]:
    """Update and prior as recorded, and the numbers after them."""
    z, prior, height = at
    told = repr(([(e.message, e.reply) for e in before], about, height)).encode() + z.tobytes()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(told).digest(), "big"))
    coded, change = numbers(rng)
    coded_prior, change_prior = numbers(rng, 1)
    return coded, coded_prior, change, (z + change, prior + change_prior, height + 1)


class Person:
    """A fork, and what happens to it."""

    def __init__(self, home: Home, owner: str = "ada") -> None:
        self.home, self.owner = home, owner
        self.reopen()

    def reopen(self) -> None:
        self.fork: OpenFork = tiny_fork(self.home, self.owner)
        self.recall = Recall(self.fork)

    @property
    def numbers(self) -> Numbers:
        at = self.fork.folded
        return at.z, at.prior, at.height

    @property
    def remembered(self) -> list[Exchange]:
        return [self.recall.memory[i] for i in range(len(self.recall.memory))]

    def live(self, event: Event, number: int) -> None:
        """The event, as a record of its own."""
        if event.what == "undo":
            undo(self.fork, self.recall, event.target, blank(RecordKind.UNDO))
        elif event.what == "rollback":
            rollback(self.fork, self.recall, event.target, blank(RecordKind.ROLLBACK))
        elif event.what == "import":
            coded, coded_prior, *_ = imported(number)
            self.keep(replace(blank(RecordKind.IMPORT), update=coded, prior_update=coded_prior))
        elif event.what == "say":
            said = replace(blank(RecordKind.INTERACTION), input_text=f"turn {number}", output_text=f"reply {number}")
            self.say(said, learns=event.learns)
        else:
            target = self.fork.at(event.target).op_id
            self.judge(replace(blank(RecordKind.FEEDBACK), feedback=judgement(event, number), target_op_id=target))

    def say(self, said: Record, *, learns: bool) -> None:
        if learns:
            before = self.recall.exchanges_before(None, CONTEXT)
            coded, coded_prior, *_ = lesson(self.numbers, before, said.input_text)
            said = replace(said, update=coded, prior_update=coded_prior, metrics=Metrics(loss_before=1.0))
        self.keep(said)

    def judge(self, judged: Record) -> None:
        position, entry = self.recall.interaction(judged.target_op_id)
        before = self.recall.exchanges_before(position, CONTEXT)
        coded, *_ = lesson(self.numbers, before, f"{entry.input_text} {entry.output_text} {judged.feedback}")
        self.keep(replace(judged, update=coded, metrics=Metrics(loss_before=1.0)))

    def keep(self, record: Record) -> None:
        self.recall.add(append(self.fork, record))

    def relearn(self, seq: int, *, cancelled: Callable[[], bool] | None = None) -> Relearned:
        replay = begin(self.fork, self.recall, seq, blank(RecordKind.ROLLBACK))
        return relearn(self.fork, self.recall, replay, self.again, cancelled=cancelled)

    def again(self, step: Step) -> None:
        old = step.old
        anew = replace(blank(old.kind), op_id=step.op_id, target_op_id=step.target)
        if step.as_it_is:
            repeat(self.fork, self.recall, step, blank(old.kind))
        elif old.kind == RecordKind.FEEDBACK:
            self.judge(replace(anew, feedback=old.feedback))
        else:
            said = replace(anew, input_text=old.input_text, output_text=old.output_text)
            self.say(said, learns=step.learned)


def added(one: Numbers, other: Numbers) -> Numbers:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def judgement(event: Event, number: int) -> Feedback:
    if event.what == "edit":
        return Feedback(edited_output=f"better {number}")
    return Feedback(rating=1 if event.what == "good" else -1)


def imported(number: int) -> tuple[bytes, bytes, NDArray[np.int64], Numbers]:
    zero = np.zeros(LAYOUT.size, np.int64)
    return lesson((zero, zero, 0), (), f"import {number}")


@dataclass
class Lists:
    """The same life without records: what is said, and a sum."""

    at: Numbers = field(default_factory=lambda: (np.zeros(LAYOUT.size, np.int64), np.zeros(LAYOUT.size, np.int64), 0))
    said: list[int] = field(default_factory=list)
    better: dict[int, str] = field(default_factory=dict)

    @property
    def remembered(self) -> list[Exchange]:
        return [Exchange(f"turn {n}", self.better.get(n, f"reply {n}")) for n in self.said]

    def live(self, event: Event, number: int) -> Numbers:
        """The event; returns the numbers that it added."""
        z, prior, height = self.at
        memory = self.remembered
        if event.what == "say":
            if event.learns:
                self.at = lesson(self.at, memory[-CONTEXT:], f"turn {number}")[3]
            self.said.append(number)
        elif event.what == "import":
            self.at = added(self.at, imported(number)[3])
        else:
            position, feedback = self.said.index(event.target), judgement(event, number)
            before, now = memory[max(0, position - CONTEXT) : position], memory[position]
            change = lesson(self.at, before, f"{now.message} {now.reply} {feedback}")[2]
            self.at = (z + change, prior, height + 1)
            if feedback.edited_output:
                self.better[event.target] = feedback.edited_output
        return self.at[0] - z, self.at[1] - prior, self.at[2] - height


def counting(events: Sequence[Event]) -> list[frozenset[int]]:
    """The events that count after none, one, two ... of them, by playing them forward; no undo or rollback is one.

    To undo an undo or a rollback is to play everything again without it. (The program reads its law backward.)
    """
    states = [frozenset[int]()]
    for number, event in enumerate(events, 1):
        now = states[-1]
        if event.what == "undo" and events[event.target - 1].what in ("undo", "rollback"):
            now = counting(without(events[: number - 1], event.target))[-1]
        elif event.what == "undo":
            now = now - {event.target}
        elif event.what == "rollback":
            now = states[event.target]
        elif event.what != "nothing":
            now = now | {number}
        states.append(now)
    return states


def without(events: Sequence[Event], number: int) -> list[Event]:
    return [Event("nothing") if n == number else e for n, e in enumerate(events, 1)]


def had_never_happened(events: Sequence[Event], gone: int, told: Sequence[Numbers]) -> tuple[Lists, int]:
    """The life without one event, and how many judgements have nothing left to judge.

    Args:
        told: what each event added when it happened.
    """
    now = counting(events)[-1]
    undoing = {n for n, e in enumerate(events, 1) if e.what == "undo" and e.target == gone}
    rest = [Event("nothing") if n == gone or n in undoing else e for n, e in enumerate(events, 1)]
    life, left_out = Lists(), 0
    for number in sorted(counting(rest)[-1]):
        event = events[number - 1]
        if number > gone:
            continue
        life.at = added(life.at, told[number - 1])
        if event.what == "say":
            life.said.append(number)
        elif event.what == "edit":
            life.better[event.target] = f"better {number}"
    for number in sorted(n for n in now if n > gone):
        event = events[number - 1]
        if event.what in ("edit", "good", "bad") and event.target not in life.said:
            left_out += 1
        else:
            life.live(event, number)
    return life, left_out
