# SPDX-License-Identifier: Apache-2.0
"""From a gradient to the update that is really applied.

On a basis with coordinates ``T`` and curvature ``F`` (:mod:`ipse.learning.coordinates`, :mod:`ipse.learning.natural`)::

    gradient g -> p = g + general_weight * F w -> y = -rate(height) * normalise(T^T p) -> quantise -> u = T y (int32)

The step has a fixed length in the coordinates, which bounds what F foretells it to change of what the base says in
general. On any other basis::

    gradient g -> d = normalise(c * g) -> x = -rate(height) * c * d -> quantise -> u (int32)

``c`` is the layout's step scale: the step has a fixed length in the coordinates ``w / c``. There is no
optimiser state: the step after ten thousand interactions needs nothing but the state itself, and a fold of
the records is the whole truth. The vector is quantised first and exactly the quantised integers are applied,
so what is recorded is what was done.

The step length falls with the height h of the fork: the first interactions count most (research: a longer step is
better after one interaction and worse after a hundred).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ipse.learning.natural import natural_of
from ipse.model.basis import Basis
from ipse.model.layout import ONE, StateLayout
from ipse.model.state import PersonalState
from ipse.privacy.clip import clip, l2_norm, normalise
from ipse.wire.coordinates import Coordinates
from ipse.wire.update import Bits, encode_update, quantise


@dataclass(frozen=True, slots=True)
class Rate:
    """Step length by height: ``first / (1 + h / decay_height) ** decay_power``, and never less than ``least``."""

    first: float
    decay_height: float
    decay_power: float
    least: float = 0.0

    def __call__(self, height: int) -> float:
        """At a height."""
        return max(self.least, float(self.first / (1.0 + height / self.decay_height) ** self.decay_power))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """How far a fork moves.

    Attributes:
        plain: step length in the coordinates of the step scale, on a basis without coordinates.
        natural: step length in a basis' coordinates: its square over 2 bounds the nats that F foretells.
        plain_bits, natural_bits: of an ordinary update's codes.
        general_weight: lambda; what a nat of general speech counts against a nat of the owner's words.
        prior_bits: of the prior's codes.
        prior_clip_norm: l2 bound of what one interaction adds to the prior.
    """

    plain: Rate = Rate(1.2, 20.0, 0.5)
    natural: Rate = Rate(0.15, 10.0, 1.0, least=0.007)
    plain_bits: Bits = 1
    natural_bits: Bits = 4
    general_weight: float = 4.0
    prior_bits: Bits = 1
    prior_clip_norm: float = 1.0


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


def make_update(change: NDArray[np.float64], layout: StateLayout, bits: Bits, learning_rate: float) -> Update:
    """Quantise a real-valued change (d,) and name exactly what will be applied."""
    values = quantise(change * ONE, layout.groups, bits)
    return Update(values, encode_update(values, layout.groups, bits), l2_norm(values / ONE), learning_rate)


def ordinary_update(
    basis: Basis, state: PersonalState, gradient: NDArray[np.float32], height: int, settings: StepSettings
) -> Update:
    """One normalised step of decaying length against a gradient (d,) float32, taken at this state."""
    layout = state.layout
    scale = layout.step_scale
    if layout.coordinates is None:
        rate = settings.plain(height)
        direction = normalise(gradient * scale)
        return make_update(-rate * (direction * scale).astype(np.float64), layout, settings.plain_bits, rate)
    rate = settings.natural(height)
    away = gradient.astype(np.float64)
    natural = natural_of(basis, layout)
    if natural is not None:
        away += settings.general_weight * natural.pull(state.values() / scale.astype(np.float64)) / scale
    direction = normalise(away.astype(np.float32) @ layout.coordinates.real)
    return _along(layout.coordinates, -rate * direction.astype(np.float64), settings.natural_bits, rate)


def prior_update(layout: StateLayout, gradient: NDArray[np.float32], settings: StepSettings) -> Update:
    """What one interaction adds to the prior: the clipped descent direction at PUBLIC weights.

    Sensitivity (one interaction replaced by none): ``prior_clip_norm`` in the basis' coordinates, or without them in
    the coordinates ``w / c``, before quantisation. Signs at group scale do not raise it: the mean of absolute values
    times the root of the group's size is at most the group's norm.
    """
    if layout.coordinates is not None:
        direction = clip(gradient @ layout.coordinates.real, settings.prior_clip_norm)
        return _along(layout.coordinates, -direction.astype(np.float64), settings.prior_bits, 1.0)
    scale = layout.step_scale
    direction = clip(gradient * scale, settings.prior_clip_norm)
    return make_update(-(direction * scale).astype(np.float64), layout, settings.prior_bits, 1.0)


def _along(coordinates: Coordinates, steps: NDArray[np.float64], bits: Bits, learning_rate: float) -> Update:
    """Quantise real steps (k,) along coordinates, and expand exactly what is recorded."""
    codes = quantise(steps * ONE, coordinates.groups, bits)
    values = coordinates.expand(codes)
    return Update(values, coordinates.encode(codes, bits), l2_norm(values / ONE), learning_rate)
