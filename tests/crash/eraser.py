# SPDX-License-Identifier: Apache-2.0
"""A process that erases a fork, so that a test may kill or starve it.

``python -m tests.crash.eraser ROOT FORK``. It says ``erased``, or ``error CLASS``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ipse.errors import IpseError
from ipse.forks.erase import erase
from ipse.store.store import Store
from ipse.wire.ids import ForkId

WHEN = 1_800_000_000_000


def main() -> None:
    try:
        with Store.open(Path(sys.argv[1])) as store:
            erase(store, ForkId(sys.argv[2]), WHEN)
        said = "erased"
    except IpseError as error:
        said = f"error {type(error).__name__}"
    os.write(1, said.encode() + b"\n")


if __name__ == "__main__":
    main()
