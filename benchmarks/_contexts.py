# SPDX-License-Identifier: Apache-2.0
"""Held-out words with a memory: what was said in earlier sessions is put back into their context.

A memory is searched with what is known before the user speaks, which is the reply they are about to answer;
their own words are what is to be predicted. At the start of a dialogue nothing was said yet: the newest
exchanges stand in, as they do in a conversation that goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from _users import HELD_OUT, WINDOW, Dialogue, JudgedUser, spread

from ipse.learning.memory import MAX_FOUND, Exchange, Memory
from ipse.learning.objective import own_words
from ipse.model.chat import ChatTokenizer, Turn
from ipse.model.gradient import Example

MEMORY_TOKENS = 160
"""What found exchanges may take, beside the ordinary window."""


def exchanges(dialogues: Sequence[Dialogue]) -> list[Exchange]:
    """Every user turn with the reply it got, in order."""
    found = []
    for dialogue in dialogues:
        turns = dialogue.turns
        for turn, following in zip(turns, [*turns[1:], Turn("user", "")], strict=True):
            if turn.role == "user":
                found.append(Exchange(turn.text, following.text if following.role == "assistant" else ""))
    return found


def with_memory(user: JudgedUser, step: int, tokenizer: ChatTokenizer, *, most: int = HELD_OUT) -> list[Example]:
    """The user's held-out examples, the first `step` exchanges at hand: the same ones as `user.held_out`, in order."""
    lived = exchanges(user.dialogues)[:step]
    memory = Memory(lived)
    places = [
        (dialogue, at)
        for dialogue in user.held_out_dialogues
        for at, turn in enumerate(dialogue.turns)
        if turn.role == "user"
    ]
    return [_example(memory, lived, dialogue, at, tokenizer) for dialogue, at in spread(places, most)]


def _example(
    memory: Memory, lived: Sequence[Exchange], dialogue: Dialogue, at: int, tokenizer: ChatTokenizer
) -> Example:
    before, words = dialogue.turns[:at], dialogue.turns[at]
    wanted: list[int] = []
    if before:
        wanted = memory.search(before[-1].text, MAX_FOUND, before=len(lived))
    wanted = wanted or list(range(max(0, len(lived) - MAX_FOUND), len(lived)))
    left, chosen = MEMORY_TOKENS, []
    for position in reversed(wanted):
        size = sum(tokenizer.count(turn) for turn in lived[position].turns)
        if size <= left:
            chosen.append(position)
            left -= size
    found = [turn for position in sorted(chosen) for turn in lived[position].turns]
    plain = own_words(tokenizer, [*before, words], WINDOW)
    return own_words(tokenizer, [*found, *before, words], len(plain.tokens) + MEMORY_TOKENS - left)
