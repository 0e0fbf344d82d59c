# SPDX-License-Identifier: Apache-2.0
"""A log's files from an address and from a folder, partial tiles that are gone, and logs that serve nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipse.client.logs import LogFiles, log_at
from ipse.errors import InputError, NetworkError, VerificationError
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.tiles import Tile, encode_bundle
from ipse.ledger.tree import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    read_root,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger.logs import LOG
from tests.server.serving import FileServer, History, running

HISTORY = History.of(*(f"entry {number}" for number in range(600)))


def folder_of(root: Path, files: dict[str, bytes]) -> LogFiles:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return log_at(str(root))


def check(log: LogFiles, size: int) -> None:
    """Roots and proofs from the log's tiles are right."""
    opened = open_checkpoint(log.checkpoint(), LOG)
    assert opened.head == HISTORY.head(size)
    read = log.hashes(size)
    assert read_root(size, read) == opened.head.root
    for index in (0, 255, 256, size - 1):
        proof = inclusion_proof(index, size, read)
        verify_inclusion(HISTORY.leaves[index], index, size, proof, opened.head.root)
    for old in (1, 256, 300, size):
        verify_consistency(
            old, HISTORY.head(old).root, size, opened.head.root, consistency_proof(old, size, log.hashes(size))
        )


@pytest.mark.parametrize("size", [300, 512, 600])
def test_proofs_are_made_from_an_address_and_from_a_folder(size: int, tmp_path: Path) -> None:
    files = HISTORY.files(size)
    check(folder_of(tmp_path, files), size)
    server = FileServer(files)
    with running(server):
        check(log_at(server.url + "/"), size)


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(tmp_path: Path) -> None:
    """The log has grown to 600 and has dropped the partial tiles of 300."""
    files = HISTORY.files(300, partial=False)
    assert "tile/0/001.p/44" not in files
    read_1 = HISTORY.files(300)["tile/1/000.p/1"]
    files["tile/1/000.p/1"] = read_1  # its full tile does not exist yet, so it is still there
    check(folder_of(tmp_path, files), 300)
    server = FileServer(files)
    with running(server):
        check(log_at(server.url), 300)
        assert server.asked.count("tile/0/001.p/44") == server.asked.count("tile/0/001") > 0


def test_entries_are_read_from_full_and_partial_bundles(tmp_path: Path) -> None:
    entries = [f"entry {number}".encode() for number in range(300)]
    files = {
        "tile/entries/000": encode_bundle(entries[:256]),
        "tile/entries/001.p/44": encode_bundle(entries[256:]),
    }
    log = folder_of(tmp_path, files)
    assert log.entries(0) == tuple(entries[:256])
    assert log.entries(1, 44) == tuple(entries[256:])
    assert log.entries(0, 7) == tuple(entries[:7])
    assert [leaf_hash(entry) for entry in log.entries(1, 44)] == HISTORY.leaves[256:300]
    with pytest.raises(NetworkError, match=r"tile/entries/001 |tile/entries/001\.p/45"):
        log.entries(1, 45)


def read_file(log: LogFiles, name: str) -> object:
    if name == "checkpoint":
        return log.checkpoint()
    tile = Tile.from_path(name)
    return log.entries(tile.index, tile.width) if "entries" in name else log.tile(tile)


def test_files_of_another_length_are_refused(tmp_path: Path) -> None:
    for name, data in {
        "tile/0/000": bytes(8191),
        "tile/0/001": bytes(8193),
        "tile/0/002.p/3": bytes(64),
        "tile/0/003.p/3": b"",
        "checkpoint": bytes(1_000_001),
        "tile/entries/000.p/2": b"\x00\x01a",
    }.items():
        server = FileServer({name: data})
        with running(server):
            for log in (folder_of(tmp_path / name.replace("/", "-"), {name: data}), log_at(server.url)):
                with pytest.raises(VerificationError):
                    read_file(log, name)


def test_what_is_not_there_is_no_failed_check(tmp_path: Path) -> None:
    server = FileServer({})
    with running(server):
        for log in (log_at(str(tmp_path)), log_at(server.url)):
            with pytest.raises(NetworkError, match="no log at"):
                log.checkpoint()
            with pytest.raises(NetworkError, match="no tile/0/000"):
                log.tile(Tile(0, 0, 3))
    with pytest.raises(NetworkError):
        log_at(server.url).checkpoint()  # gone
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(NetworkError):
        log_at(str(tmp_path)).checkpoint()
    for place in (str(tmp_path / "nothing"), "ftp://x/log"):
        with pytest.raises(InputError):
            log_at(place)
