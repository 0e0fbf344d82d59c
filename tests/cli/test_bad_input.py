# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong, there is one clear error, and nothing that was learned is lost."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ipse.cli.main import main
from ipse.errors import StoreRolledBack
from ipse.forks.home import KEY_NAME, Home
from ipse.store.store import FILE_NAME
from ipse.vault.keys import create_root_key
from tests.cli.inprocess import Ipse
from tests.crash.harness import mounted
from tests.forks.tiny import append, tiny_fork, turn

SHIPPED = Path(str(files("ipse").joinpath("shipped", "base")))
SAID = ["Ahoy there!", "The wind is fair."]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one fork that learned two turns."""
    root = tmp_path_factory.mktemp("kept") / "home"
    talk = root.parent / "talk.json"
    talk.write_text(json.dumps([{"role": "user", "content": text} for text in SAID]))
    assert main(["replay", str(talk), "--fork", "ada", "--data", str(root)]) == 0
    return root


@pytest.fixture
def home(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "home"))


def said(home: Path) -> list[str]:
    """Every message in the fork's records, opened with its key."""
    with Home.open(home, create=False) as opened:
        return [r.input_text for info in opened.forks() for r in opened.read_records(info.fork_id)]


def copied_base(folder: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, folder))


# -- the base -----------------------------------------------------------------------------------------


def without_config(folder: Path) -> Path:
    folder.mkdir()
    return folder


def cut_weights(folder: Path) -> Path:
    weights = copied_base(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return folder


def no_weights(folder: Path) -> Path:
    (copied_base(folder) / "model.safetensors").unlink()
    return folder


def broken_config(folder: Path) -> Path:
    (copied_base(folder) / "config.json").write_text("{")
    return folder


def broken_tokenizer(folder: Path) -> Path:
    (copied_base(folder) / "tokenizer.json").write_text("[]")
    return folder


def other_architecture(folder: Path) -> Path:
    config = copied_base(folder) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "bloom", "architectures": ["Bloom"]}))
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "nowhere", "no directory"),
        (lambda folder: "no-such-org/no-such-model", "no-such-org/no-such-model"),
        (without_config, "no config.json"),
        (cut_weights, "model.safetensors"),
        (no_weights, "weights"),
        (broken_config, "config.json"),
        (broken_tokenizer, "tokenizer"),
        (other_architecture, "bloom"),
    ],
)
def test_a_base_that_is_none_is_one_error(
    ipse: Ipse, home: Path, tmp_path: Path, make: Callable[[Path], Path | str], says: str
) -> None:
    outcome = ipse("chat", "--fork", "ada", "--base", make(tmp_path / "base"), "--data", home, given=b"Hello!\n")
    assert outcome.code == 1
    assert len(outcome.errors) == 1
    assert says.lower() in outcome.errors[0].lower()
    assert outcome.err[-1].startswith("hint: ")
    assert said(home) == SAID


def test_a_fork_of_another_base_or_rank_is_refused_and_says_which_it_belongs_to(
    ipse: Ipse, home: Path, tmp_path: Path
) -> None:
    other = copied_base(tmp_path / "other") / "model.safetensors"
    tensors = {name: values.copy() for name, values in _as_float32(other).items()}
    tensors["model.norm.weight"] = tensors["model.norm.weight"] + np.float32(0.5)
    save_file(tensors, other, {"format": "pt"})
    for words in (("--base", str(other.parent)), ("--rank", "3")):
        outcome = ipse("chat", "--fork", "ada", "--data", home, *words, given=b"Hello!\n")
        assert (outcome.code, len(outcome.errors)) == (1, 1)
        assert re.search(r"Fork f_\w+ belongs to base \w{16}", outcome.errors[0])
    assert said(home) == SAID


