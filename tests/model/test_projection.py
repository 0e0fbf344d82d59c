# SPDX-License-Identifier: Apache-2.0
"""What of a LoRA a fork can hold, against least squares over the whole matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipse.errors import BaseMismatch, InputError, StateOverflow
from ipse.model.adapter import Adapter, LowRank, whole_fork
from ipse.model.base import Base, load_base
from ipse.model.basis import LinearBasis
from ipse.model.layout import ONE
from ipse.model.peft_files import read_peft, write_peft
from ipse.model.projection import project
from tests.model.tiny_families import FAMILIES, random_model, random_state, save


def loaded(family: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    monkeypatch.setenv("IPSE_CACHE", str(directory / "cache"))
    return load_base(save(random_model(family), directory / "base"), rank=4)


def skewed(base: Base) -> Base:
    """The same base with a basis that is not orthonormal, and with a scale."""
    rng = np.random.default_rng(2)
    mix = [np.eye(base.basis.rank) + 0.3 * rng.normal(size=(base.basis.rank,) * 2) for _ in range(2)]
    linears = tuple(LinearBasis.of(p.name, p.kind, p.u @ mix[0], mix[1] @ p.v) for p in base.basis.linears)
    return replace(base, basis=replace(base.basis, linears=linears, scale=1.7))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fork_that_went_out_comes_back(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = loaded(family, tmp_path, monkeypatch)
    state = random_state(base.layout, 5)
    write_peft(whole_fork(state, base.basis, base.anatomy, base.module()), tmp_path / "out", base_name="b")
    found = project(read_peft(tmp_path / "out"), base)
    assert found.kept > 1 - 1e-9
    assert found.output_kept is not None
    assert found.output_kept > 1 - 1e-9
    assert found.ignored == ()
    assert np.abs(found.values.astype(np.int64) - state.z).max() <= 16  # units of 2**-20: what float32 rounds


def low_rank(rng: np.random.Generator, rows: int, columns: int, rank: int = 3) -> LowRank:
    a, b = (torch.from_numpy(rng.normal(size=size)).float() for size in ((rank, columns), (rows, rank)))
    return LowRank(a, b)


def width(base: Base, name: str) -> int:
    return next(p.shape[1] for p in base.basis.linears if p.name == name)


def foreign(base: Base, *kinds: str, seed: int = 0) -> Adapter:
    """A random LoRA on every module of these kinds of linear."""
    rng = np.random.default_rng(seed)
    return Adapter(
        {
            path: low_rank(rng, rows, width(base, linear.name))
            for linear in base.anatomy.linears
            if not kinds or linear.name.rpartition(".")[2] in kinds
            for path, rows in zip(linear.modules, linear.rows, strict=True)
        }
    )


@pytest.mark.parametrize("family", ["llama", "phi3", "gemma2"])
def test_the_projection_is_the_least_squares_one(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = skewed(loaded(family, tmp_path, monkeypatch))
    adapter = foreign(base)
    found = project(adapter, base)
    change = rest = 0.0
    for linear, part in zip(base.anatomy.linears, base.basis.linears, strict=True):
        dense = np.concatenate(
            [(adapter.low_rank[m].b @ adapter.low_rank[m].a).double().numpy() for m in linear.modules]
        )
        # vec(s U R V) = s kron(U, V^T) vec(R), row-major: solved as one big system
        design = base.basis.scale * np.kron(part.u, part.v.T).astype(np.float64)
        best, *_ = np.linalg.lstsq(design, dense.ravel(), rcond=None)
        ours = found.values[base.layout[linear.name].slice] / ONE
        np.testing.assert_allclose(ours, best, atol=1e-5)
        change += float((dense**2).sum())
        rest += float(((dense.ravel() - design @ best) ** 2).sum())
    assert found.kept == pytest.approx(1 - rest / change, abs=1e-5)
    assert 0.0 < found.kept < 0.9
    assert set(found.kept_by_kind) == {"qkv", "o", "gate_up", "down"}


def test_a_whole_weight_is_fitted_with_its_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = loaded("llama", tmp_path, monkeypatch)
    path = "model.layers.1.mlp.down_proj"
    weight = base.module().get_submodule(path).weight
    found = project(Adapter({}, {path: {"weight": 1.25 * weight}}), base)
    gates = found.values[base.layout["gates"].slice].reshape(-1, 2) / ONE
    assert gates[1, 1] == pytest.approx(np.log(1.25), abs=1e-5)
    assert found.kept > 1 - 1e-9
    turned = project(Adapter({}, {path: {"weight": -weight}}), base)  # no gate can: only what the basis holds
    assert turned.kept < 0.9
    assert not turned.values[base.layout["gates"].slice].any()


def test_what_a_fork_has_no_place_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = loaded("llama-tied-biased", tmp_path, monkeypatch)
    rng = np.random.default_rng(1)
    adapter = foreign(base, "qkv")
    parts = dict(adapter.low_rank)
    biased = parts["model.layers.0.self_attn.q_proj"]
    parts["model.layers.0.self_attn.q_proj"] = replace(biased, bias=torch.ones(len(biased.b)))
    parts["lm_head"] = low_rank(rng, base.config.vocabulary_size, base.config.hidden_size)
    weight = base.module().get_submodule("model.layers.0.self_attn.o_proj").weight
    whole: dict[str, Any] = {
        "model.norm": {"weight": torch.ones(32)},
        "model.layers.0.self_attn.o_proj": {"weight": weight * 1.5, "bias": torch.ones(32)},
    }
    found = project(Adapter(parts, whole, ("odd",)), base)
    assert found.ignored == (
        "model.layers.0.self_attn.q_proj (bias)",
        "lm_head (low rank)",
        "model.norm (whole)",
        "odd",
        "model.layers.0.self_attn.o_proj (bias)",
    )


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = loaded("llama", tmp_path, monkeypatch)
    rng = np.random.default_rng(1)
    for path, rows, columns in (
        ("model.layers.7.self_attn.q_proj", 32, 32),
        ("model.layers.0.self_attn.qkv_proj", 32, 32),
        ("model.layers.0.self_attn.q_proj", 64, 32),
        ("model.layers.0.self_attn.q_proj", 32, 64),
        ("transformer.h.0.attn.c_attn", 32, 32),
    ):
        with pytest.raises(BaseMismatch):
            project(Adapter({path: low_rank(rng, rows, columns)}), base)
    for name, module, shape in (
        ("whole", "model.layers.0.self_attn.q_proj", (32, 64)),
        ("whole", "model.layers.9.mlp.down_proj", (32, 48)),
    ):
        with pytest.raises(BaseMismatch):
            project(Adapter({}, {module: {"weight": torch.ones(shape)}}), base), name
    head = LowRank(torch.zeros(1, 32), torch.zeros(5, 1), torch.ones(5))
    with pytest.raises(BaseMismatch):
        project(Adapter({**foreign(base).low_rank, "lm_head": head}), base)


def test_an_adapter_that_changes_nothing_or_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = loaded("llama", tmp_path, monkeypatch)
    rng = np.random.default_rng(1)
    head = low_rank(rng, base.config.vocabulary_size, 32)
    for adapter in (Adapter({}), Adapter({"lm_head": head})):
        with pytest.raises(InputError, match="nothing that a fork could hold"):
            project(adapter, base)
    loud = {path: replace(part, b=part.b * 1e30) for path, part in foreign(base).low_rank.items()}
    with pytest.raises(StateOverflow):
        project(Adapter(loud), base)
