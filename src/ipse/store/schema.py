# SPDX-License-Identifier: Apache-2.0
"""Tables of a store, as numbered migrations.

``PRAGMA user_version`` counts the migrations that a file has seen; ``application_id`` says that it is ours. To change
the tables, append a function ``m007_...``: never edit one that was released, since files exist that ran it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

APPLICATION_ID = 0x49707365
"""The letters "Ipse", in the field of SQLite's file header that is meant for this."""


def m001_initial(connection: sqlite3.Connection) -> None:
    """Forks, their heads and records; snapshots, which are only a cache; markers.

    ``record`` refers to a fork by a small number, because its id would stand in every row and twice in indexes.
    ``head`` repeats what the newest record says on purpose: it is the row that appends compare and swap.
    """
    for statement in (
        """
        CREATE TABLE fork (
            number        INTEGER PRIMARY KEY,
            fork_id       TEXT NOT NULL UNIQUE,
            owner         TEXT NOT NULL,
            base_id       TEXT NOT NULL,
            base_name     TEXT NOT NULL,
            layout_digest BLOB NOT NULL CHECK (length(layout_digest) = 32),
            key_check     BLOB NOT NULL CHECK (length(key_check) = 16),
            created_ms    INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX fork_by_owner ON fork (owner)",
        """
        CREATE TABLE head (
            fork   INTEGER PRIMARY KEY REFERENCES fork (number),
            seq    INTEGER NOT NULL CHECK (seq >= 0),
            digest BLOB NOT NULL CHECK (length(digest) = 32)
        ) STRICT
        """,
        """
        CREATE TABLE record (
            fork   INTEGER NOT NULL REFERENCES fork (number),
            seq    INTEGER NOT NULL CHECK (seq >= 1),
            op_id  BLOB NOT NULL UNIQUE CHECK (length(op_id) = 16),
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            data   BLOB NOT NULL,
            UNIQUE (fork, seq)
        ) STRICT
        """,
        """
        CREATE TABLE snapshot (
            fork INTEGER NOT NULL REFERENCES fork (number),
            seq  INTEGER NOT NULL CHECK (seq >= 0),
            data BLOB NOT NULL,
            UNIQUE (fork, seq)
        ) STRICT
        """,
        """
        CREATE TABLE marker (
            key   TEXT PRIMARY KEY,
            value BLOB NOT NULL
        ) STRICT
        """,
    ):
        connection.execute(statement)


def m002_data_keys(connection: sqlite3.Connection) -> None:
    """Snapshots name their data key from here on; those of before are dropped, being only a cache."""
    connection.execute("DELETE FROM snapshot")


def m003_log(connection: sqlite3.Connection) -> None:
    """The public log: its entries, the tiles of its tree, and one head.

    ``log_head`` has at most one row. It is compared and swapped by every append, and holds the checkpoint that was
    signed for it, so that no second one is signed for the same size. A tile grows at its end until it is full.
    """
    for statement in (
        """
        CREATE TABLE log_entry (
            number INTEGER PRIMARY KEY CHECK (number >= 0),
            entry  BLOB NOT NULL CHECK (length(entry) = 32)
        ) STRICT
        """,
        """
        CREATE TABLE log_tile (
            level  INTEGER NOT NULL CHECK (level BETWEEN 0 AND 63),
            number INTEGER NOT NULL CHECK (number >= 0),
            hashes BLOB NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
            UNIQUE (level, number)
        ) STRICT
        """,
        """
        CREATE TABLE log_head (
            one        INTEGER PRIMARY KEY CHECK (one = 1),
            origin     TEXT NOT NULL,
            size       INTEGER NOT NULL CHECK (size >= 0),
            root       BLOB NOT NULL CHECK (length(root) = 32),
            checkpoint BLOB NOT NULL
        ) STRICT
        """,
    ):
        connection.execute(statement)


def m004_publication(connection: sqlite3.Connection) -> None:
    """Which heads of a fork were put into the public log, blinded, and where. The signed head is kept of the newest."""
    connection.execute(
        """
        CREATE TABLE publication (
            fork   INTEGER NOT NULL REFERENCES fork (number),
            size   INTEGER NOT NULL CHECK (size >= 1),
            origin TEXT NOT NULL,
            entry  INTEGER NOT NULL CHECK (entry >= 0),
            note   BLOB NOT NULL,
            UNIQUE (fork, origin, size)
        ) STRICT
        """
    )


def m005_kept_twice(connection: sqlite3.Connection) -> None:
    """All columns of a fork and of a marker once more, in an index, so that SQLite's own check compares the two.

    A bit that flips in either is then found. Records and heads need no second copy, since they have digests, and
    snapshots none, since they are sealed. The planner may also answer from such an index alone.
    """
    connection.execute(
        "CREATE UNIQUE INDEX fork_twice ON fork"
        " (fork_id, owner, base_id, base_name, layout_digest, key_check, created_ms)"
    )
    connection.execute("CREATE UNIQUE INDEX marker_twice ON marker (key, value)")
    connection.execute("CREATE UNIQUE INDEX publication_twice ON publication (fork, origin, size, entry, note)")


def m006_erasure(connection: sqlite3.Connection) -> None:
    """Forks that were erased: of each there remains its row, emptied, and the digests of its records.

    ``erased_ms`` is set by the first step of an erasure. ``erasing`` has a row from that step to the last, so that
    what a crash left is not forgotten; it counts what is destroyed. What remains is kept twice, as forks are.
    """
    for statement in (
        "ALTER TABLE fork ADD COLUMN erased_ms INTEGER",
        "DROP INDEX fork_twice",
        "CREATE UNIQUE INDEX fork_twice ON fork"
        " (fork_id, owner, base_id, base_name, layout_digest, key_check, created_ms, erased_ms)",
        """
        CREATE TABLE leaf (
            fork   INTEGER NOT NULL REFERENCES fork (number),
            seq    INTEGER NOT NULL CHECK (seq >= 1),
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            UNIQUE (fork, seq, digest)
        ) STRICT
        """,
        """
        CREATE TABLE erasing (
            fork      INTEGER PRIMARY KEY REFERENCES fork (number),
            records   INTEGER NOT NULL,
            snapshots INTEGER NOT NULL,
            bytes     INTEGER NOT NULL,
            entries   INTEGER NOT NULL,
            UNIQUE (fork, records, snapshots, bytes, entries)
        ) STRICT
        """,
    ):
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    m001_initial,
    m002_data_keys,
    m003_log,
    m004_publication,
    m005_kept_twice,
    m006_erasure,
)

VERSION = len(MIGRATIONS)

DECLARED = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
"""Asks for all that a file consists of, and how it is declared."""


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Run what is missing. The caller holds a write transaction, so a crash leaves the old tables whole."""
    for migration in MIGRATIONS[version:]:
        migration(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def declared() -> list[tuple[str, str, str, str | None]]:
    """What ``DECLARED`` answers in a file that this version has just made."""
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection, 0)
        return connection.execute(DECLARED).fetchall()
