# SPDX-License-Identifier: Apache-2.0
"""What the shared subspace makes exact, checked on logits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import BaseMismatch, InputError, StateOverflow
from ipse.model.algebra import hold_output, mean_state, merge, rebase
from ipse.model.basis import layout_of
from ipse.model.layout import ONE
from ipse.model.module import ModuleRunner
from ipse.model.state import PersonalState, zero_state
from tests.model.tiny_families import FAMILIES, everywhere, random_state, random_tokens, stack, tiny


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_mean_is_exact_to_half_a_unit(count: int, seed: int) -> None:
    layout = tiny("llama").layout
    rng = np.random.default_rng(seed)
    states = [
        PersonalState(layout, rng.integers(-(2**31), 2**31, layout.size, dtype=np.int64).astype(np.int32))
        for _ in range(count)
    ]
    mean = mean_state(states)
    for k in rng.integers(0, layout.size, 20):
        exact = Fraction(sum(int(s.z[k]) for s in states), count)
        assert abs(exact - int(mean.z[k])) <= Fraction(1, 2)
    assert mean_state([states[0]] * count) == states[0]


def test_the_mean_of_nothing_or_of_strangers_is_refused() -> None:
    with pytest.raises(InputError):
        mean_state([])
    with pytest.raises(BaseMismatch):
        mean_state([zero_state(tiny("llama").layout), zero_state(tiny("qwen3").layout)])


def test_the_mean_of_forks_is_the_mean_of_their_merged_weights() -> None:
    base = tiny("mistral")
    states = []
    for seed in range(3):
        z = random_state(base.layout, seed).z.copy()
        z[base.layout["gates"].slice] = 0  # with gates the mean is geometric, see the module's docstring
        states.append(PersonalState(base.layout, z))
    ours = merge(base.model, base.body, base.basis, mean_state(states)).model
    theirs = [merge(base.model, base.body, base.basis, state).model for state in states]
    for linear in base.body.linears:
        for path in linear.modules:
            mean = sum(model.get_submodule(path).weight for model in theirs) / 3
            torch.testing.assert_close(ours.get_submodule(path).weight, mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rebased_fork_answers_as_it_did_on_the_old_generation(family: str) -> None:
    base = tiny(family)
    states = [random_state(base.layout, seed) for seed in range(3)]
    mean = mean_state(states)
    merged = merge(base.model, base.body, base.basis, mean)
    hold_output(merged.model, merged.output)
    layout = layout_of("f" * 16, base.basis, base.body.hidden_size, base.body.layers)  # the SAME basis
    runner = ModuleRunner(merged.model, base.body, base.basis, layout)

    tokens = random_tokens(3, 12)
    rows, cols = everywhere(3, 12)
    before = base.runner.select(tokens, stack(states), rows, cols)
    moved = [rebase(state, mean, base.body.linears, layout) for state in states]
    after = runner.select(tokens, stack(moved), rows, cols)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert moved[0].layout.base_id == "f" * 16
    assert (runner.select(tokens, None, rows, cols) - base.runner.select(tokens, None, rows, cols)).abs().max() > 0.3


def test_rebase_refuses_another_basis_and_numbers_out_of_range() -> None:
    base, other = tiny("llama"), tiny("llama", rank=3)
    with pytest.raises(BaseMismatch):
        rebase(zero_state(base.layout), zero_state(other.layout), base.body.linears)
    with pytest.raises(BaseMismatch):
        rebase(zero_state(base.layout), zero_state(base.layout), base.body.linears, other.layout)
    far = np.full(base.layout.size, -(2**31), dtype=np.int32)
    near = np.full(base.layout.size, ONE, dtype=np.int32)
    with pytest.raises(StateOverflow):
        rebase(PersonalState(base.layout, far), PersonalState(base.layout, near), base.body.linears)


def test_merging_leaves_the_base_as_it_was() -> None:
    base = tiny("gemma")
    before = {name: p.clone() for name, p in base.model.named_parameters()}
    merge(base.model, base.body, base.basis, random_state(base.layout, 1))
    assert all(torch.equal(before[name], p) for name, p in base.model.named_parameters())
