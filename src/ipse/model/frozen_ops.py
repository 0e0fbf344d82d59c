# SPDX-License-Identifier: Apache-2.0
"""Operations of the lean forward with backward passes of their own.

Their weights are frozen, so only the gradients with respect to the input and the personal part are needed. What
automatic differentiation would add is bookkeeping: zero-padded gradients of slices, and a product for every factor
of a norm. All are tested against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ipse.model.packed import FrozenMatrix


class _AdaptedLinear(Function):
    """``y = x W^T + b + ((x V^T) R_b^T) (s U)^T``"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: Tensor, matrix: FrozenMatrix, u_t: Tensor) -> Tensor:
        y, z = _adapted(x, r, matrix, u_t)
        ctx.save_for_backward(r, z.contiguous(), u_t)
        ctx.matrix = matrix
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        r, z, u_t = ctx.saved_tensors
        batch, length, d_out = dy.shape
        flat = dy.reshape(batch * length, d_out)
        dmoved = (flat @ u_t.T).view(batch, length, -1)  # (B, T, r) = s U^T dy
        dr = torch.bmm(dmoved.transpose(1, 2), z)  # sum over the row's tokens
        if not ctx.needs_input_grad[0]:
            return None, dr, None, None
        dz = torch.bmm(dmoved, r).view(batch * length, -1)
        return ctx.matrix.back(flat, dz).view(batch, length, -1), dr, None, None


def _adapted(x: Tensor, r: Tensor, matrix: FrozenMatrix, u_t: Tensor) -> tuple[Tensor, Tensor]:
    """Y (B, T, d_out) and z = V x (B, T, r)."""
    y, z = matrix.both(x)
    moved = torch.bmm(z, r.transpose(1, 2))
    y.view(-1, matrix.d_out).addmm_(moved.view(-1, len(u_t)), u_t)
    return y, z


class _FrozenLinear(Function):
    """``y = x W^T`` of (N, d_in)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: FrozenMatrix) -> Tensor:
        ctx.matrix = matrix
        return matrix(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.matrix.back(dy), None


class _RmsNorm(Function):
    """``y = w x / rms(x)`` (Zhang and Sennrich 2019, arXiv 1910.07467) with a frozen w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        inverse = torch.rsqrt(torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon)).unsqueeze(-1)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        unit, inverse, weight = ctx.saved_tensors
        g = dy * weight
        along = torch.linalg.vecdot(g, unit).div_(unit.shape[-1]).unsqueeze(-1)
        return torch.addcmul(g, unit, along, value=-1).mul_(inverse), None, None


def adapted_linear(x: Tensor, r: Tensor, matrix: FrozenMatrix, u_t: Tensor) -> Tensor:
    """One frozen linear with each row's own middle matrix.

    Args:
        x: (B, T, d_in).
        r: (B, r, r), rows index U, columns index V.
        matrix: W (d_out, d_in) with V (r, d_in) below it.
        u_t: (r, d_out): s U, transposed.

    Returns:
        (B, T, d_out), differentiable in x and r.
    """
    if not torch.is_grad_enabled():  # spares a decoding step the bookkeeping of 24 calls
        return _adapted(x, r, matrix, u_t)[0]
    result: Tensor = _AdaptedLinear.apply(x, r, matrix, u_t)  # type: ignore[no-untyped-call]
    return result


def frozen_linear(x: Tensor, matrix: FrozenMatrix) -> Tensor:
    """(N, d_in) -> (N, d_out), differentiable in x."""
    if not x.requires_grad:
        return matrix(x)
    result: Tensor = _FrozenLinear.apply(x, matrix)  # type: ignore[no-untyped-call]
    return result


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """(..., h) -> (..., h), differentiable in x."""
    if not x.requires_grad:
        return F.rms_norm(x, x.shape[-1:], weight, epsilon)
    result: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return result
