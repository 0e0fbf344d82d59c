# SPDX-License-Identifier: Apache-2.0
"""Opening a store's file: make it if it is missing, refuse what is not ours, bring its tables up to date.

Nothing is written before the file is known to be ours or empty.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from ipse.errors import InputError, StoreError
from ipse.store import faults
from ipse.store.schema import APPLICATION_ID, VERSION, migrate

PAGE_BYTES = 8192
"""Three records of 1 kB fit a page of 4096 bytes and seven one of 8192: a sixth less disk, at the same speed."""

_SETTINGS = (
    f"PRAGMA page_size = {PAGE_BYTES}",  # counts for a new file only
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: a plain fsync there does not reach the disk
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA secure_delete = ON",  # what is freed becomes zeroes; an append takes as long as without, measured
    "PRAGMA temp_store = MEMORY",  # old pages that a statement might have to take back, in no temporary file
    "PRAGMA wal_autocheckpoint = 0",  # a thread does it, and sees the errors: wal.py
)


def connect(path: Path, *, create: bool, busy_seconds: float) -> sqlite3.Connection:
    """A connection to an up-to-date store that can be written. Errors as of ``Store.open``."""
    if create:
        _make_file(path)
    elif not path.exists():
        raise InputError(f"There is no store in {path.parent}.", "Create a fork first, or give the right folder.")
    if not os.access(path, os.W_OK):  # SQLite would notice only when it first has to write
        raise faults.read_only(path)
    try:
        connection = _plain(path, busy_seconds)
    except faults.RAISED as error:
        raise faults.explain(error, path) from error
    try:
        _prepare(connection, path, busy_seconds)
    except faults.RAISED as error:
        connection.close()
        raise faults.explain(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def join(path: Path) -> sqlite3.Connection:
    """One more connection to a store that this process has open, for its other thread; it waits for nobody.

    Raises:
        sqlite3.Error: see ``faults.explain``.
    """
    connection = _plain(path, busy_seconds=0)
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def _plain(path: Path, busy_seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,  # transactions are begun by hand
        check_same_thread=False,  # the store takes turns by its own lock
    )


def _make_file(path: Path) -> None:
    """An empty file of mode 0600 in a folder of mode 0700, unless they are there; SQLite alone would make it 0644."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # so that the new name survives a power cut
            finally:
                os.close(folder)
    except FileExistsError as error:
        if not path.is_file():
            raise StoreError(f"{path} is not a file.", "Choose another folder for the store.") from error
    except OSError as error:
        raise faults.explain_os(error, path) from error


def _prepare(connection: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
    connection.execute("BEGIN")  # one view of the file: somebody may be making its tables between two reads
    try:
        _identify(connection, path)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    for setting in _SETTINGS:
        connection.execute(setting)
    _use_write_ahead_log(connection, path, busy_seconds)
    connection.execute("BEGIN IMMEDIATE")  # one process migrates, the others wait; and a read-only place shows now
    try:
        version = _identify(connection, path)
        if version < VERSION:
            migrate(connection, version)
            connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _identify(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables, 0 for an empty file.

    Raises:
        StoreForeign: the file is not ours, or newer.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID:
        if application or version or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise faults.foreign(path, "belongs to another program", "Choose another folder for the store.")
        return 0
    if version > VERSION:
        raise faults.foreign(
            path, f"was written by a newer Ipse (tables {version}, known {VERSION})", "Update Ipse and try again."
        )
    return version


def _use_write_ahead_log(connection: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
    """Switch to WAL. SQLite does not wait for others while it switches, so we do."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise StoreError(f"The place of {path} cannot hold a write-ahead log.", "Put the store on a local disk.")
        return
