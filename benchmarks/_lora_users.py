# SPDX-License-Identifier: Apache-2.0
"""One LoRA per user, taught online, many users in a batch.

    adapt_users(model, streams, steps=100, settings=LoraSettings(...), seed=0) -> (users, d)

Each user is a stream of interactions; interaction ``i`` gives one step of that user's own optimiser. Users are
strangers to each other: batching them changes nothing but the speed (their losses are summed, and no two
share a parameter). Two optimisers:

    adamw         torch.optim.AdamW's update, its usual betas and decay, one state per user
    normalised    w <- w - learning_rate * g / |g|, the norm taken over the whole LoRA of a user

Initialisation is PEFT's: A uniform in +-1/sqrt(d_in), B zero, so a new LoRA changes nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from _frozen_llama import Adapters, FrozenLlama, Site
from torch import Tensor

from ipse.model.gradient import Example

_log = logging.getLogger(__name__)

Streams = Sequence[Sequence[Example]]
Probe = Callable[[int, Sequence[int], Tensor], None]
"""Called as (steps done, user numbers, their parameters (n, d)) at the probed steps."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """How every projection is adapted.

    Attributes:
        rank: r of every A and B.
        alpha: the product is scaled by alpha / r; None means alpha = r.
        optimiser: see the module docstring.
        users_per_batch: how many users share one backward pass.
    """

    rank: int = 4
    alpha: float | None = None
    optimiser: Literal["adamw", "normalised"] = "normalised"
    learning_rate: float = 0.3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    users_per_batch: int = 16

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass(frozen=True)
class LoraShape:
    """Where each site's A and B lie in one user's flat vector of parameters."""

    sites: tuple[Site, ...]
    rank: int

    @property
    def sizes(self) -> list[int]:
        """Numbers of A, then of each B, for each site in order."""
        return [
            size
            for site in self.sites
            for size in (len(site.parts) * self.rank * site.d_in, *(out * self.rank for _, out in site.parts))
        ]

    @property
    def size(self) -> int:
        """How many numbers one user has."""
        return sum(self.sizes)

    def initial(self, seed: int) -> Tensor:
        """(d,) float32, the same for every user of one seed."""
        generator = torch.Generator().manual_seed(seed)
        flat = torch.zeros(self.size)
        at = 0
        for site in self.sites:
            count = len(site.parts) * self.rank * site.d_in
            # kaiming_uniform_(a=sqrt(5)), which PEFT uses, is uniform in +-1/sqrt(d_in).
            flat[at : at + count].uniform_(-1 / math.sqrt(site.d_in), 1 / math.sqrt(site.d_in), generator=generator)
            at += count + sum(out * self.rank for _, out in site.parts)
        return flat

    def adapters(self, flat: Tensor) -> Adapters:
        """(U, d) as the forward pass wants it; one split, so that one backward joins the gradients."""
        users, rank = flat.shape[0], self.rank
        pieces = iter(torch.split(flat, self.sizes, dim=1))
        found = {}
        for site in self.sites:
            down = next(pieces).view(users, -1, site.d_in)
            ups = [next(pieces).view(users, out, rank) for _, out in site.parts]
            last = len(ups) - 1
            padded = [functional.pad(up, (part * rank, (last - part) * rank)) for part, up in enumerate(ups)]
            found[site.name] = (down, padded[0] if last == 0 else torch.cat(padded, dim=1))
        return found


def adapt_users(
    model: FrozenLlama,
    streams: Streams,
    *,
    steps: int,
    settings: LoraSettings,
    seed: int = 0,
    probe_at: Sequence[int] = (),
    probe: Probe | None = None,
) -> Tensor:
    """Teach every user a LoRA on the first `steps` interactions of their stream, one optimiser step each.

    Args:
        streams: per user, in time order; one may be shorter than `steps` and stops there.
        seed: of the initialisation.
        probe_at: numbers of steps after which `probe` is called, with the users that took exactly that many.

    Returns:
        (U, d) float32: the LoRAs after the last step, users in the order given.
    """
    shape = LoraShape(model.sites(), settings.rank)
    final = shape.initial(seed).repeat(len(streams), 1)
    # Longest first: the users who still have something to say are always the first rows of their batch.
    order = sorted(range(len(streams)), key=lambda user: -min(len(streams[user]), steps))
    for start in range(0, len(order), settings.users_per_batch):
        users = order[start : start + settings.users_per_batch]
        flat = final[users].clone()
        optimiser = _Optimiser(settings, flat)
        longest = min(len(streams[users[0]]), steps)
        for step in range(longest):
            active = sum(len(streams[user]) > step for user in users)
            gradient = _gradients(
                model, shape, settings.scale, flat[:active], [streams[u][step] for u in users[:active]]
            )
            optimiser.step(gradient)
            if probe is not None and step + 1 in probe_at:
                probe(step + 1, users[:active], flat[:active])
        final[users] = flat
        _log.info("taught %d of %d users", start + len(users), len(order))
    return final


def token_losses(
    model: FrozenLlama, adapters: Adapters | None, scale: float, examples: Sequence[Example]
) -> tuple[Tensor, Tensor, Tensor]:
    """Nats of every weighted token.

    Args:
        examples: U * n, the n of one user together.

    Returns:
        (N,) float32 nats, (N,) int64 example numbers, (N,) float32 weights.
    """
    width = max(len(example.tokens) for example in examples)
    tokens = torch.zeros(len(examples), width, dtype=torch.long)
    rows, columns, weights = [], [], []
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(tuple(example.tokens))
        for column, weight in enumerate(example.weights):
            if weight and column:
                rows.append(row)
                columns.append(column)
                weights.append(weight)
    at, to = torch.tensor(rows), torch.tensor(columns)
    logits = model.logits(tokens, adapters, scale, at, to - 1)
    return functional.cross_entropy(logits, tokens[at, to], reduction="none"), at, torch.tensor(weights)


def example_losses(model: FrozenLlama, adapters: Adapters | None, scale: float, examples: Sequence[Example]) -> Tensor:
    """(examples,) float32: weighted mean nats a token of each."""
    nats, rows, weights = token_losses(model, adapters, scale, examples)
    total = torch.zeros(len(examples)).index_add(0, rows, nats * weights)
    return total / torch.zeros(len(examples)).index_add(0, rows, weights.abs()).clamp_min(1e-9)


def _gradients(model: FrozenLlama, shape: LoraShape, scale: float, flat: Tensor, examples: Sequence[Example]) -> Tensor:
    """(U, d): each user's own gradient; the sum of losses separates because no parameter is shared."""
    leaf = flat.detach().requires_grad_()
    loss = example_losses(model, shape.adapters(leaf), scale, examples).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient


class _Optimiser:
    """Per-user optimisers over rows of one matrix; a row that gets no gradient keeps its value and state."""

    def __init__(self, settings: LoraSettings, flat: Tensor) -> None:
        self._settings = settings
        self._flat = flat
        self._steps = 0
        if settings.optimiser == "adamw":
            self._first = torch.zeros_like(flat)
            self._second = torch.zeros_like(flat)

    def step(self, gradient: Tensor) -> None:
        """Move the first ``len(gradient)`` rows."""
        count, settings = gradient.shape[0], self._settings
        self._steps += 1
        if settings.optimiser == "normalised":
            norms = gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
            self._flat[:count].addcdiv_(gradient, norms, value=-settings.learning_rate)
            return
        beta1, beta2 = settings.betas
        first, second = self._first[:count], self._second[:count]
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        size = settings.learning_rate / (1 - beta1**self._steps)
        root = second.sqrt().div_(math.sqrt(1 - beta2**self._steps)).add_(settings.epsilon)
        self._flat[:count].mul_(1 - settings.learning_rate * settings.weight_decay)
        self._flat[:count].addcdiv_(first, root, value=-size)
