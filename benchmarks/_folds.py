# SPDX-License-Identifier: Apache-2.0
"""Who is judged with whose help: no basis and no pooled mean is judged on a user that it was fitted on.

Users that the base's own basis was fitted on are dealt into folds; each fold is judged with a basis and a
pooled mean fitted on the other folds. Users that it has not seen are judged with it as it is, and with the
mean of those it was fitted on. Where the file holds none of those, or the base has no population basis, all
users are dealt into folds.

The pooled base is the base with the public users' mean change merged into its weights: what a population
shares, which no fork may sell as personal. Forks and LoRAs start on it alike; the basis of its forks is fitted
on changes taken on it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _users import JudgedUser, public
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from ipse.learning.coordinates import fit_population
from ipse.learning.population import FitSettings
from ipse.model.base import Base, load_base

MIN_PUBLIC = 8
"""Fewer users than this are no population: all are dealt into folds instead."""


@dataclass(frozen=True, slots=True)
class Group:
    """Users who are judged together.

    Attributes:
        name: of its files.
        judged, public: names of users, never one in both.
        own_basis: judged over the shipped base with the base's own basis, not with one fitted on `public`.
    """

    name: str
    judged: tuple[str, ...]
    public: tuple[str, ...]
    own_basis: bool


def deal(users: Sequence[JudgedUser], fitted_on: Sequence[str], folds: int, seed: int) -> list[Group]:
    """Cut the users into groups. Every user is judged once for each seed.

    Args:
        fitted_on: digests of the users of the base's own basis; empty when it has no population basis.
    """
    seen = [user.name for user in users if user.digest in set(fitted_on)]
    unseen = [user.name for user in users if user.digest not in set(fitted_on)]
    if not seen:
        return _folds(unseen, folds, seed, own_basis=bool(fitted_on))
    if len(seen) < MIN_PUBLIC:
        return _folds([user.name for user in users], folds, seed, own_basis=False)
    groups = []
    if unseen:
        groups.append(Group("unseen", tuple(unseen), tuple(seen), own_basis=True))
    return groups + _folds(seen, folds, seed, own_basis=False)


def _folds(names: Sequence[str], folds: int, seed: int, *, own_basis: bool) -> list[Group]:
    mixed = list(names)
    random.Random(seed).shuffle(mixed)
    count = max(2, min(folds, len(mixed)))
    groups = []
    for fold in range(count):
        judged = set(mixed[fold::count])
        rest = tuple(name for name in names if name not in judged)
        groups.append(Group(f"s{seed}-f{fold}", tuple(n for n in names if n in judged), rest, own_basis))
    return groups


def prepare(
    group: Group, users: Mapping[str, JudgedUser], base: Base, folder: Path, interactions: int, speech: int
) -> None:
    """Fit what the group needs on its public users, into `folder`: basis, pooled base with its own basis."""
    folder.mkdir(parents=True, exist_ok=True)
    people = [public(users[name], interactions) for name in group.public]
    settings = FitSettings(
        interactions=interactions,
        min_interactions=min(8, interactions // 4),
        embedding_scale=base.basis.embedding_scale,
        gate_scale=base.basis.gate_scale,
    )
    rank = base.basis.rank
    shared = fit_population(base, people, rank, settings=settings, speech=speech)
    shared.basis.save(folder / "basis.safetensors")
    pooled = folder / "pooled"
    _save_pooled(base, shared.mean, pooled)
    own = fit_population(load_base(pooled, basis=shared.basis), people, rank, settings=settings, speech=speech)
    own.basis.save(folder / "pooled-basis.safetensors")
    (folder / "done").touch()


def read_module(directory: Path) -> Any:
    """A directory's module tree, float32, frozen."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _float32(base: Base) -> torch.nn.Module:
    model: torch.nn.Module = base.module().float().eval()
    return model.requires_grad_(False)


def _save_pooled(base: Base, mean: Mapping[str, Tensor], target: Path) -> None:
    """The base's directory again, its weights float32 with the mean change added."""
    shutil.rmtree(target, ignore_errors=True)
    left_out = shutil.ignore_patterns("*.safetensors*", "*.bin*", "*.md", "*.jsonl")
    shutil.copytree(base.directory, target, ignore=left_out)
    weights = {name: tensor.detach().clone() for name, tensor in _float32(base).state_dict().items()}
    for linear in base.anatomy.linears:
        for module, delta in zip(linear.modules, torch.split(mean[linear.name], list(linear.rows)), strict=True):
            weights[f"{module}.weight"] += delta
    if base.module().config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, target / "model.safetensors")
