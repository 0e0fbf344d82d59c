# SPDX-License-Identifier: Apache-2.0
"""Lines of a chat: messages and commands."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.cli.slash import COMMANDS, Message, Slash, help_lines, needed_number, number, parse, switch
from ipse.errors import InputError


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("Ahoy!", Message("Ahoy!")),
        ("  two\nlines\t ", Message("two\nlines")),
        ("//etc", Message("/etc")),
        ("/good", Slash("good", "")),
        ("/edit  a / b ", Slash("edit", "a / b")),
        ("/undo 3", Slash("undo", "3")),
        ("/learn off", Slash("learn", "off")),
        ("and/or", Message("and/or")),
    ],
)
def test_a_line_is_a_message_unless_one_slash_opens_it(line: str, means: Message | Slash) -> None:
    assert parse(line) == means


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("", "empty", "Say something"),
        (" \t", "empty", "Say something"),
        ("/hepl", "Unknown command /hepl", "/help?"),
        ("/xyzzy", "Unknown command /xyzzy", "/help"),
        ("/", "Unknown command /", "/help"),
        ("/good dog", "takes no argument", "/good alone"),
        ("red \x1b[31m", "U+001B at position 5", "Remove it"),
        ("nul \x00", "U+0000", "Remove it"),
        ("c1 \x9b x", "U+009B", "Remove it"),
        ("half \ud800", "lone surrogate U+D800", "Remove it"),
    ],
)
def test_a_line_that_cannot_be_used_says_why_and_what_to_do(line: str, error: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(line)
    assert error in caught.value.message
    assert hint in caught.value.hint


@given(st.text())
def test_every_line_is_read_or_refused(line: str) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(parse(line), Message | Slash)


def test_switches_and_numbers_take_what_they_say() -> None:
    assert switch("learn", "on")
    assert not switch("learn", "off")
    assert number("undo", "") is None
    assert number("undo", "12") == 12
    for bad in ("", "ON", "yes"):
        with pytest.raises(InputError, match="wants on or off"):
            switch("learn", bad)
    assert needed_number("rollback", "0", least=0) == 0
    with pytest.raises(InputError, match="got nothing"):
        needed_number("rollback", "", least=0)
    for bad in ("0", "-1", "1.5", "two", "²"):
        with pytest.raises(InputError, match="wants a record number"):
            number("undo", bad)


def test_help_lists_every_command() -> None:
    assert [usage.split()[0] for usage, _ in help_lines()] == [f"/{name}" for name in COMMANDS]
