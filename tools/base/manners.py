# SPDX-License-Identifier: Apache-2.0
"""Own small talk: greetings, feelings, thanks, questions about the model itself.

A model of five million parameters knows nothing about the world. What it can learn is to say so instead of making
something up (:mod:`tools.base.writing`), and to be pleasant about everything else. The lines are in ``phrases.toml``.
"""

from __future__ import annotations

from random import Random

from tools.base.corpus import Turn
from tools.base.wording import Vocabulary, expand, new_name, phrases, said, user_case


def topic(rng: Random, words: Vocabulary) -> str:
    """Something to have an opinion about: often a common one, else any word."""
    return rng.choice(phrases().words("topics")) if rng.random() < 0.6 else words.phrase(rng, (1, 1, 2))


def slots(rng: Random, words: Vocabulary) -> dict[str, str]:
    """Fresh values for the slots of the entries."""
    return {
        "x": topic(rng, words),
        "y": topic(rng, words),
        "n": new_name(rng),
        "p": words.phrase(rng, (1,), title=True),
        "s": _claim(rng, words),
        "g": "".join(rng.choice("abcdefghijklmnopqrstuvwxyz  ") for _ in range(rng.randint(4, 18))).strip() or "hm",
    }


def _claim(rng: Random, words: Vocabulary) -> str:
    """Something said about the world, as it stands after "did you know that"."""
    text = rng.choice(words.sentences).rstrip(".!? ")
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]


def entry(rng: Random, words: Vocabulary, table: str) -> list[Turn]:
    """One exchange from a table of ``phrases.toml``."""
    user, reply = rng.choice(phrases().rows(table))
    s = slots(rng, words)
    return said(user_case(rng, expand(rng, user, s)), expand(rng, reply, s).strip())


def mood(rng: Random) -> list[Turn]:
    """How the user feels, and what the model answers; often one exchange more."""
    first, reply, second, answer = rng.choice(phrases().rows("mood"))
    turns = said(user_case(rng, expand(rng, first)), expand(rng, reply).strip())
    if rng.random() < 0.6:
        turns += said(user_case(rng, expand(rng, second)), expand(rng, answer).strip())
    return turns


def small(rng: Random, words: Vocabulary) -> list[Turn]:
    """One bit of small talk of any kind."""
    roll = rng.random()
    if roll < 0.30:
        return mood(rng)
    return entry(rng, words, "hello" if roll < 0.45 else "self" if roll < 0.68 else "manners")
