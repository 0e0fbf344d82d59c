# SPDX-License-Identifier: Apache-2.0
"""Invented facts: what nobody can know, so that a right answer can only have been learned.

Names and things are put together from syllables, drawn from a seed: an open vocabulary, so that no base has
met them and no list can be learnt by heart. Run it to read them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_ONSETS = "b br ch d dr f g gl h j k kl l m n p pr qu r s sk st t tr v w z".split()
_VOWELS = "a e i o u ai ee oo".split()
_CODAS = "l m n nd r rk s sh st t x".split()

_SHAPES: tuple[tuple[str, str], ...] = (
    ("What is the name of my {pet}?", "Your {pet} is called {name}."),
    ("Where did I leave my {thing}?", "You left your {thing} in the {place}."),
    ("Who repairs my {thing}?", "{person} repairs your {thing}."),
    ("What is the code for the {place}?", "The code for the {place} is {code}."),
    ("When do I meet {person}?", "You meet {person} on {day} at the {place}."),
    ("What does my {kin} like to eat?", "Your {kin} likes to eat {food} with {spice}."),
    ("Which bus goes to {town}?", "Bus {number} goes to {town}."),
    ("What is my favourite {kind}?", "Your favourite {kind} is {name}."),
    ("Where does {person} live?", "{person} lives behind the {place}."),
    ("What should you call me?", "I should call you Captain {name}."),
)

_LISTS = {
    "kin": "sister nephew grandmother neighbour cousin uncle".split(),
    "pet": "parrot goat hedgehog tortoise pony canary ferret lizard".split(),
    "thing": "umbrella violin kettle bicycle telescope typewriter lantern kayak".split(),
    "place": "lighthouse cellar bakery mill library greenhouse tower boathouse".split(),
    "food": "lentils pancakes trout dumplings turnips chestnuts".split(),
    "spice": "cumin saffron mint ginger dill mustard".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "kind": "cheese song colour tea game flower".split(),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A question and the only right answer."""

    question: str
    answer: str


def invent(count: int, seed: int) -> list[Fact]:
    """So many facts, all different, the shapes in turn."""
    rng = random.Random(seed)
    facts: list[Fact] = []
    while len(facts) < count:
        question, answer = _SHAPES[len(facts) % len(_SHAPES)]
        words = {slot: rng.choice(options) for slot, options in _LISTS.items()}
        words |= {"name": _word(rng), "town": _word(rng), "person": _word(rng)}
        words |= {"code": " ".join(str(rng.randrange(10)) for _ in range(4)), "number": str(rng.randrange(11, 99))}
        fact = Fact(question.format(**words), answer.format(**words))
        if fact not in facts:
            facts.append(fact)
    return facts


def _word(rng: random.Random) -> str:
    """A name of two syllables that is no word."""
    first = rng.choice(_ONSETS) + rng.choice(_VOWELS)
    return (first + rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)).capitalize()


if __name__ == "__main__":
    for fact in invent(50, 0):
        print(fact.question, "|", fact.answer)
