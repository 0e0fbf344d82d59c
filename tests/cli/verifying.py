# SPDX-License-Identifier: Apache-2.0
"""A home with published heads, what can be done to it behind its back, and what a refusal looks like."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ipse.forks.audit import home_log
from ipse.forks.home import Home
from ipse.forks.publish import publish
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.record import record_digest
from ipse.store.store import FILE_NAME
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey
from ipse.wire.ids import ForkId
from tests.cli.inprocess import Outcome
from tests.forks.tiny import Life, append, tiny_fork, turn

STRANGER = Identity(RootKey(bytes(32)))


@dataclass(frozen=True)
class Made:
    """A home: ada's fork with three records, published at two and at three; ben's with one, not published."""

    data: Path
    ada: str
    ben: str
    keys: tuple[str, ...]
    owner: str


def make_home(data: Path) -> Made:
    """A home for tests of what is verified."""
    with Home.open(data) as home:
        life = Life(home)
        life.learn("a", "b")
        publish(home)
        life.learn("c")
        publish(home)
        ben = tiny_fork(home, "ben")
        append(ben, turn("x"))
        log = home_log(PublicLog(home.store))
        assert log is not None
        keys = tuple(word for key in log.keys for word in ("--key", key.to_text()))
        return Made(data, life.fork.row.fork_id, ben.row.fork_id, keys, home.identity.public.name)


@contextmanager
def database(data: Path) -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(data / FILE_NAME) as db:
        yield db
    db.close()


def record(db: sqlite3.Connection, fork: str, seq: int) -> bytes:
    where = "fork = (SELECT number FROM fork WHERE fork_id = ?) AND seq = ?"
    data: bytes = db.execute(f"SELECT data FROM record WHERE {where}", (fork, seq)).fetchone()[0]
    return data


def put(db: sqlite3.Connection, fork: str, seq: int, data: bytes) -> None:
    """Other bytes for a fork's last record, with everything that the store keeps about them put right."""
    (number,) = db.execute("SELECT number FROM fork WHERE fork_id = ?", (fork,)).fetchone()
    digest = record_digest(data)
    db.execute("UPDATE record SET data = ?, digest = ? WHERE fork = ? AND seq = ?", (data, digest, number, seq))
    db.execute("UPDATE head SET digest = ? WHERE fork = ? AND seq = ?", (digest, number, seq))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


def refused(done: Outcome, *said: str) -> None:
    assert done.code == 1, done
    assert done.out == ""
    assert len(done.errors) == 1
    assert len([line for line in done.err if line.startswith("hint: ")]) == 1
    for each in said:
        assert each in done.errors[0]


def drop_the_last_record(data: Path, made: Made) -> None:
    with database(data) as db:
        digest = record_digest(record(db, made.ada, 2))
        (number,) = db.execute("SELECT number FROM fork WHERE fork_id = ?", (made.ada,)).fetchone()
        db.execute("DELETE FROM record WHERE fork = ? AND seq = 3", (number,))
        db.execute("UPDATE head SET seq = 2, digest = ? WHERE fork = ?", (digest, number))


def write_another_third_record(data: Path, made: Made) -> None:
    """The owner told the end of the history anew, after the first one was published."""
    drop_the_last_record(data, made)
    with Home.open(data) as home:
        home.store.go_on(ForkId(made.ada))
        append(tiny_fork(home), turn("another"))


def exchange_entries(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE publication SET entry = 1 - entry")


def change_an_entry(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE log_entry SET entry = ? WHERE number = 1", (bytes(32),))


def identity_file(path: Path, identity: Identity) -> Path:
    path.write_text(f"# ada\n{identity.public.to_text()}\n")
    return path
