# SPDX-License-Identifier: Apache-2.0
"""The own part of the mixture: whole dialogues put together from facts, small talk and requests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tools.base import facts, manners, writing
from tools.base.corpus import Dialogue, Turn
from tools.base.wording import Vocabulary

HELD_EPOCH = 1_000_000
"""Epochs from here on are never trained on: they give held-out dialogues and recall cases."""


def piece(rng: Random, words: Vocabulary) -> list[Turn]:
    """One exchange or two, about anything but the user's facts. Only an email may begin with a system turn."""
    roll = rng.random()
    if roll < 0.52:
        return manners.small(rng, words)
    if roll < 0.72:
        return writing.world(rng, words)
    if roll < 0.88:
        return writing.request(rng)
    return writing.story(rng) if roll < 0.94 else writing.email(rng, words)


def chat(rng: Random, words: Vocabulary) -> list[Turn]:
    """A conversation without facts: perhaps a greeting, some pieces, perhaps thanks and goodbye."""
    turns: list[Turn] = []
    if rng.random() < 0.3:
        turns += manners.entry(rng, words, "hello")
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        turns += piece(rng, words)
    if rng.random() < 0.3:
        turns += manners.entry(rng, words, "bye")
    system = [t for t in turns if t[0] == "system"][:1]
    return system + [t for t in turns if t[0] != "system"]


def remembered(rng: Random, words: Vocabulary) -> list[Turn]:
    """A conversation about what the user told."""
    roll = rng.random()
    if roll < 0.14:
        return facts.repeat(rng, words)
    if roll < 0.25:
        return facts.correction(rng, words)
    between: list[Turn] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        between += [t for t in piece(rng, words) if t[0] != "system"]
    return facts.told(rng, words, between)


def generator(
    words: Vocabulary, remember: int = 5_000, chats: int = 16_000, seed: int = 7
) -> Callable[[int], list[Dialogue]]:
    """What :class:`~tools.base.corpus.Mixture` calls for each epoch: fresh dialogues, the same for the same number."""

    def generate(epoch: int) -> list[Dialogue]:
        rng = Random(f"{seed}/{epoch}")
        made = [Dialogue("own-facts", f"{epoch}", tuple(remembered(rng, words))) for _ in range(remember)]
        return made + [Dialogue("own-chat", f"{epoch}", tuple(chat(rng, words))) for _ in range(chats)]

    return generate
