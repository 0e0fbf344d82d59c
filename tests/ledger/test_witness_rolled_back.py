# SPDX-License-Identifier: Apache-2.0
"""An older copy of a witness's memory is put back: it cosigns nothing on top of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipse.errors import StoreDamaged, StoreRolledBack
from ipse.ledger.tree import consistency_proof
from ipse.ledger.witness import AddCheckpoint, Refusal, Witness, add_log, confirm_memory, last_seen
from ipse.store.store import FILE_NAME, Store
from tests.ledger.logs import LOG, ORIGIN, WITNESSES
from tests.server.serving import Clock, History

ONE = History.of(*"abcdefghij")
OTHER = History.of(*"abcXYZfghij")


def ask(store: Store, old: int, size: int, history: History = ONE) -> bytes | Refusal:
    proof = consistency_proof(old, size, history.read(size))
    request = AddCheckpoint(old, proof, history.checkpoint(size)).to_bytes()
    return Witness(WITNESSES, store, Clock()).add_checkpoint(request)


def remembering(root: Path, *sizes: int) -> Path:
    """A witness that cosigned trees of these sizes."""
    with Store.open(root) as store:
        add_log(store, LOG)
        for old, size in zip((last_seen(store, ORIGIN).size, *sizes), sizes, strict=False):
            assert isinstance(ask(store, old, size), bytes)
    return root


def test_nothing_is_cosigned_on_top_of_an_older_memory(tmp_path: Path) -> None:
    root = remembering(tmp_path / "witness", 3)
    shutil.copy(root / FILE_NAME, tmp_path / "older")
    remembering(root, 5)
    shutil.copy(root / FILE_NAME, tmp_path / "newest")
    shutil.copy(tmp_path / "older", root / FILE_NAME)
    with Store.open(root) as store:
        for history in (ONE, OTHER):
            with pytest.raises(StoreRolledBack, match="an older or another copy") as caught:
                ask(store, 3, 6, history)
            assert caught.value.hint
        with pytest.raises(StoreRolledBack):
            confirm_memory(store, ORIGIN)
        assert last_seen(store, ORIGIN).size == 3
    shutil.copy(tmp_path / "newest", root / FILE_NAME)
    with Store.open(root) as store:
        confirm_memory(store, ORIGIN)
        assert isinstance(ask(store, 5, 6), bytes)


def test_a_memory_that_begins_anew_is_noticed(tmp_path: Path) -> None:
    root = remembering(tmp_path / "witness", 3)
    (root / FILE_NAME).unlink()
    with Store.open(root) as store:
        add_log(store, LOG)
        for size in (3, 7):
            with pytest.raises(StoreRolledBack):
                ask(store, 0, size, OTHER)


def test_a_memory_of_the_same_size_and_another_root_is_noticed(tmp_path: Path) -> None:
    root, twin = remembering(tmp_path / "witness", 3), tmp_path / "twin"
    shutil.copytree(root, twin)
    remembering(root, 5)
    with Store.open(twin) as store:
        assert isinstance(ask(store, 3, 5, OTHER), bytes)
    shutil.copy(twin / FILE_NAME, root / FILE_NAME)
    with Store.open(root) as store, pytest.raises(StoreRolledBack):
        ask(store, 5, 6, OTHER)


def test_a_memory_that_is_ahead_of_what_was_noted_goes_on(tmp_path: Path) -> None:
    """As a crash between the two leaves them, or as it was before there were notes."""
    root = remembering(tmp_path / "witness", 3)
    (note,) = (root / "seen").iterdir()
    before = note.read_bytes()
    remembering(root, 5)
    for lagging in (before, b"", None):
        note.unlink()
        if lagging is not None:
            note.write_bytes(lagging)
        with Store.open(root) as store:
            confirm_memory(store, ORIGIN)
            assert isinstance(ask(store, 5, 5), bytes)
        assert note.read_bytes() != before


def test_a_note_that_cannot_be_read_is_an_error_and_signs_nothing(tmp_path: Path) -> None:
    root = remembering(tmp_path / "witness", 3)
    (note,) = (root / "seen").iterdir()
    note.write_bytes(b"ipse-seen-v2 something\n")
    with Store.open(root) as store:
        with pytest.raises(StoreDamaged):
            ask(store, 3, 5)
        assert last_seen(store, ORIGIN).size == 3
