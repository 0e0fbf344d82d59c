# SPDX-License-Identifier: Apache-2.0
"""The log as files: all that a reader needs, added to and never rewritten."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.errors import InputError, VerificationError
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter, new_log
from ipse.ledger.tiles import Tile, bundles_of, encode_bundle, tile_reader, tiles_of
from ipse.ledger.tree import leaf_hash, read_root
from ipse.server.export import Exported, export_log
from ipse.store.store import Store
from tests.ledger.logs import blinded, tile_bytes

ENTRIES = blinded(600)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def writer(store: Store) -> LogWriter:
    writer = LogWriter.open(store)
    writer.append(ENTRIES[:300])
    return writer


def exported(writer: LogWriter, folder: Path) -> Exported:
    return export_log(writer.public, writer.log, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(size: int) -> dict[str, bytes]:
    files = {tile.path(): tile_bytes(tile, LEAVES) for tile in tiles_of(size)}
    bundles = {tile.path(): encode_bundle(ENTRIES[tile.index * 256 :][: tile.width]) for tile in bundles_of(size)}
    return files | bundles


def test_a_folder_has_every_file_of_the_log_and_no_others(writer: LogWriter, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "public"
    done = exported(writer, folder)
    files = contents(folder)
    assert files.pop("checkpoint") == writer.public.checkpoint()
    assert files == expected(300)
    assert (done.head, done.files, done.written) == (writer.head, len(files) + 1, len(files) + 1)


def test_a_second_export_adds_what_is_new_and_keeps_what_readers_may_still_ask_for(
    writer: LogWriter, tmp_path: Path
) -> None:
    exported(writer, tmp_path / "public")
    full = tmp_path / "public" / "tile" / "0" / "000"
    before = full.stat()
    assert exported(writer, tmp_path / "public").written == 1
    writer.append(ENTRIES[300:])
    exported(writer, tmp_path / "public")
    files = contents(tmp_path / "public")
    head = open_checkpoint(files.pop("checkpoint"), writer.log).head
    assert files == expected(300) | expected(600)
    assert head == writer.head
    assert read_root(600, tile_reader(600, lambda tile: files[tile.path()])) == head.root
    assert (full.stat().st_ino, full.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_export_that_died_is_completed(writer: LogWriter, tmp_path: Path) -> None:
    exported(writer, tmp_path / "whole")
    for name in ("checkpoint", "tile/1/000.p/1", "tile/entries/000"):
        shutil.rmtree(tmp_path / "part", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "part")
        (tmp_path / "part" / name).unlink()
        exported(writer, tmp_path / "part")
        assert contents(tmp_path / "part") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/001.p/44", "tile/entries/000"])
def test_a_tile_with_other_bytes_is_never_overwritten(writer: LogWriter, tmp_path: Path, name: str) -> None:
    exported(writer, tmp_path / "public")
    (tmp_path / "public" / name).write_bytes(b"other")
    before = contents(tmp_path / "public")
    with pytest.raises(VerificationError, match="other bytes"):
        exported(writer, tmp_path / "public")
    assert contents(tmp_path / "public") == before


def test_a_folder_of_another_log_is_left_as_it_is(writer: LogWriter, store: Store, tmp_path: Path) -> None:
    exported(writer, tmp_path / "public")
    before = contents(tmp_path / "public")
    other = new_log(store)
    with pytest.raises(VerificationError, match="another log"):
        exported(other, tmp_path / "public")
    assert contents(tmp_path / "public") == before


def test_a_folder_that_is_ahead_or_of_another_history_is_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Store.open(home) as store:
        LogWriter.open(store).append(ENTRIES[:10])
    for name, entries in (("ahead", ENTRIES[10:20]), ("other", ENTRIES[20:22])):
        shutil.copytree(home, tmp_path / name)  # the whole folder, as nobody may: two histories of one log
        with Store.open(tmp_path / name) as store:
            writer = LogWriter.open(store)
            writer.append(entries)
            exported(writer, tmp_path / f"{name}-public")
    before = contents(tmp_path / "ahead-public"), contents(tmp_path / "other-public")
    with Store.open(home) as store:
        writer = LogWriter.open(store)
        for folder in ("ahead-public", "other-public"):
            with pytest.raises(VerificationError, match="does not continue"):
                exported(writer, tmp_path / folder)
        writer.append(ENTRIES[10:15])
        with pytest.raises(VerificationError, match="does not continue"):
            exported(writer, tmp_path / "other-public")
    assert (contents(tmp_path / "ahead-public"), contents(tmp_path / "other-public")) == before


def test_a_damaged_log_is_not_exported(writer: LogWriter, store: Store, tmp_path: Path) -> None:
    with store.transaction() as db:
        db.execute("UPDATE log_entry SET entry = zeroblob(32) WHERE number = 7")
    with pytest.raises(VerificationError):
        exported(writer, tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_a_file_in_the_way_is_an_input_error(writer: LogWriter, tmp_path: Path) -> None:
    (tmp_path / "public").write_text("")
    with pytest.raises(InputError):
        exported(writer, tmp_path / "public")


def test_an_empty_log_is_a_checkpoint_and_no_tiles(store: Store, tmp_path: Path) -> None:
    writer = LogWriter.open(store)
    exported(writer, tmp_path / "public")
    assert contents(tmp_path / "public") == {"checkpoint": writer.public.checkpoint()}
    assert writer.public.tile(Tile(0, 0, 1)) is None
