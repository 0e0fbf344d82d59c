# SPDX-License-Identifier: Apache-2.0
"""From dialogues to streams of token ids: reading, the hold-out, and one shuffled stream for each epoch.

The hold-out is decided by a digest of source and group, so a dialogue lands on the same side in every run and
in every program that applies :func:`held_out`, whatever the order of the file. A group (one conversation, one
story, one prompt) is never on both sides.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Turn = tuple[str, str]
"""Role (``system``, ``user`` or ``assistant``) and text."""

Ids = NDArray[np.uint16]

WEIGHTS = {"sgd": 1, "topical": 1, "spc": 2, "tm3": 1, "tm4": 2, "stories": 3, "personality": 12}
"""How often one epoch shows each real source: small and open-domain ones more often."""

HELD_TOKENS = 40_000
"""At most this many held-out tokens of a source are scored."""


@dataclass(frozen=True)
class Dialogue:
    """One conversation, with the source and group it came from."""

    source: str
    group: str
    turns: tuple[Turn, ...]

    def text(self) -> str:
        """The conversation as the chat template writes it."""
        return "<|bos|>" + "".join(f"<|{role}|>{text}<|end|>" for role, text in self.turns)


def read(path: Path) -> Iterator[Dialogue]:
    """Dialogues of a ``dialogues.jsonl.xz`` file, in its order."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            d = json.loads(line)
            yield Dialogue(d["s"], d["g"], tuple((role, text) for role, text in d["t"]))


def held_out(source: str, group: str) -> bool:
    """Whether a group belongs to the hold-out: 2 in 100 groups, 5 in 100 of the tiny ``personality``."""
    percent = 5 if source == "personality" else 2
    return int(hashlib.md5((source + group).encode(), usedforsecurity=False).hexdigest(), 16) % 100 < percent


def encode(tokenizer: Tokenizer, dialogues: Iterable[Dialogue]) -> list[Ids]:
    """Token ids of each dialogue."""
    return [np.array(e.ids, dtype=np.uint16) for e in tokenizer.encode_batch([d.text() for d in dialogues])]


Generate = Callable[[int], list[Dialogue]]
"""Own dialogues of one epoch, from the epoch's number: fresh ones each time, so none is learnt by heart."""

PARTS = 3
"""An epoch shows one part of the real dialogues, so a stream is ready in seconds; PARTS epochs show them all."""


@dataclass
class Mixture:
    """The training side of the corpora, as one shuffled stream an epoch."""

    tokenizer: Tokenizer
    dialogues: list[Dialogue]
    generate: Generate
    seed: int = 0
    _ready: tuple[int, Ids] | None = field(default=None, repr=False)

    @staticmethod
    def of(tokenizer: Tokenizer, dialogues: Iterable[Dialogue], generate: Generate, seed: int = 0) -> Mixture:
        """Keep the training side of ``dialogues``, each as often as its weight says, in a fixed random order."""
        kept = [d for d in dialogues if not held_out(d.source, d.group) for _ in range(WEIGHTS[d.source])]
        order = np.random.default_rng(seed).permutation(len(kept))
        return Mixture(tokenizer, [kept[i] for i in order], generate, seed)

    def epoch(self, number: int) -> Ids:
        """The stream of one epoch; the same number always gives the same stream."""
        if self._ready is None or self._ready[0] != number:
            shown = self.dialogues[number % PARTS :: PARTS] + self.generate(number)
            documents = encode(self.tokenizer, shown)
            order = np.random.default_rng([self.seed, number]).permutation(len(documents))
            self._ready = (number, np.concatenate([documents[i] for i in order]))
        return self._ready[1]


@dataclass
class Cursor:
    """A place in the endless row of epochs."""

    epoch: int = 0
    offset: int = 0

    def take(self, mixture: Mixture, rows: int, tokens: int) -> NDArray[np.int64]:
        """The next ``rows`` x (``tokens`` + 1) ids; the last id of a row is the next row's first."""
        stream = mixture.epoch(self.epoch)
        if self.offset + rows * tokens + 1 > len(stream):
            self.epoch, self.offset = self.epoch + 1, 0
            stream = mixture.epoch(self.epoch)
        if rows * tokens + 1 > len(stream):
            raise ValueError(f"Expected an epoch of more than {rows * tokens} tokens, got {len(stream)}")
        starts = self.offset + np.arange(rows) * tokens
        self.offset += rows * tokens
        rows_of_ids: NDArray[np.int64] = stream[starts[:, None] + np.arange(tokens + 1)].astype(np.int64)
        return rows_of_ids


def held_streams(tokenizer: Tokenizer, dialogues: Iterable[Dialogue]) -> dict[str, Ids]:
    """The first :data:`HELD_TOKENS` held-out tokens of each source, in the order of the file."""
    kept = [d for d in dialogues if held_out(d.source, d.group)]
    by_source: dict[str, list[Ids]] = {}
    for d, ids in zip(kept, encode(tokenizer, kept), strict=True):
        by_source.setdefault(d.source, []).append(ids)
    return {s: np.concatenate(parts)[:HELD_TOKENS] for s, parts in by_source.items()}
