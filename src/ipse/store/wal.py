# SPDX-License-Identifier: Apache-2.0
"""Moving the write-ahead log (WAL) into the database file, off the path of whoever writes.

A commit goes to the WAL; SQLite calls it a checkpoint when the pages there are copied into the file. SQLite would do
that inside a commit, whose caller waits for two more syncs, and would swallow its errors. Here a thread with a
connection of its own does it, every ``EVERY_SECONDS`` while there is something to move, and tells its errors.

Nothing depends on when it happens: what was acknowledged is durable in the WAL. But a WAL starts anew only after all of
it was moved, which never happens by chance while somebody writes without pause; and a WAL that grows takes a sync of
0.28 ms where one that is written over takes 0.15. So the thread moves what there is beside the writers, and what they
wrote meanwhile while it holds them off, for about as long as two syncs take.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from ipse.errors import IpseError
from ipse.store import faults
from ipse.store.opening import join

EVERY_SECONDS = 0.25

log = logging.getLogger(__name__)


class WalFolder:
    """Started by the first write, so that a process that only reads has no thread more.

    Args:
        lock: held to keep the writers of this process off.
        note_failure: is told every error; a failed sync poisons the store.
    """

    def __init__(self, path: Path, lock: threading.RLock, note_failure: Callable[[IpseError], None]) -> None:
        self._path, self._lock, self._note_failure = path, lock, note_failure
        self._unfolded = threading.Event()
        self._stop = threading.Event()
        self._failed = False
        self._thread: threading.Thread | None = None

    def wrote(self) -> None:
        """There is something to move. Called under the lock."""
        if self._unfolded.is_set():
            return
        self._unfolded.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ipse-wal", daemon=True)
            self._thread.start()

    def close(self, connection: sqlite3.Connection | None) -> None:
        """End the thread; then move all that is left, by this connection, unless somebody else is at work there.

        Args:
            connection: None when the disk is not to be trusted.
        """
        if self._thread is None:
            return
        self._stop.set()
        self._unfolded.set()
        self._thread.join()
        if connection is None or self._failed:
            return
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except faults.RAISED as error:
            self._fail(error)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while not self._failed and not self._stop.is_set():  # asked anew: `clear` may come after close has set it
                self._unfolded.wait()
                if self._stop.wait(EVERY_SECONDS):
                    return
                self._unfolded.clear()
                try:
                    connection = connection or join(self._path)
                    self._fold(connection)
                except faults.RAISED as error:
                    self._fail(error)
        finally:
            if connection is not None:
                connection.close()

    def _fold(self, connection: sqlite3.Connection) -> None:
        all_moved = _move(connection, "PASSIVE")
        if self._unfolded.is_set():
            with self._lock:
                self._unfolded.clear()
                all_moved = _move(connection, "RESTART")
        if not all_moved:
            self._unfolded.set()

    def _fail(self, error: Exception) -> None:
        explained = faults.explain(error, self._path)
        self._failed = not isinstance(explained, faults.HARMLESS)
        self._note_failure(explained)
        self._unfolded.set()  # what did no harm is tried again


def _move(connection: sqlite3.Connection, mode: str) -> bool:
    """Whether all that was in the WAL is in the file now. Does not wait for readers and other processes."""
    busy, pages, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return not busy and bool(pages == moved)
