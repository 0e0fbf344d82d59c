# SPDX-License-Identifier: Apache-2.0
"""A fork of the shipped base on another installation: the same answers, height and root, and it goes on learning."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from ipse.forks.carry import carried_out, received, take_in
from ipse.forks.home import Home, now_ms
from ipse.forks.interact import UserInput, UserModelLifecycle
from ipse.forks.members import let_in
from ipse.forks.publish import publish
from ipse.ledger.forkhead import head_of
from ipse.ledger.log import LogWriter
from ipse.model.base import Base, load_base
from ipse.model.chat import Turn
from ipse.model.generate import Sampling
from ipse.vault.keys import RootKey, load_root_key, write_root_key
from ipse.vault.words import root_of, words_of
from ipse.wire.ids import ForkId

GREEDY = Sampling(temperature=0.0, max_new_tokens=12)
SAID = ("Ahoy! The wind is fair today.", "I keep my boat in the harbour, matey.", "Fair winds to ye!")
ASKED = ("Hello! How are you today?", "Where do I keep my boat?")


@cache
def base() -> Base:
    return load_base()


def living(home: Home, fork_id: ForkId | None = None) -> UserModelLifecycle:
    return UserModelLifecycle(home, base(), "ada", fork_id=fork_id, sampling=GREEDY)


def answers(home: Home, fork_id: ForkId) -> list[str]:
    """What it says, learning and recording nothing."""
    told = []
    for text in ASKED:
        life = living(home, fork_id)
        life.incognito = True
        told.append(life.interact(UserInput(text)).text)
    return told


@pytest.mark.parametrize("as_device", [False, True], ids=["the owner's root, by its words", "a device's own root"])
def test_another_installation_with_another_log_gives_the_same_answers_height_and_root_and_learns_on(
    tmp_path: Path, as_device: bool
) -> None:
    with Home.open(tmp_path / "here") as here:
        life = living(here)
        for text in SAID:
            life.teach([Turn("user", text)], reply="Aye.")
        life.edit("Fair winds to thee too, captain!")
        life.undo(1)
        fork_id = life.fork.fork_id
        root = RootKey(b"d" * 32) if as_device else root_of(" ".join(words_of(load_root_key(here.keys.key_path))))
        write_root_key(tmp_path / "there" / "root.key", root)
        with Home.open(tmp_path / "there") as there:
            if as_device:
                let_in(here.sealed(fork_id), there.identity.public, "laptop", now_ms())
            publish(here)
            publish(there)
            assert LogWriter.open(there.store).log.keys != LogWriter.open(here.store).log.keys
            bundle = received(there, carried_out(here, fork_id, [there.identity.public]))
            take_in(there, bundle)
            one, other = here.open_fork(fork_id, base().layout), there.open_fork(fork_id, base().layout)
            assert other.folded.same_as(one.folded)
            assert (other.fork.fork_height, other.fork.state) == (one.fork.fork_height, one.fork.state)
            assert head_of(fork_id, there.store.digests(fork_id)) == head_of(fork_id, here.store.digests(fork_id))
            assert answers(there, fork_id) == answers(here, fork_id)

            goes_on = living(there, fork_id)
            before = goes_on.fork.fork_height
            goes_on.teach([Turn("user", "My boat is called Zorblax.")], reply="A fine name.")
            assert goes_on.fork.fork_height == before + 1
            take_in(here, received(here, carried_out(there, fork_id, [here.identity.public])))
            assert here.open_fork(fork_id, base().layout).fork.state == goes_on.state
