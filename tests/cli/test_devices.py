# SPDX-License-Identifier: Apache-2.0
"""``ipse key devices`` and ``ipse key rotate`` on forks that have records, and what can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipse.errors import WrongKey
from ipse.forks.home import KEY_NAME, NEXT_NAME, Home, confirm_root, key_ring, next_ring
from ipse.store.store import Store
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, load_root_key
from tests.cli.inprocess import Ipse
from tests.cli.test_key import is_one_error
from tests.forks.rotated import CHEAP, OLD, check_all_there, histories, made, opened_by, texts
from tests.forks.tiny import LAYOUT, append, turn

LAPTOP = RootKey(b"l" * 32)
PHONE_ID = Identity(RootKey(b"p" * 32)).public.name


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Forks of ada, who has let in a phone, of bert, whose records are of before signatures, and of cleo, with none."""
    return made(tmp_path / "home")


@pytest.fixture
def laptop(tmp_path: Path, ipse: Ipse) -> Path:
    """The public identity of another home, as that prints it."""
    key_ring(tmp_path / "laptop").add_file(LAPTOP)
    shown = ipse("key", "show", "--public", "--data", tmp_path / "laptop")
    assert (shown.code, shown.err, shown.out.count("\n")) == (0, [], 1)
    path = tmp_path / "laptop.txt"
    path.write_text(f"# my laptop\n{shown.out}")
    return path


def recorded(home: Path) -> list[bytes]:
    with Store.open(home) as store:
        return [record.data for row in store.forks() for record in store.records(row.fork_id)]


def devices(ipse: Ipse, home: Path, *words: str) -> list[tuple[str, str, str]]:
    outcome = ipse("key", "devices", *words, "--json", "--data", home)
    assert (outcome.code, outcome.err) == (0, [])
    return [(each["owner"], each["name"], each["identity"]) for each in json.loads(outcome.out)["devices"]]


def test_devices_are_listed_by_fork_with_name_id_and_record(ipse: Ipse, home: Path) -> None:
    assert devices(ipse, home) == devices(ipse, home, "list") == [("ada", "phone", PHONE_ID)]
    assert devices(ipse, home, "--fork", "bert") == []
    shown = ipse("key", "devices", "--data", home).out
    assert f"{PHONE_ID}             3  1970-01-01" in shown
    assert "No devices" in ipse("key", "devices", "--fork", "bert", "--data", home).out


def test_a_device_that_was_let_in_reads_every_fork_and_writes(ipse: Ipse, home: Path, laptop: Path) -> None:
    before = recorded(home)
    outcome = ipse("key", "devices", "add", laptop, "--name", "my laptop", "--data", home)
    name = Identity(LAPTOP).public.name
    assert (outcome.code, outcome.err) == (0, [])
    assert outcome.out.startswith(f"Let in {name} as my laptop.\n")
    assert set(before) <= set(recorded(home))
    assert devices(ipse, home) == [
        ("ada", "phone", PHONE_ID),
        ("ada", "my laptop", name),
        ("bert", "my laptop", name),
    ]
    with Home.open(home) as opened:
        for owner, said in (("ada", ["a", "b", "c"]), ("bert", ["old", "older"])):
            assert texts(opened_by(opened.store, histories(opened)[owner].row, LAPTOP)) == said
    is_one_error(ipse("key", "devices", "add", laptop, "--name", "again", "--data", home), 2, "is a member already")


