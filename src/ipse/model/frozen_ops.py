# SPDX-License-Identifier: Apache-2.0
"""Two operations of the lean forward with backward passes of their own.

Their weights are frozen, so only the gradients with respect to the input and the personal part are needed. What
automatic differentiation would add is bookkeeping: zero-padded gradients of slices, and a product for every factor
of a norm. Both are tested against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _AdaptedLinear(Function):
    """``y = x W^T + ((x V^T) R_b^T) (s U)^T`` with W and V stored as one matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: Tensor, weight: Tensor, u_t: Tensor, d_out: int) -> Tensor:
        y, z = _adapted(x, r, weight, u_t, d_out)
        ctx.save_for_backward(r, z.contiguous(), weight, u_t)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        r, z, weight, u_t = ctx.saved_tensors
        batch, length, d_out = dy.shape
        flat = dy.reshape(batch * length, d_out)
        dmoved = (flat @ u_t.T).view(batch, length, -1)  # (B, T, r) = s U^T dy
        dr = torch.bmm(dmoved.transpose(1, 2), z)  # sum over the row's tokens
        if not ctx.needs_input_grad[0]:
            return None, dr, None, None, None
        dz = torch.bmm(dmoved, r).view(batch * length, -1)
        dx = torch.addmm(dz @ weight[d_out:], flat, weight[:d_out]).view(batch, length, -1)
        return dx, dr, None, None, None


def _adapted(x: Tensor, r: Tensor, weight: Tensor, u_t: Tensor, d_out: int) -> tuple[Tensor, Tensor]:
    """Y (B, T, d_out) and z = V x (B, T, r)."""
    batch, length, _ = x.shape
    both = F.linear(x, weight)
    z = both[..., d_out:]
    moved = torch.bmm(z, r.transpose(1, 2)).view(-1, u_t.shape[0])
    return torch.addmm(both.view(batch * length, -1)[:, :d_out], moved, u_t).view(batch, length, d_out), z


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


def adapted_linear(x: Tensor, r: Tensor, weight: Tensor, u_t: Tensor, d_out: int) -> Tensor:
    """One frozen linear with each row's own middle matrix.

    Args:
        x: (B, T, d_in).
        r: (B, r, r), rows index U, columns index V.
        weight: (d_out + r, d_in): W, and V below it.
        u_t: (r, d_out): s U, transposed.

    Returns:
        (B, T, d_out), differentiable in x and r.
    """
    if not torch.is_grad_enabled():  # spares a decoding step the bookkeeping of 24 calls
        return _adapted(x, r, weight, u_t, d_out)[0]
    result: Tensor = _AdaptedLinear.apply(x, r, weight, u_t, d_out)  # type: ignore[no-untyped-call]
    return result


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """(..., h) -> (..., h), differentiable in x."""
    if not x.requires_grad:
        return F.rms_norm(x, x.shape[-1:], weight, epsilon)
    result: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return result
