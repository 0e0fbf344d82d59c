# SPDX-License-Identifier: Apache-2.0
"""The store: one SQLite file with every fork's sealed records. The only room that knows what a disk is.

It keeps bytes and gives them back; it cannot open them and does not know what they mean. Its promises:

- *durable*: what ``append`` returned from is on the disk (WAL, ``synchronous=FULL``), also after a power cut.
- *all or nothing*: record and head change in one transaction, or neither does.
- *one history*: (fork, number) is unique and the head is compared before it is swapped. Of two processes that append
  to the same head, one wins; the other gets HeightConflict, reloads and tries again.
- *once*: an operation id is taken once. A crash can leave a record that was written but not acknowledged; the
  retry gets DuplicateOperation, which means: done.
- *honest about the disk*: after a failed write this handle writes no more (StorePoisoned); reading goes on.
  A full disk is not such a failure: the transaction is rolled back, and writing goes on when there is room.
- *checked*: each record's digest is checked on the way out, and a gap is an error that names fork and record.

- *never two histories*: nothing is added to an older copy of the file that was put back (seen.py).

Not promised: secrecy (seal first), and noticing that the whole folder was put back as it once was (keep a head
elsewhere for that). Network file systems break SQLite's locks: keep the file on a local disk.

A Store may be used from several threads. They take turns, and those that wait to write share one commit (writer.py);
``append_async`` is for a thread that does not want to wait. It must not be carried across ``fork()``.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from ipse.errors import InputError, StoreDamaged, StoreError, VerificationError
from ipse.store import faults, schema, writes
from ipse.store.opening import connect
from ipse.store.rows import AppendRow, ForkRow, Head, StoredRecord, StoredSnapshot
from ipse.store.seen import FOLDER_NAME, Seen
from ipse.store.writer import Writer
from ipse.store.writes import FORK_COLUMNS
from ipse.wire.digest import NO_DIGEST, sha256
from ipse.wire.ids import ForkId, OwnerId

FILE_NAME = "ipse.db"

_NUMBER = "(SELECT number FROM fork WHERE fork_id = ? AND erased_ms IS NULL)"
_CHUNK_RECORDS = 256

log = logging.getLogger(__name__)


class Store:
    """Open with ``Store.open``; close it, or use it in a ``with`` statement."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._writer = Writer(connection, path, self._lock)
        self._seen = Seen(path.parent / FOLDER_NAME)

    @classmethod
    def open(cls, root: Path, *, create: bool = True, busy_seconds: float = 5.0) -> Store:
        """Open the store in this folder.

        Args:
            root: the data root; made with mode 0700 if it is missing, and the file in it with 0600.
            create: whether to make what is missing.
            busy_seconds: how long any operation waits for another process before StoreBusy.

        Raises:
            InputError: nothing is there and ``create`` is false.
            StoreForeign: the file is another program's, or of a newer Ipse.
            StoreDamaged, StoreReadOnly, StoreFull, StoreBusy: as they say.
        """
        path = root / FILE_NAME
        return cls(connect(path, create=create, busy_seconds=busy_seconds), path)

    def close(self) -> None:
        """Finish what was queued and close; harmless to repeat. What was acknowledged is on the disk before, too."""
        self._writer.close()
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- forks ---------------------------------------------------------------------------------------------------

    def create_fork(self, row: ForkRow) -> None:
        """Add a fork without records.

        Raises:
            InputError: its id is taken.
        """
        self._writer.run(lambda db: writes.create_fork(db, row))

    def import_fork(self, row: ForkRow, records: Sequence[AppendRow], *, expected_head: bytes) -> None:
        """Add records after a fork's newest one, and the fork itself if it is not here: all of that, or nothing.

        To an older copy that was put back it adds only what leads to what was seen, which makes it whole again.

        Args:
            row: the fork as it is made if it is missing; one that is here keeps its own.
            records: one or more, in order, without gaps.
            expected_head: digest of the record that the first of them follows, ``NO_DIGEST`` if there is none.

        Raises: as ``append``.
        """
        for record in records:
            _check_digest(row.fork_id, record)
        last = self._seen.last(row.fork_id)
        self._writer.run(lambda db: writes.import_fork(db, row, records, expected_head, last))
        self._note(row.fork_id, records[-1])

    def swap_key_check(self, fork_id: ForkId, expected: bytes, value: bytes) -> bool:
        """Say that a fork opens with another root from now on; False if its check value is not the expected one."""
        return self._writer.run(lambda db: writes.swap_key_check(db, fork_id, expected, value))

    def fork(self, fork_id: ForkId) -> ForkRow:
        """One fork.

        Raises:
            InputError: it is not in this store.
        """
        rows = self._forks("AND fork_id = ?", (fork_id,))
        if not rows:
            raise faults.unknown(fork_id)
        return rows[0]

    def forks(self, owner: OwnerId | None = None) -> list[ForkRow]:
        """All forks, or those of one owner, oldest first; none that was erased (erasure.py)."""
        return self._forks("", ()) if owner is None else self._forks("AND owner = ?", (owner,))

    def _forks(self, where: str, values: tuple[object, ...]) -> list[ForkRow]:
        columns = ", ".join(FORK_COLUMNS)
        rows = self._read(f"SELECT {columns} FROM fork WHERE erased_ms IS NULL {where} ORDER BY number", values)
        return [ForkRow(**dict(zip(FORK_COLUMNS, row, strict=True))) for row in rows]

    # -- records -------------------------------------------------------------------------------------------------

    def append(self, fork_id: ForkId, row: AppendRow, *, expected_head: bytes) -> None:
        """Add the next record. When this returns, it is on the disk.

        Args:
            expected_head: digest of the record that the new one follows, as the caller last saw it.

        Raises:
            DuplicateOperation: the operation is recorded already. Asked first, so it also answers a retry of an
                append that had succeeded unnoticed.
            HeightConflict: the head is another: reload the fork and try again.
            InputError: there is no such fork.
            VerificationError: ``row.digest`` is not the digest of ``row.data``.
            StoreRolledBack: an older copy of the store was put back; nothing is added to it.
            StoreBusy, StoreFull, StoreReadOnly: nothing was recorded; try again.
            StorePoisoned, StoreError: the write may or may not have reached the disk; reopen and look.
        """
        _check_digest(fork_id, row)
        last = self._seen.last(fork_id)  # before the head: another process may append in between
        self._writer.run(lambda db: writes.append(db, fork_id, row, expected_head, last))
        self._note(fork_id, row)

    def append_async(self, fork_id: ForkId, row: AppendRow, *, expected_head: bytes) -> Future[None]:
        """The same for a server with many forks: the future has a result when the record is on the disk.

        Records of one fork may follow each other without waiting: if one is refused, those after it get
        HeightConflict. Callbacks of the future run in a thread that writes, so they must not wait for the store.

        Raises:
            VerificationError: at once; everything else comes by the future.
        """
        _check_digest(fork_id, row)
        last = self._seen.last(fork_id)
        future = self._writer.submit(lambda db: writes.append(db, fork_id, row, expected_head, last))

        def note(done: Future[None]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._note(fork_id, row)

        future.add_done_callback(note)
        return future

    def go_on(self, fork_id: ForkId) -> None:
        """Forget what was seen of a fork: for an older copy that is the newest there is. Its owner must want that.

        Raises:
            StoreError: the file cannot be removed.
        """
        self._seen.forget(fork_id)

    def _note(self, fork_id: ForkId, row: AppendRow) -> None:
        """Beside the store, what it has now. The record is safe whatever becomes of this."""
        try:
            self._seen.note(fork_id, row.seq, row.digest, sync=False)
        except StoreError as error:
            log.warning("an older copy of the store might go unnoticed: %s", error)

    def head(self, fork_id: ForkId) -> Head:
        """The newest record's number and digest.

        Raises:
            InputError: there is no such fork.
        """
        rows = self._read(f"SELECT seq, digest FROM head WHERE fork = {_NUMBER}", (fork_id,))
        if not rows:
            raise faults.unknown(fork_id)
        return Head(*rows[0])

    def records(self, fork_id: ForkId, after_seq: int = 0) -> Iterator[StoredRecord]:
        """The records after this number, in order, read in pieces.

        Raises:
            InputError: there is no such fork.
            VerificationError: a record is missing or its bytes do not have its digest; names fork and record.
        """
        head = self.head(fork_id)
        seq = after_seq
        while True:
            try:
                rows = self._records(fork_id, "seq > ? ORDER BY seq LIMIT ?", (seq, _CHUNK_RECORDS))
            except StoreDamaged as error:
                raise StoreDamaged(f"Fork {fork_id} after record {seq}: {error.message}", error.hint) from error
            for row in rows:
                seq += 1
                yield _checked(fork_id, seq, row)
            if len(rows) < _CHUNK_RECORDS:
                break
        if seq < head.seq:
            raise _missing(fork_id, seq + 1)

    def digests(self, fork_id: ForkId) -> list[bytes]:
        """The digests of all records, in order: the leaves of the fork's own tree. Bytes are not read.

        Raises:
            InputError: there is no such fork.
            VerificationError: one is missing.
        """
        head = self.head(fork_id)
        rows = self._read(f"SELECT seq, digest FROM record WHERE fork = {_NUMBER} ORDER BY seq", (fork_id,))
        for seq, row in enumerate(rows, start=1):
            if row[0] != seq:
                raise _missing(fork_id, seq)
        if len(rows) < head.seq:
            raise _missing(fork_id, len(rows) + 1)
        return [digest for _, digest in rows]

    def record(self, fork_id: ForkId, seq: int) -> StoredRecord:
        """One record.

        Raises:
            InputError: there is no such fork, or it has never had this record.
            VerificationError: the record is missing or its bytes do not have its digest.
        """
        rows = self._records(fork_id, "seq = ?", (seq,))
        if rows:
            return _checked(fork_id, seq, rows[0])
        if 1 <= seq <= self.head(fork_id).seq:
            raise _missing(fork_id, seq)
        raise InputError(f"Fork {fork_id} has no record {seq}.", "Its records start at 1; see its head for the last.")

    def record_of(self, fork_id: ForkId, op_id: bytes) -> StoredRecord | None:
        """The record of an operation, if it is recorded: how a retry finds what the first try did."""
        rows = self._records(fork_id, "op_id = ?", (op_id,))
        return _checked(fork_id, rows[0][0], rows[0]) if rows else None

    def verify(self, fork_id: ForkId) -> Head:
        """Read every record of a fork: digests fit, numbers have no gap, the last one is the head.

        This needs no key and does not look into the records; ``ledger.chain.check_chain`` does that.

        Raises:
            VerificationError: names the fork and the first record that does not fit.
        """
        head, last = self.head(fork_id), Head(0, NO_DIGEST)
        for record in self.records(fork_id):
            last = Head(record.seq, record.digest)
            if last.seq == head.seq:
                break
        if last != head:
            raise VerificationError(
                f"The head of fork {fork_id} does not fit its record {last.seq}.", "Restore the store from a copy."
            )
        return head

    def bytes_of(self, fork_id: ForkId) -> int:
        """Bytes of a fork's records and snapshots, without what the database adds."""
        total = 0
        for table in ("record", "snapshot"):
            rows = self._read(f"SELECT COALESCE(SUM(length(data)), 0) FROM {table} WHERE fork = {_NUMBER}", (fork_id,))
            total += rows[0][0]
        return total

    def _records(self, fork_id: ForkId, where: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return self._read(
            f"SELECT seq, op_id, digest, data FROM record WHERE fork = {_NUMBER} AND {where}", (fork_id, *values)
        )

    # -- snapshots and markers -----------------------------------------------------------------------------------

    def put_snapshot(self, fork_id: ForkId, seq: int, data: bytes) -> None:
        """Keep a sealed snapshot of the fork after record ``seq``, replacing one of the same height.

        Raises:
            InputError: there is no such fork, or it has not come so far.
        """
        self._writer.run(lambda db: writes.put_snapshot(db, fork_id, seq, data))

    def latest_snapshot(self, fork_id: ForkId, at_or_before_seq: int) -> StoredSnapshot | None:
        """The newest snapshot that is not past this record, if there is one.

        Its bytes are not checked here. A snapshot that does not open must be ignored by its user, with a warning in
        the log: the records say the same, only slower.
        """
        rows = self._read(
            f"SELECT seq, data FROM snapshot WHERE fork = {_NUMBER} AND seq <= ? ORDER BY seq DESC LIMIT 1",
            (fork_id, at_or_before_seq),
        )
        return StoredSnapshot(*rows[0]) if rows else None

    def drop_snapshots(self, fork_id: ForkId, *, before_seq: int | None = None) -> None:
        """Forget all snapshots of a fork, or those of records before this one. Loses nothing but time."""
        limit = 2**63 - 1 if before_seq is None else before_seq
        self._writer.run(lambda db: writes.drop_snapshots(db, fork_id, limit))

    def swap_marker(self, key: str, expected: bytes | None, value: bytes) -> bool:
        """Keep a small value under a name, if the one there now is the expected one (None: there is none).

        Returns:
            Whether it was so. If not, nothing was changed: somebody else was faster.
        """
        return self._writer.run(lambda db: writes.swap_marker(db, key, expected, value))

    def marker(self, key: str) -> bytes | None:
        """The value under this name, if there is one."""
        rows = self._read("SELECT value FROM marker WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    # -- the disk ------------------------------------------------------------------------------------------------

    def check_file(self) -> None:
        """Let SQLite check the whole file, and that its tables are ours: slow, and independent of ``verify``.

        Raises:
            StoreDamaged: with the first finding.
        """
        found = self._read("PRAGMA integrity_check(1)", ())
        if found != [("ok",)]:
            raise faults.damaged(self.path, str(found[0][0]) if found else "the check gave no answer")
        if self._read(schema.DECLARED, ()) != schema.declared():
            raise faults.damaged(self.path, "its tables are not declared as this version declares them")

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """One durable transaction for other modules of this room; any exception inside rolls it back.

        Raises:
            StoreBusy, StoreFull, StoreReadOnly: nothing was changed; try again.
            StorePoisoned, StoreError: the change may or may not have reached the disk; reopen and look.
        """
        return self._writer.transaction()

    def whole_file(self, statement: str) -> list[tuple[Any, ...]]:
        """A statement about the whole file, for other modules of this room: VACUUM, or moving the write-ahead log.

        Raises:
            StoreBusy, StoreFull, StoreReadOnly: it was not done; try again.
            StorePoisoned, StoreError: it may or may not have reached the disk; reopen and look.
        """
        return self._writer.whole_file(statement)

    def _read(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.ProgrammingError:
                raise  # a closed store, or a mistake in this file
            except faults.RAISED as error:
                raise faults.explain(error, self.path) from error


def _check_digest(fork_id: ForkId, row: AppendRow) -> None:
    if sha256(row.data) != row.digest:
        raise VerificationError(f"Record {row.seq} of fork {fork_id} does not have the digest it came with.")


def _checked(fork_id: ForkId, seq: int, row: tuple[Any, ...]) -> StoredRecord:
    """A row as a record, if it is record ``seq`` and its bytes have its digest."""
    record = StoredRecord(*row)
    if record.seq != seq:
        raise _missing(fork_id, seq)
    if not isinstance(row[3], bytes) or sha256(record.data) != record.digest:
        raise VerificationError(
            f"Record {seq} of fork {fork_id} is damaged: its bytes do not have its digest.",
            "Restore the store from a copy; the records before it are good.",
        )
    return record


def _missing(fork_id: ForkId, seq: int) -> VerificationError:
    return VerificationError(
        f"Record {seq} of fork {fork_id} is missing.", "Restore the store from a copy; the records before it are good."
    )
