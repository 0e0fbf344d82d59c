# SPDX-License-Identifier: Apache-2.0
"""Undo and rollback, one meaning at a time, on forks of a few drawn numbers and on the shipped base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ipse.errors import HeightConflict, InputError, VerificationError
from ipse.forks.history import fold
from ipse.forks.home import Home
from ipse.forks.interact import UserInput, UserModelLifecycle
from ipse.forks.openfork import OpenFork
from ipse.forks.takeback import TakenBack
from ipse.ledger.record import RecordKind
from ipse.model.base import load_base
from ipse.model.chat import Turn
from ipse.model.generate import Sampling
from ipse.store.store import Store
from ipse.wire.ids import new_op_id
from tests.cli.sessions import run_ipse
from tests.forks.tiny import LAYOUT, Life, append, edit, forged, numbers, same_sum, tiny_fork, turn, words

GREEDY = Sampling(temperature=0.0, max_new_tokens=4)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


def test_after_a_rollback_numbers_prior_height_and_memory_are_those_of_then(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b", "c", "d")
    assert life.rollback(2) == TakenBack(5, 2, 2, 0)
    assert same_sum(life.now, life.was[2])
    assert words(life.recall) == ["a", "b"]
    assert [(e.undone, e.rolled_back) for e in life.recall.entries(life.now)] == [
        (False, False),
        (False, False),
        (True, True),
        (True, True),
        (False, False),
    ]


def test_what_is_learned_after_a_rollback_adds_to_the_sum_of_then(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    life.rollback(1)
    life.learn("c")
    assert np.array_equal(life.now.z - life.was[1].z, life.was[4].z - life.was[3].z)
    assert words(life.recall) == ["a", "c"]


def test_a_rollback_to_nothing_is_a_new_fork_and_its_undo_is_everything(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    life.rollback(0)
    assert life.now.height == 0
    assert not life.now.z.any()
    assert not life.now.prior.any()
    assert life.undo(3).back == 2
    assert same_sum(life.now, life.was[2])


def test_a_rollback_past_an_undo_gives_the_undone_record_back(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    life.undo(1)
    life.learn("c")
    assert life.rollback(2) == TakenBack(5, 2, 1, 1)
    assert same_sum(life.now, life.was[2])
    assert words(life.recall) == ["a", "b"]


def test_a_rollback_to_after_an_undo_keeps_it(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    life.undo(1)
    life.learn("c")
    life.rollback(3)
    assert same_sum(life.now, life.was[3])
    assert words(life.recall) == ["b"]


def test_a_record_before_the_target_can_still_be_undone_and_one_after_it_not(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b", "c")
    life.rollback(2)
    life.undo(1)
    assert words(life.recall) == ["b"]
    assert np.array_equal(life.now.z, life.was[2].z - life.was[1].z)
    with pytest.raises(InputError, match="rollback of record 4") as refused:
        life.undo(3)
    assert "undo record 4" in refused.value.hint


def test_undoing_a_rollback_gives_back_what_it_took_and_keeps_what_came_later(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b", "c")
    life.rollback(1)
    life.learn("d")
    assert life.undo(4) == TakenBack(6, 4, 0, 2)
    assert np.array_equal(life.now.z, life.was[3].z + life.was[5].z - life.was[4].z)
    assert words(life.recall) == ["a", "b", "c", "d"]


def test_undoing_an_undo_gives_the_record_back(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    life.undo(1)
    life.undo(3)
    assert same_sum(life.now, life.was[2])
    assert words(life.recall) == ["a", "b"]
    with pytest.raises(InputError, match="undone before") as refused:
        life.undo(3)
    assert "undo record 4" in refused.value.hint


def test_a_rollback_to_before_a_rollback_takes_that_back(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b", "c")
    life.rollback(1)
    life.learn("d")
    life.rollback(3)
    assert same_sum(life.now, life.was[3])
    life.rollback(5)
    assert same_sum(life.now, life.was[5])
    assert words(life.recall) == ["a", "d"]


def test_a_rollback_to_a_record_that_was_rolled_back_is_as_it_was_then(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b", "c")
    life.rollback(1)
    life.rollback(2)
    assert same_sum(life.now, life.was[2])
    assert words(life.recall) == ["a", "b"]


def test_an_edit_that_is_rolled_back_gives_the_first_reply_back(home: Home) -> None:
    life = Life(home)
    life.learn("a")
    life.keep(append(life.fork, edit(life.fork.at(1), "better", numbers(np.random.default_rng(1))[0])))
    assert life.recall.memory[0].reply == "better"
    life.rollback(1)
    assert life.recall.memory[0].reply == "I heard: a"
    assert life.recall.corrected("a") == ""
    life.undo(3)
    assert life.recall.corrected("a") == "better"


def test_the_newest_that_taught_is_never_one_that_was_taken_out(home: Home) -> None:
    life = Life(home)
    with pytest.raises(InputError, match="nothing to undo"):
        life.undo()
    for text in "abc":
        learned = turn(text, numbers(np.random.default_rng(2))[0])
        life.keep(append(life.fork, replace(learned, metrics=replace(learned.metrics, update_l2_norm=1.0))))
    life.rollback(2)
    assert life.undo().target_seq == 2


@pytest.mark.parametrize("seq", [-1, 4, 2**40])
def test_a_record_that_is_not_there_is_one_error_with_the_numbers_that_are(home: Home, seq: int) -> None:
    life = Life(home)
    life.learn("a", "b", "c")
    for attempt in (life.undo, life.rollback, life.fork.folded_at):
        with pytest.raises(InputError, match=f"no record {seq}") as refused:
            attempt(seq)
        assert "1 to 3" in refused.value.hint
    assert life.now.head.seq == 3


def test_a_rollback_to_the_present_is_refused(home: Home) -> None:
    life = Life(home)
    with pytest.raises(InputError, match="nothing to do"):
        life.rollback(0)
    life.learn("a", "b")
    life.undo(2)
    life.undo(3)
    for present in (2, 4):
        with pytest.raises(InputError, match="nothing to do"):
            life.rollback(present)
    assert life.now.head.seq == 4, "nothing was recorded"


def test_a_turn_that_taught_nothing_is_forgotten_by_a_rollback_too(home: Home) -> None:
    life = Life(home)
    life.learn("a")
    life.keep(append(life.fork, turn("only said")))
    assert life.rollback(1) == TakenBack(3, 1, 1, 0)
    assert words(life.recall) == ["a"]


def test_a_rollback_is_a_small_record_however_much_it_takes_out(home: Home) -> None:
    life = Life(home)
    life.learn(*"abcdefgh")
    life.rollback(1)
    assert len(home.store.record(life.fork.row.fork_id, 9).data) < 300


def test_the_slower_of_two_that_roll_back_gets_the_fork_that_the_faster_one_left(home: Home) -> None:
    one, two = Life(home), Life(home)
    one.learn("a", "b", "c")
    two.rollback(2)
    assert one.fork.behind
    assert one.rollback(1) == TakenBack(5, 1, 1, 0), "record 3 was out already"
    assert same_sum(one.now, one.was[1])


def test_of_two_rollbacks_at_the_same_moment_one_is_told_to_try_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Life(home), Life(home)
    one.learn("a", "b", "c")
    monkeypatch.setattr(OpenFork, "behind", property(lambda _: False))
    two.fork.reload()
    one.rollback(2)
    with pytest.raises(HeightConflict):
        two.rollback(1)
    assert one.now.head.seq == 4


def test_a_rollback_that_somebody_was_faster_than_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_base()
    one, two = (UserModelLifecycle(home, base, "ada") for _ in range(2))
    one.teach([Turn("user", "Ahoy!")])
    then = one.state
    one.teach([Turn("user", "Fair winds.")])
    raced: list[bool] = []
    whole = Store.append

    def slowly(*given: object, **named: object) -> None:
        if not raced:
            raced.append(True)
            two.teach([Turn("user", "I was faster.")])
        whole(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "append", slowly)
    done = one.rollback(1)
    assert (done.seq, done.out) == (4, 2), "what the faster one said came after record 1 as well"
    assert one.state == then == UserModelLifecycle(home, base, "ada").state
    assert [e.rolled_back for e in two.history()] == [False, True, True, False], "and it knows"


def test_a_rollback_is_tried_again_when_another_process_undoes_in_the_same_moment(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = UserModelLifecycle(home, load_base(), "ada")
    states = []
    for text in ("Ahoy!", "Fair winds.", "Land ho!"):
        life.teach([Turn("user", text)])
        states.append(life.state)
    raced: list[int] = []
    whole = Store.append

    def slowly(*given: object, **named: object) -> None:
        if not raced:
            raced.append(run_ipse("fork", "undo", "1", "--fork", "ada", "--data", str(home.root)).returncode)
        whole(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "append", slowly)
    assert life.rollback(1) == TakenBack(5, 1, out=2, back=1)
    assert raced == [0]
    assert life.state == states[0]


def test_a_chat_that_runs_while_another_process_rolls_back_answers_from_the_fork_of_then(home: Home) -> None:
    base = load_base()
    one, two = (UserModelLifecycle(home, base, "ada", sampling=GREEDY) for _ in range(2))
    for text in ("Ahoy!", "My boat is the Zorblax."):
        one.teach([Turn("user", text)])
    two.rollback(1)
    one.interact(UserInput("What is my boat?"))
    assert one.state == two.state
    one.learn_pending()
    assert [e.exchange.message for e in one.history() if not e.undone and e.kind == "interaction"] == [
        "Ahoy!",
        "What is my boat?",
    ]


@pytest.mark.parametrize("kind", [RecordKind.UNDO, RecordKind.ROLLBACK])
def test_a_record_that_takes_out_what_is_not_there_is_named(home: Home, kind: RecordKind) -> None:
    life = Life(home)
    life.learn("a")
    forged(life, kind, new_op_id())
    with pytest.raises(VerificationError, match="Record 2 names an operation that is not in this history"):
        tiny_fork(home)
    with pytest.raises(VerificationError, match="Record 2 names"):
        fold(life.fork.records(), LAYOUT)
