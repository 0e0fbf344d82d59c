# SPDX-License-Identifier: Apache-2.0
"""Printing: results on standard output, everything about the work on standard error.

Nothing that a model or a user wrote reaches the terminal raw: an escape sequence in a reply could rewrite
the screen or the clipboard, so control characters are made visible first, and rich's markup is off.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ipse.forks.message import is_control

PIPED_WIDTH = 160
"""Columns of tables and charts when standard output is no terminal."""

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """The text with every control character and direction override replaced by U+FFFD.

    >>> printable("red: \\x1b[31m!")
    'red: \ufffd[31m!'
    """
    return "".join("\ufffd" if _is_control(c) else c for c in text)


def first_line(text: str, width: int) -> str:
    """One line of at most ``width`` characters, for tables.

    >>> first_line("Ahoy there,\\nmatey!", 12)
    'Ahoy there,…'
    """
    line = " ".join(printable(text).split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _console(stream: TextIO, *, stderr: bool) -> Console:
    """Plain printing; what is piped is never cut to the width of a terminal that is not there."""
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def _is_control(character: str) -> bool:
    return character in _BIDI or is_control(character)


class Screen:
    """Where one command prints."""

    def __init__(self, *, as_json: bool, out: Console | None = None, err: Console | None = None) -> None:
        self.as_json = as_json
        self.out = out or _console(sys.stdout, stderr=False)
        self.err = err or _console(sys.stderr, stderr=True)

    @property
    def live(self) -> bool:
        """Whether a person watches: progress bars and live curves make sense."""
        return self.err.is_terminal and not self.as_json

    def result(self, payload: Any, shown: RenderableType) -> None:
        """The answer of a command: ``payload`` as JSON, or ``shown`` for people."""
        if self.as_json:
            self.json(payload)
        else:
            self.out.print(shown, soft_wrap=isinstance(shown, str) and not self.out.is_terminal)

    def json(self, payload: Any) -> None:
        """One JSON object on its own line."""
        sys.stdout.write(json.dumps(payload, ensure_ascii=False, default=_plain) + "\n")
        sys.stdout.flush()

    def stream(self, piece: str) -> None:
        """A piece of a reply, as it comes."""
        self.out.print(Text(printable(piece)), end="", soft_wrap=True)
        self.out.file.flush()

    def say(self, text: str, style: str = "") -> None:
        """A line for people; nothing under ``--json``."""
        if not self.as_json:
            self.out.print(Text(printable(text), style=style), soft_wrap=not self.out.is_terminal)

    def quiet(self, text: str) -> None:
        """A dim line for people."""
        self.say(text, "dim")

    def error(self, message: str, hint: str = "") -> None:
        """``error:`` and ``hint:`` on standard error, always as text."""
        whole = not self.err.is_terminal
        self.err.print(Text.assemble(("error: ", "bold red"), printable(message)), soft_wrap=whole)
        if hint:
            self.err.print(Text.assemble(("hint: ", "bold cyan"), printable(hint)), soft_wrap=whole)


def counting_bar(screen: Screen) -> Progress:
    """A bar that says how many of how many, where a person watches; open it with ``with``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen.err,
        transient=True,
        disable=not screen.live,
    )


def _plain(value: Any) -> Any:
    """What `json` does not know: dataclasses, paths, bytes as hex."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"Cannot print {type(value).__name__} as JSON")