def _as_float32(path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    try:
        return {name: np.asarray(values, np.float32) for name, values in load_file(path).items()}
    except TypeError:  # bfloat16, which numpy has not
        from safetensors.torch import load_file as load_torch

        return {name: values.float().numpy() for name, values in load_torch(path).items()}


# -- the key ------------------------------------------------------------------------------------------


def other_key(home: Path) -> None:
    (home / KEY_NAME).unlink()
    create_root_key(home / KEY_NAME)


def no_key(home: Path) -> None:
    (home / KEY_NAME).unlink()


def open_key(home: Path) -> None:
    (home / KEY_NAME).chmod(0o644)


def broken_key(home: Path) -> None:
    (home / KEY_NAME).write_bytes(b"\xff not a key")


# -- the store ----------------------------------------------------------------------------------------


def other_file(home: Path) -> None:
    (home / FILE_NAME).write_bytes(b"These are my holiday pictures. " * 400)


def other_database(home: Path) -> None:
    (home / FILE_NAME).unlink()
    _sql(home, "CREATE TABLE holidays (place TEXT)")


def newer_tables(home: Path) -> None:
    _sql(home, "PRAGMA user_version = 99")


def changed_record(home: Path) -> None:
    _sql(home, "UPDATE record SET data = zeroblob(length(data)) WHERE seq = 2")


def missing_record(home: Path) -> None:
    _sql(home, "DELETE FROM record WHERE seq = 1")


def overwritten_pages(home: Path) -> None:
    path = home / FILE_NAME
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)


def _sql(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / FILE_NAME)) as database:
        database.execute(statement)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (other_key, "does not open fork"),
        (no_key, "is missing"),
        (open_key, "root.key"),
        (broken_key, "root.key"),
        (other_file, FILE_NAME),
        (other_database, "another program"),
        (newer_tables, "newer Ipse"),
        (changed_record, "record 2"),
        (missing_record, "record 1"),
        (overwritten_pages, ""),
    ],
)
def test_a_key_or_store_that_is_wrong_is_one_error_and_is_left_as_it_is(
    ipse: Ipse, home: Path, harm: Callable[[Path], None], says: str
) -> None:
    harm(home)
    before = (home / FILE_NAME).read_bytes()
    outcome = ipse("chat", "--fork", "ada", "--data", home, given=b"Hello!\n")
    assert outcome.code == 1
    assert len(outcome.errors) == 1
    assert says.lower() in outcome.errors[0].lower()
    assert "learned" not in outcome.out
    assert (home / FILE_NAME).read_bytes() == before
    healed = ipse("doctor", "--data", home)
    assert (healed.code, healed.errors) == (1, [])
    assert "bad " in healed.out


def test_verify_fails_with_the_number_of_the_record_that_is_wrong(ipse: Ipse, home: Path) -> None:
    assert ipse("fork", "verify", "--fork", "ada", "--data", home).code == 0
    changed_record(home)
    outcome = ipse("fork", "verify", "--fork", "ada", "--data", home, "--json")
    assert (outcome.code, outcome.out) == (1, "")
    assert [line for line in outcome.errors if "Record 2 of fork" in line] == outcome.errors != []


def test_after_the_right_key_is_put_back_everything_is_there(ipse: Ipse, home: Path) -> None:
    key = (home / KEY_NAME).read_bytes()
    other_key(home)
    assert ipse("fork", "history", "--fork", "ada", "--data", home).code == 1
    (home / KEY_NAME).write_bytes(key)
    assert said(home) == SAID


