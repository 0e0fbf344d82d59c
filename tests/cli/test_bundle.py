# SPDX-License-Identifier: Apache-2.0
"""Bundles by command: another installation, a device, and everything that can be wrong with one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ipse.forks.home import Home
from ipse.model.base import load_base
from tests.cli.inprocess import Ipse, Outcome
from tests.forks.tiny import Life
from tests.model.tiny_families import random_model, save

TALK = Path(__file__).parent / "talk.json"


@pytest.fixture
def here(ipse: Ipse, tmp_path: Path) -> Path:
    assert ipse("replay", TALK, "--fork", "ada", "--data", tmp_path / "here").code == 0
    return tmp_path / "here"


def another(home: Path, name: str) -> Path:
    """A folder with the same key and nothing else."""
    folder = home.parent / name
    folder.mkdir(mode=0o700)
    shutil.copy(home / "root.key", folder / "root.key")
    return folder


def exported(ipse: Ipse, home: Path, name: str, *more: str | Path) -> Path:
    target = home.parent / name
    done = ipse("export", target, "--format", "bundle", "--fork", "ada", "--data", home, *more)
    assert (done.code, done.err) == (0, [])
    return target


def answer(ipse: Ipse, home: Path) -> str:
    done = ipse("generate", "Hello!", "--greedy", "--max-tokens", "8", "--fork", "ada", "--data", home, "--json")
    assert done.code == 0
    told = json.loads(done.out)
    return f"{told['height']} {told['answers'][0]['text']}"


def one_error(done: Outcome, code: int) -> str:
    assert (done.code, len(done.errors), len(done.err)) == (code, 1, 2), done.err
    return done.errors[0]


def test_another_installation_has_the_fork_and_what_it_learns_comes_back(ipse: Ipse, here: Path) -> None:
    bundle = exported(ipse, here, "ada.bundle")
    there = another(here, "there")
    told = json.loads(ipse("import", bundle, "--data", there, "--json").out)
    assert (told["owner"], told["new"], told["added"], told["records"], told["base_checked"]) == (
        "ada",
        True,
        3,
        3,
        True,
    )
    assert [head["size"] for head in told["published"]] == [3]
    assert told["published"][0]["origin"] == json.loads(ipse("ledger", "show", "--data", here, "--json").out)["origin"]
    assert json.loads(ipse("ledger", "show", "--data", there, "--json").out)["size"] == 1
    assert answer(ipse, there) == answer(ipse, here)
    more = here.parent / "more.json"
    more.write_text('[{"role": "user", "content": "The wind is fair today."}]')
    assert ipse("replay", more, "--fork", "ada", "--data", there).code == 0
    back = ipse("import", exported(ipse, there, "back.bundle"), "--data", here)
    assert back.out.startswith("Added 1 record to the fork of ada, which has 4 records now.\n")
    old = ipse("import", bundle, "--data", here)
    assert (old.code, old.out) == (0, "The fork of ada is here already, and 1 record further than the bundle.\n")
    assert ipse("fork", "verify", "--fork", "ada", "--data", here).code == 0


def test_a_device_that_was_let_in_takes_it_and_a_stranger_does_not(ipse: Ipse, here: Path, tmp_path: Path) -> None:
    phone, bundle, identity = (tmp_path / name for name in ("phone", "phone.bundle", "phone.identity"))
    assert ipse("key", "init", "--data", phone).code == 0
    identity.write_text(ipse("key", "show", "--public", "--data", phone).out)
    words = ("export", bundle, "--format", "bundle", "--fork", "ada", "--data", here, "--to", identity)
    refused = ipse(*words)
    assert "is not a member of fork" in one_error(refused, 2)
    assert "ipse key devices add" in refused.err[1]
    assert not bundle.exists()
    assert ipse("key", "devices", "add", identity, "--name", "phone", "--data", here).code == 0
    assert ipse(*words).code == 0
    told = json.loads(ipse("import", bundle, "--data", phone, "--json").out)
    assert (told["added"], told["records"]) == (4, 4)
    assert answer(ipse, phone) == answer(ipse, here)
    assert "is sealed to i_" in one_error(ipse("import", bundle, "--data", another(here, "x")), 1)


def test_whatever_is_wrong_with_a_bundle_is_one_error_and_no_fork(ipse: Ipse, here: Path, tmp_path: Path) -> None:
    data = exported(ipse, here, "ada.bundle").read_bytes()
    there = another(here, "there")
    bad = {
        "cut": data[:-1],
        "empty": b"",
        "foreign": TALK.read_bytes(),
        "newer": data.replace(b"bundle 1", b"bundle 2", 1),
        "outside": data.replace(data[20:30], bytes(10), 1),
        "inside": data[:-500] + bytes(1) + data[-499:],
        "longer": data + b"\n",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        said = one_error(ipse("import", tmp_path / name, "--data", there), 1)
        assert ("newer Ipse: form 2, known 1" in said) == (name == "newer")
    for path in (tmp_path / "absent", tmp_path):
        one_error(ipse("import", path, "--data", there), 2)
    one_error(ipse("import", tmp_path / "cut", "--data", there, "--fork", "ada"), 2)
    one_error(ipse("import", tmp_path / "cut", "--data", there, "--peft", tmp_path), 2)
    assert json.loads(ipse("fork", "list", "--data", there, "--json").out)["forks"] == []


def test_what_an_export_cannot_do_is_one_error_and_no_file(ipse: Ipse, here: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.bundle"
    words = ("export", target, "--format", "bundle", "--data", here)
    one_error(ipse(*words, "--fork", "nobody"), 2)
    one_error(ipse(*words, "--fork", "ada", "--to", tmp_path / "absent"), 2)
    one_error(ipse(*words, "--fork", "ada", "--to", TALK), 1)
    one_error(ipse(*words, "--fork", "ada", "--to", tmp_path), 2)
    one_error(ipse("export", target, "--fork", "ada", "--data", here, "--to", TALK), 2)
    one_error(ipse("export", here, "--format", "bundle", "--fork", "ada", "--data", here), 2)
    assert not target.exists()


def test_the_file_is_for_its_owner_alone(ipse: Ipse, here: Path) -> None:
    assert exported(ipse, here, "ada.bundle").stat().st_mode & 0o777 == 0o600


def test_a_fork_of_another_base_is_refused_by_both_names_unless_you_insist(
    ipse: Ipse, here: Path, tmp_path: Path
) -> None:
    bundle = exported(ipse, here, "ada.bundle")
    there = another(here, "there")
    save(random_model("llama"), tmp_path / "other-base")
    said = one_error(ipse("import", bundle, "--data", there, "--base", tmp_path / "other-base"), 1)
    other = json.loads(ipse("base", "show", "--base", tmp_path / "other-base", "--json").out)["base"]
    assert load_base().reference.base_id in said
    assert other in said
    assert json.loads(ipse("fork", "list", "--data", there, "--json").out)["forks"] == []
    done = ipse("import", bundle, "--data", there, "--base", tmp_path / "other-base", "--any-base")
    assert "Not checked: whether the base here is" in done.out
    assert answer(ipse, there) == answer(ipse, here)


def test_histories_that_part_are_refused(ipse: Ipse, tmp_path: Path) -> None:
    with Home.open(tmp_path / "here") as home:
        Life(home).learn("a")
    there = another(tmp_path / "here", "there")
    first = exported(ipse, tmp_path / "here", "first.bundle")
    assert ipse("import", first, "--any-base", "--data", there).code == 0
    for folder in (tmp_path / "here", there):
        with Home.open(folder) as home:
            Life(home).learn(folder.name)
    second = exported(ipse, tmp_path / "here", "second.bundle")
    assert "Record 2 of fork f_" in one_error(ipse("import", second, "--data", there), 1)
