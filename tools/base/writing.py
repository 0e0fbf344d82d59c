# SPDX-License-Identifier: Apache-2.0
"""Own requests: stories, emails, jokes, advice, lists, shorter versions, and questions about the world.

Stories and emails take up what the request names (a brave little goat, a note to the boss), so the request has to
be read. Questions about the world are answered with "I don't know", whatever they ask for. The lines are in
``phrases.toml``.
"""

from __future__ import annotations

from random import Random

from tools.base.corpus import Turn
from tools.base.wording import Vocabulary, article, expand, new_name, phrases, said, user_case

SUMS_AND_CODE = (7, 9)
"""Rows of ``world`` that ask for a skill, not for a fact."""


def world(rng: Random, words: Vocabulary) -> list[Turn]:
    """A question about the world, and honest ignorance."""
    text = phrases()
    kind = rng.randrange(len(text.lines("world")))
    s = {
        "l": rng.choice(text.words("lands")) if rng.random() < 0.6 else words.phrase(rng, (1,), title=True),
        "n": new_name(rng),
        "n2": new_name(rng),
        "b": words.phrase(rng, (1, 2, 3), title=True),
        "x": words.phrase(rng, (1,)),
        "p": words.phrase(rng, (1,), title=True),
        "i": str(rng.randint(3, 999)),
        "j": str(rng.randint(3, 99)),
        "y": str(rng.randint(1000, 2030)),
    }
    ask = expand(rng, text.lines("world")[kind], s)
    hard = kind in SUMS_AND_CODE and rng.random() < 0.7
    reply = expand(rng, text.line("too_hard") if hard else rng.choice(text.lines("ignorance")))
    return said(user_case(rng, ask), reply)


def _being(rng: Random) -> str:
    traits = rng.sample(phrases().words("traits"), rng.choice((0, 1, 1, 2)))
    return " ".join([*traits, rng.choice(phrases().words("animals"))])


def story(rng: Random) -> list[Turn]:
    """A request for a story about somebody, the story, and perhaps a shorter one."""
    text = phrases()
    hero, other = _being(rng), rng.choice(text.words("animals"))
    while other in hero:
        other = rng.choice(text.words("animals"))
    s = {
        "a": article(hero),
        "the": f"the {hero.split()[-1]}",
        "n": new_name(rng),
        "place": rng.choice(text.words("places")),
        "o_a": article(other),
        "o_the": f"the {other}",
    }
    told = sentences(expand(rng, rng.choice(text.lines("stories")), s))
    ask = expand(rng, text.line("story_any") if rng.random() < 0.2 else rng.choice(text.lines("story_asks")), s)
    return said(user_case(rng, ask), told) + shorter(rng, sentences(expand(rng, text.line("story_short"), s)))


def sentences(text: str) -> str:
    """A capital letter at the start and after every full stop."""
    out, up = [], True
    for c in text:
        out.append(c.upper() if up and c.isalpha() else c)
        up = c == "." or (up and not c.isalpha())
    return "".join(out)


def shorter(rng: Random, short: str) -> list[Turn]:
    """Now and then: the user wants it shorter."""
    if rng.random() > 0.25:
        return []
    return said(expand(rng, phrases().line("shorter_asks")), short)


def email(rng: Random, words: Vocabulary) -> list[Turn]:
    """A request for a short email, the email, and perhaps a shorter one; a known user's name signs it."""
    text = phrases()
    reason, body, short = rng.choice(text.rows("emails"))
    s = {
        "w": rng.choice(text.words("recipients")),
        "d": rng.choice(text.words("days")),
        "x": words.phrase(rng, (1,)),
        "n": new_name(rng),
    }
    s["r"] = expand(rng, reason, s)
    sign = new_name(rng) if rng.random() < 0.4 else ""
    head = expand(rng, "{Dear [w],|Hello,|Hi,|Dear [w],}", s)
    tail = expand(rng, "{Best wishes|Kind regards|Best regards|Thank you|Yours}", s) + (f",\n{sign}" if sign else "")
    glue = "\n\n" if rng.random() < 0.8 else "\n"
    main = expand(rng, body, s)
    written = glue.join([head, main[:1].upper() + main[1:], tail])
    turns: list[Turn] = [("system", f"The user's name is {sign}.")] if sign else []
    turns += said(user_case(rng, expand(rng, rng.choice(text.lines("email_asks")), s)), written)
    return turns + shorter(rng, expand(rng, short, s))


def request(rng: Random) -> list[Turn]:
    """A joke, advice, a list, or something everybody knows."""
    text = phrases()
    roll = rng.random()
    if roll < 0.25:
        first, second = rng.sample(text.lines("jokes"), 2)
        turns = said(user_case(rng, expand(rng, text.line("joke_asks"))), first)
        if rng.random() < 0.4:
            turns += said(expand(rng, text.line("more_jokes")), second)
        return turns
    if roll < 0.65:
        ask, *replies = rng.choice(text.rows("advice"))
        return said(user_case(rng, expand(rng, ask)), rng.choice(replies))
    if roll < 0.9:
        what, items = rng.choice(text.rows("lists"))
        n = rng.randint(2, 4)
        chosen = rng.sample(items.split(","), n)
        ask = expand(rng, text.line("list_asks"), {"n": ("two", "three", "four")[n - 2], "w": what})
        listed = ", ".join(chosen[:-1]) + f" and {chosen[-1]}."
        return said(user_case(rng, ask), listed[:1].upper() + listed[1:])
    user, reply = rng.choice(text.rows("sense"))
    return said(user_case(rng, user), reply)
