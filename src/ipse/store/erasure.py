# SPDX-License-Identifier: Apache-2.0
"""Erasing a fork from the store's file, in steps that a crash may stop and anybody may go on with.

    begin           one transaction: the fork is marked, and opens no more; of its records there remain the digests; the
                    records that bring data keys go, and name, base, snapshots and signed heads
    fold            the write-ahead log, which still has the old pages, goes into the file and is cut to nothing
    drop_records    all other records
    rewrite         the file is written anew from what is left (VACUUM), and the log cut once more
    finish          nothing is left to do

Deleting alone is not enough: SQLite keeps freed bytes in its pages, and old pages in its log. ``secure_delete`` makes
zeroes of the former, the rewriting takes what files of before that setting have, and cutting the log the latter.

Why digests may stay: each is the SHA-256 of a sealed record, and who has not got the record learns nothing from it.
With them the fork's tree can still be computed, so heads that were signed and entries of a public log still verify.
Who kept a copy of a record can tell by them that it was this fork's. The log's entries stay as they are, and which of
them were heads of this fork goes.

Not reached: whatever is not in this file. Backups, exports, snapshots of the file system, blocks that a file system or
a flash disk has put aside, swap, the memory of processes. Without the records that bring the data keys, what is found
there is noise; a copy of the whole file from before is the fork, for who has the root key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ipse.errors import InputError, VerificationError
from ipse.store import faults
from ipse.store.rows import Head
from ipse.store.store import Store
from ipse.wire.ids import ForkId

_CHUNK_RECORDS = 256
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Destroyed:
    """How much of a fork an erasure destroys.

    Attributes:
        bytes: of its records and snapshots.
        entries: of public logs that were its heads. They stay there; that they were its heads is not known any more.
    """

    records: int
    snapshots: int
    bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class ErasedFork:
    """What remains of a fork that was erased.

    Attributes:
        head: number and digest of its last record.
        created_ms, erased_ms: Unix time.
        unfinished: what is still to be destroyed, with what was; None when nothing is left to do.
    """

    fork_id: ForkId
    head: Head
    created_ms: int
    erased_ms: int
    unfinished: Destroyed | None


class Erasure:
    """Erases forks of one store. Every step is durable when it returns, and harmless to repeat.

    Each raises the errors of a write to the store; after one, some of it may be done: repeat it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def erased(self) -> list[ErasedFork]:
        """All forks that were erased, in the order in which they were made."""
        rows = self._store._read(
            "SELECT fork_id, seq, digest, created_ms, erased_ms, records, snapshots, bytes, entries"
            " FROM fork JOIN head ON head.fork = number LEFT JOIN erasing ON erasing.fork = number"
            " WHERE erased_ms IS NOT NULL ORDER BY number",
            (),
        )
        return [
            ErasedFork(row[0], Head(row[1], row[2]), row[3], row[4], None if row[5] is None else Destroyed(*row[5:]))
            for row in rows
        ]

    def digests(self, fork_id: ForkId) -> list[bytes]:
        """What ``Store.digests`` gave before the fork was erased.

        Raises:
            InputError: no fork of this id was erased.
            VerificationError: one is missing, or the last is not that of the head.
        """
        head = next((each.head for each in self.erased() if each.fork_id == fork_id), None)
        if head is None:
            raise InputError(f"No fork {fork_id} was erased here.", "See `ipse fork list --all`.")
        rows = self._store._read(
            "SELECT seq, digest FROM leaf WHERE fork = (SELECT number FROM fork WHERE fork_id = ?) ORDER BY seq",
            (fork_id,),
        )
        for place, (seq, _) in enumerate(rows, 1):
            if seq != place:
                raise VerificationError(f"The digest of record {place} of fork {fork_id} is missing.", _RESTORE)
        if len(rows) != head.seq or (rows and rows[-1][1] != head.digest):
            raise VerificationError(f"The digests of fork {fork_id} do not lead to its head.", _RESTORE)
        return [digest for _, digest in rows]

    def begin(self, fork_id: ForkId, brings_key: Callable[[bytes], bool], now_ms: int) -> None:
        """Mark a fork as erased, and destroy what its records are opened with. Does nothing if that was done before.

        Args:
            brings_key: whether a record's bytes carry wraps of a data key; they need not be those of a record.

        Raises:
            InputError: there is no such fork.
        """
        with self._store.transaction() as db:
            found = db.execute("SELECT number, erased_ms FROM fork WHERE fork_id = ?", (fork_id,)).fetchone()
            if found is None:
                raise InputError(f"There is no fork {fork_id} in this store.", "See `ipse fork list`.")
            number, erased_ms = found
            if erased_ms is not None:
                return
            counts = [
                db.execute(f"SELECT count(*), COALESCE(SUM(length(data)), 0) FROM {table} WHERE fork = ?", (number,))
                for table in ("record", "snapshot")
            ]
            (records, record_bytes), (snapshots, snapshot_bytes) = (each.fetchone() for each in counts)
            db.execute(
                "INSERT INTO erasing (fork, records, snapshots, bytes, entries)"
                " VALUES (?, ?, ?, ?, (SELECT count(*) FROM publication WHERE fork = ?))",
                (number, records, snapshots, record_bytes + snapshot_bytes, number),
            )
            db.execute(
                "INSERT OR IGNORE INTO leaf (fork, seq, digest) SELECT fork, seq, digest FROM record WHERE fork = ?",
                (number,),
            )  # or ignore: what is damaged is erased all the same
            rows = db.execute("SELECT seq, data FROM record WHERE fork = ?", (number,))
            bringing = [(number, seq) for seq, data in rows if not isinstance(data, bytes) or brings_key(data)]
            db.executemany("DELETE FROM record WHERE fork = ? AND seq = ?", bringing)
            for table in ("snapshot", "publication"):
                db.execute(f"DELETE FROM {table} WHERE fork = ?", (number,))
            db.execute(
                "UPDATE fork SET owner = '', base_id = '', base_name = '', layout_digest = zeroblob(32),"
                " key_check = zeroblob(16), erased_ms = ? WHERE number = ?",
                (now_ms, number),
            )

    def fold(self) -> None:
        """Bring the write-ahead log into the file, and cut it to nothing."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._store.whole_file("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            if time.monotonic() > deadline:
                raise faults.busy(self._store.path)
            time.sleep(0.01)  # SQLite waits for readers, and not for whoever moves the log as well (wal.py)

    def drop_records(self, fork_id: ForkId) -> None:
        """Destroy what is left of an erased fork's records. One that is not erased keeps them."""
        dropped = _CHUNK_RECORDS
        while dropped == _CHUNK_RECORDS:
            with self._store.transaction() as db:
                dropped = db.execute(
                    "DELETE FROM record WHERE rowid IN (SELECT record.rowid FROM record JOIN fork ON fork = number"
                    " WHERE fork_id = ? AND erased_ms IS NOT NULL LIMIT ?)",
                    (fork_id, _CHUNK_RECORDS),
                ).rowcount

    def rewrite(self) -> None:
        """Write the whole file anew from what is in it. Takes the room of it twice, for a while."""
        self._store._read("PRAGMA temp_store = FILE", ())  # what is copied is alive, and may not fit into memory
        try:
            self._store.whole_file("VACUUM")
        finally:
            self._store._read("PRAGMA temp_store = MEMORY", ())
        self.fold()

    def finish(self, fork_id: ForkId) -> None:
        """Nothing is left to do."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM erasing WHERE fork = (SELECT number FROM fork WHERE fork_id = ?)", (fork_id,))


_RESTORE = "Restore the store from a copy."
