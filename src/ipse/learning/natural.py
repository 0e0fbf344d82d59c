# SPDX-License-Identifier: Apache-2.0
"""What a step costs everybody else: the curvature of general text, and steps that respect it.

The base's own speech is a sample of what it can say. The Fisher information of that text, taken once over the personal
numbers ``w`` of an untouched fork, says how much any change of them alters it::

    KL(base || fork) = 1/2 w^T F w  nats a token        F = E[g g^T], g the gradient of one sampled token's loss

A fork has so few numbers that F is kept whole, as its leading directions ``G`` with ``F = G^T G`` (Amari 1998, natural
gradient; Kirkpatrick et al. 2017, arXiv 1612.00796, elastic weight consolidation, which keeps a diagonal). It is
public: it knows the base and nobody's text. Learning uses it in two ways:

    pull         lambda F w is added to a gradient: what a fork has changed in general speech weighs against the change
    natural      (F + damping)^-1 g: of all steps that teach as much, the one that alters general speech least

All numbers here are in the coordinates ``w / c`` of the layout's step scale ``c``, like every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ipse.model.base import Base
from ipse.model.basis import Basis, Curvature
from ipse.model.chat import Turn
from ipse.model.gradient import Example, gradients
from ipse.model.layout import StateLayout

Float64Vector = NDArray[np.float64]
Float64Matrix = NDArray[np.float64]

DAMPING = 1e-2
"""Added to F: directions that alter general speech less than this count as free. Nats per squared unit."""

ROWS = 16


class Natural:
    """F of a basis, ready to multiply with. Make it with :func:`natural_of`."""

    def __init__(self, curvature: Curvature, scale: NDArray[np.float32]) -> None:
        factor = curvature.factor.astype(np.float64) * scale
        values, turned = np.linalg.eigh(factor @ factor.T)  # n is far smaller than d
        kept = values > 1e-12 * values.max(initial=0.0)
        self._values = values[kept]
        self._directions = (turned[:, kept].T @ factor) / np.sqrt(values[kept])[:, None]

    def pull(self, w: Float64Vector) -> Float64Vector:
        """F w, (d,)."""
        return self._spectral(w, self._values)

    def precondition(self, g: Float64Matrix, power: float = -1.0) -> Float64Matrix:
        """(F + damping)^power g, for (d,) or for each row of (n, d)."""
        rest = DAMPING**power
        found: Float64Matrix = rest * g + self._spectral(g, (self._values + DAMPING) ** power - rest)
        return found

    def _spectral(self, g: Float64Matrix, weights: Float64Vector) -> Float64Matrix:
        found: Float64Matrix = ((g @ self._directions.T) * weights) @ self._directions
        return found


@lru_cache(maxsize=8)
def natural_of(basis: Basis, layout: StateLayout) -> Natural | None:
    """Of a basis, computed once; None where it has no curvature."""
    return None if basis.curvature is None else Natural(basis.curvature, layout.step_scale)


def own_speech(base: Base, count: int, *, tokens: int = 64, seed: int = 0) -> list[Example]:
    """What the base says by itself: conversations drawn from it at temperature 1, every drawn token counting.

    Args:
        count: how many; of ``tokens`` tokens each.
    """
    opening, spans = base.tokenizer.encode([Turn("user", "x")])
    start = opening[: spans[-1].start]
    device = base.runner.device
    generator = torch.Generator().manual_seed(seed)
    found: list[Example] = []
    weights = (0.0,) * len(start) + (1.0,) * tokens
    for first in range(0, count, 4 * ROWS):
        batch = min(4 * ROWS, count - first)
        said = torch.tensor([start] * batch, device=device)
        cache = base.runner.new_cache(batch, len(start) + tokens)
        lengths = torch.full((batch,), len(start), device=device)
        fresh = said
        for _ in range(tokens):
            logits = base.runner.extend(fresh, lengths, None, cache)
            chances = torch.softmax(logits.float().cpu(), dim=-1)
            fresh = torch.multinomial(chances, 1, generator=generator).to(device)
            said, lengths = torch.cat([said, fresh], dim=1), torch.ones_like(lengths)
        found += [Example(tuple(row), weights) for row in said.tolist()]
    return found


def public_gradients(base: Base, examples: Sequence[Example]) -> NDArray[np.float32]:
    """(n, d) float32: the gradient of each example's mean nats a token at an untouched fork, real units."""
    found = []
    for first in range(0, len(examples), ROWS):
        rows = examples[first : first + ROWS]
        found.append(gradients(base, rows, [None] * len(rows))[1])
    return np.concatenate(found)


def curvature_of(
    gradients_of_speech: NDArray[np.float32], counts: Float64Vector, scale: NDArray[np.float32], directions: int = 256
) -> Curvature:
    """The leading directions of the Fisher information of drawn text at the base.

    The gradient of a drawn sequence's whole loss is a sum of scores whose products vanish in expectation, so the mean
    of its outer products over all tokens is F per token.

    Args:
        gradients_of_speech: (n, d), of each sequence's mean nats a token.
        counts: (n,) tokens of each.
        scale: the layout's step scale, (d,).
    """
    scores = gradients_of_speech.astype(np.float64) * counts[:, None] * scale
    _, values, leading = np.linalg.svd(scores / np.sqrt(counts.sum()), full_matrices=False)
    kept = min(directions, len(values))
    return Curvature.of(values[:kept, None] * leading[:kept] / scale)
