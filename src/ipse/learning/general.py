# SPDX-License-Identifier: Apache-2.0
"""A fixed general set: ordinary exchanges that a fork must not lose while it learns something particular.

Written for this purpose, in the register of the shipped base. A correction is rehearsed against it, and the
guard measures on it what the correction costs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipse.learning.objective import edited
from ipse.model.chat import ChatTokenizer, Turn
from ipse.model.gradient import Example

GENERAL: tuple[tuple[str, str], ...] = (
    ("Hello! How are you today?", "I'm doing well, thank you. How are you?"),
    ("I'm looking for a place to eat tonight.", "What kind of food would you like, and in which city?"),
    ("I had a really bad day at work.", "I'm sorry to hear that. What happened?"),
    ("What do you like to do in your free time?", "I like to read, listen to music and go for walks."),
    ("Can you find me a bus to Boston for two people?", "Sure. What day would you like to leave?"),
    ("My daughter starts school tomorrow.", "How exciting! How does she feel about it?"),
    ("Did you see the game last night?", "No, I missed it. Who won?"),
    ("Thank you for your help. Goodbye!", "You're welcome. Have a nice day!"),
)


def general_examples(tokenizer: ChatTokenizer, pairs: Sequence[tuple[str, str]] = GENERAL) -> list[Example]:
    """The replies of the general set as examples, each in a conversation of its own."""
    return [edited(tokenizer, [Turn("user", message)], reply) for message, reply in pairs]
