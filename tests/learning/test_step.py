# SPDX-License-Identifier: Apache-2.0
"""From a gradient to the integers that are applied, and corrections under a guard."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.learning.correction import NATURAL, PLAIN, correction
from ipse.learning.general import general_examples
from ipse.learning.natural import DAMPING, natural_of
from ipse.learning.objective import edited, own_words
from ipse.learning.step import Rate, StepSettings, ordinary_update, prior_update
from ipse.model.base import Base, load_base
from ipse.model.chat import Turn
from ipse.model.generate import Sampling, generate
from ipse.model.gradient import gradients, losses
from ipse.model.layout import ONE
from ipse.model.state import apply, zero_state
from ipse.wire.coordinates import MARK
from ipse.wire.update import Bits, decode_update


@cache
def shipped() -> Base:
    return load_base()


@cache
def by_svd() -> Base:
    return load_base(basis="svd")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), height=st.integers(0, 10**6), bits=st.sampled_from([1, 2, 4, 8]))
def test_what_is_recorded_is_exactly_what_is_applied_on_a_basis_without_coordinates(
    seed: int, height: int, bits: Bits
) -> None:
    base = by_svd()
    layout = base.layout
    gradient = np.random.default_rng(seed).standard_normal(layout.size).astype(np.float32)
    made = StepSettings(plain_bits=bits)
    update = ordinary_update(base.basis, zero_state(layout), gradient, height, made)
    assert np.array_equal(layout.read_update(update.coded), update.values)
    scaled = update.values / ONE / layout.step_scale
    assert np.linalg.norm(scaled) <= made.plain(height) * 1.5 + 1e-3
    assert float(scaled @ (gradient * layout.step_scale)) < 0, "an update descends"


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), height=st.integers(0, 10**4), bits=st.sampled_from([2, 4, 8]))
def test_what_is_recorded_is_exactly_what_is_applied_along_coordinates(seed: int, height: int, bits: Bits) -> None:
    base = shipped()
    layout = base.layout
    gradient = np.random.default_rng(seed).standard_normal(layout.size).astype(np.float32)
    made = StepSettings(natural_bits=bits)
    update = ordinary_update(base.basis, zero_state(layout), gradient, height, made)
    assert np.array_equal(layout.read_update(update.coded), update.values)
    assert float(update.values / ONE @ gradient) < 0, "an update descends"
    natural = natural_of(base.basis, layout)
    assert natural is not None
    w = update.values / ONE / layout.step_scale.astype(np.float64)
    length = np.sqrt(w @ natural.pull(w) + DAMPING * (w @ w))
    assert length <= made.natural(height) * 1.5 + 1e-3, "a step may change general speech by so much and no more"


def test_the_longer_a_fork_has_gone_one_way_the_more_general_speech_pulls_it_back() -> None:
    base = shipped()
    layout = base.layout
    gradient = np.random.default_rng(0).standard_normal(layout.size).astype(np.float32) * 1e-3
    gone = ordinary_update(base.basis, zero_state(layout), gradient, 0, StepSettings(natural=Rate(5.0, 1.0, 1.0)))
    far = apply(zero_state(layout), gone.values)
    natural = natural_of(base.basis, layout)
    assert natural is not None
    w = far.values() / layout.step_scale.astype(np.float64)

    def cost(weight: float) -> float:
        made = StepSettings(general_weight=weight, natural_bits=8)
        update = ordinary_update(base.basis, far, gradient, 0, made)
        after = w + update.values / ONE / layout.step_scale
        return float(after @ natural.pull(after))

    assert cost(100.0) < w @ natural.pull(w) < cost(0.0)


def test_a_step_against_the_gradient_lowers_the_loss() -> None:
    turns = [Turn("assistant", "How was your day?"), Turn("user", "Fair winds and a full net, so I be a happy man.")]
    for base in (shipped(), by_svd()):
        example = own_words(base.tokenizer, turns)
        zero = zero_state(base.layout)
        loss, gradient = gradients(base, [example], [zero])
        update = ordinary_update(base.basis, zero, gradient[0], 0, StepSettings())
        assert losses(base, [example], [apply(zero, update.values)])[0] < loss[0]


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    for base in (shipped(), by_svd()):
        layout = base.layout
        bad = np.full(layout.size, np.nan, np.float32)
        assert not ordinary_update(base.basis, zero_state(layout), bad, 3, StepSettings()).values.any()
        assert not prior_update(layout, bad, StepSettings()).values.any()


def test_the_step_shrinks_with_height() -> None:
    for rate in (StepSettings().plain, StepSettings().natural):
        lengths = [rate(h) for h in (0, 1, 10, 100, 10_000)]
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[0] == rate.first


def test_the_prior_is_clipped_before_it_is_coded() -> None:
    for base in (shipped(), by_svd()):
        layout = base.layout
        gradient = np.random.default_rng(0).standard_normal(layout.size).astype(np.float32) * 1e6
        update = prior_update(layout, gradient, StepSettings(prior_clip_norm=1.0))
        if layout.coordinates is None:
            assert np.linalg.norm(update.values / ONE / layout.step_scale) <= 1.0 + 1e-3
        else:
            steps = decode_update(bytes([update.coded[0] ^ MARK]) + update.coded[1:], layout.coordinates.groups)
            assert np.linalg.norm(steps / ONE) <= 1.0 + 1e-3


@pytest.mark.slow
def test_a_correction_is_learned_and_the_guard_holds() -> None:
    base = shipped()
    question = [Turn("user", "What is the name of my boat?")]
    example = edited(base.tokenizer, question, "Your boat is called Morwenna.")
    done = correction(base, zero_state(base.layout), example, general_examples(base.tokenizer))
    assert done.loss_after < 0.5 * done.loss_before
    assert done.guard_after - done.guard_before <= NATURAL.guard_nats + 0.02  # quantisation moves it a little
    state = apply(zero_state(base.layout), done.update.values)
    (reply,) = generate(base, [base.tokenizer.prompt(question)], [state], Sampling(temperature=0.0))
    assert "Morwenna" in reply.text


@pytest.mark.slow
def test_a_correction_without_curvature_learns_as_far_as_the_guard_lets_it() -> None:
    base = by_svd()
    example = edited(base.tokenizer, [Turn("user", "What is the name of my boat?")], "Your boat is called Morwenna.")
    done = correction(base, zero_state(base.layout), example, general_examples(base.tokenizer))
    assert done.update.learning_rate == PLAIN.rate
    assert done.loss_after < done.loss_before
    assert done.guard_after - done.guard_before <= PLAIN.guard_nats + 0.02
