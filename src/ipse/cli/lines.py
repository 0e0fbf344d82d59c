# SPDX-License-Identifier: Apache-2.0
"""Where a chat's lines come from: a person at a terminal, or a script on standard input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from ipse.cli.slash import COMMANDS
from ipse.errors import InputError


class Lines(Protocol):
    """A source of lines."""

    def next_line(self) -> str:
        """The next line.

        Raises:
            EOFError: there are no more.
            InputError: this line cannot be read; the next one can.
            KeyboardInterrupt: Ctrl-C at the prompt; what was typed is gone, the session is not.
        """
        ...


class TypedLines:
    """prompt_toolkit: arrow keys walk through earlier lines, Alt-Enter breaks a line, Tab completes commands.

    Earlier lines of other sessions come from the fork's own sealed records; nothing is written to a
    history file in the clear.
    """

    def __init__(self, earlier: list[str], toolbar: Callable[[], str]) -> None:
        history = InMemoryHistory()
        for line in earlier:
            history.append_string(line)
        keys = KeyBindings()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        self._session: PromptSession[str] = PromptSession(
            history=history,
            key_bindings=keys,
            completer=WordCompleter([f"/{name}" for name in COMMANDS], sentence=True),
            complete_while_typing=False,
            bottom_toolbar=lambda: FormattedText([("class:bottom-toolbar noreverse fg:ansibrightblack", toolbar())]),
        )

    def next_line(self) -> str:
        return self._session.prompt(FormattedText([("bold fg:ansicyan", "you  › ")]))


class PipedLines:
    """A script: one line is one message or command. UTF-8 only."""

    def __init__(self, source: BinaryIO, name: str | Path = "standard input") -> None:
        self._source = source
        self._name = name
        self._number = 0

    def next_line(self) -> str:
        data = self._source.readline()
        if not data:
            raise EOFError
        self._number += 1
        try:
            return data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            byte = data[error.start]
            raise InputError(
                f"Line {self._number} of {self._name} is not UTF-8 (byte 0x{byte:02x}).", "Send UTF-8 text."
            ) from error
