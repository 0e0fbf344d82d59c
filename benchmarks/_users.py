# SPDX-License-Identifier: Apache-2.0
"""Users of a transcript file, cut into what is learned online and what is held out.

Per user, in order: the first 80% of the dialogues are lived through online, one interaction a user turn; the
rest is held out. A user needs two dialogues and one held-out word. An interaction is the user's turn with
what was said before it in that dialogue, the last `WINDOW` tokens of it; only the user's own words count.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ipse.learning.population import PublicUser
from ipse.model.chat import ChatTokenizer, Turn
from ipse.model.gradient import Example

T = TypeVar("T")

MARKS = (1, 10, 50, 100, 200)
"""The gain is taken after so many interactions."""

WINDOW = 96
"""Tokens of one interaction. More context costs time and moves all methods alike."""

HELD_OUT = 40
"""At most so many held-out interactions per user, evenly spread over all of them."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation, oldest turn first."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class JudgedUser:
    """One user, ready to be taught and judged.

    Attributes:
        name: as the file has it; already anonymous.
        digest: how a basis names those it was fitted on.
        online: interactions in order, as many as the last mark needs.
        held_out: interactions that are never learned from.
        dialogues: the online dialogues as turns; held_out_dialogues: the others.
    """

    name: str
    digest: str
    online: tuple[Example, ...]
    held_out: tuple[Example, ...]
    dialogues: tuple[Dialogue, ...]
    held_out_dialogues: tuple[Dialogue, ...]


def read_users(
    path: Path,
    tokenizer: ChatTokenizer,
    *,
    most: int | None = None,
    marks: Sequence[int] = MARKS,
    held_out: int = HELD_OUT,
    window: int = WINDOW,
) -> list[JudgedUser]:
    """Every user of the file that can be judged, in the order of the file.

    Args:
        most: keep so many, evenly spread over the file.
    """
    users = []
    for name, dialogues in _read(path).items():
        if len(dialogues) < 2:
            continue
        cut = min(max(int(0.8 * len(dialogues)), 1), len(dialogues) - 1)
        online = examples(dialogues[:cut], tokenizer, window, most=max(marks))
        rest = spread(examples(dialogues[cut:], tokenizer, window), held_out)
        if online and rest:
            digest = PublicUser(name, ()).hash
            users.append(JudgedUser(name, digest, tuple(online), tuple(rest), dialogues[:cut], dialogues[cut:]))
    return users if most is None else spread(users, most)


def examples(
    dialogues: Sequence[Dialogue], tokenizer: ChatTokenizer, window: int, *, most: int | None = None
) -> list[Example]:
    """One per user turn, in order: the window that ends with it, weight 1 on the user's own words."""
    found: list[Example] = []
    for dialogue in dialogues:
        tokens, spans = tokenizer.encode(dialogue.turns)
        for turn, span in zip(dialogue.turns, spans, strict=True):
            if turn.role != "user":
                continue
            first = max(0, span.stop - window)
            weights = tuple(float(first + i >= span.start) for i in range(span.stop - first))
            if any(weights[1:]):
                found.append(Example(tuple(tokens[first : span.stop]), weights))
            if most is not None and len(found) >= most:
                return found
    return found


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly spread, always the same ones."""
    if len(items) <= most:
        return list(items)
    return [items[int(i * len(items) / most)] for i in range(most)]


def public(user: JudgedUser, interactions: int) -> PublicUser:
    """The dialogues that hold a user's first interactions, for fitting what OTHER users are judged with."""
    kept, count = [], 0
    for dialogue in (*user.dialogues, *user.held_out_dialogues):
        if count < interactions:
            kept.append(dialogue.turns)
        count += sum(turn.role == "user" for turn in dialogue.turns)
    return PublicUser(user.name, tuple(kept))


def _read(path: Path) -> dict[str, tuple[Dialogue, ...]]:
    """User -> dialogues in which they speak; a line is a user with dialogues, or one dialogue of a user."""
    data = path.read_bytes()
    opened = {".xz": lzma.decompress, ".gz": gzip.decompress}.get(path.suffix, bytes)(data)
    found: dict[str, list[Dialogue]] = {}
    for line in opened.decode().splitlines():
        record = json.loads(line)
        for dialogue in record.get("dialogues", [record]):
            turns = tuple(Turn(role, words) for role, words in dialogue["turns"] if words.strip())
            if any(turn.role == "user" for turn in turns):
                found.setdefault(record["user"], []).append(Dialogue(turns))
    return {name: tuple(dialogues) for name, dialogues in found.items()}
