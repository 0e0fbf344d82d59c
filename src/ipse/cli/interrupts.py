# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C without torn work.

Python raises KeyboardInterrupt between any two bytecodes: inside a write, inside a matrix product. While an
`Interruptible` is open, Ctrl-C only sets a flag; the work underneath asks for it where stopping is clean.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class Interruptible:
    """Turns SIGINT into a question: ``with Interruptible() as stop: ...; if stop(): ...``.

    Only works in the main thread, as signals do.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._before: Any = None

    def __enter__(self) -> Interruptible:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self) -> bool:
        """Whether Ctrl-C was pressed since the last `clear`."""
        return self._pressed

    def clear(self) -> None:
        """Forget a Ctrl-C that has been acted on."""
        self._pressed = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._pressed = True
