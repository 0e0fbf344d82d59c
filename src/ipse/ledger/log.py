# SPDX-License-Identifier: Apache-2.0
"""The public log of an installation: 32-byte entries that say nothing, in one tree that only grows, signed each time.

    append: BEGIN, so that nobody else writes
              the head is the one that this process knows          else HeightConflict
              it is what was signed, and its tree leads to it      else VerificationError
              nothing later was ever seen                          else StoreRolledBack
              entries, tiles, new root; sign; swap the head
            COMMIT, and only then:
              note in seen/ what was signed                        store/seen.py
              hand out the checkpoint

A log must never sign two trees that do not continue each other. One row holds the head, an append swaps it in the same
transaction that adds the entries, and the checkpoint leaves after the commit: of two processes one signs, the other
reloads. A signature that a crash caught before the commit was seen by nobody.

publiclog.py reads what is written here.

Not protected: a copy of the whole folder, keys and all, that is put back and goes on from there, or somebody with the
keys. To notice that is what witnesses are for. An entry's meaning is for who made it; the log does not look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ipse.errors import ClockError, InputError, VaultError, VerificationError
from ipse.ledger.checkpoint import Log, open_checkpoint, sign_checkpoint
from ipse.ledger.keys import NoteKey, SignatureType
from ipse.ledger.publiclog import DAMAGED, ENTRY_BYTES, PublicLog, confirm_seen, head_of, seen_name, signed_at
from ipse.ledger.tiles import Tile, grown_tiles, tile_reader
from ipse.ledger.tree import EMPTY_ROOT, leaf_hash, read_root
from ipse.ledger.treehead import TreeHead
from ipse.store.logrows import LogRow, LogRows, PublicationRow, TileRow, moved
from ipse.store.store import Store
from ipse.vault.logkeys import FILE_NAME, load_log_key, new_origin, renew_log_key
from ipse.vault.signerfile import Signer, create_signer

_LAST_SECOND = 253_402_300_799


def readable(time_s: int) -> str:
    """A time for messages, in UTC; the end of the year 9999 for all that is later."""
    return f"{datetime.fromtimestamp(min(time_s, _LAST_SECOND), UTC):%Y-%m-%d %H:%M:%S} UTC"


def now_s() -> int:
    """Unix time in seconds, for the time that a checkpoint claims."""
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch: the number of its first entry, and the checkpoint that covers all of it."""

    index: int
    checkpoint: bytes


def note_keys(signer: Signer) -> tuple[NoteKey, NoteKey]:
    """The two keys of a log; both sign each checkpoint. They are called as the log is."""
    return (
        NoteKey(signer.name, SignatureType.ED25519, signer.ed25519),
        NoteKey(signer.name, SignatureType.ML_DSA_44_COSIGNATURE, signer.ml_dsa_44),
    )


def log_of(signer: Signer) -> Log:
    """The log as its verifiers know it."""
    return Log(signer.name, tuple(key.verifier() for key in note_keys(signer)))


