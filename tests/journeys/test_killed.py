# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment of a chat or of a replay: what was shown as learned is there, once, and the fork goes on."""

from __future__ import annotations

import random
import re
import shutil
import time
from pathlib import Path

import pytest

from ipse.forks.history import fold
from ipse.forks.home import Home
from ipse.ledger.record import Record, RecordKind
from ipse.model.base import load_base
from tests.cli.running import Running
from tests.cli.sessions import run_ipse, some_talk

LEARNED = re.compile(r"record (\d+)\n")


def opened(data: Path) -> list[Record]:
    """Every record of the one fork; the whole chain is checked on the way, and that its fold is its state."""
    layout = load_base().layout
    with Home.open(data, create=False) as home:
        (info,) = home.forks()
        fork = home.open_fork(info.fork_id, layout)
        records = list(fork.records())
        folded = fold(records, layout)
        assert folded.state == fork.fork.state
        assert folded.head == fork.folded.head
    return [record for record, _ in records]


def kill_chats(data: Path, rounds: int, seed: int) -> None:
    randomness = random.Random(seed)
    shown = kept = 0
    for number in range(rounds):
        messages = [f"Round {number}, message {count}: fair winds!" for count in range(40)]
        with Running("chat", "--data", str(data)) as chat:
            chat.send(*messages)
            chat.wait_for("ipse › ")  # it runs; from here on any moment will do
            time.sleep(randomness.uniform(0, 1.2))
            chat.process.kill()
            chat.gone()
        told = [int(seq) for seq in LEARNED.findall(chat.out)]
        records = opened(data)
        assert told == list(range(kept + 1, kept + 1 + len(told)))
        assert kept + len(told) <= len(records) <= kept + len(told) + 1  # one more may be whole, not yet shown
        mine = records[kept:]
        assert [r.input_text for r in mine] == messages[: len(mine)]
        assert all(r.kind == RecordKind.INTERACTION and r.update for r in mine)
        kept, shown = len(records), shown + len(told)
    assert shown


def kill_replays(folder: Path, kills: int, seed: int, dialogues: int) -> None:
    randomness = random.Random(seed)
    data, talk = folder / "data", folder / "ada.jsonl"
    turns = some_talk(talk, dialogues)
    words = ("replay", str(talk), "--fork", "ada", "--data", str(data))
    kept = 0
    for _ in range(kills):
        with Running(*words) as replay:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and _records(data) <= kept and replay.process.poll() is None:
                time.sleep(0.01)
            time.sleep(randomness.uniform(0, 0.4))
            replay.process.kill()
            replay.gone()
        kept = len(opened(data))
    with Running(*words) as replay:
        assert replay.finish() == 0
        assert f"{turns - kept} learned, {kept} known before" in replay.out
    records = opened(data)
    assert len(records) == turns
    assert len({r.op_id for r in records}) == turns


def kill_relearning(folder: Path, kills: int, seed: int, dialogues: int) -> None:
    """Killed again and again, finished at last: the same numbers as in a fork that was never killed."""
    randomness = random.Random(seed)
    data, other, talk = folder / "data", folder / "other", folder / "ada.jsonl"
    turns = some_talk(talk, dialogues)
    assert run_ipse("replay", str(talk), "--fork", "ada", "--data", str(data)).returncode == 0
    shutil.copytree(data, other)
    words = ("fork", "undo", "2", "--replay", "--fork", "ada", "--data")
    killed = 0
    for _ in range(kills):
        kept = len(opened(data))
        with Running(*words, str(data)) as relearning:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and _records(data) <= kept and relearning.process.poll() is None:
                time.sleep(0.01)
            time.sleep(randomness.uniform(0, 0.1))
            relearning.process.kill()
            killed += relearning.gone() != 0
    assert killed
    for folder_ in (data, other):
        assert run_ipse(*words, str(folder_)).returncode == 0
    records, straight = opened(data), opened(other)
    assert [r.input_text for r in records] == [r.input_text for r in straight]
    assert [r.update for r in records] == [r.update for r in straight]
    assert [r.prior_update for r in records] == [r.prior_update for r in straight]
    assert len(records) == turns + 1 + turns - 2


def _records(data: Path) -> int:
    if not (data / "root.key").exists():  # made last: from here on there is a home
        return 0
    with Home.open(data, create=False) as home:
        return sum(info.records for info in home.forks())


def test_a_chat_killed_in_the_middle_keeps_what_it_showed_as_learned(tmp_path: Path) -> None:
    kill_chats(tmp_path / "data", rounds=2, seed=1)


def test_a_replay_killed_in_the_middle_learns_every_turn_once(tmp_path: Path) -> None:
    kill_replays(tmp_path, kills=2, seed=2, dialogues=4)


def test_an_undo_with_replay_killed_in_the_middle_is_finished_by_the_same_command(tmp_path: Path) -> None:
    kill_relearning(tmp_path, kills=2, seed=5, dialogues=8)


@pytest.mark.slow
def test_a_chat_killed_twenty_times_keeps_what_it_showed_as_learned(tmp_path: Path) -> None:
    kill_chats(tmp_path / "data", rounds=20, seed=3)


@pytest.mark.slow
def test_a_replay_killed_ten_times_learns_every_turn_once(tmp_path: Path) -> None:
    kill_replays(tmp_path, kills=10, seed=4, dialogues=16)
