# SPDX-License-Identifier: Apache-2.0
"""An older or another copy of the store is put back: the log signs nothing on top of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipse.errors import StoreRolledBack
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter, new_log
from ipse.ledger.publiclog import check_log
from ipse.ledger.tree import leaf_hash, root_hash
from ipse.store.logrows import LogRows
from ipse.store.store import FILE_NAME, Store
from tests.ledger.logs import blinded

ENTRIES = blinded(300)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def copied(home: Path, to: Path) -> Path:
    """The database alone, as a backup of it: the last store there has closed."""
    to.mkdir()
    for file in home.glob(f"{FILE_NAME}*"):
        shutil.copy(file, to)
    return to


def put_back(copy: Path, home: Path) -> None:
    for file in home.glob(f"{FILE_NAME}*"):
        file.unlink()
    for file in copy.iterdir():
        shutil.copy(file, home)


def test_nothing_is_signed_on_top_of_an_older_copy(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Store.open(home) as store:
        LogWriter.open(store).append(ENTRIES[:3])
    backup = copied(home, tmp_path / "backup")
    with Store.open(home) as store:
        newest = LogWriter.open(store).append(ENTRIES[3:5]).checkpoint
    newer = copied(home, tmp_path / "newer")
    put_back(backup, home)
    with Store.open(home) as store:
        writer = LogWriter.open(store)
        assert "older copy" in writer.public.rolled_back()
        for _ in range(2):
            with pytest.raises(StoreRolledBack) as caught:
                writer.append(ENTRIES[7:9])
        assert "ipse ledger new" in caught.value.hint
        assert writer.reload().size == 3
        assert open_checkpoint(writer.public.checkpoint(), writer.log).head.size == 3  # reading goes on
        with pytest.raises(StoreRolledBack):
            writer.append(ENTRIES[7:9])
    put_back(newer, home)
    with Store.open(home) as store:
        writer = LogWriter.open(store)
        assert writer.public.checkpoint() == newest
        assert writer.public.rolled_back() == ""
        writer.append(ENTRIES[5:6])
        assert check_log(writer.public, writer.log).root == root_hash(LEAVES[:6])


def test_nothing_is_signed_on_top_of_another_history_however_long(tmp_path: Path) -> None:
    home, twin = tmp_path / "home", tmp_path / "twin"
    with Store.open(home) as store:
        LogWriter.open(store).append(ENTRIES[:3])
    shutil.copytree(home, twin)
    for folder, entries in ((home, ENTRIES[3:4]), (twin, ENTRIES[10:300])):
        with Store.open(folder) as store:
            LogWriter.open(store).append(entries)
    put_back(copied(twin, tmp_path / "copy"), home)
    with Store.open(home) as store:
        writer = LogWriter.open(store)
        assert "another copy" in writer.public.rolled_back()
        with pytest.raises(StoreRolledBack, match="another copy"):
            writer.append(ENTRIES[4:5])


def test_a_copy_from_before_the_first_entry_starts_no_second_log_of_that_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Store.open(home).close()
    backup = copied(home, tmp_path / "backup")
    with Store.open(home) as store:
        LogWriter.open(store).append(ENTRIES[:3])
    put_back(backup, home)
    with Store.open(home) as store:
        with pytest.raises(StoreRolledBack):
            LogWriter.open(store)
        assert LogRows(store).head() is None


def test_a_new_log_goes_on_where_the_old_one_was_rolled_back_but_not_under_its_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Store.open(home) as store:
        LogWriter.open(store, origin="log.example")
    backup = copied(home, tmp_path / "backup")
    with Store.open(home) as store:
        LogWriter.open(store).append(ENTRIES[:2])
    put_back(backup, home)
    with Store.open(home) as store:
        new_log(store, origin="two.example").append(ENTRIES[:1])
        with pytest.raises(StoreRolledBack):
            new_log(store, origin="log.example")
        assert LogWriter.open(store).head.origin == "two.example"
