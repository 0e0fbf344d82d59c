# SPDX-License-Identifier: Apache-2.0
"""What counts as words of a user: the one check that every message passes, wherever it comes from."""

from __future__ import annotations

import unicodedata

from ipse.errors import InputError


def clean_message(text: str) -> str:
    """The words of a message without the space around them.

    Control characters are refused and not dropped: a message must be learned as it was shown.

    Raises:
        InputError: there are no words, or control characters other than line breaks and tabs, or lone
            surrogates, which no UTF-8 text holds.
    """
    cleaned = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not cleaned:
        raise InputError("The message is empty.", "Say something.")
    for position, character in enumerate(cleaned, start=1):
        if is_control(character):
            kind = "control character" if unicodedata.category(character) == "Cc" else "lone surrogate"
            raise InputError(
                f"The message holds the {kind} U+{ord(character):04X} at position {position}.",
                "Remove it and send the message again.",
            )
    return cleaned


def is_control(character: str) -> bool:
    """Whether a character is a control character (tab and line feed are not counted) or a lone surrogate."""
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")
