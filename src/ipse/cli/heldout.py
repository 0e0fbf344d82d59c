# SPDX-License-Identifier: Apache-2.0
"""A user's dialogues split in two: what a fork is taught, and what it is judged on.

Whole dialogues are held out, the latest ones, and a held-out turn counts only if the user never said the same
words in a taught one: recognising a sentence word for word is not what is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ipse.forks.transcripts import Conversation, Interaction
    from ipse.model.base import Base
    from ipse.model.state import PersonalState

SHIPPED_USERS = ("ada", "bert")
"""Scripted users, written for Ipse: a sailor with sign-offs, and a terse and formal gardener."""

TAUGHT_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Split:
    """One user's interactions.

    Attributes:
        user: who.
        taught: in order, of the first dialogues.
        held_out: of the last dialogues, none of them said in a taught one.
    """

    user: str
    taught: tuple[Interaction, ...]
    held_out: tuple[Interaction, ...]


def shipped_conversations(user: str) -> list[Conversation]:
    """The dialogues of a scripted user, from inside the package."""
    from ipse.forks.transcripts import parse_transcripts

    resource = files("ipse").joinpath("shipped", "examples", f"{user}.jsonl")
    return parse_transcripts(resource.read_bytes(), f"{user}.jsonl")


def split(conversations: Sequence[Conversation], share: float = TAUGHT_SHARE) -> Split:
    """Teach the first ``share`` of one user's dialogues, hold out the rest."""
    cut = min(len(conversations) - 1, max(1, round(len(conversations) * share)))
    taught = [interaction for conversation in conversations[:cut] for interaction in conversation.interactions]
    said = {interaction.turns[-1].text for interaction in taught}
    held_out = [
        interaction
        for conversation in conversations[cut:]
        for interaction in conversation.interactions
        if interaction.turns[-1].text not in said
    ]
    return Split(conversations[0].user, tuple(taught), tuple(held_out))


def held_out_losses(base: Base, states: Sequence[PersonalState | None], splits: Sequence[Split]) -> list[list[float]]:
    """Mean loss of each state on each user's held-out words, in nats per token; every token counts the same.

    Returns:
        ``[state][user]``.
    """
    columns = []
    for one in splits:
        losses, tokens = turn_losses(base, states, one.held_out)
        columns.append((losses * tokens).sum(axis=1) / tokens.sum())
    return [[float(column[row]) for column in columns] for row in range(len(states))]


def turn_losses(
    base: Base, states: Sequence[PersonalState | None], interactions: Sequence[Interaction]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss of each state on each user turn, in its context, all in one batch.

    Returns:
        (states, turns) float64 in nats per token, and (turns,) float64: tokens of the user's own in each.
    """
    from ipse.learning.objective import own_words
    from ipse.model.gradient import losses

    examples = [own_words(base.tokenizer, interaction.turns) for interaction in interactions]
    tokens = np.array([sum(weight > 0 for weight in example.weights) for example in examples], dtype=np.float64)
    batch = losses(base, examples * len(states), [state for state in states for _ in examples])
    return batch.reshape(len(states), len(examples)), tokens
