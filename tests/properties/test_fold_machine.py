# SPDX-License-Identifier: Apache-2.0
"""The fold against plain lists: any order of turns, edits, undos, rollbacks, snapshots and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ipse.errors import InputError
from ipse.forks import openfork
from ipse.forks.history import fold
from ipse.forks.home import Home
from ipse.forks.openfork import OpenFork
from ipse.forks.recall import Recall
from ipse.forks.takeback import rollback, undo
from ipse.forks.verify import verify_fork
from ipse.learning.memory import Exchange
from ipse.ledger.record import RecordKind
from tests.forks.tiny import LAYOUT, append, blank, edit, numbers, tiny_fork, turn


@dataclass(frozen=True)
class Event:
    """What happened, in the oracle's words: ``turn``, ``edit``, ``undo``, ``rollback`` or ``nothing``."""

    what: str
    target: int = 0
    words: str = ""


def counting(events: list[Event]) -> list[frozenset[int]]:
    """The records that count after none, one, two ... of the events, by playing them forward.

    To undo an undo or a rollback is to play everything again without it. (The program reads the law backward.)
    """
    states = [frozenset[int]()]
    for number, event in enumerate(events, 1):
        now = states[-1]
        if event.what == "undo" and events[event.target - 1].what in ("undo", "rollback"):
            without = [Event("nothing") if n == event.target else e for n, e in enumerate(events[: number - 1], 1)]
            now = counting(without)[-1]
        elif event.what == "undo":
            now = now - {event.target}
        elif event.what == "rollback":
            now = states[event.target]
        states.append(now if event.what == "nothing" else now | {number})
    return states


class FoldMachine(RuleBasedStateMachine):
    """Two processes on one fork, and the list of what they should have made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.every, openfork.SNAPSHOT_EVERY = openfork.SNAPSHOT_EVERY, 3
        self.root = Path(tempfile.mkdtemp())
        self.home = Home.open(self.root)
        self.forks = [tiny_fork(self.home), tiny_fork(self.home)]
        self.recalls = [Recall(fork) for fork in self.forks]
        self.rng = np.random.default_rng(0)
        self.events: list[Event] = []
        self.updates: list[np.ndarray] = []
        self.priors: list[np.ndarray] = []
        self.states = [frozenset[int]()]

    def teardown(self) -> None:
        openfork.SNAPSHOT_EVERY = self.every
        self.home.close()
        shutil.rmtree(self.root)

    def happened(self, event: Event, update: np.ndarray | None = None, prior: np.ndarray | None = None) -> None:
        zero = np.zeros(LAYOUT.size, np.int64)
        self.events.append(event)
        self.updates.append(zero if update is None else update)
        self.priors.append(zero if prior is None else prior)
        self.states = counting(self.events)

    def caught_up(self, which: int) -> OpenFork:
        fork = self.forks[which]
        if fork.behind:
            fork.reload()
            self.recalls[which].refresh()
        return fork

    @rule(which=st.integers(0, 1), bits=st.sampled_from([0, 1, 4, 32]))
    def say(self, which: int, bits: int) -> None:
        words = f"turn {len(self.events) + 1}"
        coded, values = numbers(self.rng, bits) if bits else (b"", None)
        prior, prior_values = numbers(self.rng, 1) if bits else (b"", None)
        self.recalls[which].add(append(self.caught_up(which), turn(words, coded, prior)))
        self.happened(Event("turn", words=words), values, prior_values)

    @precondition(lambda self: any(e.what == "turn" for e in self.events))
    @rule(which=st.integers(0, 1), data=st.data())
    def correct(self, which: int, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from([n for n, e in enumerate(self.events, 1) if e.what == "turn"]))
        coded, values = numbers(self.rng)
        words = f"better {len(self.events) + 1}"
        fork = self.caught_up(which)
        self.recalls[which].add(append(fork, edit(fork.at(target), words, coded)))
        self.happened(Event("edit", target, words), values)

    @precondition(lambda self: self.events)
    @rule(which=st.integers(0, 1), data=st.data())
    def take_one_out(self, which: int, data: st.DataObject) -> None:
        target = data.draw(st.integers(1, len(self.events)))
        fork, recall = self.forks[which], self.recalls[which]
        again = self.events[target - 1].what in ("undo", "rollback")
        assume(not again or sum(e.what == "undo" for e in self.events) < 7)  # the oracle plays all again for each
        if target in self.states[-1]:
            assert undo(fork, recall, target, blank(RecordKind.UNDO)).target_seq == target
            self.happened(Event("undo", target))
        else:
            with pytest.raises(InputError, match="before"):
                undo(fork, recall, target, blank(RecordKind.UNDO))

    @rule(which=st.integers(0, 1), data=st.data())
    def roll_back(self, which: int, data: st.DataObject) -> None:
        target = data.draw(st.integers(0, len(self.events)))
        fork, recall = self.forks[which], self.recalls[which]
        content = {n for n, e in enumerate(self.events, 1) if e.what in ("turn", "edit")}
        then, now = self.states[target] & content, self.states[-1] & content
        if then == now:
            with pytest.raises(InputError, match="nothing to do"):
                rollback(fork, recall, target, blank(RecordKind.ROLLBACK))
        else:
            done = rollback(fork, recall, target, blank(RecordKind.ROLLBACK))
            assert (done.target_seq, done.out, done.back) == (target, len(now - then), len(then - now))
            self.happened(Event("rollback", target))

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.forks[which] = tiny_fork(self.home)
        self.recalls[which] = Recall(self.forks[which])

    @rule()
    def lose_the_snapshots(self) -> None:
        self.home.store.drop_snapshots(self.forks[0].row.fork_id)

    @invariant()
    def both_are_the_sum_of_what_counts(self) -> None:
        counts = sorted(self.states[-1])
        zero = np.zeros(LAYOUT.size, np.int64)
        for which in (0, 1):
            at = self.caught_up(which).folded
            assert [n for n in range(1, len(self.events) + 1) if n not in at.out] == counts
            assert np.array_equal(at.z, sum((self.updates[n - 1] for n in counts), zero))
            assert np.array_equal(at.prior, sum((self.priors[n - 1] for n in counts), zero))
            assert at.height == sum(bool(self.updates[n - 1].any()) for n in counts)
            memory = self.recalls[which].memory
            assert [memory[i] for i in range(len(memory))] == self.remembered()

    def remembered(self) -> list[Exchange]:
        """What memory must hold now."""
        said = {n: self.events[n - 1] for n in sorted(self.states[-1])}
        better = {e.target: e.words for e in said.values() if e.what == "edit"}
        turns = [(n, e.words) for n, e in said.items() if e.what == "turn"]
        return [Exchange(words, better.get(n, f"I heard: {words}")) for n, words in turns]

    @invariant()
    def every_height_of_the_past_is_what_it_was(self) -> None:
        fork = self.caught_up(0)
        for seq in {0, len(self.events) // 2, len(self.events)}:
            at = fork.folded_at(seq)
            whole = sum((self.updates[n - 1] for n in self.states[seq]), np.zeros(LAYOUT.size, np.int64))
            assert np.array_equal(at.z, whole)
        assert fold(fork.records(), LAYOUT).same_as(fork.folded)
        assert verify_fork(self.home.store, fork).records == len(self.events)


TestFold = FoldMachine.TestCase
TestFold.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.mark.slow
def test_the_fold_is_like_the_lists_in_long_runs_too() -> None:
    run_state_machine_as_test(FoldMachine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
