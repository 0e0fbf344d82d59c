# SPDX-License-Identifier: Apache-2.0
"""The public log of an installation, read from its store: tiles, checkpoints, proofs, and a check of all of it.

No key is needed, so a server or an export has nothing to steal. Nothing leaves here unchecked: a proof that the store's
damaged tiles do not give is an error and not a file. What is read may grow at any moment; it never changes.

``check_log`` computes everything anew from the entries. log.py appends.
"""

from __future__ import annotations

from collections.abc import Callable

from ipse.errors import InputError, StoreRolledBack, VerificationError
from ipse.ledger.checkpoint import Log, open_checkpoint
from ipse.ledger.note import Note
from ipse.ledger.tiles import ENTRIES, TILE_WIDTH, Tile, encode_bundle, encode_tile, tile_reader, tiles_of
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import (
    HashReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    read_root,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from ipse.ledger.treehead import TreeHead
from ipse.ledger.witness import AddCheckpoint
from ipse.store.logrows import LogRow, LogRows
from ipse.store.rows import Head
from ipse.store.seen import FOLDER_NAME, Seen, confirm
from ipse.store.store import Store
from ipse.wire.digest import DIGEST_BYTES, sha256
from ipse.wire.lines import MAX_NUMBER

ENTRY_BYTES = 32

DAMAGED = "Restore the store from a copy of now; nothing is signed on top of this."


class PublicLog:
    """The log in a store, for reading. May be used from several threads, while other processes append."""

    def __init__(self, store: Store) -> None:
        self.folder = store.path.parent
        self.rows = LogRows(store)
        self.seen = Seen(self.folder / FOLDER_NAME)

    def head(self) -> TreeHead:
        """Origin, size and root hash, as they were signed last.

        Raises:
            InputError: there is no log yet.
            VerificationError: the row of the head is not what its checkpoint says.
        """
        return head_of(self.row())

    def checkpoint(self) -> bytes:
        """The newest checkpoint, with all the signatures that it got.

        Raises:
            InputError, VerificationError: as ``head``.
            StoreError: it could not be noted that this was handed out.
        """
        return self._released().checkpoint

    def rolled_back(self) -> str:
        """Why nothing is signed on top of this store: what it lacks of what was seen; empty if it has everything.

        Raises:
            InputError, VerificationError: as ``head``.
            StoreDamaged, StoreError: what was seen cannot be read.
        """
        last = self.seen.last(seen_name(self.head().origin))  # before the head, which may move in between
        head = self.head()
        try:
            confirm_seen(last, head, self.reader(head.size))
        except StoreRolledBack as error:
            return error.message
        return ""

    def tile(self, tile: Tile) -> bytes | None:
        """A tile or bundle as it is served, cut to its width; None if the log has not come so far."""
        if tile.index > MAX_NUMBER // TILE_WIDTH:
            return None
        if tile.level == ENTRIES:
            entries = self.rows.entries(tile.index * TILE_WIDTH, tile.width)
            return encode_bundle(entries) if len(entries) == tile.width else None
        hashes = self.rows.tile(tile.level, tile.index)
        size = tile.width * DIGEST_BYTES
        return None if hashes is None or len(hashes) < size else hashes[:size]

    def entry(self, index: int) -> bytes:
        """An entry, 32 bytes.

        Raises:
            InputError: there is none of this number.
            VerificationError: it is missing.
        """
        _check_index(index, self.head().size)
        found = self.rows.entries(index, 1)
        if not found:
            raise VerificationError(f"Entry {index} of the log is missing.", DAMAGED)
        return found[0]

    def prove(self, index: int) -> TlogProof:
        """Proof that the entry of this number is in the log, with the newest checkpoint. It verifies.

        Raises:
            InputError: there is no such entry.
            VerificationError: the store does not have what was signed.
        """
        row = self._released()
        head = head_of(row)
        _check_index(index, head.size)
        proof = inclusion_proof(index, head.size, self.reader(head.size))
        verify_inclusion(leaf_hash(self.entry(index)), index, head.size, proof, head.root)
        return TlogProof(index, proof, row.checkpoint)

    def consistency(self, old_size: int) -> AddCheckpoint:
        """Proof that the log only grew since it had ``old_size`` entries, as a witness is sent it. It verifies here.

        Raises:
            InputError: it never had so many.
            VerificationError: the store does not have what was signed.
        """
        row = self._released()
        head = head_of(row)
        if not 0 <= old_size <= head.size:
            raise InputError(f"The log has {head.size} entries, so it does not continue one of {old_size}.")
        read = self.reader(head.size)
        proof = consistency_proof(old_size, head.size, read)
        verify_consistency(old_size, read_root(old_size, read), head.size, head.root, proof)
        return AddCheckpoint(old_size, proof, row.checkpoint)

    def reader(self, size: int) -> HashReader:
        """Reads hashes of the tree of the first ``size`` entries."""
        return tile_reader(size, self.stored)

    def stored(self, tile: Tile) -> bytes:
        """The same as ``tile``, where it must be there.

        Raises:
            VerificationError: it is not.
        """
        data = self.tile(tile)
        if data is None:
            raise VerificationError(f"{tile.path()} of the log is missing.", DAMAGED)
        return data

    def row(self) -> LogRow:
        """The head as it is stored, unchecked.

        Raises:
            InputError: there is no log yet.
        """
        row = self.rows.head()
        if row is None:
            raise InputError(f"There is no log in {self.folder} yet.", "Make one with `ipse ledger new`.")
        return row

    def _released(self) -> LogRow:
        """The head, noted as seen: its writer may have died between commit and note, and now it leaves the house."""
        row = self.row()
        self.seen.note(seen_name(row.origin), row.size, row.root, sync=True)
        return row


def check_log(public: PublicLog, log: Log, progress: Callable[[int, int], None] | None = None) -> TreeHead:
    """Compute the whole log anew from its entries: every tile, the root hash, and who signed it.

    Takes time and some memory (32 bytes for 256 entries) in proportion to the log, and writes nothing.

    Args:
        progress: told (tiles checked, tiles in all).

    Raises:
        VerificationError: names the first thing that does not fit.
        InputError: there is no log.
    """
    while True:
        row = public.row()
        try:
            open_checkpoint(row.checkpoint, log)
            return _checked(public, head_of(row), progress or (lambda done, whole: None))
        except VerificationError:
            if public.row() == row:  # else it has grown in the meantime
                raise


def _checked(public: PublicLog, head: TreeHead, progress: Callable[[int, int], None]) -> TreeHead:
    count = sum(1 for _ in tiles_of(head.size))
    if public.rows.counts() != (head.size, count):
        raise VerificationError(f"The store has other entries and tiles than a log of {head.size} has.", DAMAGED)
    above: dict[int, list[bytes]] = {}
    for done, tile in enumerate(tiles_of(head.size), 1):
        start = tile.index * TILE_WIDTH
        if tile.level == 0:
            hashes = [leaf_hash(entry) for entry in public.rows.entries(start, tile.width)]
        else:
            hashes = above[tile.level][start : start + tile.width]
        if len(hashes) != tile.width or public.rows.tile(tile.level, tile.index) != encode_tile(hashes):
            raise VerificationError(f"{tile.path()} of the log is not what its entries give.", DAMAGED)
        if tile.width == TILE_WIDTH:
            above.setdefault(tile.level + 1, []).append(root_hash(hashes))
        progress(done, count)
    if read_root(head.size, public.reader(head.size)) != head.root:
        raise VerificationError("The entries of the log do not lead to the root hash that was signed.", DAMAGED)
    return head


def seen_name(origin: str) -> str:
    """Under which name a log's head is noted in ``seen/``: each log has its own, so that a new one has seen nothing."""
    return f"log-{sha256(origin.encode())[:8].hex()}"


def confirm_seen(last: Head | None, head: TreeHead, read: HashReader) -> None:
    """Pass only if the tree of this head continues what was seen of the log.

    Args:
        last: what ``seen/`` said before the head was read, or within one write transaction.

    Raises:
        StoreRolledBack: it does not.
    """
    confirm(last, seen_name(head.origin), head.size, head.root, lambda size: read_root(size, read))


def signed_at(checkpoint: bytes, log: Log) -> int:
    """The time that the log's own cosignature claims, seconds since 1970; 0 if it claims none.

    Raises:
        VerificationError: a key of the log has not signed.
    """
    open_checkpoint(checkpoint, log)
    return max(signed.time_s for signed in Note.from_bytes(checkpoint).verify(log.keys))


def head_of(row: LogRow) -> TreeHead:
    """The head that a row says, if its checkpoint says the same. Signatures are not checked.

    Raises:
        VerificationError: it does not.
    """
    head = TreeHead.from_text(Note.from_bytes(row.checkpoint).text)
    if (head.origin, head.size, head.root) != (row.origin, row.size, row.root):
        raise VerificationError("The head of the log is not what its checkpoint says.", DAMAGED)
    return head


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise InputError(f"The log has {size} entries, and none of number {index}.", "The first one has number 0.")
