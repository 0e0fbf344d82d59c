# SPDX-License-Identifier: Apache-2.0
"""What SQLite's and the system's errors mean here, and which of them poison a store.

After a failed write to the disk nobody knows what is on it. SQLite goes on: it accepted commits after a failed
fdatasync, and the kernel reports such a failure only once. So a store stops writing for good after any failure that
is not listed in ``HARMLESS``; opening it again reads back what really is there.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from ipse.errors import (
    InputError,
    IpseError,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StorePoisoned,
    StoreReadOnly,
)
from ipse.wire.ids import ForkId

RAISED = (sqlite3.Error, UnicodeDecodeError)
"""What the ``sqlite3`` module raises; the second when a damaged file's own bytes are part of SQLite's message."""

HARMLESS = (StoreBusy, StoreFull, StoreReadOnly, InputError)
"""After these nothing was written that counts, provided that the transaction could be rolled back."""

_CONTRADICTIONS = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
)
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)


def explain(error: Exception, path: Path) -> IpseError:
    """The error of the tree that says what to do about one of ``RAISED``."""
    extended = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.IntegrityError):
        if extended in _CONTRADICTIONS:
            return damaged(path, f"its tables contradict each other ({error})")
        return InputError(f"A row does not have the form that the store keeps: {error}.")
    code = None if extended is None else extended & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return busy(path)
    if code == sqlite3.SQLITE_FULL or (extended == sqlite3.SQLITE_IOERR_SHMSIZE and _no_space(path)):
        return full(path)
    if code == sqlite3.SQLITE_READONLY or (code == sqlite3.SQLITE_CANTOPEN and not _writable(path)):
        return read_only(path)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code is None:
        return damaged(path, str(error))
    if code == sqlite3.SQLITE_IOERR:
        name = getattr(error, "sqlite_errorname", "")
        return StoreError(f"The disk failed under the store {path} ({name}).", "Check the disk, then open it again.")
    return StoreError(f"The store {path} cannot be used: {error}.", "Check the folder, then open it again.")


def explain_os(error: OSError, path: Path) -> StoreError:
    """The same for errors of the operating system."""
    if error.errno in _FULL_ERRNOS:
        return full(path)
    if error.errno in _READ_ONLY_ERRNOS:
        return read_only(path)
    return StoreError(f"The store {path} cannot be made: {error.strerror}.", "Choose another folder for it.")


def busy(path: Path) -> StoreBusy:
    """Somebody else holds the write lock."""
    return StoreBusy(f"Another process is writing to the store {path}.", "Try again in a moment.")


def full(path: Path) -> StoreFull:
    """Out of space."""
    return StoreFull(f"No space is left for the store {path}.", "Nothing was recorded: make room and try again.")


def read_only(path: Path) -> StoreReadOnly:
    """The place cannot be written."""
    return StoreReadOnly(f"The store {path} cannot be written.", f"Check who owns the folder {path.parent}.")


def damaged(path: Path, what: str) -> StoreDamaged:
    """The database itself is broken."""
    return StoreDamaged(
        f"The store {path} is damaged: {what}.", "Restore it from a copy; records already read are good."
    )


def foreign(path: Path, what: str, hint: str) -> StoreForeign:
    """Not our file, or too new a one."""
    return StoreForeign(f"{path} {what}.", hint)


def poisoned(path: Path) -> StorePoisoned:
    """A write failed earlier."""
    return StorePoisoned(
        f"An earlier write to the store {path} failed, so it takes no more.",
        "Check the disk, then start again; what was acknowledged before is there.",
    )


def interrupted(path: Path) -> StoreError:
    """The thread that wrote for others was stopped from outside."""
    return StoreError(
        f"A write to the store {path} was interrupted; it may or may not be there.",
        "Look whether it is, or try the same again: an operation is recorded once.",
    )


def closed(path: Path) -> StoreError:
    """A write after ``close``."""
    return StoreError(f"The store {path} is closed.", "Open it again.")


def unknown(fork_id: ForkId) -> InputError:
    """A fork that the store does not have."""
    return InputError(f"There is no fork {fork_id} in this store.", "List the forks and choose one of them.")


def _writable(path: Path) -> bool:
    try:
        read_only_mount = bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except (OSError, AttributeError):  # no statvfs on Windows
        return True
    return not read_only_mount and os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)


def _no_space(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except (OSError, AttributeError):  # no statvfs on Windows
        return False
