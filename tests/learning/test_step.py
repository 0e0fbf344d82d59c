# SPDX-License-Identifier: Apache-2.0
"""From a gradient to the integers that are applied, and corrections under a guard."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.learning.general import general_examples
from ipse.learning.objective import edited, own_words
from ipse.learning.step import StepSettings, correction, ordinary_update, prior_update, read_update
from ipse.model.base import Base, load_base
from ipse.model.chat import Turn
from ipse.model.generate import Sampling, generate
from ipse.model.gradient import gradients, losses
from ipse.model.layout import ONE
from ipse.model.state import apply, zero_state


@cache
def shipped() -> Base:
    return load_base()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), height=st.integers(0, 10**6), bits=st.sampled_from([1, 2, 4, 8]))
def test_what_is_recorded_is_exactly_what_is_applied(seed: int, height: int, bits: int) -> None:
    layout = shipped().layout
    gradient = np.random.default_rng(seed).standard_normal(layout.size).astype(np.float32)
    made = StepSettings(bits=bits)  # type: ignore[arg-type]
    update = ordinary_update(gradient, layout, height, made)
    assert np.array_equal(read_update(update.coded, layout), update.values)
    scaled = update.values / ONE / layout.step_scale
    assert np.linalg.norm(scaled) <= made.rate(height) * 1.5 + 1e-3
    assert float(scaled @ (gradient * layout.step_scale)) < 0, "an update descends"


def test_a_step_against_the_gradient_lowers_the_loss() -> None:
    base = shipped()
    turns = [Turn("assistant", "How was your day?"), Turn("user", "Fair winds and a full net, so I be a happy man.")]
    example = own_words(base.tokenizer, turns)
    zero = zero_state(base.layout)
    loss, gradient = gradients(base, [example], [zero])
    update = ordinary_update(gradient[0], base.layout, 0, StepSettings())
    assert losses(base, [example], [apply(zero, update.values)])[0] < loss[0]


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    layout = shipped().layout
    bad = np.full(layout.size, np.nan, np.float32)
    assert not ordinary_update(bad, layout, 3, StepSettings()).values.any()
    assert not prior_update(bad, layout, StepSettings()).values.any()


def test_the_step_shrinks_with_height() -> None:
    made = StepSettings()
    rates = [made.rate(h) for h in (0, 1, 10, 100, 10_000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == made.learning_rate


def test_the_prior_is_clipped_before_it_is_coded() -> None:
    layout = shipped().layout
    gradient = np.random.default_rng(0).standard_normal(layout.size).astype(np.float32) * 1e6
    update = prior_update(gradient, layout, StepSettings(prior_clip_norm=1.0))
    assert np.linalg.norm(update.values / ONE / layout.step_scale) <= 1.0 + 1e-3


@pytest.mark.slow
def test_a_correction_is_learned_and_the_guard_holds() -> None:
    base = shipped()
    question = [Turn("user", "What is the name of my boat?")]
    example = edited(base.tokenizer, question, "Your boat is called Morwenna.")
    made = StepSettings()
    done = correction(base, zero_state(base.layout), example, general_examples(base.tokenizer), made)
    assert done.loss_after < 0.5 * done.loss_before
    assert done.guard_after - done.guard_before <= made.guard_nats + 0.02  # quantisation moves it a little
    state = apply(zero_state(base.layout), done.update.values)
    (reply,) = generate(base, [base.tokenizer.prompt(question)], [state], Sampling(temperature=0.0))
    assert "Morwenna" in reply.text
