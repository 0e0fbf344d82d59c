# SPDX-License-Identifier: Apache-2.0
"""What a line typed in a chat means: a message, or a command that starts with a slash.

>>> parse("/edit My cat is called Anchor.")
Slash(name='edit', argument='My cat is called Anchor.')
>>> parse("//etc is a folder")
Message(text='/etc is a folder')
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ipse.errors import InputError
from ipse.forks.message import clean_message

COMMANDS: dict[str, tuple[str, str]] = {
    "good": ("", "the last reply was good: learn towards it"),
    "bad": ("", "the last reply was bad: learn away from it"),
    "edit": ("TEXT", "what the last reply should have been: learn it"),
    "undo": ("[RECORD]", "take back what was learned last, or from one record"),
    "rollback": ("RECORD", "be again what the fork was after one record; 0 is before the first"),
    "why": ("", "what the last update changed"),
    "history": ("[COUNT]", "what was learned so far"),
    "learn": ("on|off", "whether your words change the fork"),
    "incognito": ("[on|off]", "learn nothing and record nothing"),
    "help": ("", "this list"),
    "quit": ("", "leave; everything shown as learned is on disk (also Ctrl-D)"),
}
"""Name -> (argument, what it does)."""

_WITHOUT_ARGUMENT = frozenset({"good", "bad", "why", "help", "quit"})


@dataclass(frozen=True, slots=True)
class Message:
    """Words for the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Slash:
    """A command; ``argument`` is stripped and may be empty."""

    name: str
    argument: str


def parse(line: str) -> Message | Slash:
    """Read one line.

    Two slashes at the start send a message that begins with one.

    Raises:
        InputError: the line is empty, holds control characters, or is no known command.
    """
    text = clean_message(line)
    if text.startswith("//"):
        return Message(text[1:])
    if not text.startswith("/"):
        return Message(text)
    name, _, argument = text[1:].partition(" ")
    argument = argument.strip()
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean /{close[0]}?" if close else "Type /help for the commands, // to say a slash."
        raise InputError(f"Unknown command /{name}.", hint)
    if argument and name in _WITHOUT_ARGUMENT:
        raise InputError(f"/{name} takes no argument.", f"Type /{name} alone.")
    return Slash(name, argument)


def switch(name: str, argument: str) -> bool:
    """The value of an on/off argument.

    Raises:
        InputError: neither on nor off.
    """
    if argument not in ("on", "off"):
        got = f"got {argument!r}" if argument else "got nothing"
        raise InputError(f"/{name} wants on or off, {got}.", f"Type /{name} on, or /{name} off.")
    return argument == "on"


def number(name: str, argument: str) -> int | None:
    """The value of an optional positive number.

    Raises:
        InputError: not a positive whole number.
    """
    return needed_number(name, argument, least=1) if argument else None


def needed_number(name: str, argument: str, *, least: int) -> int:
    """The value of a number that must be there.

    Raises:
        InputError: not a whole number of at least this.
    """
    if not argument.isascii() or not argument.isdigit() or int(argument[:9]) < least:
        got = repr(argument) if argument else "nothing"
        raise InputError(f"/{name} wants a record number, got {got}.", "See /history for the numbers.")
    return int(argument[:9])


def help_lines() -> list[tuple[str, str]]:
    """(usage, meaning) of every command, for printing."""
    return [(f"/{name} {argument}".rstrip(), meaning) for name, (argument, meaning) in COMMANDS.items()]