class LogWriter:
    """Appends to the log of a store. Make it with ``open`` or ``new_log``; one for each thread."""

    def __init__(self, store: Store, signer: Signer, clock: Callable[[], int] = now_s) -> None:
        self.public = PublicLog(store)
        self.log = log_of(signer)
        self._keys = note_keys(signer)
        self._clock = clock
        self.head = TreeHead(signer.name, 0, EMPTY_ROOT)

    @classmethod
    def open(cls, store: Store, *, origin: str | None = None, clock: Callable[[], int] = now_s) -> LogWriter:
        """The log of this store. On first use keys are made, in ``log.key`` beside it, and an empty log is signed.

        Args:
            origin: what a log that is made now is called; a random name by default. One that is there keeps its name.

        Raises:
            VaultError: the key file is missing, damaged, readable for others, or of another log.
            VerificationError: what is stored is not what these keys signed.
            StoreRolledBack: an older copy of the store was put back before the log's first entry.
            InputError: the origin cannot name a log.
        """
        path = store.path.parent / FILE_NAME
        there = path.exists() or LogRows(store).head() is not None
        writer = cls(store, load_log_key(path) if there else _create_or_load(path, origin), clock)
        writer.reload()
        return writer

    def reload(self) -> TreeHead:
        """Read the head that is stored: after HeightConflict, before the next try. Starts the log if there is none.

        Raises:
            VaultError, VerificationError, StoreRolledBack: as ``open``.
        """
        if self.public.rows.head() is None:
            self._start()
        self.head = self._signed(self.public.row())
        return self.head

    def append(
        self, entries: Sequence[bytes], heads: Callable[[int], Iterable[PublicationRow]] | None = None
    ) -> Appended:
        """Add entries, at least one, and sign the larger log. When this returns, it is on the disk.

        Args:
            entries: 32 bytes each.
            heads: (number of the first entry) -> which heads of forks they are: kept in the same transaction.

        Raises:
            HeightConflict: somebody else appended first: ``reload`` and try again.
            StoreRolledBack: an older copy of the store was put back: nothing is signed on top of it.
            VerificationError: the store does not have what was signed.
            ClockError: the clock stands before the time of the last checkpoint. Nothing was signed.
            InputError: something else than entries of 32 bytes.
            StoreError: as they say. After one that is not StoreBusy, StoreFull or StoreReadOnly the entries may be in
                the log: ``reload`` and look.
        """
        if not entries or any(len(entry) != ENTRY_BYTES for entry in entries):
            raise InputError(f"Expected one or more entries of {ENTRY_BYTES} bytes.")
        with self.public.rows.changing() as change:
            row, old = self._known_row(), self.head
            tiles = self._grown(old, entries)
            self._confirm_seen(old)
            size = old.size + len(entries)
            read = tile_reader(size, lambda tile: tiles[tile] if tile in tiles else self.public.stored(tile))
            new = TreeHead(old.origin, size, read_root(size, read))
            signed = sign_checkpoint(new, self._keys, time_s=self._time_after(row))
            rows = (TileRow(tile.level, tile.index, data) for tile, data in tiles.items())
            change.advance(row, LogRow(new.origin, new.size, new.root, signed), entries, rows)
            if heads is not None:
                change.publish(heads(old.size))
        self.head = new
        self._note()
        return Appended(old.size, signed)

    def replace_checkpoint(self, data: bytes) -> None:
        """Keep the same checkpoint with more signatures: cosignatures of witnesses.

        Raises:
            HeightConflict: the log has grown since; that checkpoint is of no use any more.
            VerificationError: it is not a checkpoint of this log, or of another head of the same size.
        """
        opened = open_checkpoint(data, self.log)
        with self.public.rows.changing() as change:
            row = self._known_row()
            if opened.head.size != self.head.size:
                raise moved(opened.head.size)
            if opened.head != self.head:
                raise VerificationError(
                    f"Two checkpoints of this log with {self.head.size} entries have different root hashes.",
                    "Keep it: it shows that somebody signs in the name of this log.",
                )
            change.replace(row, LogRow(row.origin, row.size, row.root, data))

    # -- inside -----------------------------------------------------------------------------------

    def _start(self) -> None:
        """Sign the empty log, unless somebody else did in the meantime."""
        empty = TreeHead(self.log.origin, 0, EMPTY_ROOT)
        with self.public.rows.changing() as change:
            if self.public.rows.head() is None:
                self._confirm_seen(empty)
                change.start(self._row_of_empty(empty))

    def _restart(self) -> None:
        """Sign the empty log in the place of another one."""
        with self.public.rows.changing() as change:
            change.start(self._row_of_empty(self.head))
        self._note()

    def _row_of_empty(self, empty: TreeHead) -> LogRow:
        return LogRow(empty.origin, 0, EMPTY_ROOT, sign_checkpoint(empty, self._keys, time_s=self._clock()))

    def _time_after(self, row: LogRow) -> int:
        """Now, which no checkpoint before may claim to be later than."""
        now, before = self._clock(), signed_at(row.checkpoint, self.log)
        if now < before:
            raise ClockError(
                f"This machine's clock shows {readable(now)}, and the log was signed at {readable(before)} already.",
                "Set the clock right and try again; no record is lost by it, and nothing was signed.",
            )
        return now

    def _known_row(self) -> LogRow:
        """The row of the head within a transaction, if it is the head that this process knows."""
        row = self.public.row()
        if self._signed(row) != self.head:
            raise moved(self.head.size)
        return row

    def _signed(self, row: LogRow) -> TreeHead:
        """The head in a row, if it is what these keys signed."""
        if row.origin != self.log.origin:
            raise VaultError(
                f"The log in the store is {row.origin}, and {FILE_NAME} signs for {self.log.origin}.",
                "Put the key of that log back, or start another log with `ipse ledger new`.",
            )
        open_checkpoint(row.checkpoint, self.log)
        return head_of(row)

    def _grown(self, old: TreeHead, entries: Sequence[bytes]) -> dict[Tile, bytes]:
        """The tiles that these entries add, on a tree that leads to the root hash that was signed."""
        if read_root(old.size, self.public.reader(old.size)) != old.root:
            raise VerificationError("The tiles of the log do not lead to the root hash that was signed.", DAMAGED)
        leaves = [leaf_hash(entry) for entry in entries]
        return dict(grown_tiles(old.size, leaves, self.public.stored))

    def _confirm_seen(self, head: TreeHead) -> None:
        confirm_seen(self.public.seen.last(seen_name(head.origin)), head, self.public.reader(head.size))

    def _note(self) -> None:
        self.public.seen.note(seen_name(self.head.origin), self.head.size, self.head.root, sync=True)


def new_log(store: Store, *, origin: str | None = None, clock: Callable[[], int] = now_s) -> LogWriter:
    """Start a log with new keys and another origin; entries and tiles of one that is there go.

    For a log that is lost: what its newest copy had signed can no longer be continued, but a log of another name
    contradicts nobody. Export the old one before, if it is still served. Its key is kept beside the new one.

    Raises:
        InputError: the origin cannot name a log, or is that of the log that is there.
        StoreRolledBack: a log of that name was here before, and its entries are not.
        VaultError: the key file cannot be written.
        StoreError: as they say.
    """
    origin, public = new_origin() if origin is None else origin, PublicLog(store)
    Signer.check_name(origin)
    there = public.rows.head()
    if there is not None and there.origin == origin:
        raise InputError(f"{origin} is the log that is here.", "Another log needs another origin.")
    confirm_seen(public.seen.last(seen_name(origin)), TreeHead(origin, 0, EMPTY_ROOT), public.reader(0))
    writer = LogWriter(store, renew_log_key(store.path.parent / FILE_NAME, origin), clock)
    writer._restart()
    return writer


def _create_or_load(path: Path, origin: str | None) -> Signer:
    """Make the key file; if another process made it in the meantime, use that one."""
    try:
        return create_signer(path, new_origin() if origin is None else origin)
    except VaultError:
        if not path.exists():
            raise
        return load_log_key(path)
