# SPDX-License-Identifier: Apache-2.0
"""What a command run in this process leaves; the fixture ``ipse`` of conftest.py runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Outcome:
    """What one command left: exit code, output, and the lines on standard error."""

    code: int
    out: str
    err: list[str]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err if line.startswith("error: ")]


Ipse = Callable[..., Outcome]
