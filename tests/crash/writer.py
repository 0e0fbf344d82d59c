# SPDX-License-Identifier: Apache-2.0
"""A process that appends to a fork and says what happened, one line each, so that a test may kill or starve it.

``python -m tests.crash.writer ROOT FORK MODE LAST``. Lines: ``ready``, ``ack SEQ``, ``lost SEQ`` (somebody was
faster), ``error SEQ CLASS`` and ``again CLASS`` (what the same append said when it was tried once more), ``read SEQ``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from ipse.errors import HeightConflict, IpseError, StoreBusy
from ipse.store import wal
from ipse.store.rows import AppendRow
from ipse.store.store import Store
from ipse.wire.digest import sha256
from ipse.wire.ids import ForkId


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def link(seq: int, previous: bytes) -> AppendRow:
    """Record ``seq``: it names the one before, and its operation id follows from its number alone."""
    data = previous + seq.to_bytes(8, "big") + hashlib.shake_256(previous).digest(900)
    return AppendRow(seq, sha256(b"operation %d" % seq)[:16], sha256(data), data)


def write(store: Store, fork: ForkId, last: int) -> None:
    """Append as fast as possible; go on where the fork is."""
    head = store.head(fork)
    while head.seq < last:
        row = link(head.seq + 1, head.digest)
        store.append(fork, row, expected_head=head.digest)
        say(f"ack {row.seq}")
        head = store.head(fork)


def race(store: Store, fork: ForkId, last: int) -> None:
    """Append against somebody else who does the same."""
    while (head := store.head(fork)).seq < last:
        seq = head.seq + 1
        row = link(seq, head.digest)
        row = AppendRow(seq, os.urandom(16), row.digest, row.data)
        try:
            store.append(fork, row, expected_head=head.digest)
            say(f"ack {seq}")
        except (HeightConflict, StoreBusy):
            say(f"lost {seq}")


def suffer(store: Store, fork: ForkId, last: int) -> None:
    """Append until something fails; try that once more, read, and stop."""
    while (head := store.head(fork)).seq < last:
        row = link(head.seq + 1, head.digest)
        try:
            store.append(fork, row, expected_head=head.digest)
            say(f"ack {row.seq}")
        except IpseError as error:
            say(f"error {row.seq} {type(error).__name__}")
            try:
                store.append(fork, row, expected_head=head.digest)
                say("again ok")
                say(f"ack {row.seq}")
            except IpseError as second:
                say(f"again {type(second).__name__}")
            say(f"read {store.verify(fork).seq}")
            return


def main() -> None:
    root, fork, mode, last = Path(sys.argv[1]), ForkId(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    wal.EVERY_SECONDS = 0.005  # move the write-ahead log all the time, so that faults hit that too
    try:
        store = Store.open(root)
    except IpseError as error:
        say(f"error 0 {type(error).__name__}")
        return
    say("ready")
    {"write": write, "race": race, "suffer": suffer}[mode](store, fork, last)


if __name__ == "__main__":
    main()
