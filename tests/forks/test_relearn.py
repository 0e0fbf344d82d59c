# SPDX-License-Identifier: Apache-2.0
"""Undo with replay: the fork is, to the bit, the one that never lived that record."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import InputError
from ipse.forks import openfork
from ipse.forks.home import Home
from ipse.forks.interact import CONTEXT_EXCHANGES, UserModelLifecycle
from ipse.forks.relearn import Relearned, Step, begin, relearn
from ipse.forks.verify import verify_fork
from ipse.ledger.record import RecordKind
from ipse.model.base import load_base
from ipse.model.chat import Turn
from ipse.model.layout import ONE
from ipse.store.store import Store
from tests.forks.lives import Event, Numbers, Person, counting, had_never_happened
from tests.forks.tiny import blank

SAY = Event("say")
SAID = ("Ahoy, matey!", "My secret is Zorblax.", "Call me later.", "The wind is fair today.", "I keep a small boat.")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture(autouse=True, scope="module")
def _snapshots() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openfork, "SNAPSHOT_EVERY", 3)
        yield


def lived(home: Home, *events: Event) -> tuple[Person, list[Numbers]]:
    """A fork that lived so, and what each event added."""
    person, told = Person(home), []
    for number, event in enumerate(events, 1):
        z, prior, height = person.numbers
        person.live(event, number)
        after = person.numbers
        told.append((after[0] - z, after[1] - prior, after[2] - height))
    return person, told


def same(one: Numbers, other: Numbers) -> bool:
    return (one[0].tobytes(), one[1].tobytes(), one[2]) == (other[0].tobytes(), other[1].tobytes(), other[2])


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """What may happen, in an order in which the program does it all."""
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 9))):
        now = counting(events)[-1]
        said = sorted(n for n in now if events[n - 1].what == "say")
        kinds = ["say", "say", "import"]
        kinds += ["edit", "good", "bad"] if said else []
        kinds += ["undo", "undo"] if now else []
        earlier = [n for n, state in enumerate(counting(events)) if state != now]
        kinds += ["rollback"] if earlier else []
        undone = [n for n, e in enumerate(events, 1) if e.what in ("undo", "rollback") and _live(events, n)]
        kinds += ["redo"] if undone else []
        what = draw(st.sampled_from(kinds))
        if what == "say":
            events.append(Event("say", learns=draw(st.booleans())))
        elif what in ("edit", "good", "bad"):
            events.append(Event(what, draw(st.sampled_from(said))))
        elif what == "undo":
            events.append(Event("undo", draw(st.sampled_from(sorted(now)))))
        elif what == "redo":
            events.append(Event("undo", draw(st.sampled_from(undone))))
        elif what == "rollback":
            events.append(Event("rollback", draw(st.sampled_from(earlier))))
        else:
            events.append(Event("import"))
    return events


def _live(events: Sequence[Event], number: int) -> bool:
    """Whether an undo or rollback counts, by the law that the fold has."""
    for later in range(len(events), number, -1):
        event = events[later - 1]
        hit = event.target == number if event.what == "undo" else event.what == "rollback" and event.target < number
        if hit and _live(events, later):
            return False
    return True


def _rolled_back(events: Sequence[Event], number: int) -> bool:
    return any(e.what == "rollback" and n > number > e.target and _live(events, n) for n, e in enumerate(events, 1))


def check(home: Home, events: Sequence[Event], gone: int, stop_after: int = 0) -> None:
    """Live it, take one record out with replay, stopped after so many steps and begun again, and compare."""
    person, told = lived(home, *events)
    if _rolled_back(events, gone):
        with pytest.raises(InputError, match="was taken out before, by the rollback"):
            person.relearn(gone)
    elif not _live(events, gone) and not any(n > gone for n in counting(events)[-1]):
        with pytest.raises(InputError, match="nothing that counts was learned after it"):
            person.relearn(gone)
    else:
        expected, left_out = had_never_happened(events, gone, told)
        stops = iter([False] * stop_after)
        first = person.relearn(gone, cancelled=lambda: next(stops, True))
        person.reopen()
        rest = person.relearn(gone)
        assert (rest.known, rest.anew, rest.left) == (first.anew, first.left, 0)
        assert (rest.rollback, rest.left_out) == (first.rollback, left_out)
        person.reopen()
        assert same(person.numbers, expected.at)
        assert person.remembered == expected.remembered
        verify_fork(home.store, person.fork)
        head = person.fork.folded.head
        assert person.relearn(gone).anew == 0, "once is enough"
        assert person.fork.folded.head == head


@settings(max_examples=150, deadline=None)
@given(events=lives(), data=st.data())
def test_after_a_replay_the_fork_is_bit_for_bit_one_that_never_lived_the_record(
    events: list[Event], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, Home.open(Path(folder)) as home:
        gone = data.draw(st.integers(1, len(events)), label="gone")
        check(home, events, gone, data.draw(st.integers(0, len(events)), label="steps before it is stopped"))


@pytest.mark.parametrize(
    ("gone", "events"),
    [
        pytest.param(1, [SAY, SAY, SAY], id="the first"),
        pytest.param(3, [SAY, SAY, SAY], id="the newest"),
        pytest.param(2, [SAY, SAY, SAY, Event("undo", 2)], id="one that is undone, and was there when others learned"),
        pytest.param(2, [SAY, SAY, SAY, Event("undo", 1)], id="an older one was undone later"),
        pytest.param(2, [SAY, SAY, Event("edit", 1), Event("good", 2), SAY, Event("bad", 2)], id="judgements of it go"),
        pytest.param(2, [SAY, Event("undo", 1), SAY], id="an undo"),
        pytest.param(3, [SAY, SAY, Event("rollback", 1), SAY], id="a rollback"),
        pytest.param(3, [SAY, Event("undo", 1), SAY, Event("undo", 2), Event("undo", 1)], id="undone, back, undone"),
        pytest.param(3, [SAY, Event("undo", 1), SAY, Event("undo", 2), Event("edit", 1)], id="judged once it was back"),
        pytest.param(2, [SAY, Event("say", learns=False), Event("say", learns=False), SAY], id="learning off"),
        pytest.param(1, [SAY, Event("import"), SAY, Event("rollback", 2), SAY], id="imports, and what was rolled back"),
        pytest.param(
            2,
            [SAY, SAY, SAY, Event("rollback", 0), Event("undo", 4), Event("undo", 2), Event("undo", 5)],
            id="a rollback over it that came back",
        ),
    ],
)
@pytest.mark.parametrize("stop_after", [0, 1])
def test_whatever_else_was_undone_or_judged(home: Home, gone: int, events: list[Event], stop_after: int) -> None:
    check(home, events, gone, stop_after)


def test_undo_alone_leaves_what_was_learned_in_its_presence_and_a_replay_does_not(home: Home) -> None:
    person, told = lived(home, SAY, SAY, SAY, Event("undo", 1))
    z, prior, height = person.numbers
    assert same((z, prior, height), (told[1][0] + told[2][0], told[1][1] + told[2][1], 2))
    done = person.relearn(1)
    assert person.numbers[2] == height
    assert person.numbers[0].tobytes() != z.tobytes()
    assert (done.anew, done.known, done.left, done.height) == (2, 0, 0, 2)
    assert done.moved == pytest.approx(float(np.linalg.norm(person.numbers[0] - z)) / ONE)


def test_nothing_is_cut_off_and_a_rollback_gives_everything_back(home: Home) -> None:
    person, _ = lived(home, SAY, SAY, SAY)
    before, data = person.numbers, [bytes_ for _, bytes_ in person.fork.records()]
    done = person.relearn(1)
    assert [bytes_ for _, bytes_ in person.fork.records()][:3] == data
    person.live(Event("rollback", done.rollback - 1), 7)
    assert same(person.numbers, before)


def test_the_rollback_of_a_replay_cannot_be_undone_by_itself_and_says_how_to_go_back(home: Home) -> None:
    person, _ = lived(home, SAY, SAY, SAY)
    done = person.relearn(1)
    for attempt in (lambda: person.live(Event("undo", done.rollback), 9), lambda: person.relearn(done.rollback)):
        with pytest.raises(InputError, match="began an undo with replay") as refused:
            attempt()
        assert "ipse fork rollback 3" in refused.value.hint


def test_an_old_number_leads_to_the_new_one(home: Home) -> None:
    person, _ = lived(home, SAY, SAY, SAY)
    person.relearn(1)
    for attempt in (lambda: person.live(Event("undo", 3), 9), lambda: person.relearn(3)):
        with pytest.raises(InputError, match="learned anew as record 6") as refused:
            attempt()
        assert "Undo record 6" in refused.value.hint
    with pytest.raises(InputError, match="by the replay of record 4"):
        person.live(Event("undo", 1), 9)
    assert person.relearn(6).anew == 0


def test_another_replay_waits_until_the_first_is_finished(home: Home) -> None:
    person, _ = lived(home, SAY, SAY, SAY, SAY)
    assert person.relearn(3, cancelled=lambda: True).left == 1
    with pytest.raises(InputError, match="undo of record 3 with replay is not finished") as refused:
        person.relearn(1)
    assert "ipse fork undo 3 --replay" in refused.value.hint
    person.relearn(3)
    assert person.relearn(1).anew == 2


def test_what_is_said_between_stop_and_finish_stays_before_the_rest(home: Home) -> None:
    person, _ = lived(home, SAY, SAY, SAY, SAY)
    stops = iter([False])
    person.relearn(1, cancelled=lambda: next(stops, True))
    person.live(SAY, 9)
    assert person.relearn(1).anew == 2
    assert [e.message for e in person.remembered] == ["turn 2", "turn 9", "turn 3", "turn 4"]


def test_two_that_finish_the_same_replay_learn_each_turn_once(home: Home) -> None:
    one, _ = lived(home, SAY, SAY, SAY, SAY)
    two = Person(home)
    one.relearn(1, cancelled=lambda: True)
    raced: list[Relearned] = []

    def again(step: Step) -> None:
        if not raced:
            raced.append(two.relearn(1, cancelled=lambda: bool(two.fork.folded.head.seq > 5)))
        one.again(step)

    replay = begin(one.fork, one.recall, 1, blank(RecordKind.ROLLBACK))
    done = relearn(one.fork, one.recall, replay, again)
    assert (raced[0].anew, done.anew, done.known, done.left) == (1, 2, 1, 0)
    assert [e.message for e in one.remembered] == ["turn 2", "turn 3", "turn 4"]


def test_of_two_that_begin_the_same_replay_at_once_one_begins_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = lived(home, SAY, SAY, SAY)
    two = Person(home)
    raced: list[bool] = []
    whole = Store.append

    def slowly(*given: object, **named: object) -> None:
        if not raced:
            raced.append(True)
            two.relearn(1, cancelled=lambda: True)
        whole(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "append", slowly)
    assert one.relearn(1).anew == 2
    assert one.fork.folded.head.seq == 6


@pytest.mark.parametrize("seq", [0, 4])
def test_a_record_that_is_not_there_is_refused(home: Home, seq: int) -> None:
    person, _ = lived(home, SAY, SAY, SAY)
    with pytest.raises(InputError, match=f"no record {seq}"):
        person.relearn(seq)


# -- on the shipped base ------------------------------------------------------------------------------


def spoken(life: UserModelLifecycle, number: int, *, learning: bool = True) -> bytes:
    """One exchange with a given reply, in the context that a chat would give it; its operation."""
    life.learning = learning
    turns = [*life._recall.turns_before(None, CONTEXT_EXCHANGES), Turn("user", SAID[number])]
    report = life.teach(turns, reply=f"Aye, number {number}.", measure=True)
    assert report is not None
    return report.op_id


def chatted(life: UserModelLifecycle, *, with_it: bool) -> None:
    """A life with or without its second exchange and what was said of that."""
    first = spoken(life, 0)
    if with_it:
        gone = spoken(life, 1)
    spoken(life, 2, learning=False)
    third = spoken(life, 3)
    if with_it:
        life.rate(good=False, op_id=gone)
    life.edit("Fair winds and following seas!", op_id=third)
    life.rate(good=True, op_id=first)
    spoken(life, 4)
    life.rate(good=False)


def test_a_fork_relearned_on_the_shipped_base_is_bit_for_bit_one_that_lived_without(home: Home) -> None:
    base = load_base()
    one, other = (UserModelLifecycle(home, base, owner) for owner in ("ada", "bert"))
    chatted(one, with_it=True)
    chatted(other, with_it=False)
    assert one.state != other.state
    told: list[tuple[int, int]] = []
    done = one.relearn(2, on_step=lambda *now: told.append(now))
    assert (done.anew, done.left_out, done.left) == (6, 1, 0)
    assert told == [(n, 6) for n in range(7)]
    assert one.state == other.state
    assert (one._open.folded.prior == other._open.folded.prior).all()
    assert one.fork.fork_height == other.fork.fork_height == done.height
    assert UserModelLifecycle(home, base, "ada").state == other.state
    kept = [e for e in one.history() if not e.undone and e.kind != "rollback"]
    for mine, theirs in zip(kept, other.history(), strict=True):
        assert (mine.kind, mine.input_text, mine.output_text, mine.rating, mine.loss_before, mine.loss_after) == (
            theirs.kind,
            theirs.input_text,
            theirs.output_text,
            theirs.rating,
            theirs.loss_before,
            theirs.loss_after,
        )
