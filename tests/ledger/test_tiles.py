# SPDX-License-Identifier: Apache-2.0
"""A log as files: names, contents, and proofs made from nothing else."""

from __future__ import annotations

import pytest

from ipse.errors import InputError, VerificationError
from ipse.ledger.tiles import (
    ENTRIES,
    Tile,
    bundles_of,
    decode_bundle,
    decode_tile,
    encode_bundle,
    tile_reader,
    tiles_of,
)
from ipse.ledger.tree import (
    consistency_proof,
    inclusion_proof,
    list_reader,
    read_root,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger.logs import leaves, tile_bytes


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999, 1), "tile/0/999.p/1"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(63, 1234067, 255), "tile/63/x001/x234/067.p/255"),
        (Tile(ENTRIES, 1234067, 17), "tile/entries/x001/x234/067.p/17"),
        (Tile(ENTRIES, 2**63 - 1), "tile/entries/x009/x223/x372/x036/x854/x775/807"),
    ],
)
def test_paths_are_those_of_the_specification_and_lead_back(tile: Tile, path: str) -> None:
    assert tile.path() == path
    assert Tile.from_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x001/67",
        "tile/0/001/067",
        "tile/0/x000/067",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/x/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/٠٠٠",
        "tile/entries/" + "x999/" * 6 + "999",
        "tile/entries/" + "x999/" * 7 + "999",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(VerificationError):
        Tile.from_path(path)


def test_a_tile_that_cannot_be_is_refused() -> None:
    for level, index, width in ((-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**63, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(VerificationError):
            Tile(level, index, width)


def test_a_tree_of_70000_has_the_tiles_that_the_specification_counts() -> None:
    tiles = list(tiles_of(70_000))
    full = [sum(tile.level == level and tile.width == 256 for tile in tiles) for level in range(4)]
    assert full == [273, 1, 0, 0]
    partial = [(tile.level, tile.index, tile.width) for tile in tiles if tile.width < 256]
    assert partial == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert [tile.path() for tile in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert list(tiles_of(0)) == list(bundles_of(0)) == []


def test_a_grown_tree_has_the_old_full_tiles_and_the_new_ones() -> None:
    for old in range(0, 1100, 37):
        for size in range(old, 1100, 41):
            before, after, new = set(tiles_of(old)), set(tiles_of(size)), list(tiles_of(size, old))
            assert set(new) == after - before
            assert {tile for tile in before if tile.width == 256} <= after
            assert [tile.index for tile in bundles_of(size, old)] == [tile.index for tile in new if tile.level == 0]


def test_no_tree_shrinks() -> None:
    for size, since in ((1, 2), (2**63, 0), (0, -1)):
        with pytest.raises(InputError):
            list(tiles_of(size, since))
        with pytest.raises(InputError):
            bundles_of(size, since)


SIZES = (1, 2, 255, 256, 257, 511, 513, 700)


@pytest.mark.parametrize("size", SIZES)
def test_root_and_proofs_from_tiles_alone_are_those_of_the_leaves(size: int) -> None:
    all_leaves = leaves(size)
    files = {tile.path(): tile_bytes(tile, all_leaves) for tile in tiles_of(size)}
    read, root = tile_reader(size, lambda tile: files[tile.path()]), root_hash(all_leaves)
    assert read_root(size, read) == root
    for index in {0, size // 2, 255, 256, size - 1} & set(range(size)):
        proof = inclusion_proof(index, size, read)
        assert proof == inclusion_proof(index, size, list_reader(all_leaves))
        verify_inclusion(all_leaves[index], index, size, proof, root)
    for old in {1, 2, 200, 256, 300, size} & set(range(size + 1)):
        proof = consistency_proof(old, size, read)
        verify_consistency(old, root_hash(all_leaves[:old]), size, root, proof)


def test_three_levels_of_tiles_are_read() -> None:
    size = 65_536 + 256 + 1
    all_leaves = leaves(size)
    fetched: list[Tile] = []

    def read_tile(tile: Tile) -> bytes:
        fetched.append(tile)
        return tile_bytes(tile, all_leaves)

    read, root = tile_reader(size, read_tile), root_hash(all_leaves)
    verify_inclusion(all_leaves[1000], 1000, size, inclusion_proof(1000, size, read), root)
    assert read_root(size, read) == root
    paths = ["tile/0/003", "tile/0/257.p/1", "tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"]
    assert sorted(tile.path() for tile in fetched) == paths  # each once
    assert set(fetched) <= set(tiles_of(size))


def test_an_altered_tile_gives_no_proof_that_verifies() -> None:
    size, index = 300, 17
    all_leaves = leaves(size)
    root = root_hash(all_leaves)

    def altered(tile: Tile) -> bytes:
        data = bytearray(tile_bytes(tile, all_leaves))
        data[0] ^= 1
        return bytes(data)

    read = tile_reader(size, altered)
    assert read_root(size, read) != root
    with pytest.raises(VerificationError):
        verify_inclusion(all_leaves[index], index, size, inclusion_proof(index, size, read), root)


def test_a_tile_of_another_length_is_refused() -> None:
    for data in (b"", bytes(31), bytes(32 * 299), bytes(32 * 256 + 1)):
        with pytest.raises(VerificationError, match="Expected a tile"):
            read_root(300, tile_reader(300, lambda tile, data=data: data))  # type: ignore[misc]
    assert decode_tile(bytes(64), 2) == (bytes(32), bytes(32))


def test_the_reader_of_tiles_knows_the_end_of_the_tree() -> None:
    read = tile_reader(300, lambda tile: bytes(32 * tile.width))
    for level, index in ((0, 300), (8, 1), (9, 0), (-1, 0), (0, -1)):
        with pytest.raises(InputError):
            read(level, index)


def test_a_bundle_gives_its_entries_back() -> None:
    for entries in ([b""], [b"a", b"", b"b" * 65_535], [b"x"] * 256):
        assert decode_bundle(encode_bundle(entries), len(entries)) == tuple(entries)
    assert encode_bundle([b"ab", b""]) == b"\0\2ab\0\0"


def test_what_does_not_fit_a_bundle_is_not_written() -> None:
    for entries in ([], [b""] * 257, [b"x" * 65_536]):
        with pytest.raises(InputError):
            encode_bundle(entries)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\2ab\0", b"\0\2ab\0\1", b"\0\2ab\0\0\0", b"\0\2ab\0\0\0\0", b"\0\4ab"]
)
def test_a_bundle_that_is_cut_off_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        decode_bundle(data, 2)
