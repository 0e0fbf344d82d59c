# SPDX-License-Identifier: Apache-2.0
"""Coordinates of a basis: the few hundred directions of the whole state along which people's first steps go.

A population basis says, linear by linear, where a fork can go. Its numbers are not alike: a few combinations of them
carry most of what people's conversations ask for, and some combinations cost everybody else dearly. So a basis that was
fitted on public users has a matrix ``T`` (d, k) besides. In coordinates in which general speech has curvature one
(:mod:`ipse.learning.natural`), it holds the leading directions of those users' gradients at the untouched fork::

    g_i   gradient of one interaction of a public user        h_i = (F + damping)^(-1/2) g_i / |..|
    Q     leading k right singular directions of all h_i, and of half the same of the base's own speech
    T     (F + damping)^(-1/2) Q

A step ``y = -rate * normalise(T^T g)``, ``u = T y`` is then a natural-gradient step within the directions that people
use: whatever was said, it changes general speech by at most ``rate**2 / 2`` nats as far as F foretells it, which is
within about a factor of two for small changes. It takes k small integers to
write down, and its noise under differential privacy grows with the root of k and not of d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ipse.learning.natural import Natural, curvature_of, own_speech, public_gradients
from ipse.learning.population import FitSettings, Population, Progress, PublicUser, fit, interactions, leading_left
from ipse.model.base import Base, load_base
from ipse.model.basis import Basis, fixed_point
from ipse.model.gradient import Example
from ipse.wire.coordinates import Coordinates

COUNT = 768
"""k. For users like the public ones 512 keep the gain of all 1,804 numbers; strangers to them gain 8% more with 768."""

SPEECH_WEIGHT = 0.5
"""Of a drawn conversation beside a user's interaction: what people in general may ask for."""

SPEECH = 1024
"""Conversations drawn from the base for its curvature."""

EXAMPLES = 1280
"""Public interactions whose gradients are taken, spread over all that are given."""


def fit_population(
    base: Base,
    users: Sequence[PublicUser],
    rank: int,
    *,
    settings: FitSettings | None = None,
    speech: int = SPEECH,
    progress: Progress | None = None,
) -> Population:
    """Everything that public users can tell of a base: basis, coordinates, curvature, and their mean change.

    Args:
        base: float32; its own basis does not matter.
        speech: see :data:`SPEECH`.
        progress: called as (done, of how many, name), first for the users and then for the coordinates.

    Raises:
        InputError: no user has enough to say.
    """
    settings = settings or FitSettings()
    model = base.module().float().eval().requires_grad_(False)
    found = fit(model, base.anatomy.linears, base.tokenizer, users, rank, settings=settings, progress=progress)
    fitted = load_base(base.directory, basis=found.basis, device=str(base.runner.device))
    said = [interactions(base.tokenizer, user.dialogues) for user in users if user.hash in found.basis.fitted_on]
    examples = [example for stream in said for example in stream[: settings.interactions]]
    return replace(found, basis=with_coordinates(fitted, examples, speech=speech, progress=progress))


def _whitened(natural: Natural, g: NDArray[np.float32]) -> NDArray[np.float64]:
    """(F + damping)^(-1/2) of each row (n, d), at norm 1; rows of zero stay."""
    found = natural.precondition(g.astype(np.float64), -0.5)
    unit: NDArray[np.float64] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
    return unit


def with_coordinates(
    base: Base,
    examples: Sequence[Example],
    *,
    count: int = COUNT,
    speech: int = SPEECH,
    seed: int = 0,
    progress: Progress | None = None,
) -> Basis:
    """The base's basis with curvature and coordinates.

    Args:
        base: loaded with the basis to complete.
        examples: public users' interactions.
        count: k; fewer if the examples span fewer directions.
        speech: see :data:`SPEECH`.
        seed: of the drawn speech.
    """
    tell = progress or (lambda done, total, name: None)
    tell(0, 3, "what the base says")
    drawn = own_speech(base, speech, seed=seed)
    tell(1, 3, "its curvature")
    scale = base.layout.step_scale
    own = public_gradients(base, drawn)
    curvature = curvature_of(own, np.array([sum(example.weights) for example in drawn]), scale)
    tell(2, 3, "what people ask for")
    natural = Natural(curvature, scale)
    most = min(EXAMPLES, len(examples))
    chosen = sorted((examples[i * len(examples) // most] for i in range(most)), key=lambda e: len(e.tokens))
    asked = [_whitened(natural, public_gradients(base, chosen) * scale)]
    asked.append(SPEECH_WEIGHT * _whitened(natural, own * scale))
    rows = np.concatenate(asked)
    kept = leading_left(rows.T, min(count, *rows.shape)).T
    tell(3, 3, "coordinates")
    matrix = (natural.precondition(kept, -0.5) * scale).T
    return replace(base.basis, coordinates=Coordinates(*fixed_point(matrix)), curvature=curvature)
