# SPDX-License-Identifier: Apache-2.0
"""An older copy of the store that was put back: nothing is added to it, until its owner says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipse.errors import StoreRolledBack
from ipse.store.store import FILE_NAME, Store
from ipse.wire.ids import ForkId
from tests.store.samples import filled, row


def put_back(root: Path) -> ForkId:
    """A store of three records that was copied at two, went on, and was put back."""
    with Store.open(root) as store:
        fork, rows = filled(store, 2)
    shutil.copy(root / FILE_NAME, root / "copy")
    with Store.open(root) as store:
        store.append(fork, row(3), expected_head=rows[1].digest)
    shutil.copy(root / "copy", root / FILE_NAME)
    return fork


def test_nothing_is_added_to_an_older_copy(tmp_path: Path) -> None:
    fork = put_back(tmp_path)
    with Store.open(tmp_path) as store:
        assert store.verify(fork).seq == 2, "it can be read"
        with pytest.raises(StoreRolledBack, match="an older copy was put back"):
            store.append(fork, row(3), expected_head=store.head(fork).digest)
        with pytest.raises(StoreRolledBack):
            store.append_async(fork, row(3), expected_head=store.head(fork).digest).result()
        assert store.head(fork).seq == 2


def test_nor_to_another_history_that_grew_past_what_was_seen(tmp_path: Path) -> None:
    fork = put_back(tmp_path)
    kept = (tmp_path / "seen" / fork).read_bytes()
    with Store.open(tmp_path) as store:
        store.go_on(fork)
        for seq in (3, 4):
            store.append(fork, row(seq), expected_head=store.head(fork).digest)
    (tmp_path / "seen" / fork).write_bytes(kept)
    with Store.open(tmp_path) as store, pytest.raises(StoreRolledBack, match="another copy"):
        store.append(fork, row(5), expected_head=store.head(fork).digest)


def test_its_owner_may_go_on_from_it(tmp_path: Path) -> None:
    fork = put_back(tmp_path)
    with Store.open(tmp_path) as store:
        store.go_on(fork)
        store.append(fork, row(3), expected_head=store.head(fork).digest)
        assert store.verify(fork).seq == 3


def test_a_copy_of_now_and_another_fork_are_no_trouble(tmp_path: Path) -> None:
    fork = put_back(tmp_path)
    with Store.open(tmp_path) as store:
        other, rows = filled(store, 1)
        store.append(other, row(2), expected_head=rows[0].digest)
        assert store.head(fork).seq == 2


def test_an_import_that_leads_to_what_was_seen_makes_an_older_copy_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fork, rows = filled(store, 2)
        there = store.fork(fork)
    shutil.copy(tmp_path / FILE_NAME, tmp_path / "copy")
    more = [row(3), row(4)]
    with Store.open(tmp_path) as store:
        store.import_fork(there, more, expected_head=rows[1].digest)
    shutil.copy(tmp_path / "copy", tmp_path / FILE_NAME)
    with Store.open(tmp_path) as store:
        for wrong in ([row(3)], [row(3), row(4)], [more[0], row(4)], more[:1]):
            with pytest.raises(StoreRolledBack):
                store.import_fork(there, wrong, expected_head=rows[1].digest)
        assert store.head(fork).seq == 2
        store.import_fork(there, more, expected_head=rows[1].digest)
        store.append(fork, row(5), expected_head=more[1].digest)
        assert store.verify(fork).seq == 5
