# SPDX-License-Identifier: Apache-2.0
"""A population basis: the directions in which other people's conversations move a base.

The basis of a base decides what its forks can learn quickly. Singular directions of the weights say what the
base does; what users need is where they pull it. So each of some PUBLIC users is followed for a while with
ordinary full-weight steps, and per linear the leading left and right directions of all their changes are kept:

    D_u    change of W that user u's interactions made, normalised                       (d_out, d_in)
    U, V   leading left and right singular directions of all D_u, stacked                (d_out, r), (r, d_in)

(Research notes: with 1/29 of the numbers of LoRA r=8 such a basis gained as much on users it had not seen,
and far more after 1 and 10 interactions.) The users are public data here; a basis fitted on private users
would have to be released privately. It is never judged on users that it was fitted on: ``fitted_on`` names
them by hash.

The mean of the ``D_u`` is what the population shares. It belongs in the next generation of the base, not in a
fork, and every learning figure is given with it merged as well.

Works on any supported module tree: the change is made in the tree's own weights and taken back afterwards.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ipse.errors import InputError
from ipse.learning.objective import own_words
from ipse.model.basis import Basis, LinearBasis
from ipse.model.chat import ChatTokenizer, Turn
from ipse.model.families import AdaptedLinear
from ipse.model.gradient import Example
from ipse.model.subspace import Float64Matrix

Progress = Callable[[int, int, str], None]

_KEPT = 12
"""Directions kept of one user's change of one linear."""


