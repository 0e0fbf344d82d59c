# SPDX-License-Identifier: Apache-2.0
"""What one example would teach a fork: a step that is computed and not recorded yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ipse.learning.correction import correction
from ipse.learning.step import StepSettings, Update, ordinary_update, prior_update
from ipse.model.base import Base
from ipse.model.gradient import Example, gradients, losses
from ipse.model.state import PersonalState, apply


@dataclass(frozen=True, slots=True)
class Lesson:
    """A computed step. Losses in nats per token, durations in milliseconds."""

    update: Update | None
    prior: Update | None
    loss_before: float
    loss_after: float
    inner_steps: int
    gradient_ms: float
    update_ms: float
    trained_tokens: int


NOTHING = Lesson(None, None, 0.0, 0.0, 0, 0.0, 0.0, 0)
"""Nothing was to be learned."""


def ordinary_lesson(
    base: Base,
    settings: StepSettings,
    example: Example,
    state: PersonalState,
    height: int,
    *,
    prior: bool,
    measure: bool,
) -> Lesson:
    """One step on one example; with the prior's gradient at public weights in the same batch.

    Args:
        height: of the fork; the step's length falls with it.
        measure: also measure the loss after the step.
    """
    started = time.perf_counter()
    states: list[PersonalState | None] = [state, None] if prior else [state]
    loss, gradient = gradients(base, [example] * len(states), states)
    between = time.perf_counter()
    update = ordinary_update(base.basis, state, gradient[0], height, settings)
    public = prior_update(base.layout, gradient[1], settings) if prior else None
    after = apply(state, update.values)
    gradient_ms, update_ms = (between - started) * 1e3, since(between)
    loss_after = float(losses(base, [example], [after])[0]) if measure else 0.0
    if not np.isfinite(loss[0]) or update.norm == 0.0:
        return replace(NOTHING, loss_before=float(np.nan_to_num(loss[0])), gradient_ms=gradient_ms)
    return Lesson(update, public, float(loss[0]), loss_after, 1, gradient_ms, update_ms, _count(example))


def correction_lesson(base: Base, state: PersonalState, example: Example, guard: Sequence[Example]) -> Lesson:
    """A correction: several inner steps under a guard, as one update."""
    started = time.perf_counter()
    done = correction(base, state, example, guard)
    spent = since(started)
    return Lesson(done.update, None, done.loss_before, done.loss_after, done.inner_steps, spent, 0.0, _count(example))


def since(started: float) -> float:
    """Milliseconds since a moment of ``time.perf_counter``."""
    return (time.perf_counter() - started) * 1e3


def _count(example: Example) -> int:
    return sum(1 for w in example.weights[1:] if w)
