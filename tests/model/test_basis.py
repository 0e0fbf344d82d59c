# SPDX-License-Identifier: Apache-2.0
"""The basis: a fact of bytes, computed once, refused when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import BaseDamaged, BaseMismatch, InputError
from ipse.model.basis import Basis, LinearBasis, check_fits, layout_of, load_basis
from ipse.model.families import AdaptedLinear
from ipse.model.subspace import cached_svd_basis, leading_directions, svd_basis
from tests.model.tiny_families import random_model, tiny, weight_of

LINEAR = AdaptedLinear("layers.0.qkv", "attention", ("model.layers.0.self_attn.qkv_proj",), (40,))


def population_basis(seed: int = 0) -> Basis:
    rng = np.random.default_rng(seed)
    parts = tuple(
        LinearBasis.of(f"layers.{i}.o", "attention", rng.normal(0, 30.0, (12, 3)), rng.normal(0, 1e-3, (3, 20)))
        for i in range(2)
    )
    return Basis("population", 3, parts, scale=0.3, embedding_scale=0.7, fitted_on=("ab12", "cd34"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(-30, 30), st.integers(0, 2**32 - 1))
def test_fixed_point_is_off_by_less_than_two_to_the_minus_15_of_the_largest_entry(
    rows: int, columns: int, exponent: int, seed: int
) -> None:
    u = np.random.default_rng(seed).normal(0, 1, (rows, columns)) * 2.0**exponent
    part = LinearBasis.of("x", "ffn", u, np.zeros((columns, 4)))
    assert np.abs(part.u - u).max() <= np.abs(u).max() * 2**-15
    assert np.array_equal(part.v, np.zeros((columns, 4)))


def test_saving_and_loading_gives_the_same_basis_and_saving_that_the_same_bytes(tmp_path: Path) -> None:
    basis = population_basis()
    basis.save(tmp_path / "one")
    loaded = load_basis(tmp_path / "one")
    loaded.save(tmp_path / "two")
    assert loaded.digest == basis.digest
    assert (loaded.kind, loaded.rank, loaded.scale, loaded.fitted_on) == ("population", 3, 0.3, ("ab12", "cd34"))
    assert np.array_equal(loaded.linears[1].v, basis.linears[1].v)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_digest_changes_with_every_number_and_setting() -> None:
    basis = population_basis()
    u = basis.linears[0].u_fixed.copy()
    u[3, 1] ^= 1
    first = basis.linears[0]
    flipped = LinearBasis(first.name, first.kind, u, first.v_fixed, first.u_bits, first.v_bits)
    others = [
        Basis("population", 3, (flipped, basis.linears[1]), 0.3, 0.7, 0.05, basis.fitted_on),
        Basis("svd", 3, basis.linears, 0.3, 0.7, 0.05, basis.fitted_on),
        Basis("population", 3, basis.linears, 0.31, 0.7, 0.05, basis.fitted_on),
        Basis("population", 3, basis.linears, 0.3, 0.71, 0.05, basis.fitted_on),
        Basis("population", 3, basis.linears, 0.3, 0.7, 0.06, basis.fitted_on),
        Basis("population", 3, basis.linears, 0.3, 0.7, 0.05, ("ab12",)),
    ]
    assert len({b.digest for b in [basis, *others]}) == 7


def test_a_damaged_file_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "basis.safetensors"
    population_basis().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    for at in {0, 7, 9, 60, len(whole) - 1, *rng.integers(0, len(whole), 60).tolist()}:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(broken)
        try:
            same = load_basis(path)
        except BaseDamaged:
            continue
        assert same.digest == population_basis().digest, at  # only padding may be changed without effect
    for length in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BaseDamaged):
            load_basis(path)


def test_a_basis_for_other_weights_is_refused() -> None:
    basis = population_basis()
    right = [("layers.0.o", (12, 20)), ("layers.1.o", (12, 20))]
    check_fits(basis, right)
    for wrong in (right[:1], [right[1], right[0]], [right[0], ("layers.1.o", (12, 21))]):
        with pytest.raises(BaseMismatch):
            check_fits(basis, wrong)


def test_the_layout_has_one_square_per_linear_then_embedding_and_gates() -> None:
    base = tiny("phi3", rank=3)
    assert base.layout.size == 8 * 9 + 32 + 4
    assert base.layout.basis_digest == base.basis.digest
    assert [s.name for s in base.layout.segments][:2] == ["layers.0.qkv", "layers.0.o"]
    assert layout_of("1" * 16, base.basis, 32, 2).digest != base.layout.digest


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (700, 520), (520, 700), (30, 30)])
def test_the_directions_are_orthonormal_and_the_best_that_there_are(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=shape) * np.linspace(0.2, 2, shape[1])
    u, v = leading_directions(weight, 6)
    np.testing.assert_allclose(u.T @ u, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(v @ v.T, np.eye(6), atol=1e-9)
    largest = np.linalg.svd(weight, compute_uv=False)[:6]
    np.testing.assert_allclose(u.T @ weight @ v.T, np.diag(largest), atol=1e-8 * largest[0])
    assert (u[np.abs(u).argmax(axis=0), np.arange(6)] > 0).all()


def test_directions_of_a_matrix_of_low_rank_are_orthonormal_too() -> None:
    rng = np.random.default_rng(2)
    for shape in ((30, 20), (600, 520)):
        weight = rng.normal(size=(shape[0], 2)) @ rng.normal(size=(2, shape[1]))
        u, v = leading_directions(weight, 5)
        np.testing.assert_allclose(u.T @ u, np.eye(5), atol=1e-9)
        np.testing.assert_allclose(v @ v.T, np.eye(5), atol=1e-9)


def test_an_svd_basis_is_the_same_to_the_byte_every_time() -> None:
    linears = tiny("gemma2").body.linears
    digests = {svd_basis(linears, weight_of(random_model("gemma2")), 4).digest for _ in range(3)}
    assert len(digests) == 1
    assert svd_basis(linears, weight_of(random_model("gemma2", seed=1)), 4).digest not in digests


def test_values_of_an_svd_basis_are_within_one() -> None:
    for part in tiny("qwen3").basis.linears:
        assert max(np.abs(part.u).max(), np.abs(part.v).max()) <= 1.0


def test_a_basis_is_computed_once_and_then_read_from_the_cache(own_cache: Path) -> None:
    base = tiny("llama")
    seen: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, name: str) -> None:
        seen.append((done, total, name))

    first = cached_svd_basis("ab" * 32, base.body.linears, weight_of(base.model), 4, progress)
    assert seen[0] == (1, 8, "layers.0.qkv")
    assert seen[-1] == (8, 8, "layers.1.down")
    again = cached_svd_basis("ab" * 32, base.body.linears, weight_of(base.model), 4, progress)
    assert len(seen) == 8
    assert first.digest == again.digest
    cached_svd_basis("ab" * 32, base.body.linears, weight_of(base.model), 5, progress)
    cached_svd_basis("cd" * 32, base.body.linears, weight_of(base.model), 4, progress)
    assert len(seen) == 24

    for file in (own_cache / "bases").iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    healed = cached_svd_basis("ab" * 32, base.body.linears, weight_of(base.model), 4, progress)
    assert len(seen) == 32
    assert healed.digest == first.digest


def test_a_cache_folder_that_cannot_be_made_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IPSE_CACHE", str(tmp_path / "file"))
    base = tiny("llama")
    assert cached_svd_basis("ab" * 32, base.body.linears, weight_of(base.model), 4).digest == base.basis.digest


@pytest.mark.parametrize("rank", [0, -1, 33])
def test_a_rank_beyond_the_smaller_side_is_refused(rank: int) -> None:
    base = tiny("llama")
    with pytest.raises(InputError, match="rank"):
        svd_basis(base.body.linears, weight_of(base.model), rank)


def test_weights_with_nan_are_refused() -> None:
    with pytest.raises(BaseDamaged):
        svd_basis([LINEAR], lambda _: np.full((40, 8), np.nan), 2)
