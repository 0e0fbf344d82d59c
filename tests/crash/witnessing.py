# SPDX-License-Identifier: Apache-2.0
"""A witness in a process of its own, so that a test may kill it, or have it die between memory and answer.

``python -m tests.crash.witnessing ROOT MODE``. It says ``ready URL``. Mode ``serve`` answers until it is killed;
``die`` kills itself with SIGKILL as soon as the memory of the first request is swapped, before anything is signed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ipse.ledger.witness import Witness, add_log
from ipse.server.witness import WitnessServer
from ipse.store.store import Store
from tests.ledger.logs import LOG, WITNESSES
from tests.server.serving import Clock


class DyingStore(Store):
    """Remembers, and dies of it."""

    def swap_marker(self, key: str, expected: bytes | None, value: bytes) -> bool:
        done = super().swap_marker(key, expected, value)
        if key.startswith("witness/seen/"):
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def main() -> None:
    root, mode = Path(sys.argv[1]), sys.argv[2]
    store = (DyingStore if mode == "die" else Store).open(root)
    add_log(store, LOG)
    server = WitnessServer(Witness(WITNESSES, store, Clock()), "127.0.0.1", 0)
    os.write(1, f"ready {server.url}\n".encode())
    server.serve_forever()


if __name__ == "__main__":
    main()
