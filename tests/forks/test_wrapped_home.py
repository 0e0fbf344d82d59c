# SPDX-License-Identifier: Apache-2.0
"""A home whose root lies under a passphrase: the same forks, the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import VaultError, WrongKey
from ipse.forks.home import KEY_NAME, WRAP_NAME, Home, confirm_root, key_ring
from ipse.model.layout import StateLayout, build_layout
from ipse.store.store import FILE_NAME
from ipse.vault.keyring import nobody_to_ask
from ipse.vault.keys import RootKey, load_root_key
from ipse.vault.words import root_of, words_of
from ipse.vault.wraps import Cost

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
WORDS = "correct horse battery"


def layout() -> StateLayout:
    return build_layout("0" * 16, "0" * 64, 2, (("layers.0.o", "attention"),), hidden_size=4, layers=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two forks."""
    folder = tmp_path_factory.mktemp("wrapped") / "home"
    with Home.open(folder) as home:
        home.create_fork("ada", layout(), "a-base")
        home.create_fork("bert", layout(), "a-base")
    return folder


@pytest.fixture(autouse=True)
def _with_a_key_file_again(root: Path) -> Iterator[None]:
    key = load_root_key(root / KEY_NAME)
    yield
    (root / WRAP_NAME).unlink(missing_ok=True)
    (root / KEY_NAME).unlink(missing_ok=True)
    key_ring(root).add_file(key)


def data(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir() if path.name.startswith(FILE_NAME)}


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["set", "drop", "add", "remove"]), max_size=8))
def test_adding_changing_and_removing_wraps_leaves_the_data_as_they_are(root: Path, steps: list[str]) -> None:
    keys, before = key_ring(root), data(root)
    opened = keys.open(lambda: WORDS)
    for step in steps:
        try:
            if step == "set":
                keys.set_passphrase(opened, WORDS, CHEAP)
            elif step == "drop":
                keys.remove_passphrase()
            elif step == "add":
                keys.add_file(opened)
            else:
                keys.remove_file(lambda: WORDS)
        except VaultError:
            pass  # the last way is not removed
    assert data(root) == before
    assert confirm_root(root, keys.open(lambda: WORDS)) == 2


def test_a_home_opens_by_its_passphrase_and_its_forks_are_the_same(root: Path) -> None:
    keys = key_ring(root)
    keys.set_passphrase(keys.open(nobody_to_ask), WORDS, CHEAP)
    keys.remove_file(lambda: WORDS)
    with Home.open(root, passphrase=lambda: WORDS) as home:
        ada = home.find("ada")
        assert ada is not None
        assert home.open_fork(ada.fork_id, layout()).folded.height == 0
        assert not home.keys.has_file


def test_a_wrong_passphrase_or_none_changes_nothing(root: Path) -> None:
    keys = key_ring(root)
    keys.set_passphrase(keys.open(nobody_to_ask), WORDS, CHEAP)
    keys.remove_file(lambda: WORDS)
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    with pytest.raises(WrongKey, match="does not open"):
        Home.open(root, passphrase=lambda: "something else")
    with pytest.raises(VaultError, match="no terminal"):
        Home.open(root)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


def test_a_wrap_alone_makes_a_home_of_its_root_and_no_new_key(tmp_path: Path, root: Path) -> None:
    key_ring(root).set_passphrase(load_root_key(root / KEY_NAME), WORDS, CHEAP)
    (tmp_path / WRAP_NAME).write_bytes((root / WRAP_NAME).read_bytes())
    with pytest.raises(WrongKey):
        Home.open(tmp_path, passphrase=lambda: "something else")
    assert [path.name for path in tmp_path.iterdir()] == [WRAP_NAME]
    with Home.open(tmp_path, passphrase=lambda: WORDS) as home:
        home.create_fork("ada", layout(), "a-base")
    assert confirm_root(tmp_path, load_root_key(root / KEY_NAME)) == 1
    assert not (tmp_path / KEY_NAME).exists()


def test_words_are_known_by_the_forks_that_they_open(root: Path) -> None:
    key = load_root_key(root / KEY_NAME)
    assert confirm_root(root, root_of(" ".join(words_of(key)))) == 2
    with pytest.raises(WrongKey, match="does not open fork f_") as caught:
        confirm_root(root, RootKey(bytes(32)))
    assert caught.value.hint


def test_an_empty_folder_has_no_fork_to_ask(tmp_path: Path) -> None:
    assert confirm_root(tmp_path, RootKey(bytes(32))) == 0
