# SPDX-License-Identifier: Apache-2.0
"""The life of an interaction, on the shipped base and a real store."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ipse.errors import BaseMismatch, InputError, StoreFull, VaultError, WrongKey
from ipse.forks.history import fold
from ipse.forks.home import Home
from ipse.forks.interact import UserInput, UserModelLifecycle
from ipse.model.base import Base, load_base
from ipse.model.chat import Turn
from ipse.model.generate import Sampling, generate
from ipse.store.store import Store
from ipse.vault.keys import create_root_key
from ipse.wire.ids import new_op_id

GREEDY = Sampling(temperature=0.0, max_new_tokens=12)
SAID = ("Ahoy! The wind is fair today.", "I keep my boat in the harbour, matey.", "Fair winds to ye!")


@cache
def base() -> Base:
    return load_base()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


def living(home: Home, owner: str = "ada") -> UserModelLifecycle:
    return UserModelLifecycle(home, base(), owner, sampling=GREEDY)


def talk(life: UserModelLifecycle, *texts: str) -> None:
    for text in texts:
        life.interact(UserInput(text))
    life.learn_pending()


def test_the_fork_is_the_fold_of_its_records_in_this_process_and_in_the_next(home: Home) -> None:
    life = living(home)
    talk(life, *SAID)
    life.edit("Fair winds, captain!")
    life.undo(1)
    again = living(home)
    assert again.state == life.state
    assert np.array_equal(fold(life._open.records(), base().layout).z, life.state.z)
    assert life.fork.fork_height == 3  # three messages and an edit, less one undone


def test_a_snapshot_changes_nothing_but_the_time_to_open(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.forks.openfork.SNAPSHOT_EVERY", 2)
    life = living(home)
    talk(life, *SAID)
    life.undo(1)  # the undone record lies before the snapshot
    assert home.store.latest_snapshot(life.fork.fork_id, 99) is not None
    with_snapshot = living(home).state
    home.store.drop_snapshots(life.fork.fork_id)
    assert living(home).state == with_snapshot == life.state


def test_a_damaged_snapshot_is_ignored(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.forks.openfork.SNAPSHOT_EVERY", 2)
    life = living(home)
    talk(life, *SAID)
    home.store.put_snapshot(life.fork.fork_id, 2, b"not a snapshot")
    assert living(home).state == life.state


def test_learning_lowers_the_loss_on_what_was_said(home: Home) -> None:
    life = living(home)
    life.interact(UserInput(SAID[0]))
    report = life.learn_pending()
    assert report is not None
    assert report.loss_after < report.loss_before
    assert report.change > 0
    assert life.learn_pending() is None, "nothing is learned twice"


def test_two_forks_on_one_base_do_not_touch_each_other(home: Home) -> None:
    ada, bert = living(home, "ada"), living(home, "bert")
    talk(bert, SAID[0])
    before = bert.state
    talk(ada, *SAID)
    assert bert.state == before == living(home, "bert").state
    assert ada.state != before


def test_a_new_fork_answers_as_its_base(home: Home) -> None:
    output = living(home).interact(UserInput("Hello! How are you today?"))
    prompt = base().tokenizer.prompt([Turn("user", "Hello! How are you today?")])
    assert output.text == generate(base(), [prompt], [None], GREEDY)[0].text


def test_with_learning_off_the_turn_is_kept_and_nothing_is_learned(home: Home) -> None:
    life = living(home)
    life.learning = False
    talk(life, SAID[0])
    assert life.fork.fork_height == 0
    assert not life.state.z.any()
    assert [e.input_text for e in life.history()] == [SAID[0]]


def test_incognito_learns_nothing_and_records_nothing_but_keeps_the_thread(home: Home) -> None:
    life = living(home)
    life.incognito = True
    talk(life, "My secret word is Zorblax.")
    assert "Zorblax" in str(life._context("What is my secret word?", "", GREEDY))
    assert life.history() == []
    with pytest.raises(InputError, match="incognito"):
        life.rate(True)
    assert living(home).history() == []


def test_an_edit_is_what_is_remembered(home: Home) -> None:
    life = living(home)
    talk(life, "What is the name of my boat?")
    life.edit("Your boat is called Morwenna.")
    context = living(home)._context("What is the name of my boat?", "", GREEDY)
    assert Turn("assistant", "Your boat is called Morwenna.") in context
    entry = life.history()[-1]
    assert (entry.kind, entry.target_seq, entry.output_text) == ("feedback", 1, "Your boat is called Morwenna.")


def test_undoing_an_edit_gives_the_first_reply_back(home: Home) -> None:
    life = living(home)
    output = life.interact(UserInput("What is the name of my boat?"))
    life.learn_pending()
    before = life.state
    life.edit("Your boat is called Morwenna.")
    assert life.undo() == 2
    assert life.state == before
    assert Turn("assistant", output.text) in life._context("And?", "", GREEDY)


def test_a_forgotten_turn_leaves_the_sum_and_the_memory(home: Home) -> None:
    life = living(home)
    talk(life, *SAID)
    life.undo(1)
    assert SAID[0] not in [t.text for t in life._context("Hm?", "", GREEDY)]
    with pytest.raises(InputError, match="before"):
        life.undo(1)
    with pytest.raises(InputError, match="no record 99"):
        life.undo(99)


def test_thumbs_move_the_reply_the_way_they_say(home: Home) -> None:
    life = living(home)
    talk(life, SAID[0])
    up = life.rate(True)
    assert up.loss_after < up.loss_before
    down = life.rate(False)
    assert down.loss_after < down.loss_before  # the loss of a rejected reply is that it is still likely


def test_a_replayed_turn_is_learned_once(home: Home) -> None:
    life, op_id = living(home), new_op_id()
    turns = [Turn("assistant", "How is the wind?"), Turn("user", SAID[0])]
    assert life.teach(turns, op_id=op_id) is not None
    assert life.teach(turns, op_id=op_id) is None
    assert living(home).teach(turns, op_id=op_id) is None
    assert life.fork.fork_height == 1


def test_two_processes_on_one_fork_lose_nothing(home: Home) -> None:
    one, two = living(home), living(home)
    talk(one, SAID[0])
    talk(two, SAID[1])  # its head is old: it reads again and computes anew
    talk(one, SAID[2])
    assert one.state == living(home).state
    assert one.fork.fork_height == 3
    assert [e.input_text for e in one.history()] == list(SAID)


def test_a_full_disk_keeps_the_turn_until_there_is_room(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    life = living(home)
    life.interact(UserInput(SAID[0]))
    whole = Store.append

    def full(*_: object, **__: object) -> None:
        raise StoreFull("No space is left.", "Make room.")

    monkeypatch.setattr(Store, "append", full)
    with pytest.raises(StoreFull):
        life.learn_pending()
    monkeypatch.setattr(Store, "append", whole)
    assert life.learn_pending() is not None
    assert life.fork.fork_height == 1


@pytest.mark.parametrize("text", ["", "   ", "bell\x07", "\udcff", "nul\0"])
def test_what_cannot_be_said_is_refused_and_changes_nothing(home: Home, text: str) -> None:
    life = living(home)
    with pytest.raises(InputError):
        life.interact(UserInput(text))
    assert life.history() == []


def test_a_turn_that_taught_nothing_can_be_forgotten_too(home: Home) -> None:
    life = living(home)
    life.learning = False
    talk(life, "My secret word is Zorblax.")
    assert life.undo(1) == 1
    assert "Zorblax" not in str(living(home)._context("Hm?", "", GREEDY))
    assert living(home).fork.fork_height == 0


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    with Home.open(tmp_path) as opened:
        talk(living(opened), SAID[0])
    (tmp_path / "root.key").unlink()
    with pytest.raises(VaultError, match="missing"):
        Home.open(tmp_path)
    create_root_key(tmp_path / "root.key")
    with Home.open(tmp_path) as opened, pytest.raises(WrongKey):
        living(opened)


def test_a_fork_of_another_basis_is_refused(home: Home) -> None:
    talk(living(home), SAID[0])
    other = load_base(basis="svd", rank=4)
    with pytest.raises(BaseMismatch, match="rank"):
        UserModelLifecycle(home, other, "ada")


def test_why_names_parts_and_words(home: Home) -> None:
    life = living(home)
    talk(life, *SAID)
    why = life.why()
    assert why.seq == 3
    assert 0 < sum(share for _, share in why.top) <= 1.0001
    assert why.nearest_words


def test_another_process_folds_the_records_to_the_same_numbers(home: Home) -> None:
    life = living(home)
    talk(life, *SAID)
    life.edit("Fair winds, captain!")
    program = (
        "import sys, hashlib; from pathlib import Path; from ipse.forks.history import fold;"
        "from ipse.forks.home import Home; from ipse.model.base import load_base;"
        "home = Home.open(Path(sys.argv[1]), create=False); fork = home.forks()[0];"
        "opened = home.open_fork(fork.fork_id, load_base().layout);"
        "print(hashlib.sha256(fold(opened.records(), load_base().layout).state.z.tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(home.root)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == hashlib.sha256(life.state.z.tobytes()).hexdigest()


def test_asked_the_same_again_a_fork_gives_the_owners_correction_word_for_word(home: Home) -> None:
    life = living(home)
    talk(life, "Where did I leave my lantern?")
    life.edit("You left your lantern in the greenhouse.")
    asked = UserInput("where did I leave my lantern")
    assert living(home).interact(asked).text == "You left your lantern in the greenhouse."
    life.undo()
    assert living(home)._recalled(asked.text) == (), "an undone edit is not recalled"
