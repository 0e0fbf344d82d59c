# SPDX-License-Identifier: Apache-2.0
"""A process that takes a bundle in: ``python -m tests.crash.carrier HOME BUNDLE``."""

from __future__ import annotations

import sys
from pathlib import Path

from ipse.forks.carry import received, take_in
from ipse.forks.home import Home

if __name__ == "__main__":
    with Home.open(Path(sys.argv[1])) as home:
        print(take_in(home, received(home, Path(sys.argv[2]).read_bytes())).added, flush=True)
