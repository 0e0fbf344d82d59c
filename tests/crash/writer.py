# SPDX-License-Identifier: Apache-2.0
"""A process that appends to a fork and says what happened, one line each, so that a test may kill or starve it.

``python -m tests.crash.writer ROOT FORK[,FORK ...] MODE LAST``. Lines: ``ready``, ``ack SEQ [FORK]``, ``lost SEQ``
(somebody was faster), ``error SEQ CLASS`` and ``again CLASS`` (what the same append said when it was tried once more),
``read SEQ``.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from pathlib import Path

from ipse.errors import HeightConflict, IpseError, StoreBusy
from ipse.store import wal
from ipse.store.rows import AppendRow, Head
from ipse.store.store import Store
from ipse.wire.digest import sha256
from ipse.wire.ids import ForkId
from tests.store.samples import fork_row

AHEAD = 4
"""Records of one fork that are on their way at once, in ``load``."""


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def link(seq: int, previous: bytes, fork: str = "") -> AppendRow:
    """Record ``seq``: it names the one before, and its operation id follows from its number (and fork) alone."""
    data = previous + seq.to_bytes(8, "big") + hashlib.shake_256(previous).digest(900)
    return AppendRow(seq, sha256(f"operation {seq}{fork}".encode())[:16], sha256(data), data)


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
        if row.seq % 4 == 0:
            time.sleep(5 * wal.EVERY_SECONDS)  # the write-ahead log is moved now
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


def make(store: Store, fork: ForkId, last: int) -> None:
    """The same from the beginning: the fork is not there yet."""
    try:
        store.create_fork(fork_row(fork))
        say("made")
    except IpseError as error:
        say(f"error 0 {type(error).__name__}")
        return
    suffer(store, fork, last)


def load(store: Store, forks: list[ForkId], last: int) -> None:
    """A thread for each fork: every other one waits for each record, the rest sends ``AHEAD`` before it looks."""

    def work(fork: ForkId, ahead: int) -> None:
        head = store.head(fork)
        while head.seq < last:
            sent = []
            for _ in range(ahead):
                row = link(head.seq + 1, head.digest, fork)
                sent.append((row, store.append_async(fork, row, expected_head=head.digest)))
                head = Head(row.seq, row.digest)
            for row, future in sent:
                future.result()
                say(f"ack {row.seq} {fork}")

    def wait(fork: ForkId) -> None:
        head = store.head(fork)
        while head.seq < last:
            row = link(head.seq + 1, head.digest, fork)
            store.append(fork, row, expected_head=head.digest)
            say(f"ack {row.seq} {fork}")
            head = Head(row.seq, row.digest)

    threads = [threading.Thread(target=work, args=(fork, AHEAD)) for fork in forks[::2]]
    threads += [threading.Thread(target=wait, args=(fork,)) for fork in forks[1::2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def crowd(store: Store, forks: list[ForkId], last: int) -> None:
    """One append to every fork at once, again and again, until one of them fails."""
    heads = {fork: store.head(fork) for fork in forks}
    for seq in range(1, last + 1):
        rows = {fork: link(seq, heads[fork].digest, fork) for fork in forks}
        sent = {fork: store.append_async(fork, row, expected_head=heads[fork].digest) for fork, row in rows.items()}
        failed = False
        for fork, future in sent.items():
            error = future.exception()
            failed |= error is not None
            say(f"ack {seq} {fork}" if error is None else f"error {seq} {type(error).__name__}")
        if failed:
            return
        heads = {fork: Head(seq, row.digest) for fork, row in rows.items()}


def main() -> None:
    root, names, mode, last = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    wal.EVERY_SECONDS = 0.005  # move the write-ahead log all the time, so that faults hit that too
    forks = [ForkId(name) for name in names.split(",")]
    try:
        store = Store.open(root)
    except IpseError as error:
        say(f"error 0 {type(error).__name__}")
        return
    with store:
        say("ready")
        if mode in MANY:
            MANY[mode](store, forks, last)
        else:
            ALONE[mode](store, forks[0], last)


ALONE = {"write": write, "race": race, "suffer": suffer, "make": make}
MANY = {"load": load, "crowd": crowd}

if __name__ == "__main__":
    main()
