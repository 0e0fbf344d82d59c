# SPDX-License-Identifier: Apache-2.0
"""What all generators share: a small template language, names nobody has met, and an open vocabulary.

A template is English with choices and slots: ``{Hi|Hello} [name]{!|.}``. Choices nest; an empty choice is
allowed. One line therefore stands for many sentences, and the same seed always gives the same one.

The vocabulary is open on purpose: values are drawn from names built of syllables and from the words of the
training corpora. With a short list of names a model learns the list by heart; with endless ones it has to learn
to copy what it was told.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tools.base.corpus import Dialogue, Turn, held_out

NAMES = tuple(
    "Anna Ben Carla David Emma Felix Grace Henry Ivy Jack Kate Leo Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Victor "
    "Wendy Xavier Yara Zoe Alice Bruno Clara Dora Eli Fiona George Hugo Irene James Kim Laura Mark Nina Omar Priya Raj "
    "Sara Tom Vera Will Yusuf Maria Lucas Amir Chloe Diego Elena Finn Hana Ian Julia Karl Lena Max Nora Oscar Pia Ruth "
    "Simon Tara Fatima Chen Ingrid Kwame Aisha Pedro Sven Mei Ravi Lucia Tomas Ada Kofi Leila Hiro Marta Piotr Zara "
    "Samuel Esther Daniel Hannah Joseph Miriam Peter Sofia Andre Nadia".split()
)
_ONSETS = [*"b br c ch d dr f fr g gr h j k kl l m n p pr qu r s sh sk st t th tr v w y z".split(), "", "", ""]
_VOWELS = "a e i o u a e i o ai ea ee ia io oo ou".split()
_CODAS = [*"n r s l m t d k th ck sh x nd rt lla".split(), *[""] * 8]
_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\[([a-zA-Z_0-9]+)\]")


def expand(rng: Random, template: str, slots: Mapping[str, str] | None = None) -> str:
    """Choose among the alternatives, then fill the slots. ``[Slot]`` fills ``slot`` with a capital first letter."""
    while found := _CHOICE.search(template):
        template = template[: found.start()] + rng.choice(found.group(1).split("|")) + template[found.end() :]

    def fill(match: re.Match[str]) -> str:
        key = match.group(1)
        given = slots or {}
        if key in given:
            return given[key]
        value = given[key[0].lower() + key[1:]]
        return value[:1].upper() + value[1:]

    return _SLOT.sub(fill, template)


def article(noun: str) -> str:
    """``a`` or ``an`` before a noun, by its first letter."""
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def new_name(rng: Random) -> str:
    """A first name: sometimes a known one, mostly one built of syllables."""
    if rng.random() < 0.3:
        return rng.choice(NAMES)
    while True:
        parts = rng.choice((1, 2, 2, 2, 3))
        name = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(parts))
        if 3 <= len(name) <= 10:
            return name.capitalize()


def user_case(rng: Random, text: str) -> str:
    """What people type: mostly as written, sometimes without capitals or the last stop."""
    roll = rng.random()
    if roll < 0.10:
        return text[:-1] if text[-1:] in ".?!" else text
    if roll < 0.18:
        return text[:1].lower() + (text[1:-1] if text[-1:] in ".?!" else text[1:]) if not text.startswith("I") else text
    return text


@dataclass(frozen=True)
class Vocabulary:
    """Words and sentences of the training side of the corpora."""

    words: Sequence[str]
    sentences: Sequence[str]

    @staticmethod
    def of(dialogues: Iterable[Dialogue], seed: int = 21) -> Vocabulary:
        """Middle-frequency words and short sentences; held-out groups are never read."""
        rng = Random(seed)
        count: Counter[str] = Counter()
        sentences: list[str] = []
        for d in dialogues:
            if d.source not in ("topical", "spc", "sgd") or held_out(d.source, d.group):
                continue
            for role, text in d.turns:
                if role == "system":
                    continue
                count.update(re.findall(r"\b[a-z]{3,9}\b", text))
                if rng.random() < 0.08:
                    sentences += [s for s in re.split(r"(?<=[.!?]) ", text) if 2 <= len(s.split()) <= 12]
        return Vocabulary([w for w, _ in count.most_common(6000)[250:]], sentences)

    def phrase(self, rng: Random, lengths: Sequence[int] = (1, 1, 2), title: bool = False) -> str:
        """A made-up value of a few words; with ``title`` a made-up title or place."""
        text = " ".join(rng.choice(self.words) for _ in range(rng.choice(lengths)))
        return text.title() if title else text


class Phrases:
    """The tables of ``phrases.toml``, each in the form it is written in."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._words = {k: v.split(",") for k, v in tables.items() if isinstance(v, str)}

    def line(self, name: str) -> str:
        """One template."""
        return str(self._tables[name])

    def lines(self, name: str) -> list[str]:
        """A list of templates."""
        return list(self._tables[name])

    def rows(self, name: str) -> list[list[str]]:
        """A table of templates that belong together."""
        return list(self._tables[name])

    def words(self, name: str) -> list[str]:
        """Words written in one line with commas."""
        return self._words[name]


@cache
def phrases() -> Phrases:
    """The lines written by hand."""
    return Phrases(tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8")))


def said(user: str, assistant: str) -> list[Turn]:
    """One exchange."""
    return [("user", user), ("assistant", assistant)]
