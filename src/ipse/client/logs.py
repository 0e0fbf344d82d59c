# SPDX-License-Identifier: Apache-2.0
"""A log's files, from an address or from a folder: its checkpoint, its tiles, its entries (C2SP tlog-tiles).

Nothing that is read here is checked yet. A checkpoint is opened with the keys of its log (ledger/checkpoint.py); a
proof that was made from tiles is verified against its root hash.

A log may have dropped a partial tile since it has grown: the full tile in its place is read instead and cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ipse.client.web import request
from ipse.errors import InputError, NetworkError, VerificationError
from ipse.ledger.note import MAX_NOTE_BYTES
from ipse.ledger.tiles import ENTRIES, MAX_ENTRY_BYTES, TILE_WIDTH, Tile, decode_bundle, tile_reader
from ipse.ledger.tree import HashReader
from ipse.vault.files import read_file
from ipse.wire.digest import DIGEST_BYTES

CHECKPOINT_PATH = "checkpoint"

_MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)


@dataclass(frozen=True, slots=True)
class LogFiles:
    """Reads the files of a log; made by ``log_at``.

    Attributes:
        place: the address or folder, for messages.
        fetch: (path below the log's place, most bytes) -> the bytes, or None where there is no such file.
    """

    place: str
    fetch: Callable[[str, int], bytes | None]

    def checkpoint(self) -> bytes:
        """The newest checkpoint, unopened.

        Raises:
            NetworkError: it is not to be had.
            VerificationError: it is too long to be one.
        """
        data = self.fetch(CHECKPOINT_PATH, MAX_NOTE_BYTES)
        if data is None:
            raise NetworkError(f"There is no log at {self.place}.", "Check the address; it has a checkpoint below it.")
        return data

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile of hashes, exactly as many as its width says. What they are is not checked.

        Raises:
            NetworkError: it is not to be had.
            VerificationError: it has another length.
        """
        data, width = self._partial_or_full(tile, TILE_WIDTH * DIGEST_BYTES)
        if len(data) != width * DIGEST_BYTES:
            raise VerificationError(f"{tile.path()} at {self.place} does not have {width * DIGEST_BYTES} bytes.")
        return data[: tile.width * DIGEST_BYTES]

    def entries(self, index: int, width: int = TILE_WIDTH) -> tuple[bytes, ...]:
        """The first ``width`` entries of bundle ``index``. They are not checked: compare leaf hashes with a tile.

        Raises:
            NetworkError: they are not to be had.
            VerificationError: the bundle is not of its form.
        """
        tile = Tile(ENTRIES, index, width)
        data, found = self._partial_or_full(tile, _MAX_BUNDLE_BYTES)
        try:
            return decode_bundle(data, found)[:width]
        except VerificationError as error:
            raise VerificationError(f"{tile.path()} at {self.place}: {error.message}", error.hint) from error

    def hashes(self, size: int) -> HashReader:
        """Reads the tree of a checkpoint's size from tiles, each fetched once."""
        return tile_reader(size, self.tile)

    def _partial_or_full(self, tile: Tile, most_bytes: int) -> tuple[bytes, int]:
        """(bytes, width) of the tile, or of the full one in its place."""
        for width in dict.fromkeys((tile.width, TILE_WIDTH)):
            data = self.fetch(Tile(tile.level, tile.index, width).path(), most_bytes)
            if data is not None:
                return data, width
        raise NetworkError(f"There is no {tile.path()} at {self.place}.", "The log is incomplete; try again later.")


def log_at(place: str) -> LogFiles:
    """The log at an address (``http://`` or ``https://``), or in a folder.

    Raises:
        InputError: it is neither.
    """
    if place.startswith(("http://", "https://")):
        return LogFiles(place, _from_address(place.rstrip("/")))
    folder = Path(place)
    if not folder.is_dir():
        raise InputError(f"There is no log at {place!r}.", "Give the address of a log, or the folder of its files.")
    return LogFiles(place, _from_folder(folder))


def _from_address(prefix: str) -> Callable[[str, int], bytes | None]:
    def fetch(path: str, most_bytes: int) -> bytes | None:
        answer = request(f"{prefix}/{path}", most_bytes)
        if answer.status in (404, 410):
            return None
        if answer.status != 200:
            raise NetworkError(f"{prefix}/{path} answers with status {answer.status}.", "Try again later.")
        return answer.body

    return fetch


def _from_folder(folder: Path) -> Callable[[str, int], bytes | None]:
    def fetch(path: str, most_bytes: int) -> bytes | None:
        try:
            found = read_file(folder / path, most_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise NetworkError(f"{folder / path} cannot be read: {error.strerror}.", "Check its owner.") from error
        if found is None:
            return None
        if len(found[0]) > most_bytes:
            raise VerificationError(f"{folder / path} is longer than {most_bytes} bytes.")
        return found[0]

    return fetch
