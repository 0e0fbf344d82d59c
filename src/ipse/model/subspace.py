# SPDX-License-Identifier: Apache-2.0
"""A basis for any base: the leading singular directions of its own weights.

For each fused linear ``W = P S Q^T`` (singular values falling), ``U`` is the first r columns of P and ``V``
the first r rows of Q^T: an orthonormal pair that any base has, without data.

Guarantee: the same weights, rank and machine give the same bytes. Computed in float64 by a direct method (no
random start), signs fixed (the largest entry of each column of U is positive), then rounded to 16 bits.

| case | what is done |
|---|---|
| smaller side <= 512 | full SVD of W |
| else | eigenvectors of the smaller Gram matrix, then the other side by W |
| a singular value of (nearly) zero | the direction is arbitrary but orthonormal: made so by QR |
| two equal singular values | any rotation of the two is as good; machines may differ |

The Gram matrix squares the spread of the singular values: the error of direction r is of the order
1e-16 * (s_1 / s_r)^2, harmless for leading directions.

So an SVD basis is computed once and kept: what a fork is bound to is the digest of the result, not the recipe.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ipse.errors import BaseDamaged, InputError
from ipse.model.basis import Basis, LinearBasis, load_basis
from ipse.model.cachefolder import cache_folder
from ipse.model.families import AdaptedLinear

logger = logging.getLogger(__name__)

DEFAULT_RANK = 8
RECIPE = "svd 1"
"""Part of the cache key: change it whenever the numbers would."""

_FULL_SVD_SIDE = 512

Progress = Callable[[int, int, str], None]
"""progress(done, total, name of the linear just finished)."""
Float64Matrix = NDArray[np.float64]
WeightOf = Callable[[AdaptedLinear], Float64Matrix]
"""Gives the fused W (d_out, d_in) in float64. Asked for one at a time: all together need not fit."""


def svd_basis(
    linears: Sequence[AdaptedLinear], weight_of: WeightOf, rank: int, progress: Progress | None = None
) -> Basis:
    """The leading ``rank`` singular directions of each linear.

    Raises:
        InputError: when the rank is not in 1..smallest side of all linears.
        BaseDamaged: when weights are not finite.
    """
    parts: list[LinearBasis] = []
    for done, linear in enumerate(linears, start=1):
        weight = weight_of(linear)
        if not 1 <= rank <= min(weight.shape):
            raise InputError(
                f"Expected a rank between 1 and {min(weight.shape)} (the smaller side of {linear.name}), got {rank}.",
                "Use rank 8 unless you measured a better one.",
            )
        if not np.isfinite(weight).all():
            raise BaseDamaged(f"The weights of {linear.name} hold infinite or undefined numbers.", "Fetch them again.")
        u, v = leading_directions(weight, rank)
        parts.append(LinearBasis.of(linear.name, linear.kind, u, v))
        if progress is not None:
            progress(done, len(linears), linear.name)
    return Basis("svd", rank, tuple(parts))


def cached_svd_basis(
    digest: str,
    linears: Sequence[AdaptedLinear],
    weight_of: WeightOf,
    rank: int,
    progress: Progress | None = None,
) -> Basis:
    """Like :func:`svd_basis`, from the cache folder when it was computed before.

    Args:
        digest: of the weights, hex.
    """
    key = hashlib.sha256(f"{RECIPE} {digest} {rank}".encode()).hexdigest()
    path = cache_folder() / "bases" / f"{key}.safetensors"
    if path.exists():
        try:
            return load_basis(path)
        except BaseDamaged as error:
            logger.warning("The cached basis is damaged and is computed again: %s", error)
    basis = svd_basis(linears, weight_of, rank, progress)
    try:
        basis.save(path)
    except OSError as error:
        logger.info("Could not keep the basis in the cache folder: %s", error)
    return basis


def leading_directions(weight: Float64Matrix, rank: int) -> tuple[Float64Matrix, Float64Matrix]:
    """U (d_out, rank) and V (rank, d_in), orthonormal, of the largest singular values, signs fixed."""
    rows, columns = weight.shape
    if min(rows, columns) <= _FULL_SVD_SIDE:
        left, _, right = np.linalg.svd(weight, full_matrices=False)
        u, v = left[:, :rank], right[:rank]
    elif columns <= rows:
        v = _top_eigenvectors(weight.T @ weight, rank).T
        u = _orthonormal(weight @ v.T)
    else:
        u = _top_eigenvectors(weight @ weight.T, rank)
        v = _orthonormal(weight.T @ u).T
    signs = _column_signs(u)
    return u * signs, v * signs[:, None]


def _top_eigenvectors(gram: Float64Matrix, rank: int) -> Float64Matrix:
    """(n, rank), of the largest eigenvalues, falling."""
    _, vectors = np.linalg.eigh(gram)
    return np.ascontiguousarray(vectors[:, ::-1][:, :rank])


def _orthonormal(matrix: Float64Matrix) -> Float64Matrix:
    """Orthonormal columns that span the same, in order, each pointing as the given column does."""
    q, r = np.linalg.qr(matrix)
    flips = np.where(np.diagonal(r) < 0, -1.0, 1.0)
    turned: Float64Matrix = q * flips
    return turned


def _column_signs(u: Float64Matrix) -> Float64Matrix:
    """(rank,) of +-1 that make the largest entry of each column positive.

    Entries within 1e-9 of the largest count as equal and the first of them decides, so that the last bit of
    a LAPACK build does not flip a column.
    """
    sizes = np.abs(u)
    first = np.argmax(sizes >= sizes.max(axis=0) * (1 - 1e-9), axis=0)
    signs: Float64Matrix = np.where(u[first, np.arange(u.shape[1])] < 0, -1.0, 1.0)
    return signs
