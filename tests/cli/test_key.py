# SPDX-License-Identifier: Apache-2.0
"""``ipse key`` and a home behind a passphrase: what a person types, and everything that can be wrong with it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipse.forks.home import KEY_NAME, WRAP_NAME, Home, key_ring
from ipse.model.layout import build_layout
from ipse.vault.keyring import nobody_to_ask
from ipse.vault.keys import RootKey, load_root_key
from ipse.vault.words import words_of
from ipse.vault.wraps import Cost, load_wrap
from tests.cli.inprocess import Ipse, Outcome
from tests.cli.sessions import clean_environment
from tests.crash.harness import mounted
from tests.crash.test_disk_full import fill_disk

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
PASSPHRASE = "correct horse battery"
SHOWN = re.compile(r"(?:^|\s)(\d{1,2}) ([a-z]+)(?=\s)")
"""A recovery word with its number."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one fork, its key file and a passphrase."""
    root = tmp_path / "home"
    layout = build_layout("0" * 16, "0" * 64, 2, (("layers.0.o", "attention"),), hidden_size=4, layers=1)
    with Home.open(root) as opened:
        opened.create_fork("ada", layout, "a-base")
    keys = key_ring(root)
    keys.set_passphrase(keys.open(nobody_to_ask), PASSPHRASE, CHEAP)
    return root


@pytest.fixture
def locked(home: Path) -> Path:
    """The same without the key file."""
    key_ring(home).remove_file(lambda: PASSPHRASE)
    return home


