# SPDX-License-Identifier: Apache-2.0
"""How many threads pay at the moment, on a machine that others use too.

Parallel loops wait for their slowest thread. When another program takes one of two cores, two threads are slower
than one: the half that has no core holds up the other. So the number follows what is free, step by step.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch


def _busy_seconds() -> float:
    """CPU time spent so far by every program on this machine, where the system tells it."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


class Threads:
    """Switches torch between ``most`` threads and fewer, after each step."""

    def __init__(self, most: int, starved: float = 0.85, free: float = 0.8) -> None:
        self.most, self.now, self.starved, self.free = most, most, starved, free
        torch.set_num_threads(most)
        self._told = Path("/proc/stat").exists()
        self._mark()

    def _mark(self) -> None:
        self._wall, self._own = time.monotonic(), time.process_time()
        self._all = _busy_seconds() if self._told else 0.0

    def adapt(self) -> None:
        """Look at the time since the last call and set the number of threads for the next."""
        if not self._told or self.most == 1:
            return
        wall = time.monotonic() - self._wall
        if wall < 0.3:  # too short for the kernel's clock ticks
            return
        own = (time.process_time() - self._own) / wall
        others = max(0.0, (_busy_seconds() - self._all) / wall - own)
        if own < self.starved * self.now:
            self.now = max(1, int(self.most - others + 0.3))
        elif self.most - others > self.now + self.free:
            self.now = self.now + 1
        torch.set_num_threads(self.now)
        self._mark()
