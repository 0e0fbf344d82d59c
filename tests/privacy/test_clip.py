# SPDX-License-Identifier: Apache-2.0
"""The table of edge cases in privacy/clip.py, and the law that clipping bounds the norm and keeps the direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ipse.privacy.clip import clip, l2_norm, normalise

vectors = arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**100), 2.0**100, width=32))
bounds = st.floats(1e-3, 1e3)


@given(vectors, bounds)
def test_clip_bounds_the_norm_and_keeps_the_direction(g: np.ndarray, bound: float) -> None:
    clipped = clip(g, bound)
    assert l2_norm(clipped) <= bound * (1 + 1e-5)
    if l2_norm(g) <= bound:
        assert np.array_equal(clipped, g)
    elif l2_norm(clipped) > 1e-20:
        cosine = float(clipped.astype(np.float64) @ g.astype(np.float64)) / (l2_norm(clipped) * l2_norm(g))
        assert cosine == pytest.approx(1.0, abs=1e-5)


@given(vectors, bounds)
def test_normalise_makes_every_interaction_count_alike(g: np.ndarray, bound: float) -> None:
    norm = l2_norm(normalise(g, bound))
    assert norm == 0.0 if not g.any() else norm == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bounded", [clip, normalise])
def test_a_gradient_that_is_not_finite_contributes_nothing(bounded: object, bad: float) -> None:
    g = np.array([1.0, bad, 3.0], dtype=np.float32)
    assert not bounded(g, 1.0).any()  # type: ignore[operator]


@pytest.mark.parametrize("bounded", [clip, normalise])
def test_a_gradient_whose_squares_overflow_keeps_its_direction(bounded: object) -> None:
    g = np.array([3e38, -3e38], dtype=np.float32)
    assert bounded(g, 1.0) == pytest.approx([2**-0.5, -(2**-0.5)], rel=1e-6)  # type: ignore[operator]


def test_a_bound_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="l2_clip_norm"):
        clip(np.ones(3, np.float32), 0.0)
