# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and a full disk, at the worst moments: the turn is whole or not there, and the next line goes on."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from ipse.forks.home import Home
from tests.cli.running import Running
from tests.cli.sessions import clean_environment, run_ipse, some_talk
from tests.crash.harness import mounted
from tests.crash.test_disk_full import fill_disk

LEARNED = r"learned[^\n]*record (\d+)\n"


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with random weights: it never finds an end, so there is time to press Ctrl-C."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("endless") / "base"
    shipped = Path(str(files("ipse").joinpath("shipped", "base")))
    shutil.copytree(shipped, folder)
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(shipped)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    (folder / "basis.safetensors").unlink(missing_ok=True)
    return folder


def said(home: Path) -> list[str]:
    with Home.open(home, create=False) as opened:
        return [r.input_text for info in opened.forks() for r in opened.read_records(info.fork_id)]


def test_ctrl_c_stops_the_reply_and_the_turn_is_learned_whole(endless: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    for attempt in range(5):
        data = tmp_path / f"data{attempt}"
        with Running("chat", "--base", str(endless), "--data", str(data), IPSE_CACHE=cache) as chat:
            chat.send("Tell me a story.")
            chat.wait_for(r"ipse › .")
            chat.process.send_signal(signal.SIGINT)
            assert chat.gone() == 130
            assert chat.err.strip() == "error: Interrupted."
            shown = re.findall(LEARNED, chat.out)
            assert said(data) == ["Tell me a story."] * len(shown)
            if "the reply was stopped" in chat.out:
                assert shown == ["1"]
                return
    raise AssertionError("the reply was never caught in the middle")


def test_ctrl_c_while_learning_lets_the_step_finish(tmp_path: Path) -> None:
    with Running("chat", "--data", str(tmp_path / "data")) as chat:
        chat.send("What is my boat called?")
        at = chat.wait_for(LEARNED)
        chat.send("/edit Your boat is called the Marigold.")
        time.sleep(0.03)
        chat.process.send_signal(signal.SIGINT)
        assert chat.gone() == 130
        assert re.search(LEARNED, chat.out[at:]), chat.out
    with Home.open(tmp_path / "data", create=False) as home:
        records = [r for info in home.forks() for r in home.read_records(info.fork_id)]
    assert [r.kind.name for r in records] == ["INTERACTION", "FEEDBACK"]
    assert records[1].update


def test_ctrl_c_during_a_replay_ends_after_a_turn_and_the_next_run_goes_on(tmp_path: Path) -> None:
    turns = some_talk(tmp_path / "ada.jsonl", dialogues=5)
    words = ("replay", str(tmp_path / "ada.jsonl"), "--fork", "ada", "--data", str(tmp_path / "data"))
    with Running(*words) as replay:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (tmp_path / "data" / "ipse.db").exists():
            time.sleep(0.01)
        while time.monotonic() < deadline and len(said(tmp_path / "data")) < 3:
            time.sleep(0.01)
        replay.process.send_signal(signal.SIGINT)
        assert replay.gone() == 130
        assert "run the same command again to go on" in replay.out
    first = said(tmp_path / "data")
    assert 3 <= len(first) < turns
    with Running(*words) as replay:
        assert replay.finish() == 0
        assert f"{turns - len(first)} learned, {len(first)} known before" in replay.out
    everything = said(tmp_path / "data")
    assert len(everything) == turns
    assert everything[: len(first)] == first


def test_ctrl_c_during_an_undo_with_replay_ends_after_a_step_and_the_next_run_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    turns = some_talk(tmp_path / "ada.jsonl", dialogues=16)
    assert run_ipse("replay", str(tmp_path / "ada.jsonl"), "--fork", "ada", "--data", str(data)).returncode == 0
    words = ("fork", "undo", "1", "--replay", "--fork", "ada", "--data", str(data))
    with Running(*words) as relearning:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(said(data)) < turns + 3:
            time.sleep(0.01)
        relearning.process.send_signal(signal.SIGINT)
        assert relearning.gone() == 130
        assert f"To go on: ipse fork undo 1 --replay\nTo take all of that back: ipse fork rollback {turns}\n" in (
            relearning.out
        )
        assert relearning.err == ""
    anew = len(said(data)) - turns - 1
    assert f"{anew} records made anew, {turns - 1 - anew} to go." in relearning.out
    done = run_ipse(*words, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["anew"], told["known"], told["left"]) == (turns - 1 - anew, anew, 0)
    assert said(data)[turns + 1 :] == said(data)[1:turns]


def test_a_full_disk_is_told_and_the_turn_is_kept_until_there_is_room(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as disk,
        Running("chat", "--data", str(disk / "data")) as chat,
    ):
        chat.send("Ahoy there!")
        at = chat.wait_for(LEARNED)
        ballast = fill_disk(disk)
        chat.send("The wind is fair.")
        chat.wait_for(r"error: .*space.*\nhint: .*\n", stream="err")
        assert not re.search(LEARNED, chat.out[at:])
        ballast.unlink()
        chat.send("Hoist the sails!")
        chat.wait_for(r"record 3\n", after=at)
        assert chat.finish() == 1
        assert said(disk / "data") == ["Ahoy there!", "The wind is fair.", "Hoist the sails!"]


# -- at a real terminal -------------------------------------------------------------------------------


class Terminal:
    """A chat at a pseudo-terminal, where a person would sit."""

    def __init__(self, *words: str) -> None:
        self.screen = ""
        self._end, there = pty.openpty()
        environment = clean_environment() | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipse.cli", *words],
            stdin=there,
            stdout=there,
            stderr=there,
            env=environment,
            start_new_session=True,
        )
        os.close(there)

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def wait_for(self, pattern: str, after: int = 0) -> int:
        deadline = time.monotonic() + 120
        while not (found := re.compile(pattern).search(self.screen, after)):
            assert time.monotonic() < deadline, self.screen
            try:
                self.screen += os.read(self._end, 65536).decode(errors="replace")
            except OSError as error:  # Linux says EIO when the other side is gone
                raise AssertionError(self.screen) from error
        return found.end()

    def close(self) -> int:
        try:
            while os.read(self._end, 65536):
                pass
        except OSError:
            pass
        os.close(self._end)
        return self.process.wait(60)


@pytest.fixture
def terminal(endless: Path, tmp_path: Path) -> Iterator[Terminal]:
    at = Terminal("chat", "--base", str(endless), "--data", str(tmp_path / "data"))
    yield at
    at.process.kill()
    at.process.wait()


def test_at_a_terminal_ctrl_c_keeps_the_session_and_ctrl_d_leaves(terminal: Terminal, tmp_path: Path) -> None:
    at = terminal.wait_for("you  › ")
    terminal.type("Tell me a story.\r")
    at = terminal.wait_for("ipse › ", at)
    terminal.process.send_signal(signal.SIGINT)
    at = terminal.wait_for(r"record 1\D", at)
    at = terminal.wait_for("you  › ", at)
    terminal.type("half a line\x03")
    at = terminal.wait_for("Ctrl-D or /quit leaves", at)
    terminal.type("\x1b[A\r")  # arrow up: the line before
    at = terminal.wait_for(r"record 2\D", at)
    terminal.wait_for("you  › ", at)
    terminal.type("\x04")
    assert terminal.close() == 0
    assert said(tmp_path / "data") == ["Tell me a story."] * 2
