# SPDX-License-Identifier: Apache-2.0
"""A running ``ipse`` process that is talked to, interrupted, and killed."""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import sys
import threading
import time
from types import TracebackType

from tests.cli.sessions import clean_environment

PATIENCE_SECONDS = 120.0


class Running:
    """``ipse WORDS...`` with its streams held: what it printed so far can be waited for."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipse.cli", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment() | environment,
        )
        self.out = ""
        self.err = ""
        self._pieces: queue.Queue[tuple[str, bytes]] = queue.Queue()
        streams = (("out", self.process.stdout), ("err", self.process.stderr))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # of what it never read
                    stream.close()

    def send(self, *lines: str) -> None:
        """Type lines."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def wait_for(self, pattern: str, *, after: int = 0, stream: str = "out") -> int:
        """Wait until a stream shows the pattern after a position; returns where it ends."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.compile(pattern).search(getattr(self, stream), after)):
            if time.monotonic() > deadline or not self._take(0.2):
                raise AssertionError(f"never saw {pattern!r} on {stream}:\n{self.out}\n--\n{self.err}")
        return found.end()

    def finish(self) -> int:
        """End its input and wait; returns the exit code."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        return self.gone()

    def gone(self) -> int:
        """Wait until it ended and everything it printed is read; returns the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join()
        while self._take(0):
            pass
        return code

    def _take(self, seconds: float) -> bool:
        """Take one piece of output in; False when there can be no more."""
        try:
            name, data = self._pieces.get(timeout=seconds) if seconds else self._pieces.get_nowait()
        except queue.Empty:
            return seconds > 0 and (self.process.poll() is None or any(r.is_alive() for r in self._readers))
        setattr(self, name, getattr(self, name) + data.decode(errors="replace"))
        return True

    def _read(self, name: str, stream: object) -> None:
        while data := stream.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader
            self._pieces.put((name, data))
