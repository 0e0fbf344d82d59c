# SPDX-License-Identifier: Apache-2.0
"""What each write does inside its transaction. The checks are here, so that no other write comes in between."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, fields

from ipse.errors import DuplicateOperation, HeightConflict, InputError
from ipse.store import faults
from ipse.store.rows import AppendRow, ForkRow, Head
from ipse.store.seen import confirm
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId

FORK_COLUMNS = tuple(column.name for column in fields(ForkRow))


def create_fork(db: sqlite3.Connection, row: ForkRow) -> None:
    """A fork and its head, before the first record."""
    if db.execute("SELECT 1 FROM fork WHERE fork_id = ?", (row.fork_id,)).fetchone():
        raise InputError(f"There is a fork {row.fork_id} already.", "Open it instead.")
    places = ", ".join("?" * len(FORK_COLUMNS))
    number = db.execute(
        f"INSERT INTO fork ({', '.join(FORK_COLUMNS)}) VALUES ({places}) RETURNING number", astuple(row)
    ).fetchone()[0]
    db.execute("INSERT INTO head (fork, seq, digest) VALUES (?, 0, ?)", (number, NO_DIGEST))


def swap_key_check(db: sqlite3.Connection, fork_id: ForkId, expected: bytes, value: bytes) -> bool:
    """Another check value for a fork, if the one there now is the expected one; whether it was."""
    done = db.execute("UPDATE fork SET key_check = ? WHERE fork_id = ? AND key_check = ?", (value, fork_id, expected))
    return done.rowcount == 1


def append(
    db: sqlite3.Connection, fork_id: ForkId, row: AppendRow, expected_head: bytes, last_seen: Head | None
) -> None:
    """A record, and the head moved to it, unless what was seen of the fork is not there."""
    if db.execute("SELECT 1 FROM record WHERE op_id = ?", (row.op_id,)).fetchone():
        raise DuplicateOperation(f"Operation {row.op_id.hex()} is recorded already.", "It is done: do not repeat it.")
    number, seq, digest = _head(db, fork_id)
    confirm(last_seen, fork_id, seq, digest, lambda at: _digest(db, number, at))
    if digest != expected_head or row.seq != seq + 1:
        raise HeightConflict(
            f"Fork {fork_id} is at record {seq}, so record {row.seq} cannot be added there.",
            "Somebody else wrote to it: reload the fork and try again.",
        )
    db.execute(
        "INSERT INTO record (fork, seq, op_id, digest, data) VALUES (?, ?, ?, ?, ?)",
        (number, row.seq, row.op_id, row.digest, row.data),
    )
    db.execute("UPDATE head SET seq = ?, digest = ? WHERE fork = ?", (row.seq, row.digest, number))


def put_snapshot(db: sqlite3.Connection, fork_id: ForkId, seq: int, data: bytes) -> None:
    """A snapshot of a height that the fork has reached."""
    number, newest, _ = _head(db, fork_id)
    if not 0 <= seq <= newest:
        raise InputError(f"Fork {fork_id} is at record {newest}, so it has no snapshot at {seq}.")
    db.execute("INSERT OR REPLACE INTO snapshot (fork, seq, data) VALUES (?, ?, ?)", (number, seq, data))


def drop_snapshots(db: sqlite3.Connection, fork_id: ForkId, before_seq: int) -> None:
    """All snapshots of records before this one."""
    db.execute(
        "DELETE FROM snapshot WHERE fork = (SELECT number FROM fork WHERE fork_id = ?) AND seq < ?",
        (fork_id, before_seq),
    )


def swap_marker(db: sqlite3.Connection, key: str, expected: bytes | None, value: bytes) -> bool:
    """Keep a small value under a name, if the one there now is the expected one; whether it was."""
    found = db.execute("SELECT value FROM marker WHERE key = ?", (key,)).fetchone()
    if (found[0] if found else None) != expected:
        return False
    db.execute("INSERT OR REPLACE INTO marker (key, value) VALUES (?, ?)", (key, value))
    return True


def _digest(db: sqlite3.Connection, number: int, seq: int) -> bytes:
    """Of one record; nothing if it is missing."""
    found = db.execute("SELECT digest FROM record WHERE fork = ? AND seq = ?", (number, seq)).fetchone()
    return bytes(found[0]) if found else b""


def _head(db: sqlite3.Connection, fork_id: ForkId) -> tuple[int, int, bytes]:
    """(the fork's number in this file, number and digest of its newest record)."""
    found = db.execute(
        "SELECT number, seq, digest FROM fork JOIN head ON fork = number WHERE fork_id = ? AND erased_ms IS NULL",
        (fork_id,),
    ).fetchone()
    if found is None:
        raise faults.unknown(fork_id)
    number, seq, digest = found
    return number, seq, digest
