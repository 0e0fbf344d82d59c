# SPDX-License-Identifier: Apache-2.0
"""Teaching users online and judging them on held-out words: the same loop for forks and for their peer.

A gain is the base's loss less the fork's on the user's own held-out words, in nats a token, pooled over the
tokens of one user. Both losses come from the same code at the same precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from _frozen_llama import FrozenLlama
from _lora_users import LoraSettings, LoraShape, adapt_users, example_losses
from _users import JudgedUser

from ipse.learning.step import StepSettings, ordinary_update
from ipse.model.base import Base
from ipse.model.gradient import Example, gradients, losses
from ipse.model.state import PersonalState, apply, zero_state

ROWS = 16
"""Rows of one forward pass; more leaves the processor's cache."""

Losses = Callable[[Sequence[Example]], Sequence[float]]


@dataclass(frozen=True)
class Curve:
    """How one user fared.

    Attributes:
        base: nats a token on the held-out words before anything was learned.
        after: the same after each mark; a user with fewer interactions keeps the last value.
        extra: other measurements at the end, by name.
    """

    user: str
    base: float
    after: tuple[float, ...]
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def gains(self) -> tuple[float, ...]:
        return tuple(self.base - after for after in self.after)


def mean_nats(loss_of: Losses, examples: Sequence[Example]) -> float:
    """Nats a token over all words that count; rows of like length share a pass."""
    total = words = 0.0
    ordered = sorted(examples, key=lambda example: len(example.tokens))
    for start in range(0, len(ordered), ROWS):
        rows = ordered[start : start + ROWS]
        counts = np.array([sum(map(abs, example.weights[1:])) for example in rows])
        total += float(np.dot(counts, np.asarray(loss_of(rows), dtype=np.float64)))
        words += float(counts.sum())
    return total / words


def fork_losses(base: Base, state: PersonalState | None) -> Losses:
    return lambda examples: losses(base, examples, [state] * len(examples)).tolist()


def lora_losses(model: FrozenLlama, shape: LoraShape | None, flat: torch.Tensor | None, scale: float) -> Losses:
    """Losses under one user's LoRA, `flat` (d,), or of the bare model."""

    def loss_of(examples: Sequence[Example]) -> Sequence[float]:
        with torch.inference_mode():
            adapters = None if shape is None or flat is None else shape.adapters(flat[None])
            return example_losses(model, adapters, scale, examples).tolist()

    return loss_of


@dataclass(frozen=True)
class Task:
    """Who is taught, and when they are judged.

    Attributes:
        held_out: the held-out examples of a user after so many interactions: with a memory, their context grows.
        extra: name -> examples that every user's model is judged on at the end of the stream as well.
    """

    users: Sequence[JudgedUser]
    marks: tuple[int, ...]
    held_out: Callable[[JudgedUser, int], Sequence[Example]] = lambda user, _: user.held_out
    extra: Mapping[str, Sequence[Example]] = field(default_factory=dict)

    def bare(self, loss_of: Losses) -> dict[str, float]:
        """User -> nats before anything was learned, without a memory."""
        return {user.name: mean_nats(loss_of, user.held_out) for user in self.users}

    def extras(self, loss_of: Losses, before: Mapping[str, float] | None = None) -> dict[str, float]:
        """Name -> nats on the extra examples, and ``<name>_before`` beside each where those are given."""
        found = {name: mean_nats(loss_of, rows) for name, rows in self.extra.items()}
        return found | {f"{name}_before": value for name, value in (before or {}).items()}


def judge_forks(base: Base, task: Task, settings: StepSettings, batch: int = 16) -> list[Curve]:
    """Every user on a fork of their own, by the steps that `ipse` takes itself."""
    bare, before = task.bare(fork_losses(base, None)), task.extras(fork_losses(base, None))
    last = max(task.marks)
    curves = []
    order = sorted(task.users, key=lambda user: -len(user.online))
    for start in range(0, len(order), batch):
        users = order[start : start + batch]
        states = [zero_state(base.layout)] * len(users)
        seen: list[dict[int, float]] = [{} for _ in users]
        for step in range(min(len(users[0].online), last)):
            active = [i for i, user in enumerate(users) if len(user.online) > step]
            _, found = gradients(base, [users[i].online[step] for i in active], [states[i] for i in active])
            for i, gradient in zip(active, found, strict=True):
                update = ordinary_update(base.basis, states[i], gradient, step, settings)
                states[i] = apply(states[i], update.values)
                if step + 1 in task.marks or step + 1 == min(len(users[i].online), last):
                    seen[i][step + 1] = mean_nats(fork_losses(base, states[i]), task.held_out(users[i], step + 1))
        for user, state, at in zip(users, states, seen, strict=True):
            extra = task.extras(fork_losses(base, state), before)
            curves.append(Curve(user.name, bare[user.name], _held(at, task.marks), extra))
    return curves


def judge_base(base: Base, task: Task) -> list[Curve]:
    """Nobody learns anything: only the context of the held-out words may grow."""
    bare = task.bare(fork_losses(base, None))
    last = max(task.marks)
    curves = []
    for user in task.users:
        steps = {min(mark, len(user.online), last) for mark in task.marks}
        seen = {step: mean_nats(fork_losses(base, None), task.held_out(user, step)) for step in steps}
        curves.append(Curve(user.name, bare[user.name], _held(seen, task.marks)))
    return curves


def judge_loras(model: FrozenLlama, task: Task, settings: LoraSettings, seed: int) -> list[Curve]:
    """Every user on a LoRA of their own."""
    loss_of = lora_losses(model, None, None, 1.0)
    bare, before = task.bare(loss_of), task.extras(loss_of)
    shape = LoraShape(model.sites(), settings.rank)
    seen: list[dict[int, float]] = [{} for _ in task.users]
    last = max(task.marks)

    def nats(user: int, flat: torch.Tensor, step: int) -> float:
        rows = task.held_out(task.users[user], step)
        return mean_nats(lora_losses(model, shape, flat, settings.scale), rows)

    def probe(step: int, users: Sequence[int], flat: torch.Tensor) -> None:
        for user, own in zip(users, flat, strict=True):
            seen[user][step] = nats(user, own, step)

    taught = adapt_users(
        model,
        [user.online for user in task.users],
        steps=last,
        settings=settings,
        seed=seed,
        probe_at=task.marks,
        probe=probe,
    )
    curves = []
    for number, user in enumerate(task.users):
        flat, at = taught[number], seen[number]
        done = min(len(user.online), last)
        if done not in at:
            at[done] = nats(number, flat, done)
        loss_of = lora_losses(model, shape, flat, settings.scale)
        extra = task.extras(loss_of, before)
        curves.append(Curve(user.name, bare[user.name], _held(at, task.marks), extra))
    return curves


def _held(seen: dict[int, float], marks: Sequence[int]) -> tuple[float, ...]:
    """The value at each mark; past the last one that was reached, the last value."""
    return tuple(seen[min(mark, max(seen))] for mark in marks)
