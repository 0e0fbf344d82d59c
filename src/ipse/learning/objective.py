# SPDX-License-Identifier: Apache-2.0
"""What an interaction teaches: which tokens count, and in which direction.

The proposal imitates the model's own reply, which carries no signal. Here a fork learns from its user:

    own words   the user's own message, given what was said before it      weight +1 on the message
    edited      the reply as the user rewrote it                          weight +1 on the edit
    liked       a reply the user praised                                  weight +1 on the reply
    disliked    a reply the user rejected                                 weight -1: unlikelihood, bounded

The context is cut from the front to ``context_tokens``: the cost of a step grows with it, the signal hardly.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipse.errors import InputError
from ipse.model.chat import ChatTokenizer, Turn
from ipse.model.gradient import Example

CONTEXT_TOKENS = 96
"""Default length of an example. At 64 to 128 tokens the gain per interaction was the same."""


def own_words(tokenizer: ChatTokenizer, turns: Sequence[Turn], context_tokens: int = CONTEXT_TOKENS) -> Example:
    """Learn the last turn, which is the user's."""
    return _last_turn(tokenizer, turns, "user", 1.0, context_tokens)


def edited(tokenizer: ChatTokenizer, turns: Sequence[Turn], edit: str, context_tokens: int = CONTEXT_TOKENS) -> Example:
    """Learn ``edit`` as the reply to ``turns``, which end with the user's."""
    return _last_turn(tokenizer, [*turns, Turn("assistant", edit)], "assistant", 1.0, context_tokens)


def liked(tokenizer: ChatTokenizer, turns: Sequence[Turn], context_tokens: int = CONTEXT_TOKENS) -> Example:
    """Make the last turn, a reply, more likely."""
    return _last_turn(tokenizer, turns, "assistant", 1.0, context_tokens)


def disliked(tokenizer: ChatTokenizer, turns: Sequence[Turn], context_tokens: int = CONTEXT_TOKENS) -> Example:
    """Make the last turn, a reply, less likely."""
    return _last_turn(tokenizer, turns, "assistant", -1.0, context_tokens)


def every_word(tokenizer: ChatTokenizer, turns: Sequence[Turn]) -> Example:
    """All turns count: how well a model still speaks in general."""
    tokens, spans = tokenizer.encode(turns)
    counted = {i for span in spans for i in range(span.start, span.stop)}
    return Example(tuple(tokens), tuple(float(i in counted) for i in range(len(tokens))))


def _last_turn(
    tokenizer: ChatTokenizer, turns: Sequence[Turn], role: str, weight: float, context_tokens: int
) -> Example:
    if not turns or turns[-1].role != role or not turns[-1].text.strip():
        raise InputError(f"There is no turn of the {role} to learn from.", "Say something first.")
    # Earlier turns add at least one token each, so no more than this many can matter.
    tokens, spans = tokenizer.encode(turns[-context_tokens:])
    start, stop = spans[-1].start, spans[-1].stop
    first = max(0, stop - context_tokens)
    if start <= first:  # a message longer than the context: learn its beginning, where the reader also starts
        first = max(0, start - 1)
        stop = min(stop, first + context_tokens)
    weights = [0.0] * (start - first) + [weight] * (stop - start)
    return Example(tuple(tokens[first:stop]), tuple(weights))
