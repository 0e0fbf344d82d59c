# SPDX-License-Identifier: Apache-2.0
"""Bounding what one interaction can contribute.

Unit of privacy: one interaction. Neighbouring relation: one interaction's contribution replaced by zero.
No sampling is assumed. Clipping alone gives no differential privacy; it gives the sensitivity that noise is
measured against.

    clip(g, C)        norm <= C, direction kept; shorter vectors stay as they are
    normalise(g, C)   norm == C, direction kept: every interaction counts alike

| input                       | clip                | normalise           |
|-----------------------------|---------------------|---------------------|
| zero vector                 | zero                | zero                |
| any NaN or infinity         | zero                | zero                |
| so large that squares overflow | norm C, exact direction (scaled by the largest entry first) | the same |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Vector = NDArray[np.float32]


def l2_norm(gradient: NDArray[np.floating]) -> float:
    """Euclidean norm in float64, safe against overflow of the squares. NaN and infinity give infinity."""
    if not np.isfinite(gradient).all():
        return float("inf")
    largest = float(np.abs(gradient).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest * float(np.sqrt(np.square(gradient.astype(np.float64) / largest).sum()))


def clip(gradient: Float32Vector, l2_clip_norm: float) -> Float32Vector:
    """(d,) float32 with ``l2_norm(result) <= l2_clip_norm`` up to float32 rounding; see the table above."""
    norm = _checked_norm(gradient, l2_clip_norm)
    if norm == 0.0 or norm == float("inf"):
        return np.zeros_like(gradient)
    return gradient if norm <= l2_clip_norm else _rescale(gradient, norm, l2_clip_norm)


def normalise(gradient: Float32Vector, l2_clip_norm: float = 1.0) -> Float32Vector:
    """(d,) float32 of norm ``l2_clip_norm``, or zero; see the table above."""
    norm = _checked_norm(gradient, l2_clip_norm)
    if norm == 0.0 or norm == float("inf"):
        return np.zeros_like(gradient)
    return _rescale(gradient, norm, l2_clip_norm)


def _checked_norm(gradient: Float32Vector, l2_clip_norm: float) -> float:
    if not l2_clip_norm > 0.0:
        raise ValueError(f"Expected l2_clip_norm={l2_clip_norm} > 0")
    return l2_norm(gradient)


def _rescale(gradient: Float32Vector, norm: float, target: float) -> Float32Vector:
    return (gradient.astype(np.float64) * (target / norm)).astype(np.float32)
