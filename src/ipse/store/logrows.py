# SPDX-License-Identifier: Apache-2.0
"""The public log's rows: entries, tiles and one head. What they mean is the ledger's business (ledger/log.py).

Everything that changes them happens within ``changing``, one durable transaction that no other process can write
into. What the tables themselves refuse: a second entry of the same number, a tile that changes where it had hashes,
and a head that replaces another one than it says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass

from ipse.errors import HeightConflict, InputError
from ipse.store import faults
from ipse.store.store import Store
from ipse.wire.ids import ForkId


@dataclass(frozen=True, slots=True)
class LogRow:
    """The head of the log: what was signed last.

    Attributes:
        origin: the log's name.
        size: number of entries.
        root: 32 bytes, root hash of their tree.
        checkpoint: the signed bytes.
    """

    origin: str
    size: int
    root: bytes
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class TileRow:
    """A tile: 1 to 256 hashes of 32 bytes, one after the other."""

    level: int
    number: int
    hashes: bytes


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """A head of a fork, and the entry that it is in a log.

    Attributes:
        size: of the fork's own tree: records that the head covers.
        origin, entry: the log, and the number of the blinded head in it.
        note: the signed head; empty where a larger one was published since.
    """

    fork_id: ForkId
    size: int
    origin: str
    entry: int
    note: bytes


class LogRows:
    """The log's rows in a store; it takes turns with everything else there by the store's own lock."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def head(self) -> LogRow | None:
        """The head; None before there is a log."""
        rows = self._store._read("SELECT origin, size, root, checkpoint FROM log_head", ())
        if not rows:
            return None
        origin, size, root, checkpoint = rows[0]
        return LogRow(origin, size, self._bytes(root), self._bytes(checkpoint))

    def entries(self, start: int, count: int) -> list[bytes]:
        """The entries from this number on, up to the first that is missing."""
        rows = self._store._read(
            "SELECT number, entry FROM log_entry WHERE number BETWEEN ? AND ? ORDER BY number",
            (start, start + count - 1),
        )
        return [self._bytes(entry) for at, (number, entry) in enumerate(rows, start) if number == at]

    def tile(self, level: int, number: int) -> bytes | None:
        """The hashes of a tile, as many as there are."""
        rows = self._store._read("SELECT hashes FROM log_tile WHERE level = ? AND number = ?", (level, number))
        return self._bytes(rows[0][0]) if rows else None

    def publications(self, fork_id: ForkId, origin: str) -> list[PublicationRow]:
        """The heads of a fork that are in the log of this origin, smallest first."""
        rows = self._store._read(
            "SELECT size, entry, note FROM publication WHERE origin = ?"
            " AND fork = (SELECT number FROM fork WHERE fork_id = ?) ORDER BY size",
            (origin, fork_id),
        )
        return [PublicationRow(fork_id, size, origin, entry, self._bytes(note)) for size, entry, note in rows]

    def counts(self) -> tuple[int, int]:
        """How many entries and how many tiles there are."""
        rows = self._store._read("SELECT (SELECT count(*) FROM log_entry), (SELECT count(*) FROM log_tile)", ())
        return rows[0][0], rows[0][1]

    def _bytes(self, value: object) -> bytes:
        """A damaged file can hold anything, whatever its tables say."""
        if not isinstance(value, bytes):
            raise faults.damaged(self._store.path, "a row of the log does not hold bytes")
        return value

    @contextmanager
    def changing(self) -> Iterator[LogChange]:
        """One durable transaction; what is read within it cannot change before its end.

        Raises:
            StoreBusy, StoreFull, StoreReadOnly: nothing was changed; try again.
            StorePoisoned, StoreError: the change may or may not have reached the disk; reopen and look.
        """
        with self._store.transaction() as db:
            yield LogChange(db, self)


class LogChange:
    """What can be done to the log's rows within one transaction."""

    def __init__(self, db: sqlite3.Connection, rows: LogRows) -> None:
        self._db = db
        self._rows = rows

    def start(self, row: LogRow) -> None:
        """Begin a log with this head and no entries. All rows of the log before it go."""
        for table in ("log_entry", "log_tile", "log_head"):
            self._db.execute(f"DELETE FROM {table}")
        self._db.execute(
            "INSERT INTO log_head (one, origin, size, root, checkpoint) VALUES (1, ?, ?, ?, ?)", astuple(row)
        )

    def advance(self, old: LogRow, new: LogRow, entries: Sequence[bytes], tiles: Iterable[TileRow]) -> None:
        """Add entries, and put the new head in the place of the old one.

        Raises:
            HeightConflict: the head is another.
            InputError: the new head is not as much larger as there are entries.
            StoreDamaged: an entry of such a number, or another tile in such a place, is there already.
        """
        if new.size != old.size + len(entries):
            raise InputError(f"{len(entries)} entries do not make a log of {new.size} of one of {old.size}.")
        self.replace(old, new)
        self._db.executemany("INSERT INTO log_entry (number, entry) VALUES (?, ?)", enumerate(entries, old.size))
        for tile in tiles:
            done = self._db.execute(
                "INSERT INTO log_tile (level, number, hashes) VALUES (?, ?, ?)"
                " ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes"
                " WHERE substr(excluded.hashes, 1, length(hashes)) = hashes",
                astuple(tile),
            )
            if done.rowcount != 1:
                raise faults.damaged(
                    self._rows._store.path, f"tile {tile.number} of level {tile.level} of the log is another"
                )

    def publish(self, rows: Iterable[PublicationRow]) -> None:
        """Keep which heads the new entries are, and forget the signed heads of smaller sizes.

        Raises:
            InputError: there is no such fork.
        """
        for row in rows:
            found = self._db.execute(
                "SELECT number FROM fork WHERE fork_id = ? AND erased_ms IS NULL", (row.fork_id,)
            ).fetchone()
            if found is None:
                raise InputError(f"There is no fork {row.fork_id} in this store.")
            self._db.execute("UPDATE publication SET note = x'' WHERE fork = ?", found)
            self._db.execute(
                "INSERT INTO publication (fork, size, origin, entry, note) VALUES (?, ?, ?, ?, ?)",
                (found[0], row.size, row.origin, row.entry, row.note),
            )

    def replace(self, old: LogRow, new: LogRow) -> None:
        """Compare and swap the head.

        Raises:
            HeightConflict: the head is another.
        """
        done = self._db.execute(
            "UPDATE log_head SET size = ?, root = ?, checkpoint = ? WHERE origin = ? AND size = ? AND root = ?",
            (new.size, new.root, new.checkpoint, old.origin, old.size, old.root),
        )
        if done.rowcount != 1:
            raise moved(old.size)


def moved(size: int) -> HeightConflict:
    """Somebody else appended to the log."""
    return HeightConflict(
        f"The log is no longer at size {size}, so nothing can be added there.",
        "Somebody else wrote to it: read its head again and try again.",
    )