def test_a_file_where_the_folder_should_be_is_one_error(ipse: Ipse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    outcome = ipse("chat", "--data", tmp_path / "file", given=b"Hello!\n")
    assert (outcome.code, len(outcome.errors)) == (1, 1)
    assert ipse("doctor", "--data", tmp_path / "file").code == 1


def test_a_folder_that_cannot_be_written_is_one_error(ipse: Ipse, home: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "seen", "--bind", "-o", "ro", str(home)) as seen:
        outcome = ipse("chat", "--fork", "ada", "--data", seen, given=b"Hello!\n")
    assert (outcome.code, len(outcome.errors)) == (1, 1)
    assert "cannot be written" in outcome.errors[0]
    assert said(home) == SAID


# -- messages -----------------------------------------------------------------------------------------

UNUSABLE = {
    b"": "empty",
    b"   \t": "empty",
    b"\xff\xfe words": "Line 3 of standard input is not UTF-8",
    b"red \x1b[31m": "U+001B",
    b"nul \x00": "U+0000",
    b"word " * 2000: "window",
    b"/frobnicate": "Unknown command",
    b"/undo x": "record number",
    b"/undo 99": "no record 99",
    b"/edit": "/edit",
    b"/good very": "takes no argument",
}


def test_messages_that_cannot_be_used_are_told_one_by_one_and_the_session_goes_on(ipse: Ipse, home: Path) -> None:
    given = b"\n".join([*UNUSABLE, b"Fair winds!", b""])
    outcome = ipse("chat", "--fork", "ada", "--data", home, given=given)
    assert outcome.code == 2
    assert len(outcome.errors) == len(UNUSABLE)
    for error, says in zip(outcome.errors, UNUSABLE.values(), strict=True):
        assert says in error
    assert said(home) == [*SAID, "Fair winds!"]


@pytest.mark.parametrize("words", [["/good"], ["/bad"], ["/edit Ahoy!"], ["/undo"], ["/why"]])
def test_judging_before_anything_was_said_is_one_error(ipse: Ipse, tmp_path: Path, words: list[str]) -> None:
    outcome = ipse("chat", "--data", tmp_path / "new", given=words[0].encode() + b"\n")
    assert (outcome.code, len(outcome.errors)) == (2, 1)


@pytest.mark.parametrize(
    ("prompt", "says"), [("", "empty"), ("\x00", "U+0000"), ("\udcff", "surrogate"), ("word " * 2000, "window")]
)
def test_a_prompt_that_cannot_be_used_is_one_error(ipse: Ipse, prompt: str, says: str) -> None:
    outcome = ipse("generate", "--bare", prompt)
    assert (outcome.code, len(outcome.errors)) == (2, 1)
    assert says in outcome.errors[0]


def test_a_prompt_on_standard_input_must_be_utf_8(ipse: Ipse) -> None:
    outcome = ipse("generate", "--bare", "-", given=b"caf\xe9")
    assert (outcome.code, len(outcome.errors)) == (2, 1)
    assert "not UTF-8" in outcome.errors[0]


def test_a_bad_transcript_teaches_nothing(ipse: Ipse, home: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"user": "a", "turns": [["user", "Hello!"]]}\n{"user": "a", "turns": [["user", "\xff"]]}\n')
    outcome = ipse("replay", bad, "--fork", "ada", "--data", home)
    assert (outcome.code, len(outcome.errors)) == (2, 1)
    assert "line 2" in outcome.errors[0]
    bad.write_bytes(b'{"user": "a", "turns": [["user", "x"]]}\n{"user": "b", "turns": [["user", "y"]]}\n')
    outcome = ipse("replay", bad, "--fork", "ada", "--data", home)
    assert (outcome.code, len(outcome.errors)) == (2, 1)
    assert "--user" in outcome.err[-1]
    assert said(home) == SAID


@pytest.fixture(autouse=True)
def _nothing_is_left_of_logging() -> Iterator[None]:
    """`main` configures logging for a process; here many commands share one."""
    import logging

    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before


def test_nothing_is_learned_on_an_older_copy_until_its_owner_says_so(tmp_path: Path, ipse: Ipse) -> None:
    home = tmp_path / "home"
    with Home.open(home) as opened:
        append(tiny_fork(opened), turn("one"))
    shutil.copy(home / "ipse.db", tmp_path / "copy")
    with Home.open(home) as opened:
        append(tiny_fork(opened), turn("two"))
    shutil.copy(tmp_path / "copy", home / "ipse.db")
    with Home.open(home) as opened, pytest.raises(StoreRolledBack, match="an older copy was put back") as refused:
        append(tiny_fork(opened), turn("three"))
    assert "ipse fork go-on" in refused.value.hint
    asked = ipse("fork", "go-on", "--fork", "ada", "--data", home)
    assert (asked.code, len(asked.errors)) == (2, 1)
    assert ipse("fork", "go-on", "--fork", "ada", "--yes", "--data", home).code == 0
    with Home.open(home) as opened:
        append(tiny_fork(opened), turn("three"))
        assert [r.input_text for r in opened.read_records(tiny_fork(opened).row.fork_id)] == ["one", "three"]
