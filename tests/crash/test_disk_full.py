# SPDX-License-Identifier: Apache-2.0
"""A full disk: nothing is half-written, and writing goes on when there is room. On a small tmpfs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipse.errors import StoreFull, VaultError
from ipse.store.rows import Head
from ipse.store.store import Store
from ipse.vault.keys import create_root_key, load_root_key
from ipse.wire.ids import ForkId
from tests.crash.harness import check_history, mounted, new_forks, new_store
from tests.crash.writer import link


def fill_disk(folder: Path) -> Path:
    """Take all space that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (65536, 4096, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return ballast


def append_until_full(store: Store, fork: ForkId) -> int:
    while True:
        head = store.head(fork)
        try:
            store.append(fork, link(head.seq + 1, head.digest), expected_head=head.digest)
        except StoreFull:
            assert store.verify(fork) == head
            return head.seq


def test_a_full_disk_stops_appends_cleanly_and_room_lets_them_go_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=3m", "tmpfs") as disk:
        fork = new_store(disk / "data")
        with Store.open(disk / "data") as store:
            append_until_full(store, fork)
        check_history(disk / "data", fork)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as disk:
        fork = new_store(disk / "data")
        with Store.open(disk / "data") as store:
            for _ in range(10):  # the same handle: a full disk poisons nothing
                ballast = fill_disk(disk)
                height = append_until_full(store, fork)
                ballast.unlink()
                head = store.head(fork)
                store.append(fork, link(height + 1, head.digest), expected_head=head.digest)
        assert check_history(disk / "data", fork) >= 10


def test_a_group_that_finds_no_space_fails_as_one_and_room_lets_it_go_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as disk:
        forks = new_forks(disk / "data", 16)
        with Store.open(disk / "data") as store:
            for _ in range(5):
                ballast = fill_disk(disk)
                errors: list[BaseException | None] = [None]
                while not any(errors):
                    before = {fork: store.head(fork) for fork in forks}
                    errors = append_to_all(store, before)
                    done = [store.verify(fork).seq - before[fork].seq for fork in forks]
                    assert done == [int(error is None) for error in errors]
                assert {type(error) for error in errors} <= {StoreFull, type(None)}
                ballast.unlink()
                assert append_to_all(store, {fork: store.head(fork) for fork in forks}) == [None] * len(forks)
        assert all(check_history(disk / "data", fork) >= 5 for fork in forks)


def append_to_all(store: Store, heads: dict[ForkId, Head]) -> list[BaseException | None]:
    """One record to each at once; what became of them."""
    rows = {fork: link(head.seq + 1, head.digest, fork) for fork, head in heads.items()}
    sent = [store.append_async(fork, row, expected_head=heads[fork].digest) for fork, row in rows.items()]
    return [future.exception() for future in sent]


def test_a_new_store_on_a_full_disk_is_refused_and_made_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        (disk / "data").mkdir()
        ballast = fill_disk(disk)
        with pytest.raises(StoreFull):
            Store.open(disk / "data")
        ballast.unlink()
        new_store(disk / "data")


def test_a_key_file_on_a_full_disk_is_whole_or_absent(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        (disk / "keys").mkdir()
        ballast = fill_disk(disk)
        with pytest.raises(VaultError):
            create_root_key(disk / "keys" / "root.key")
        assert os.listdir(disk / "keys") == []
        ballast.unlink()
        assert create_root_key(disk / "keys" / "root.key") == load_root_key(disk / "keys" / "root.key")
