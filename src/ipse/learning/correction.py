# SPDX-License-Identifier: Apache-2.0
"""A correction: one reply made likely in several inner steps, under a guard, as one update.

One step never recalls a corrected answer; about ten do, and cost loss on everything else. Where the base's curvature is
known (:mod:`ipse.learning.natural`) every inner step is the one that teaches most for what it costs general speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ipse.learning.natural import Natural, natural_of
from ipse.learning.step import Update, make_update
from ipse.model.base import Base
from ipse.model.gradient import Example, gradients_at, losses
from ipse.model.layout import StateLayout
from ipse.model.state import PersonalState, apply
from ipse.privacy.clip import normalise
from ipse.wire.update import Bits


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionSettings:
    """How a correction is taken.

    Attributes:
        rate: length of one inner step: in the measure of the curvature where there is one (it may change general speech
            by ``rate**2 / 2`` nats), else in the coordinates of the step scale.
        steps: at most so many.
        done_nats: it stops when the target's loss per token falls below this.
        general_weight: pull of the curvature against the target's gradient, which has norm 1.
        guard_nats: it may raise the loss on the guard examples by at most this, per token.
        guard_weight: pull of the guard examples' gradient against the target's.
        guard_rows: guard examples in the batch of one inner step.
        output_scale: without curvature, the output embedding's step scale is this much larger. It is what can hold a
            word that the basis never saw; for ordinary talk so long a step would be noise.
        bits: of the update's codes: precise, because it has to hit one answer.
    """

    rate: float
    steps: int
    done_nats: float
    guard_weight: float
    guard_rows: int
    general_weight: float = 0.0
    guard_nats: float = 0.08
    output_scale: float = 1.0
    bits: Bits = 8


NATURAL = CorrectionSettings(rate=0.05, steps=32, done_nats=0.4, guard_weight=1.0, guard_rows=4, general_weight=20.0)
"""On a basis with curvature."""

PLAIN = CorrectionSettings(rate=0.4, steps=24, done_nats=0.2, guard_weight=5.0, guard_rows=10, output_scale=2.5)
"""On any other."""


@dataclass(frozen=True, slots=True)
class Correction:
    """An update that makes one reply likely, and what it took.

    Losses are nats per token; ``guard_*`` are means over the guard examples.
    """

    update: Update
    inner_steps: int
    loss_before: float
    loss_after: float
    guard_before: float
    guard_after: float


def correction(
    base: Base,
    state: PersonalState,
    target: Example,
    guard: Sequence[Example],
    settings: CorrectionSettings | None = None,
) -> Correction:
    """Take inner steps until the target is learned, the guard objects, or the steps are used up.

    Every inner step is one batch: the target's row, and a row for each of the next ``guard_rows`` guard examples
    (earlier turns to rehearse and a fixed general set, in turn: a few fixed ones would only be learned by heart).
    The guard's gradient pulls back whatever the target's step would cost there, and on a basis with curvature the step
    is a natural one, over all personal numbers; the point that is kept is the best one whose guard loss stays within
    ``guard_nats`` of where it began. All steps together are one update and one record.
    """
    layout = state.layout
    natural = natural_of(base.basis, layout)
    settings = settings or (PLAIN if natural is None else NATURAL)
    everything = [target, *guard]
    before = losses(base, everything, [state] * len(everything))
    first_loss, ceiling = float(before[0]), np.maximum(before[1:], 0.0)
    start = state.values().astype(np.float64)
    at = start.copy()
    best = (np.zeros_like(start), float("inf"), 0)  # change, target loss, steps
    for step in range(settings.steps + 1):
        turn = [(step * settings.guard_rows + i) % len(guard) for i in range(min(settings.guard_rows, len(guard)))]
        rows = [target, *(guard[i] for i in turn)]
        personal = torch.from_numpy(at.astype(np.float32)).to(base.runner.device).expand(len(rows), -1)
        loss, gradient = gradients_at(base, rows, personal)
        cost = float((loss[1:] - ceiling[turn]).mean()) if guard else 0.0
        if cost <= settings.guard_nats and loss[0] < best[1]:
            best = (at - start, float(loss[0]), step)
        if loss[0] < settings.done_nats or step == settings.steps:
            break
        hurt = (loss[1:] > ceiling[turn]).astype(np.float64)
        back = (gradient[1:].astype(np.float64) * hurt[:, None]).mean(0) if guard else np.zeros_like(start)
        at += _inner_step(natural, layout, gradient[0], settings.guard_weight * back, at, settings)
    change, _, steps = best
    update = make_update(change, layout, settings.bits, settings.rate)
    after = losses(base, everything, [apply(state, update.values)] * len(everything))
    guard_before, guard_after = (float(v[1:].mean()) if guard else 0.0 for v in (before, after))
    return Correction(update, steps, first_loss, float(after[0]), guard_before, guard_after)


def _inner_step(
    natural: Natural | None,
    layout: StateLayout,
    gradient: NDArray[np.float32],
    back: NDArray[np.float64],
    at: NDArray[np.float64],
    settings: CorrectionSettings,
) -> NDArray[np.float64]:
    """One inner step, (d,): along the target's direction with the guard's pull, or the natural one of that."""
    scale = layout.step_scale.astype(np.float64)
    if natural is None:
        scale[layout["output"].slice] *= settings.output_scale
    direction = normalise((gradient * scale).astype(np.float32)).astype(np.float64) + back * scale
    if natural is None:
        return -settings.rate * direction * scale
    direction += settings.general_weight * natural.pull(at / scale)
    moved = natural.precondition(direction)
    step: NDArray[np.float64] = moved * scale * (-settings.rate / max(float(moved @ direction), 1e-12) ** 0.5)
    return step
