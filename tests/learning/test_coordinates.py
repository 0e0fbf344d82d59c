# SPDX-License-Identifier: Apache-2.0
"""Curvature of general speech, and the coordinates that are fitted with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ipse.errors import BaseDamaged, VerificationError
from ipse.learning.coordinates import fit_population, with_coordinates
from ipse.learning.natural import DAMPING, Natural, curvature_of, natural_of, own_speech, public_gradients
from ipse.learning.population import FitSettings, interactions
from ipse.model.base import Base, load_base
from ipse.model.basis import load_basis
from ipse.model.layout import ONE
from ipse.model.personal import stack
from ipse.model.state import PersonalState
from tests.learning.test_population import people
from tests.model.tiny_families import random_model, save

SETTINGS = FitSettings(interactions=8, batch=2, min_interactions=2)


@cache
def shipped() -> Base:
    return load_base()


def kl_nats(base: Base, change: NDArray[np.float64], tokens: torch.Tensor) -> float:
    """KL(base || fork) a token on these sequences, by its definition."""
    rows, length = tokens.shape
    at = torch.arange(rows).repeat_interleave(length - 1), torch.arange(length - 1).repeat(rows)
    state = PersonalState(base.layout, np.rint(change * ONE).astype(np.int32))
    with torch.inference_mode():
        before = base.runner.select(tokens, None, *at).log_softmax(-1)
        after = base.runner.select(tokens, stack([state] * rows, base.layout, tokens.device), *at).log_softmax(-1)
        return float((before.exp() * (before - after)).sum(-1).mean())


def test_the_curvature_foretells_what_a_costly_change_does_to_general_speech() -> None:
    base = shipped()
    natural = natural_of(base.basis, base.layout)
    assert natural is not None
    drawn = own_speech(base, 64, tokens=48, seed=99)  # not what the curvature was computed on
    tokens = torch.tensor([example.tokens for example in drawn])
    rng = np.random.default_rng(0)
    scale = base.layout.step_scale.astype(np.float64)
    told, seen = [], []
    for _ in range(4):
        w = natural.pull(rng.standard_normal(base.layout.size))  # along the directions that cost most
        w *= 0.15 / np.sqrt(w @ natural.pull(w))
        told.append(0.5 * float(w @ natural.pull(w)))
        seen.append(kl_nats(base, w * scale, tokens))
    assert 0.7 < np.mean(told) / np.mean(seen) < 1.4, (told, seen)


def test_of_two_changes_of_one_length_the_natural_one_alters_general_speech_less() -> None:
    base = shipped()
    natural = natural_of(base.basis, base.layout)
    assert natural is not None
    tokens = torch.tensor([example.tokens for example in own_speech(base, 32, tokens=48, seed=98)])
    scale = base.layout.step_scale.astype(np.float64)
    g = public_gradients(base, own_speech(base, 1, seed=97))[0] * scale
    plain, moved = g, natural.precondition(g)
    plain, moved = (0.3 * v / np.linalg.norm(v) for v in (plain, moved))
    assert kl_nats(base, moved * scale, tokens) < 0.5 * kl_nats(base, plain * scale, tokens)


def test_powers_of_the_curvature_are_those_of_its_matrix() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((20, 12)).astype(np.float32)
    scale = rng.uniform(0.5, 2.0, 12).astype(np.float32)
    natural = Natural(curvature_of(drawn, np.full(20, 3.0), scale, directions=5), scale)
    matrix = np.array([natural.pull(row) for row in np.eye(12)])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.linalg.matrix_rank(matrix, tol=1e-6) == 5
    g = rng.standard_normal((3, 12))
    np.testing.assert_allclose(natural.precondition(g) @ (matrix + DAMPING * np.eye(12)), g, atol=1e-8)
    half = natural.precondition(natural.precondition(g, -0.5), -0.5)
    np.testing.assert_allclose(half, natural.precondition(g), atol=1e-8)


def test_what_a_base_says_by_itself_is_drawn_the_same_each_time() -> None:
    base = shipped()
    once, again = (own_speech(base, 3, tokens=20, seed=5) for _ in range(2))
    assert once == again
    assert len({example.tokens for example in once}) == 3
    assert own_speech(base, 3, tokens=20, seed=6) != once


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_coordinates_are_fitted_on_any_family_and_kept_in_the_basis(family: str, tmp_path: Path) -> None:
    directory = save(random_model(family), tmp_path / family)
    found = fit_population(load_base(directory, rank=3), people(), 3, settings=SETTINGS, speech=24).basis
    assert found.coordinates is not None
    assert found.coordinates.count > 20
    found.save(tmp_path / "basis.safetensors")
    read = load_basis(tmp_path / "basis.safetensors")
    assert read.digest == found.digest
    assert read.coordinates is not None
    np.testing.assert_array_equal(read.coordinates.matrix, found.coordinates.matrix)
    base = load_base(directory, basis=tmp_path / "basis.safetensors")
    steps = np.arange(found.coordinates.count, dtype=np.int32)
    coded = found.coordinates.encode(steps, 32)
    assert np.array_equal(base.layout.read_update(coded), found.coordinates.expand(steps))
    with pytest.raises(VerificationError, match="has none"):
        load_base(directory, rank=3, basis="svd").layout.read_update(coded)


def test_fitting_coordinates_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    base = load_base(save(random_model("llama"), tmp_path / "llama"), rank=3)
    said = interactions(base.tokenizer, people()[0].dialogues)
    assert len({with_coordinates(base, said, speech=16).digest for _ in range(2)}) == 1


def test_a_basis_whose_coordinates_are_for_other_forks_is_refused(tmp_path: Path) -> None:
    small = load_base(save(random_model("llama"), tmp_path / "llama"), rank=3)
    said = interactions(small.tokenizer, people()[0].dialogues)
    fitted = with_coordinates(small, said, speech=16)
    other = load_base(small.directory, rank=2)
    mixed = type(fitted)(
        kind="population",
        rank=2,
        linears=other.basis.linears,
        coordinates=fitted.coordinates,
    )
    with pytest.raises(BaseDamaged, match="coordinates are for"):
        load_base(small.directory, basis=mixed)


def test_the_shipped_base_has_both() -> None:
    base = shipped()
    assert base.layout.coordinates is not None
    assert base.layout.coordinates.count == 768
    assert base.basis.curvature is not None