@dataclass(frozen=True, slots=True)
class PublicUser:
    """One public user: a name, and what they said, in order."""

    name: str
    dialogues: tuple[tuple[Turn, ...], ...]

    @property
    def hash(self) -> str:
        """16 hex characters: names the user in a basis without naming them."""
        return hashlib.sha256(f"ipse user {self.name}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How users are followed.

    Attributes:
        interactions: at most so many of each user, in order.
        batch: interactions a step.
        learning_rate: Frobenius length of a step over all adapted weights.
        min_interactions: users with fewer are left out.
    """

    interactions: int = 100
    batch: int = 4
    learning_rate: float = 1.0
    min_interactions: int = 8
    embedding_scale: float = 0.5
    gate_scale: float = 0.05


@dataclass(frozen=True)
class Population:
    """What was learned from the users.

    Attributes:
        basis: their leading directions.
        mean: per adapted linear, their mean change (d_out, d_in) float32, not normalised.
    """

    basis: Basis
    mean: Mapping[str, Tensor]


def read_users(path: Path) -> list[PublicUser]:
    """Transcripts: one JSON object a line, ``{"user": id, "dialogues": [{"turns": [[role, text], ...]}, ...]}``.

    Args:
        path: plain or ``.xz``.

    Raises:
        InputError: names the line that cannot be read.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
            users = [_read_user(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read: {error}.", "Give a JSONL file of users.") from error
    if not users:
        raise InputError(f"{path.name} holds no users.", "Give a JSONL file of users.")
    return users


def _read_user(line: str, number: int) -> PublicUser:
    try:
        data = json.loads(line)
        dialogues = tuple(
            tuple(Turn(role, text) for role, text in dialogue["turns"] if role in ("system", "user", "assistant"))
            for dialogue in data["dialogues"]
        )
        return PublicUser(str(data["user"]), dialogues)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Line {number} is not a user: {error}.",
            'Expected {"user": id, "dialogues": [{"turns": [["user", text], ["assistant", text]]}]}.',
        ) from error


def interactions(
    tokenizer: ChatTokenizer, dialogues: Iterable[Sequence[Turn]], *, context_turns: int = 7
) -> list[Example]:
    """Every turn of the user with what was said before it, in order."""
    found = []
    for turns in dialogues:
        for i, turn in enumerate(turns):
            if turn.role == "user" and turn.text.strip():
                found.append(own_words(tokenizer, turns[max(0, i + 1 - context_turns) : i + 1]))
    return found


def fit(
    model: Any,
    linears: Sequence[AdaptedLinear],
    tokenizer: ChatTokenizer,
    users: Sequence[PublicUser],
    rank: int,
    *,
    settings: FitSettings | None = None,
    progress: Progress | None = None,
) -> Population:
    """Follow every user and keep the leading directions of their changes.

    Args:
        model: a module tree of transformers, float32; its weights are the same afterwards.
        linears: where, as :func:`ipse.model.families.anatomy` finds them.
        progress: called as (users done, users, name).

    Raises:
        InputError: no user has enough to say.
    """
    settings = settings or FitSettings()
    streams = [(u, interactions(tokenizer, u.dialogues)[: settings.interactions]) for u in users]
    streams = [(u, s) for u, s in streams if len(s) >= settings.min_interactions]
    if not streams:
        raise InputError(
            f"No user has {settings.min_interactions} messages to fit a basis on.", "Give longer transcripts."
        )
    left: dict[str, list[Tensor]] = {linear.name: [] for linear in linears}
    right: dict[str, list[Tensor]] = {linear.name: [] for linear in linears}
    mean: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # svd_lowrank starts from random vectors: the same ones each time
        for number, (user, stream) in enumerate(streams):
            for name, change in user_change(model, linears, stream, settings).items():
                mean[name] = mean.get(name, torch.zeros_like(change)) + change / len(streams)
                u, s, v = torch.svd_lowrank(change, q=min(_KEPT, *change.shape), niter=3)
                unit = s / change.norm().clamp_min(1e-12)
                left[name].append(u * unit)
                right[name].append(v * unit)
            if progress is not None:
                progress(number + 1, len(streams), user.hash)
    parts = tuple(_leading(linear, left[linear.name], right[linear.name], rank) for linear in linears)
    basis = Basis(
        kind="population",
        rank=rank,
        linears=parts,
        embedding_scale=settings.embedding_scale,
        gate_scale=settings.gate_scale,
        fitted_on=tuple(sorted(u.hash for u, _ in streams)),
    )
    return Population(basis, mean)


def user_change(
    model: Any, linears: Sequence[AdaptedLinear], stream: Sequence[Example], settings: FitSettings
) -> dict[str, Tensor]:
    """What one user's interactions make of the adapted weights: (d_out, d_in) float32 for each linear.

    Normalised steps on the weights themselves, a few interactions at a time; the model is put back.
    """
    modules = {linear.name: [model.get_submodule(m) for m in linear.modules] for linear in linears}
    weights: list[Tensor] = [module.weight for group in modules.values() for module in group]
    before = [w.detach().clone() for w in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for start in range(0, len(stream), settings.batch):
            loss = _loss(model, stream[start : start + settings.batch])
            gradients = torch.autograd.grad(loss, weights)
            norm = torch.stack([g.norm() for g in gradients]).norm().clamp_min(1e-12)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(gradient, alpha=float(settings.learning_rate / norm))
        with torch.no_grad():
            moved = iter([(w - b).float() for w, b in zip(weights, before, strict=True)])
            return {name: torch.cat([next(moved) for _ in group]) for name, group in modules.items()}
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.requires_grad_(False)
                weight.copy_(old)


def _loss(model: Any, examples: Sequence[Example]) -> Tensor:
    """Mean over the examples of their mean nats a token."""
    width = max(len(e.tokens) for e in examples)
    device = model.get_input_embeddings().weight.device
    tokens = torch.zeros(len(examples), width, dtype=torch.int64)
    weight = torch.zeros(len(examples), width)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        weight[row, : len(example.weights)] = torch.tensor(example.weights)
    tokens, weight = tokens.to(device), weight[:, 1:].to(device)
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
    nats = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    result: Tensor = ((nats * weight).sum(1) / weight.abs().sum(1)).mean()
    return result


def _leading(linear: AdaptedLinear, left: list[Tensor], right: list[Tensor], rank: int) -> LinearBasis:
    """The first ``rank`` directions of all users' changes, on both sides."""
    u, v = (leading_left(torch.cat(side, dim=1).double().numpy(), rank) for side in (left, right))
    return LinearBasis.of(linear.name, linear.kind, u, v.T)


def leading_left(stacked: Float64Matrix, rank: int) -> Float64Matrix:
    """Leading left singular vectors (d, r) of (d, users * kept), orthonormal, signs fixed."""
    u, _, _ = np.linalg.svd(stacked, full_matrices=False)
    if u.shape[1] < rank:
        raise InputError(
            f"The users span only {u.shape[1]} directions, and rank {rank} was asked for.", "Give more users."
        )
    u = u[:, :rank]
    return u * np.where(u[np.abs(u).argmax(0), np.arange(rank)] < 0, -1.0, 1.0)
