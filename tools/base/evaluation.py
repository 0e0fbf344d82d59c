# SPDX-License-Identifier: Apache-2.0
"""What a finished model can do, in numbers: recall of what it was told, and how often a reply repeats itself.

All replies are greedy, so a figure belongs to the weights alone. Nothing scored here was trained on: the cases of
the generators come from epochs that training never reaches, the real prompts from held-out groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tools.base import facts, own
from tools.base.corpus import Dialogue, Turn, held_out
from tools.base.wording import Vocabulary

PROMPTS: tuple[tuple[Turn, ...], ...] = tuple(
    tuple(turns)
    for turns in (
        [("user", "Hello! How are you today?")],
        [("user", "Hi, I'm looking for a good Italian restaurant in San Jose.")],
        [("user", "What do you like to do in your free time?")],
        [("user", "I want to book a flight from Boston to Chicago next Friday.")],
        [("user", "Did you know that octopuses have three hearts?")],
        [("user", "My name is Brigitte."), ("assistant", "Nice to meet you, Brigitte!"), ("user", "What is my name?")],
        [
            ("system", "The user's name is Tariq. The user's favorite food is lasagna."),
            ("user", "Which food do I like?"),
        ],
        [("system", "Be funny."), ("user", "Tell me something about yourself.")],
        [("user", "Tell me a story about a brave little goat.")],
        [("user", "What is the capital of France?")],
        [("user", "I had a really bad day at work.")],
        [("user", "Can you write me a short email to my boss saying I am sick?")],
        [("user", "Who are you?")],
        [("user", "Tell me a joke.")],
        [("user", "Do you like jazz?")],
        [("user", "Thanks, that was helpful!")],
        [
            ("user", "Tell me a story about a lonely dragon."),
            (
                "assistant",
                "Once there was a dragon who lived on a hill. Nobody came to see it. One day a girl came by.",
            ),
            ("user", "Shorter, please."),
        ],
        [
            ("user", "I live in Lisbon."),
            ("assistant", "Got it."),
            ("user", "No, that is wrong. I live in Porto."),
            ("assistant", "Okay, you live in Porto."),
            ("user", "Where do I live?"),
        ],
        [("user", "Which is better, tea or coffee?")],
        [("user", "Goodbye!")],
        [("user", "I'm so happy, I passed my driving test!")],
        [("user", "My cat ran away and I can't find her.")],
        [("user", "Write a poem about the sea.")],
        [("user", "How do I fix my bicycle?")],
        [("user", "What should I cook tonight?")],
        [("user", "Do you remember me?")],
        [("user", "What is 12 times 14?")],
        [("user", "I feel lonely since I moved to a new town.")],
        [("user", "Please tell me everything you know about the history of Rome.")],
        [("user", "Write a long story about a king and a baker.")],
        [("user", "Tell me about your family.")],
        [("user", "I need a hotel in London for three nights.")],
        [("user", "asdf qwer zxcv")],
        [("user", "What do you think about politics?")],
        [("user", "Say: blue horses never sleep")],
        [("user", "Can you give me some advice for my first day at a new job?")],
        [("user", "Play some music by a Norwegian band.")],
        [("user", "Why?")],
        [("user", "I love hiking in the mountains with my dog.")],
        [("user", "List four fruits.")],
        [("user", "I am going to bed now, good night.")],
    )
)
"""Prompts written by hand. The first twenty are shown in the model card."""


@dataclass(frozen=True)
class Case:
    """A conversation that ends with a question, and the told value the reply must contain."""

    kind: str
    turns: tuple[Turn, ...]
    value: str


class Speaker:
    """A model directory that answers."""

    def __init__(self, path: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, padding_side="left")
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    @torch.no_grad()
    def replies(
        self, conversations: Sequence[Sequence[Turn]], most: int = 120, temperature: float = 0.0, batch: int = 32
    ) -> list[list[int]]:
        """Token ids of one reply each; one that never ended has ``most`` tokens."""
        texts = [
            str(
                self.tokenizer.apply_chat_template(
                    [{"role": role, "content": text} for role, text in turns],
                    tokenize=False,
                    add_generation_prompt=True,
                )
            )
            for turns in conversations
        ]
        end = self.tokenizer.eos_token_id
        out: list[list[int]] = []
        for i in range(0, len(texts), batch):
            ids = self.tokenizer(texts[i : i + batch], return_tensors="pt", padding=True, add_special_tokens=False)
            ids = {k: v[:, -(512 - most) :] for k, v in ids.items() if k != "token_type_ids"}
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
            )
            made = self.model.generate(**ids, max_new_tokens=most, **sampling)
            rows = made[:, ids["input_ids"].shape[1] :].tolist()
            out += [row[: row.index(end)] if end in row else row for row in rows]
        return out

    def text(self, ids: Sequence[int]) -> str:
        """A reply as text."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def cases(words: Vocabulary, count: int, seed: int = 77) -> list[Case]:
    """Recall cases: half of them names, told in a profile or in turns, with something else in between or not."""
    rng = Random(seed)
    made: list[Case] = []
    while len(made) < count:
        wants_name = len(made) % 2 == 0
        known = facts.facts(rng, words, 4)
        asked = [f for f in known if (f.key == "name") == wants_name]
        if not asked:
            continue
        turns: list[Turn] = []
        if rng.random() < 0.5:
            turns.append(("system", facts.profile(rng, known)))
        else:
            for f in known:
                turns += [("user", f.tell), ("assistant", f.thanks)]
        for _ in range(rng.randint(0, 2)):
            turns += [t for t in own.piece(rng, words) if t[0] != "system"]
        f = rng.choice(asked)
        made.append(Case("name" if wants_name else "other fact", (*turns, ("user", f.ask)), f.value))
    return made


def recall(speaker: Speaker, asked: Sequence[Case]) -> dict[str, tuple[int, int]]:
    """For each kind of case: how many replies hold the told value exactly, out of how many."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for case, ids in zip(asked, speaker.replies([c.turns for c in asked], most=48), strict=True):
        total[case.kind] += 1
        right[case.kind] += case.value in speaker.text(ids)
    return {kind: (right[kind], total[kind]) for kind in total}


def held_prompts(dialogues: Iterable[Dialogue], count: int, seed: int = 78) -> list[tuple[Turn, ...]]:
    """Held-out conversations of the real sources, each cut before one of the assistant's turns."""
    rng = Random(seed)
    kept = [d for d in dialogues if held_out(d.source, d.group)]
    rng.shuffle(kept)
    out: list[tuple[Turn, ...]] = []
    for d in kept:
        places = [i for i, (role, _) in enumerate(d.turns) if role == "assistant" and i > 0]
        out += [d.turns[: rng.choice(places)]] if places else []
    return out[:count]


def repeats(ids: Sequence[int], most: int = 120) -> bool:
    """Whether a reply says four tokens in a row three times, or ran into the limit going in a circle."""
    grams = Counter(tuple(ids[i : i + 4]) for i in range(len(ids) - 3))
    if grams and max(grams.values()) >= 3:
        return True
    if len(ids) < most:
        return False
    return any(list(ids[-p:]) == list(ids[-2 * p : -p]) for p in range(1, most // 3))
