# SPDX-License-Identifier: Apache-2.0
"""Own dialogues about what a user tells of themselves: told, corrected, asked again, or never told at all.

A base that copies from its context is what makes a personal fork useful: whatever the fork brings back about its
user stands in the system turn or earlier in the conversation, and the reply has to use it word for word.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tools.base.corpus import Turn
from tools.base.wording import Vocabulary, article, expand, new_name, said, user_case

CLOSED = {
    "color": "red blue green yellow purple orange pink black white brown grey silver gold teal".split(),
    "food": "pizza,sushi,pasta,curry,tacos,ramen,salad,soup,lasagna,noodles,bread,cheese,dumplings,stew".split(","),
    "drink": "tea coffee water juice milk lemonade cocoa cola".split(),
    "animal": "dog cat horse rabbit owl fox bear elephant tiger dolphin penguin turtle wolf lion".split(),
    "sport": "soccer tennis swimming running basketball chess golf cycling hiking yoga baseball hockey".split(),
}
OPEN = "flower snack game hobby dessert fruit toy tree dish word subject".split()
TITLED = "movie book band song restaurant team city show singer writer park shop".split()
KIN = (
    "sister,brother,best friend,boss,teacher,mother,father,dog,cat,neighbor,cousin,son,daughter,doctor,horse,parrot,"
    "wife,husband,aunt,uncle,grandmother,coach,roommate,manager,rabbit,niece"
).split(",")
NUMBERS = "code,lucky number,room number,bus number,shoe size,house number,locker number,seat number".split(",")
JOBS = (
    "teacher,doctor,nurse,farmer,cook,driver,writer,artist,student,engineer,lawyer,baker,gardener,pilot,musician,"
    "carpenter,plumber,librarian,dentist,painter,waiter,builder,tailor,barber,banker,clerk,dancer,potter,sailor,vet"
).split(",")
THANKS = (
    "{Nice! |Great! |Okay! |}I'll remember that.",
    "{Got it.|Noted.|Okay, noted.|Thanks for telling me.|Good to know!|I see, thank you for telling me.}",
    "{Okay|Sure|All right}, I will {remember|keep in mind} that [fact].",
    "{Good to know|Got it|Thank you}: [fact].",
)
UNKNOWN = (
    "{I don't know that yet. You have not told me.|You have not told me that yet.|I don't know. You have not told me}"
    "{| Can you tell me?| What is it?| Will you tell me?}"
)


@dataclass(frozen=True)
class Fact:
    """One thing about a user: how it is told, asked, answered, and written in a profile."""

    key: str
    value: str
    tell: str
    ask: str
    answer: str
    profile: str
    thanks: str


def _fact(rng: Random, key: str, value: str, second: str, third: str, tell: str, ask: str, answer: str) -> Fact:
    slots = {"v": value, "fact": second, "k": key}
    reply = expand(rng, rng.choice(THANKS), slots)
    shown = second[:1].upper() + second[1:]
    answers = [shown + "{.|.|.|!}", shown + ".", f"You told me that {second}.", answer]
    return Fact(
        key,
        value,
        expand(rng, tell, slots),
        expand(rng, ask, slots),
        expand(rng, rng.choice(answers), slots),
        third,
        reply,
    )


def fact(rng: Random, words: Vocabulary) -> Fact:
    """Draw a fact."""
    roll = rng.random()
    if roll < 0.28:
        v = new_name(rng)
        made = _fact(
            rng,
            "name",
            v,
            f"your name is {v}",
            f"The user's name is {v}.",
            "{My name is [v].|I'm [v].|Call me [v].|Hi, I am [v].|Hello! My name is [v].|You can call me [v].|"
            "my name is [v]|This is [v] speaking.|People call me [v].|Hi, my name's [v]!|I am called [v].}",
            "{What is my name?|Do you remember my name?|Who am I?|What's my name?|Can you tell me my name?|"
            "what is my name|Do you know what I am called?|Tell me my name.|And what was my name again?}",
            "{You are [v].|Your name is [v]!|You are called [v].|Of course, you are [v].}",
        )
        hello = (
            "{Nice to meet you|Hello|Hi|It is nice to meet you|Good to meet you}, [v]{!|.}"
            "{| How can I help you?| What can I do for you?| How are you today?}"
        )
        return Fact("name", v, made.tell, made.ask, made.answer, made.profile, expand(rng, hello, {"v": v}))
    if roll < 0.48:
        k, v = rng.choice(KIN), new_name(rng)
        return _fact(
            rng,
            k,
            v,
            f"your {k} is called {v}",
            f"The user's {k} is called {v}.",
            "{My [k]'s name is [v].|My [k] is called [v].|I have a [k] named [v].|[v] is my [k].|"
            "The name of my [k] is [v].}",
            "{What is my [k]'s name?|What is my [k] called?|Do you remember the name of my [k]?|Who is my [k]?|"
            "What's the name of my [k]?|what is my [k]'s name}",
            "{Your [k]'s name is [v].|Your [k] is called [v].|Your [k] is [v].}",
        )
    if roll < 0.80:
        k = rng.choice([*CLOSED, *OPEN, *TITLED])
        if k in CLOSED and rng.random() < 0.4:
            v = rng.choice(CLOSED[k])
        else:
            v = words.phrase(rng, (1, 2, 2, 3) if k in TITLED else (1, 1, 2), title=k in TITLED)
        return _fact(
            rng,
            k,
            v,
            f"your favorite {k} is {v}",
            f"The user's favorite {k} is {v}.",
            "{My favorite [k] is [v].|The [k] I like most is [v].|I like [v] best of all. It is my favorite [k].|"
            "[V] is my favorite [k].|For me the best [k] is [v].|My favourite [k] is [v].}",
            "{What is my favorite [k]?|Which [k] do I like?|Do you remember my favorite [k]?|What's my favorite [k]?|"
            "Which [k] do I like most?|what is my favourite [k]|Tell me my favorite [k].|What [k] do I love?}",
            "{You like [v].|You like [v] best.|It is [v].|That's easy: [v].}",
        )
    if roll < 0.86:
        k, v = rng.choice(NUMBERS), str(rng.randint(1, 10 ** rng.randint(1, 4)))
        return _fact(
            rng,
            k,
            v,
            f"your {k} is {v}",
            f"The user's {k} is {v}.",
            "{My [k] is [v].|Please remember my [k]: [v].|Remember that my [k] is [v].}",
            "{What is my [k]?|What's my [k]?|Do you remember my [k]?|Can you tell me my [k]?}",
            "{Your [k] is [v].|It is [v].}",
        )
    if roll < 0.93:
        v = words.phrase(rng, (1, 1, 2), title=True)
        return _fact(
            rng,
            "home",
            v,
            f"you live in {v}",
            f"The user lives in {v}.",
            "{I live in [v].|My home is in [v].|I moved to [v].|My house is in [v].}",
            "{Where do I live?|What town do I live in?|Do you remember where I live?|Where is my home?|"
            "What city do I live in?}",
            "{You live in [v].|Your home is in [v].|In [v].}",
        )
    v = rng.choice(JOBS)
    a = article(v)
    return _fact(
        rng,
        "job",
        v,
        f"you are {a}",
        f"The user is {a}.",
        f"{{I work as {a}.|I am {a}.|I'm {a}.|My job: I am {a}.}}",
        "{What do I do for work?|What is my job?|Do you know my job?|What's my job?|What do I work as?}",
        f"{{You are {a}.|You work as {a}.}}",
    )


def facts(rng: Random, words: Vocabulary, most: int) -> list[Fact]:
    """Several facts about one user, no two of the same key."""
    found: dict[str, Fact] = {}
    for _ in range(rng.randint(1, most)):
        f = fact(rng, words)
        found.setdefault(f.key, f)
    return list(found.values())


def profile(rng: Random, known: list[Fact]) -> str:
    """A system turn that tells the facts."""
    lines = [f.profile for f in known]
    head = rng.choice(
        ("", "", "", "What you know about the user: ", "About the user: ", "You are a helpful assistant. ")
    )
    return head + (" " if rng.random() < 0.8 else "\n").join(lines)


def repeat(rng: Random, words: Vocabulary) -> list[Turn]:
    """Say after me: sentences of the corpora and nonsense, so that nothing but copying helps."""
    turns: list[Turn] = []
    for _ in range(rng.randint(1, 3)):
        text = rng.choice(words.sentences) if rng.random() < 0.7 else words.phrase(rng, (2, 3, 4, 5))
        ask = "{Repeat after me: [x]|Say: [x]|Please repeat: [x]|Say this: [x]|Repeat this: [x]|Please say: [x]}"
        turns += said(expand(rng, ask, {"x": text}), text)
    return turns


def correction(rng: Random, words: Vocabulary) -> list[Turn]:
    """The user says something, then puts it right; the later value counts."""
    first = fact(rng, words)
    again = fact(rng, words)
    while again.key != first.key or again.value == first.value:
        again = fact(rng, words)
    turns: list[Turn] = []
    if rng.random() < 0.5:
        turns.append(("system", profile(rng, [first])))
    else:
        turns += said(first.tell, first.thanks)
    if rng.random() < 0.5:
        turns += said(first.ask, first.answer)
    wrong = expand(
        rng,
        "{No, that is wrong.|Actually, that is not right.|Sorry, I made a mistake.|That has changed.|"
        "No, actually:|Correction:} [t]",
        {"t": again.tell},
    )
    right = expand(
        rng,
        "{Sorry about that. |Thank you for the correction. |Oh, I see. |Okay, I will correct that. |}[t]",
        {"t": again.answer},
    )
    turns += said(wrong, right)
    return turns + said(again.ask, again.answer)


def told(rng: Random, words: Vocabulary, between: list[Turn]) -> list[Turn]:
    """Facts told in a profile or in turns, something else in between, then questions about them."""
    known = facts(rng, words, 5)
    turns: list[Turn] = []
    if rng.random() < 0.45:
        turns.append(("system", profile(rng, known)))
    elif len(known) > 1 and rng.random() < 0.25:
        both = known[:2]
        turns += said(" ".join(f.tell for f in both), both[0].thanks)
        known = both
    else:
        for f in known:
            turns += said(user_case(rng, f.tell) if rng.random() < 0.3 else f.tell, f.thanks)
    turns += between
    rng.shuffle(known)
    for f in known[: rng.randint(1, 4)]:
        turns += said(f.ask, f.answer)
    name = [f.value for f in known if f.key == "name"]
    if name and rng.random() < 0.3:
        greet = expand(rng, "{Hi|Hello|Hey|Good morning}", {})
        turns += said(greet + rng.choice("!."), f"{greet}, {name[0]}! How {rng.choice(('are you', 'can I help you'))}?")
    if rng.random() < 0.25:
        other = fact(rng, words)
        if other.key not in {f.key for f in known}:
            unknown = expand(rng, UNKNOWN)
            turns += said(other.ask, unknown if unknown[-1] in ".?" else unknown + ".")
    elif len(known) > 1 and rng.random() < 0.2:
        ask = expand(rng, "{What do you know about me?|Tell me what you know about me.|What have I told you?}")
        turns += said(ask, " ".join(_second(f) for f in known[:3]))
    return turns


def _second(f: Fact) -> str:
    """A profile line, said to the user."""
    if f.profile.startswith("The user's"):
        return f.profile.replace("The user's", "Your", 1)
    return f.profile.replace("The user lives", "You live", 1).replace("The user is", "You are", 1)
