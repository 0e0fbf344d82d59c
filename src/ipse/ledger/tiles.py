# SPDX-License-Identifier: Apache-2.0
"""A log as files: its tree in tiles of 256 hashes, its entries in bundles of 256 (C2SP tlog-tiles).

    tile/<L>/<N>[.p/<W>]         W (256 where it is not said) hashes of 32 bytes: those over 256**L leaves each
    tile/entries/<N>[.p/<W>]     the entries below tile N of level 0, each behind its length (uint16, big-endian)

N is written in groups of three digits, all but the last behind an x: 1234067 is ``x001/x234/067``. Everything but
the last tile of a level is full and never changes again; hashes between the levels are computed, not stored.

``tile_reader`` makes a ``HashReader`` (tree.py) of whatever can fetch a tile: from it come root hashes and proofs.
A tile is not signed. What was read is right if it leads to the root hash of a checkpoint, and only then: compare
``read_root`` with it, or verify the proof that was made.

>>> [tile.path() for tile in tiles_of(70_000) if tile.width < 256]
['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1']
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ipse.errors import InputError, VerificationError
from ipse.ledger.tree import HashReader, root_hash
from ipse.wire.digest import DIGEST_BYTES
from ipse.wire.lines import MAX_NUMBER

TILE_WIDTH = 256
MAX_ENTRY_BYTES = 2**16 - 1

ENTRIES = -1
"""The level below level 0, at which a tile is a bundle of entries; ``entries`` in its path."""

_HEIGHT = 8  # of the subtree that a tile spans
_MAX_LEVEL = 63
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile.

    Attributes:
        level: 0 to 63, or ``ENTRIES``.
        index: place in its level, from 0.
        width: how many hashes or entries it has, 1 to 256.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (ENTRIES <= self.level <= _MAX_LEVEL and 0 <= self.index <= MAX_NUMBER):
            raise VerificationError(f"There is no tile {self.index} of level {self.level}.")
        if not 1 <= self.width <= TILE_WIDTH:
            raise VerificationError(f"A tile has 1 to {TILE_WIDTH} hashes, not {self.width}.")

    def path(self) -> str:
        """Where it lies below the log's address."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        index = f"{self.index % 1000:03}"
        above = self.index // 1000
        while above:
            index, above = f"x{above % 1000:03}/{index}", above // 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{index}{partial}"

    @classmethod
    def from_path(cls, path: str) -> Tile:
        """Inverse of ``path``.

        Raises:
            VerificationError: ``path`` writes no such thing.
        """
        match = _PATH.fullmatch(path)
        if match is None:
            raise VerificationError(f"{path[:80]!r} is not the path of a tile.")
        level = ENTRIES if match["level"] == "entries" else int(match["level"])
        tile = cls(level, int(re.sub("[x/]", "", match["index"])), int(match["width"] or TILE_WIDTH))
        if tile.path() != path:  # 256 written out, or groups of zeroes in front
            raise VerificationError(f"{path[:80]!r} is not the one path of its tile.")
        return tile


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of a tree with ``size`` leaves that the tree of ``since`` leaves did not have.

    Level by level from 0, in order. Together they hold every hash of the tree that is stored.
    """
    _check_sizes(since, size)
    level = 0
    while size:
        yield from _tiles_of_level(level, size, since)
        level, size, since = level + 1, size // TILE_WIDTH, since // TILE_WIDTH


def bundles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """The bundles of a log with ``size`` entries that the log of ``since`` entries did not have."""
    _check_sizes(since, size)
    return _tiles_of_level(ENTRIES, size, since)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle.

    Raises:
        InputError: not 1 to 256 entries, or one of more than 65,535 bytes.
    """
    if not 1 <= len(entries) <= TILE_WIDTH or max(map(len, entries)) > MAX_ENTRY_BYTES:
        raise InputError(f"A bundle has 1 to {TILE_WIDTH} entries of at most {MAX_ENTRY_BYTES} bytes.")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """Inverse of ``encode_bundle``, for a bundle that must have ``width`` entries.

    Raises:
        VerificationError: it has fewer or more, or is cut off.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    if at != len(data) or len(entries) != width:
        raise VerificationError(f"Expected a bundle of exactly {width} entries, found something else.")
    return tuple(entries)


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """The bytes of a tile: its hashes, one after the other."""
    return b"".join(hashes)


def decode_tile(data: bytes, width: int) -> tuple[bytes, ...]:
    """The ``width`` hashes of a tile.

    Raises:
        VerificationError: it has fewer or more.
    """
    if len(data) != width * DIGEST_BYTES:
        raise VerificationError(f"Expected a tile of {width * DIGEST_BYTES} bytes, found {len(data)}.")
    return tuple(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))


def grown_tiles(size: int, leaves: Sequence[bytes], read_tile: Callable[[Tile], bytes]) -> Iterator[tuple[Tile, bytes]]:
    """What appending writes: the tiles that these leaf hashes add to a tree of ``size`` leaves, with their bytes.

    They are those of ``tiles_of``, in its order. Of the old tree only the last tile of each level is read, and that
    only where it is partial and grows.

    Args:
        read_tile: the bytes of a tile of the old tree.

    Raises:
        VerificationError: a tile that was read has another length.
    """
    _check_sizes(size, size + len(leaves))
    hashes, level = list(leaves), 0
    while hashes:
        index, width = divmod(size, TILE_WIDTH)
        if width:
            hashes[:0] = decode_tile(read_tile(Tile(level, index, width)), width)
        pieces = [hashes[at : at + TILE_WIDTH] for at in range(0, len(hashes), TILE_WIDTH)]
        yield from ((Tile(level, index + n, len(piece)), encode_tile(piece)) for n, piece in enumerate(pieces))
        hashes = [root_hash(piece) for piece in pieces if len(piece) == TILE_WIDTH]
        level, size = level + 1, index


def tile_reader(size: int, read_tile: Callable[[Tile], bytes]) -> HashReader:
    """Reads hashes of the tree with ``size`` leaves from its tiles, each of which is fetched once.

    Args:
        read_tile: the bytes of a tile, exactly as many as its width says. Where a partial tile is gone, because the
            log has grown, it may fetch the full tile and cut it.

    The reader raises VerificationError where a tile has another length, InputError for a hash that the tree has not.
    """
    seen: dict[Tile, tuple[bytes, ...]] = {}

    def read(level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise InputError(f"A tree of {size} leaves has no hash {index} of level {level}.")
        tile_level, height = divmod(level, _HEIGHT)  # the hash is over 2**height neighbours in one tile
        tile_index, start = divmod(index << height, TILE_WIDTH)
        tile = Tile(tile_level, tile_index, min((size >> tile_level * _HEIGHT) - tile_index * TILE_WIDTH, TILE_WIDTH))
        if tile not in seen:
            seen[tile] = decode_tile(read_tile(tile), tile.width)
        return root_hash(seen[tile][start : start + (1 << height)])

    return read


def _tiles_of_level(level: int, size: int, since: int) -> Iterator[Tile]:
    """Of ``size`` hashes side by side, the tiles that ``since`` of them did not fill with the same."""
    if size == since:
        return
    for index in range(since // TILE_WIDTH, -(-size // TILE_WIDTH)):
        yield Tile(level, index, min(size - index * TILE_WIDTH, TILE_WIDTH))


def _check_sizes(since: int, size: int) -> None:
    if not 0 <= since <= size <= MAX_NUMBER:
        raise InputError(f"A tree of {size} leaves does not grow from one of {since}.")