def test_a_device_that_was_put_out_reads_nothing_that_comes_later(ipse: Ipse, home: Path, laptop: Path) -> None:
    ipse("key", "devices", "add", laptop, "--name", "my laptop", "--fork", "ada", "--data", home)
    assert devices(ipse, home, "--fork", "bert") == []
    outcome = ipse("key", "devices", "remove", Identity(LAPTOP).public.name[:18], "--data", home, "--json")
    assert [fork["record"] for fork in json.loads(outcome.out)["forks"]] == [6]
    assert json.loads(ipse("ledger", "show", "--json", "--data", home).out)["size"] == 2  # both are in the log
    assert devices(ipse, home) == [("ada", "phone", PHONE_ID)]
    assert ipse("key", "devices", "remove", PHONE_ID, "--fork", "ada", "--data", home).code == 0
    assert devices(ipse, home) == []
    with Home.open(home) as opened:
        history = histories(opened)["ada"]
        append(opened.open_fork(history.row.fork_id, LAYOUT), turn("secret"))
        assert texts(history) == ["a", "b", "c", "secret"]
    with Home.open(home) as opened, pytest.raises(WrongKey):
        texts(opened_by(opened.store, histories(opened)["ada"].row, LAPTOP))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("add", "NOWHERE", "--name", "x"), 2, "cannot be read"),
        (("add", "HOME", "--name", "x"), 2, "cannot be read"),
        (("add", "KEY", "--name", "x"), 1, "not the public identity"),
        (("add", "CUT", "--name", "x"), 1, "holds no public identity"),
        (("add", "FLIPPED", "--name", "x"), 1, "The X-Wing key of"),
        (("add", "TWO", "--name", "x"), 1, "not the public identity"),
        (("add", "OWN", "--name", "x"), 2, "is a member of this fork already"),
        (("add", "OWN", "--name", "x", "--fork", "ada"), 2, "is a member already"),
        (("add", "LAPTOP", "--name", " "), 2, "Expected a name"),
        (("add", "LAPTOP", "--name", "a\x1b[31m"), 2, "Expected a name"),
        (("add", "LAPTOP", "--name", "x" * 101), 2, "Expected a name"),
        (("add", "LAPTOP", "--name", "x", "--fork", "cleo"), 2, "no fork with a record"),
        (("add", "LAPTOP", "--name", "x", "--fork", "dora"), 2, "no fork of dora"),
        (("remove", "i_" + "0" * 32), 2, "No device has the id"),
        (("remove", PHONE_ID[:10]), 2, "No device has the id"),
        (("remove", PHONE_ID, "--fork", "bert"), 2, "No device has the id"),
        (("remove", ""), 2, "No device has the id"),
        (("list", "--fork", "dora"), 2, "no fork of dora"),
        (("frobnicate",), 2, "No such command"),
        (("add", "LAPTOP"), 2, "--name"),
    ],
)
def test_what_cannot_be_is_one_error_and_changes_nothing(
    ipse: Ipse, home: Path, laptop: Path, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    line = laptop.read_text().splitlines()[1]
    files = {
        "LAPTOP": laptop,
        "NOWHERE": tmp_path / "nowhere",
        "HOME": home,
        "KEY": home / KEY_NAME,
        "CUT": tmp_path / "cut.txt",
        "FLIPPED": tmp_path / "flipped.txt",
        "TWO": tmp_path / "two.txt",
        "OWN": tmp_path / "own.txt",
    }
    files["CUT"].write_text(line[:-8])
    files["FLIPPED"].write_text(f"{line[:2700]}{'/' * 400}{line[3100:]}")
    files["TWO"].write_text(f"{line}\n{line}\n")
    files["OWN"].write_text(Identity(load_root_key(home / KEY_NAME)).public.to_text())
    before = recorded(home)
    outcome = ipse("key", "devices", *(str(files.get(word, word)) for word in words), "--data", home)
    is_one_error(outcome, code, says)
    assert recorded(home) == before


def test_a_home_without_forks_has_no_devices(ipse: Ipse, tmp_path: Path) -> None:
    is_one_error(ipse("key", "devices", "--data", tmp_path / "new"), 2, "no forks")


# -- rotation -----------------------------------------------------------------------------------------


def test_a_rotated_home_opens_with_the_new_words_only(ipse: Ipse, home: Path) -> None:
    old = load_root_key(home / KEY_NAME)
    words = {"old": json.loads(ipse("key", "words", "--yes", "--json", "--data", home).out)["words"]}
    outcome = ipse("key", "rotate", "--data", home)
    assert (outcome.code, outcome.err) == (0, [])
    assert "has taken over" in outcome.out
    assert "3 forks go on" in outcome.out
    assert json.loads(ipse("ledger", "show", "--json", "--data", home).out)["size"] == 2  # all forks with records
    assert "write the new ones down: ipse key words" in outcome.out
    words["new"] = json.loads(ipse("key", "words", "--yes", "--json", "--data", home).out)["words"]
    (home / KEY_NAME).unlink()
    is_one_error(ipse("key", "restore", "--data", home, given=" ".join(words["old"])), 1, "does not open fork")
    assert ipse("key", "restore", "--data", home, given=" ".join(words["new"])).code == 0
    check_all_there(home, load_root_key(home / KEY_NAME))
    assert old != load_root_key(home / KEY_NAME)


def test_an_interrupted_rotation_is_said_by_every_command_and_finished_by_the_same_one(ipse: Ipse, home: Path) -> None:
    new = RootKey(b"n" * 32)
    next_ring(home).add_file(new)
    for words in (
        ("fork", "list"),
        ("chat",),
        ("key", "show"),
        ("key", "words", "--yes"),
        ("key", "set-passphrase"),
        ("key", "add-file"),
        ("key", "remove-file"),
        ("key", "devices"),
    ):
        outcome = ipse(*words, "--data", home)
        is_one_error(outcome, 1, "A rotation of the key was interrupted; nothing is lost.")
        assert outcome.err[1] == "hint: Run `ipse key rotate` to finish it."
    is_one_error(ipse("key", "init", "--data", home), 2, "already")
    found = json.loads(ipse("doctor", "--data", home, "--json").out)["findings"]
    assert [f["verdict"] for f in found if "was interrupted" in f["says"]] == ["bad"]
    outcome = ipse("key", "rotate", "--data", home)
    assert outcome.out.startswith("Finished: root ")
    assert load_root_key(home / KEY_NAME) == new
    assert not (home / NEXT_NAME).exists()
    assert confirm_root(home, new) == 3
    check_all_there(home, new)


def test_a_rotation_with_a_wrong_or_a_short_passphrase_is_one_error_and_changes_nothing(
    ipse: Ipse, home: Path, tmp_path: Path
) -> None:
    keys = key_ring(home)
    keys.set_passphrase(load_root_key(home / KEY_NAME), OLD, CHEAP)
    keys.remove_file(lambda: OLD)
    files = {name: tmp_path / name for name in ("right", "wrong", "short")}
    for path, text in zip(files.values(), (OLD, "not this one", "x"), strict=True):
        path.write_text(text)
        path.chmod(0o600)
    before = {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}
    for old, new, code, says in (
        ("wrong", "right", 1, "does not open"),
        ("right", "short", 2, "at least 8"),
    ):
        words = ("--passphrase-file", files[old], "--new-passphrase-file", files[new])
        is_one_error(ipse("key", "rotate", *words, "--data", home), code, says)
        assert {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()} == before
    is_one_error(ipse("key", "rotate", "--data", home), 1, "no terminal")


def test_where_forks_are_and_no_key_no_other_one_is_made(ipse: Ipse, home: Path) -> None:
    (home / KEY_NAME).unlink()
    is_one_error(ipse("key", "init", "--data", home), 1, "is missing")
    is_one_error(ipse("key", "rotate", "--data", home), 2, "There is no key")
    assert not (home / KEY_NAME).exists()
