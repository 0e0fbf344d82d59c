# SPDX-License-Identifier: Apache-2.0
"""One bit of the file flips: it is found, or it lies where nothing is kept and no reader sees a difference.

What finds it: opening the store, SQLite's own check and the comparison of the tables (``check_file``), every fork's
digests (``verify``), the seal of a snapshot, and the public log computed anew from its entries (``check_log``). SQLite
keeps unused bytes in its pages, and counters that only say that something changed; no check of contents can or need
find a flip there. So each flip that is not found must leave every row of every table as it was.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

import pytest

from ipse.errors import IpseError
from ipse.ledger.log import LogWriter, log_of
from ipse.ledger.publiclog import PublicLog, check_log
from ipse.store.erasure import Erasure
from ipse.store.logrows import LogRows, PublicationRow
from ipse.store.store import Store
from ipse.vault.logkeys import FILE_NAME as LOG_KEY
from ipse.vault.logkeys import load_log_key
from ipse.vault.seal import open_snapshot, seal_snapshot
from ipse.wire.digest import NO_DIGEST
from tests.ledger.samples import KEY
from tests.store.samples import filled, fork_row, row

RECORDS = 60
LONG = 30_000
"""Bytes of a record that takes overflow pages."""


def sound(folder: Path) -> bytes:
    """A file with some of everything: forks, one of them being erased, records short and long, snapshots, markers."""
    with Store.open(folder) as store:
        for fork in (fork_row(KEY.fork_id), fork_row(owner="bob")):
            store.create_fork(fork)
            head = NO_DIGEST
            for seq in range(1, RECORDS + 1):
                new = row(seq, random.Random(seq).randbytes(LONG if seq == 5 else 900))
                store.append(fork.fork_id, new, expected_head=head)
                head = new.digest
            for seq in (3, RECORDS):
                store.put_snapshot(fork.fork_id, seq, seal_snapshot(KEY, seq, random.Random(seq).randbytes(12_000)))
            store.drop_snapshots(fork.fork_id, before_seq=RECORDS)
        erased, _ = filled(store, 9)
        Erasure(store).begin(erased, lambda data: True, 5)  # records that are to go are read by nobody
        fork_id, _ = filled(store, 0)
        entries = [random.Random(n).randbytes(32) for n in range(300)]

        def heads(first: int) -> list[PublicationRow]:
            return [PublicationRow(fork_id, n, log.log.origin, first + n, bytes(200)) for n in (1, 2)]

        log = LogWriter.open(store)
        log.append(entries, heads)
        store.swap_marker("one", None, b"some value")
        store.swap_marker("two", None, bytes(100))
    return (folder / "ipse.db").read_bytes()


def contents(path: Path) -> list[object]:
    """All rows of all tables, and their names."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            (name, connection.execute(f'SELECT rowid, * FROM "{name}" ORDER BY rowid').fetchall()) for name in names
        ]


def check(folder: Path) -> None:
    """All that can be checked of a store with its key. Raises an error of ours."""
    with Store.open(folder, create=False) as store:
        store.check_file()
        check_log(PublicLog(store), log_of(load_log_key(folder / LOG_KEY)))
        for gone in Erasure(store).erased():
            Erasure(store).digests(gone.fork_id)
        for fork in store.forks():
            head = store.verify(fork.fork_id)
            snapshot = store.latest_snapshot(fork.fork_id, head.seq)
            if snapshot is not None:
                open_snapshot(KEY, snapshot.seq, snapshot.data)


def outcome(folder: Path, bad: bytes, expected: list[object]) -> str:
    for name in ("ipse.db-wal", "ipse.db-shm"):
        (folder / name).unlink(missing_ok=True)
    path = folder / "ipse.db"
    path.write_bytes(bad)
    try:
        check(folder)
    except IpseError:
        return "found"
    return "harmless" if contents(path) == expected else "unnoticed"


def flipped(good: bytes, bit: int) -> bytes:
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    return bytes(bad)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory, where there is such a place: nothing here is about durability."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


def kept_bits(folder: Path, good: bytes) -> list[int]:
    """Bits of the values that rows hold, wherever they lie in the file in one piece."""
    values: list[bytes] = []
    with Store.open(folder) as store:
        for fork in store.forks():
            values += [value if isinstance(value, bytes) else str(value).encode() for value in astuple(fork)[:-1]]
            for record in store.records(fork.fork_id):
                values += [record.op_id, record.digest, record.data[:7000]]
            snapshot = store.latest_snapshot(fork.fork_id, RECORDS)
            values += [snapshot.data[:7000]] if snapshot else []
        for gone in Erasure(store).erased():
            values += [gone.fork_id.encode(), *Erasure(store).digests(gone.fork_id)]
        values += LogRows(store).entries(0, 300)
        values += [value for key in ("one", "two") if (value := store.marker(key))]
    bits: set[int] = set()
    for value in values:
        start = good.find(value)
        while start >= 0 and len(value) > 4 and any(value):
            bits.update(range(8 * start, 8 * (start + len(value))))
            start = good.find(value, start + 1)
    return sorted(bits)


def campaign(folder: Path, bits: list[int], good: bytes) -> Counter[str]:
    (folder / "ipse.db").write_bytes(good)
    expected = contents(folder / "ipse.db")
    assert outcome(folder, good, expected) == "harmless"
    counts: Counter[str] = Counter()
    for bit in bits:
        what = outcome(folder, flipped(good, bit), expected)
        counts[what] += 1
        assert what != "unnoticed", f"bit {bit % 8} of byte {bit // 8}"
    print(f"{len(bits)} flips: {dict(counts)}, {len(good)} bytes")
    return counts


def test_flipped_bits_are_found_or_seen_by_nobody(folder: Path) -> None:
    good = sound(folder)
    campaign(folder, random.Random(1).sample(range(8 * len(good)), 100), good)


@pytest.mark.slow
def test_of_10000_flipped_bits_none_changes_what_is_read_without_being_found(folder: Path) -> None:
    good = sound(folder)
    counts = campaign(folder, random.Random(2).sample(range(8 * len(good)), 10_000), good)
    assert counts["found"] > counts["harmless"]


@pytest.mark.slow
def test_every_flipped_bit_of_a_kept_value_is_found(folder: Path) -> None:
    good = sound(folder)
    bits = random.Random(3).sample(kept_bits(folder, good), 3_000)
    assert campaign(folder, bits, good)["found"] == len(bits)


@pytest.mark.slow
def test_no_flipped_bit_of_the_header_or_the_tables_changes_what_is_read_without_being_found(folder: Path) -> None:
    good = sound(folder)
    campaign(folder, list(range(8 * 100)) + random.Random(4).sample(range(800, 8 * 8192), 1_200), good)
