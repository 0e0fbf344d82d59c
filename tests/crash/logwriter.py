# SPDX-License-Identifier: Apache-2.0
"""A process that appends to the log, one entry a time, and says what was signed, so that a test may race or kill it.

``python -m tests.crash.logwriter ROOT LAST``. Lines: ``ready``, ``ack SIZE ROOT`` (a checkpoint that left),
``lost SIZE`` (somebody was faster), ``error CLASS`` (what ended it).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ipse.errors import HeightConflict, IpseError, StoreBusy
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter
from ipse.store.store import Store


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def append(root: Path, last: int) -> None:
    """Sign every size up to ``last``, against somebody who may do the same."""
    with Store.open(root) as store:
        writer = LogWriter.open(store)
        say("ready")
        while writer.head.size < last:
            try:
                done = writer.append([os.urandom(32)])
            except (HeightConflict, StoreBusy):
                say(f"lost {writer.head.size + 1}")
                writer.reload()
                continue
            head = open_checkpoint(done.checkpoint, writer.log).head
            say(f"ack {head.size} {head.root.hex()}")


def main() -> None:
    try:
        append(Path(sys.argv[1]), int(sys.argv[2]))
    except IpseError as error:
        say(f"error {type(error).__name__}")


if __name__ == "__main__":
    main()
