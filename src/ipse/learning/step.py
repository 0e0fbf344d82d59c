# SPDX-License-Identifier: Apache-2.0
"""From a gradient to the update that is really applied.

    gradient g -> d = normalise(c * g) -> x = -rate(height) * c * d -> quantise -> u (int32)

``c`` is the layout's step scale: the step has a fixed length in the coordinates ``w / c``. There is no
optimiser state: the step after ten thousand interactions needs nothing but the state itself, and a fold of
the records is the whole truth. The vector is quantised first and exactly the quantised integers are applied,
so what is recorded is what was done.

The step length falls with the height h of the fork, ``rate(h) = learning_rate / (1 + h / decay_height) **
decay_power``: the first interactions count most (research: a longer step is better after one interaction and
worse after a hundred).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ipse.model.base import Base
from ipse.model.gradient import Example, gradients_at, losses
from ipse.model.layout import ONE, StateLayout
from ipse.model.state import PersonalState, apply
from ipse.privacy.clip import clip, l2_norm, normalise
from ipse.wire.update import Bits, decode_update, encode_update, quantise


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """How far a fork moves.

    Attributes:
        learning_rate: length of the first step, in the coordinates of the step scale.
        decay_height, decay_power: see the module docstring.
        bits: of an ordinary update's codes.
        prior_clip_norm: l2 bound of what one interaction adds to the prior.
        correction_rate: length of one inner step of a correction.
        correction_steps: at most so many inner steps.
        correction_output_scale: the output embedding's step scale is this much larger in a correction. It is what
            can hold a word that the basis never saw; for ordinary talk so long a step would be noise.
        correction_bits: of a correction's codes: precise, because it has to hit one answer.
        done_nats: a correction stops when its loss per token falls below this.
        guard_nats: a correction may raise the loss on the guard examples by at most this, per token.
        guard_weight: pull of the guard's gradient against the correction's.
        guard_rows: guard examples in the batch of one inner step.
    """

    learning_rate: float = 1.2
    decay_height: float = 20.0
    decay_power: float = 0.5
    bits: Bits = 1
    prior_clip_norm: float = 1.0
    correction_rate: float = 0.4
    correction_steps: int = 24
    correction_output_scale: float = 2.5
    correction_bits: Bits = 8
    done_nats: float = 0.2
    guard_nats: float = 0.08
    guard_weight: float = 5.0
    guard_rows: int = 10

    def rate(self, height: int) -> float:
        """Step length at a height."""
        return float(self.learning_rate / (1.0 + height / self.decay_height) ** self.decay_power)


@dataclass(frozen=True, slots=True)
class Update:
    """One interaction's change of a fork.

    Attributes:
        values: (d,) int32, the fixed-point change.
        coded: the same as it is recorded (:mod:`ipse.wire.update`).
        norm: l2 norm in real units.
        learning_rate: step length that was used.
    """

    values: NDArray[np.int32]
    coded: bytes
    norm: float
    learning_rate: float


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


def make_update(change: NDArray[np.float64], layout: StateLayout, bits: Bits, learning_rate: float) -> Update:
    """Quantise a real-valued change (d,) and name exactly what will be applied."""
    values = quantise(change * ONE, layout.groups, bits)
    return Update(values, encode_update(values, layout.groups, bits), l2_norm(values / ONE), learning_rate)


def read_update(coded: bytes, layout: StateLayout) -> NDArray[np.int32]:
    """(d,) int32 of a recorded update. Raises VerificationError on anything that is not one."""
    return decode_update(coded, layout.groups)


def ordinary_update(gradient: NDArray[np.float32], layout: StateLayout, height: int, settings: StepSettings) -> Update:
    """One normalised step of decaying length against a gradient (d,) float32."""
    scale = layout.step_scale
    rate = settings.rate(height)
    direction = normalise(gradient * scale)
    return make_update(-rate * (direction * scale).astype(np.float64), layout, settings.bits, rate)


def prior_update(gradient: NDArray[np.float32], layout: StateLayout, settings: StepSettings) -> Update:
    """What one interaction adds to the prior: the clipped descent direction at PUBLIC weights.

    Sensitivity (one interaction replaced by none): ``prior_clip_norm`` in the coordinates ``w / c``, before
    quantisation. Signs at group scale do not raise it: the mean of absolute values times the root of the
    group's size is at most the group's norm.
    """
    scale = layout.step_scale
    direction = clip(gradient * scale, settings.prior_clip_norm)
    return make_update(-(direction * scale).astype(np.float64), layout, settings.bits, 1.0)


def correction(
    base: Base,
    state: PersonalState,
    target: Example,
    guard: Sequence[Example],
    settings: StepSettings,
) -> Correction:
    """Take inner steps until the target is learned, the guard objects, or the steps are used up.

    Every inner step is one batch: the target's row, and a row for each of the next ``guard_rows`` guard examples
    (earlier turns to rehearse and a fixed general set, in turn: a few fixed ones would only be learned by heart).
    The guard's gradient pulls back whatever the target's step would cost there; the point that is kept is the
    best one whose guard loss stays within ``guard_nats`` of where it began. All steps together are one update and
    one record.
    """
    layout = state.layout
    scale = layout.step_scale.astype(np.float64)
    scale[layout["output"].slice] *= settings.correction_output_scale
    everything = [target, *guard]
    before = losses(base, everything, [state] * len(everything))
    first_loss, ceiling = float(before[0]), np.maximum(before[1:], 0.0)
    start = state.values().astype(np.float64)
    at = start.copy()
    best = (np.zeros_like(start), float("inf"), 0)  # change, target loss, steps
    for step in range(settings.correction_steps + 1):
        turn = [(step * settings.guard_rows + i) % len(guard) for i in range(min(settings.guard_rows, len(guard)))]
        rows = [target, *(guard[i] for i in turn)]
        personal = torch.from_numpy(at.astype(np.float32)).to(base.runner.device).expand(len(rows), -1)
        loss, gradient = gradients_at(base, rows, personal)
        cost = float((loss[1:] - ceiling[turn]).mean()) if guard else 0.0
        if cost <= settings.guard_nats and loss[0] < best[1]:
            best = (at - start, float(loss[0]), step)
        if loss[0] < settings.done_nats or step == settings.correction_steps:
            break
        direction = normalise((gradient[0] * scale).astype(np.float32)).astype(np.float64)
        if guard:
            hurt = (loss[1:] > ceiling[turn]).astype(np.float64)
            back = (gradient[1:].astype(np.float64) * hurt[:, None]).mean(0) * scale
            direction += settings.guard_weight * back
        at -= settings.correction_rate * direction * scale
    change, _, steps = best
    update = make_update(change, layout, settings.correction_bits, settings.correction_rate)
    after = losses(base, everything, [apply(state, update.values)] * len(everything))
    guard_before, guard_after = (float(v[1:].mean()) if guard else 0.0 for v in (before, after))
    return Correction(update, steps, first_loss, float(after[0]), guard_before, guard_after)