@pytest.fixture
def secret(tmp_path: Path) -> Callable[..., Path]:
    """A passphrase file with these bytes."""

    def write(data: str | bytes = PASSPHRASE + "\n", mode: int = 0o600) -> Path:
        path = tmp_path / "passphrase"
        path.unlink(missing_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        return path

    return write


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def is_one_error(outcome: Outcome, code: int, says: str) -> None:
    assert (outcome.code, len(outcome.errors)) == (code, 1), outcome
    assert says in outcome.errors[0]
    assert len([line for line in outcome.err if line.startswith("hint: ")]) == 1
    assert outcome.out == ""


# -- opening a home ------------------------------------------------------------------------------------


def test_a_passphrase_file_opens_a_locked_home(
    ipse: Ipse, locked: Path, secret: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ada" in ipse("fork", "list", "--data", locked, "--passphrase-file", secret()).out
    monkeypatch.setenv("IPSE_PASSPHRASE_FILE", str(secret(PASSPHRASE)))
    assert "ada" in ipse("fork", "list", "--data", locked).out
    found = json.loads(ipse("doctor", "--data", locked, "--json").out)["findings"]
    assert {f["what"]: f["verdict"] for f in found if f["what"] in ("key", "passphrase", "forks")} == {
        "passphrase": "ok",
        "forks": "ok",
    }


def test_a_wrong_passphrase_is_one_error_and_changes_nothing(
    ipse: Ipse, locked: Path, secret: Callable[..., Path]
) -> None:
    before = contents(locked)
    for words in (("fork", "list"), ("chat",), ("key", "words", "--yes"), ("key", "add-file")):
        is_one_error(ipse(*words, "--data", locked, "--passphrase-file", secret("wrong\n")), 1, "does not open")
        is_one_error(ipse(*words, "--data", locked), 1, "no terminal to ask")
    assert contents(locked) == before


@pytest.mark.parametrize(
    ("data", "mode", "says"),
    [
        (PASSPHRASE, 0o644, "Other users may read"),
        (f"{PASSPHRASE}\nand more\n", 0o600, "more than one line"),
        (b"\xff\xfe", 0o600, "not UTF-8"),
        ("", 0o600, "empty"),
        ("x" * 9000, 0o600, "more than one line"),
        ("x" * 2000, 0o600, "1024"),
    ],
)
def test_a_passphrase_file_that_cannot_be_used_is_one_error(
    ipse: Ipse, locked: Path, secret: Callable[..., Path], data: str | bytes, mode: int, says: str
) -> None:
    is_one_error(ipse("fork", "list", "--data", locked, "--passphrase-file", secret(data, mode)), 2, says)


def test_a_passphrase_file_that_is_not_there_is_one_error(ipse: Ipse, locked: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        is_one_error(ipse("fork", "list", "--data", locked, "--passphrase-file", path), 2, "cannot be read")


def test_a_damaged_wrap_is_one_error_and_the_doctor_knows_it(
    ipse: Ipse, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = (home / WRAP_NAME).read_bytes()
    (home / WRAP_NAME).write_bytes(data.replace(b"sealed ", b"sealed 0", 1))
    is_one_error(ipse("key", "show", "--data", home), 1, "damaged")
    with_key = ipse("fork", "list", "--data", home)
    assert (with_key.code, with_key.errors) == (0, [])
    assert "damaged" in caplog.text  # a warning: the key file still opens
    assert ipse("doctor", "--data", home).code == 1
    (home / KEY_NAME).unlink()
    before = contents(home)
    is_one_error(ipse("fork", "list", "--data", home), 1, "damaged")
    assert contents(home) == before


def test_a_wrap_of_another_root_beside_the_key_file_is_one_error(ipse: Ipse, home: Path, tmp_path: Path) -> None:
    apart = key_ring(tmp_path / "apart")
    apart.set_passphrase(RootKey(bytes(32)), PASSPHRASE, CHEAP)
    (home / WRAP_NAME).write_bytes(apart.wrap_path.read_bytes())
    before = contents(home)
    for words in (("fork", "list"), ("key", "show"), ("key", "words", "--yes"), ("key", "remove-passphrase")):
        is_one_error(ipse(*words, "--data", home), 1, "is of root de6f14fe")
    assert contents(home) == before


# -- words ---------------------------------------------------------------------------------------------


def test_the_words_bring_a_lost_key_back(ipse: Ipse, home: Path) -> None:
    shown = json.loads(ipse("key", "words", "--yes", "--json", "--data", home).out)["words"]
    key = (home / KEY_NAME).read_bytes()
    (home / KEY_NAME).unlink()
    (home / WRAP_NAME).unlink()
    is_one_error(ipse("fork", "list", "--data", home), 1, "is missing")
    assert "it opens the 1 fork here" in ipse("key", "restore", "--data", home, given=" ".join(shown)).out
    assert (home / KEY_NAME).read_bytes() == key
    assert "has this key already" in ipse("key", "restore", "--data", home, given="\n".join(shown)).out


def test_words_that_are_printed_can_be_given_back_as_they_are(ipse: Ipse, home: Path) -> None:
    shown = ipse("key", "words", "--yes", "--data", home).out.splitlines()[:6]
    (home / KEY_NAME).unlink()
    assert ipse("key", "restore", "--data", home, given="\n".join(shown)).code == 0


def test_words_that_are_wrong_are_one_error_and_write_nothing(ipse: Ipse, home: Path) -> None:
    right = words_of(load_root_key(home / KEY_NAME))
    (home / KEY_NAME).unlink()
    before = contents(home)
    swapped = next(
        [*right[:at], right[at + 1], right[at], *right[at + 2 :]] for at in range(23) if right[at] != right[at + 1]
    )
    for given, code, says in (
        ([*right[:6], "abandonn", *right[7:]], 2, "Word 7, 'abandonn'"),
        (right[:23], 2, "got 23"),
        ([], 2, "got 0"),
        (["abandon"] * 24, 1, "do not belong together"),
        (["zoo"] * 23 + ["vote"], 1, "does not open fork f_"),
    ):
        is_one_error(ipse("key", "restore", "--data", home, given=" ".join(given)), code, says)
    outcome = ipse("key", "restore", "--data", home, given=" ".join(swapped))
    assert outcome.code == 1  # by the checksum, or, once in 256 times, by the fork
    is_one_error(ipse("key", "restore", "--data", home, given=b"\xff\xfe"), 2, "not UTF-8")
    assert contents(home) == before


def test_the_key_file_of_another_root_is_never_overwritten(ipse: Ipse, tmp_path: Path) -> None:
    words = {name: " ".join(words_of(RootKey(bytes([name] * 32)))) for name in (0, 1)}
    folder = tmp_path / "new"
    assert ipse("key", "restore", "--data", folder, given=words[0]).code == 0
    before = contents(folder)
    is_one_error(ipse("key", "restore", "--data", folder, given=words[1]), 1, "is of root de6f14fe")
    assert contents(folder) == before


# -- places --------------------------------------------------------------------------------------------


def test_on_a_full_disk_each_command_is_one_error_and_nothing_is_lost(
    ipse: Ipse, home: Path, secret: Callable[..., Path], tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        for name in (KEY_NAME, WRAP_NAME):
            (disk / name).write_bytes((home / name).read_bytes())
            (disk / name).chmod(0o600)
        before = contents(disk)
        ballast = fill_disk(disk)
        file = secret("another one entirely")
        outcome = ipse("key", "set-passphrase", "--data", disk, "--new-passphrase-file", file)
        is_one_error(outcome, 1, "cannot be written: No space left")
        ballast.unlink()
        assert contents(disk) == before


def test_in_a_folder_that_cannot_be_written_each_command_is_one_error(
    ipse: Ipse, home: Path, secret: Callable[..., Path], tmp_path: Path
) -> None:
    before = contents(home)
    with mounted(tmp_path / "seen", "--bind", "-o", "ro", str(home)) as seen:
        if os.access(seen, os.W_OK):
            pytest.skip("bind mounts cannot be made read-only here")
        file = ("--passphrase-file", secret())
        is_one_error(ipse("key", "remove-file", "--data", seen, *file), 1, "cannot be removed: Read-only")
        is_one_error(ipse("key", "remove-passphrase", "--data", seen), 1, "cannot be removed: Read-only")
        new = ("--new-passphrase-file", secret())
        is_one_error(ipse("key", "set-passphrase", "--data", seen, *new), 1, "cannot be written: Read-only")
        assert ipse("key", "show", "--data", seen).code == 0
    assert contents(home) == before


# -- a person at a terminal ----------------------------------------------------------------------------


class Terminal:
    """``ipse WORDS...`` on a terminal of its own."""

    def __init__(self, *words: str | Path) -> None:
        self.seen = ""
        self._child, self._master = pty.fork()
        if not self._child:
            arguments = [sys.executable, "-m", "ipse.cli", *map(str, words)]
            os.execve(sys.executable, arguments, clean_environment())

    def type(self, prompt: str, line: str, after: int = 0) -> int:
        """Wait for a prompt after a position, answer it; returns where it ended."""
        deadline = time.monotonic() + 60
        while prompt not in self.seen[after:]:
            assert self._read(deadline - time.monotonic()), f"never saw {prompt!r}:\n{self.seen}"
        os.write(self._master, f"{line}\n".encode())
        return self.seen.index(prompt, after) + len(prompt)

    def code(self) -> int:
        """Its exit code, after everything that it printed."""
        while self._read(60):
            pass
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # it has ended
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


def test_a_passphrase_is_typed_twice_and_never_shown(home: Path) -> None:
    terminal = Terminal("key", "set-passphrase", "--data", home)
    at = terminal.type("New passphrase", "a slip of the hand")
    at = terminal.type("The same again", "a slip of the hnad", at)
    at = terminal.type("New passphrase", "another one entirely", at)
    terminal.type("The same again", "another one entirely", at)
    assert terminal.code() == 0
    assert "slip" not in terminal.seen
    assert "entirely" not in terminal.seen
    assert load_wrap(home / WRAP_NAME).open("another one entirely") == load_root_key(home / KEY_NAME)


def test_a_locked_home_asks_for_its_passphrase(locked: Path) -> None:
    terminal = Terminal("fork", "list", "--data", locked)
    terminal.type("Passphrase of your key", PASSPHRASE)
    assert terminal.code() == 0
    assert "ada" in terminal.seen
    assert PASSPHRASE not in terminal.seen
    terminal = Terminal("fork", "list", "--data", locked)
    terminal.type("Passphrase of your key", "something else")
    assert terminal.code() == 1
    assert "does not open" in terminal.seen


def test_the_words_are_shown_only_after_a_yes(home: Path) -> None:
    words = words_of(load_root_key(home / KEY_NAME))
    terminal = Terminal("key", "words", "--data", home)
    terminal.type("Show them? [y/N]", "n")
    assert terminal.code() == 130
    assert SHOWN.findall(terminal.seen) == []
    terminal = Terminal("key", "words", "--data", home)
    terminal.type("Show them? [y/N]", "y")
    assert terminal.code() == 0
    assert SHOWN.findall(terminal.seen) == [(str(number), word) for number, word in enumerate(words, 1)]


def test_a_misspelt_word_is_said_at_once_and_typed_again(home: Path) -> None:
    words = words_of(load_root_key(home / KEY_NAME))
    (home / KEY_NAME).unlink()
    terminal = Terminal("key", "restore", "--data", home)
    at = terminal.type("Word 1, or several", " ".join(words[:12]))
    at = terminal.type("Word 13, or several", " ".join(["ahoy", *words[13:]]), at)
    terminal.type("Word 13, or several", " ".join(words[12:]), at)
    assert terminal.code() == 0
    assert "ahoy is not a recovery word" in terminal.seen
    assert (home / KEY_NAME).exists()


@pytest.fixture(autouse=True)
def _nothing_is_left_of_logging() -> Iterator[None]:
    """`main` configures logging for a process; here many commands share one."""
    import logging

    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before
