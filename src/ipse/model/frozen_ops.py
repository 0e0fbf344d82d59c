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


class FrozenLinear:
    """What of one adapted linear is the base's, for all its forks: W, b, V and U."""

    def __init__(self, weight: Tensor, bias: Tensor | None, u: Tensor, v: Tensor) -> None:
        """Weight (d_out, d_in); bias (d_out,); u (d_out, r), the scale s in it; v (r, d_in)."""
        self.matrix = FrozenMatrix(weight, v, bias)
        self.rank = len(v)
        self.u_t = u.T.contiguous()
        self.by_u = FrozenMatrix(self.u_t)
        """dy -> s U^T dy, which only a gradient asks for."""


class _AdaptedLinear(Function):
    """``y = x W^T + b + ((x V^T) R_b^T) (s U)^T``"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: Tensor, frozen: FrozenLinear) -> Tensor:
        y, z = frozen.matrix.both(x)
        moved = torch.bmm(z, r.transpose(1, 2))
        y.view(-1, y.shape[-1]).addmm_(moved.view(-1, moved.shape[-1]), frozen.u_t)
        ctx.save_for_backward(r, z.contiguous())
        ctx.frozen = frozen
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        r, z = ctx.saved_tensors
        batch, length, d_out = dy.shape
        flat = dy.reshape(batch * length, d_out)
        dmoved = ctx.frozen.by_u(flat).view(batch, length, -1)  # (B, T, r) = s U^T dy
        dr = torch.bmm(dmoved.transpose(1, 2), z)  # sum over the row's tokens
        if not ctx.needs_input_grad[0]:
            return None, dr, None
        dz = torch.bmm(dmoved, r).view(batch * length, -1)
        return ctx.frozen.matrix.back(flat, dz).view(batch, length, -1), dr, None


class _FrozenProduct(Function):
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


class _GatedSilu(Function):
    """``h = silu(g) * u`` of [g | u] (Shazeer 2020, arXiv 2002.05202); both gradients into one tensor."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, dim=-1)
        opened = F.silu(gate)
        ctx.save_for_backward(both, opened)
        return opened * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor) -> Tensor:
        both, opened = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        result = torch.empty(both.shape, dtype=both.dtype, device=both.device)
        to_gate, to_up = result.chunk(2, dim=-1)
        torch.ops.aten.silu_backward.grad_input(dh * up, gate, grad_input=to_gate)
        torch.mul(dh, opened, out=to_up)
        return result


class _GatedSum(Function):
    """``y = x + g_b f`` with one gate a row: dg_b is the inner product of the row's dy and f."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, gate: Tensor) -> Tensor:
        ctx.save_for_backward(f, gate)
        return torch.addcmul(x, f, gate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        f, gate = ctx.saved_tensors
        dgate = torch.linalg.vecdot(dy.reshape(len(dy), -1), f.reshape(len(f), -1))
        return dy if ctx.needs_input_grad[0] else None, dy * gate, dgate.view(gate.shape)


class _ChosenLogProbability(Function):
    """``log softmax(l)_t``; its gradient is ``onehot(t) - p``."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        p = torch.softmax(logits, dim=-1)
        # log sum exp = l_max - log p_max, and p_max is at least 1 / vocabulary: nothing can underflow.
        log_sum = logits.amax(-1, keepdim=True) - p.amax(-1, keepdim=True).log_()
        ctx.save_for_backward(p, targets)
        return (logits.gather(1, targets[:, None]) - log_sum)[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogp: Tensor) -> tuple[Tensor | None, ...]:
        p, targets = ctx.saved_tensors
        return (p * -dlogp[:, None]).scatter_add_(1, targets[:, None], dlogp[:, None]), None


def adapted_linear(x: Tensor, r: Tensor, frozen: FrozenLinear) -> Tensor:
    """One frozen linear with each row's own middle matrix.

    Args:
        x: (B, T, d_in).
        r: (B, r, r), rows index U, columns index V.
        frozen: the rest of it.

    Returns:
        (B, T, d_out), differentiable in x and r.
    """
    result: Tensor = _AdaptedLinear.apply(x, r, frozen)  # type: ignore[no-untyped-call]
    return result


def folded(r: Tensor, frozen: FrozenLinear) -> Tensor:
    """What all steps of a reply multiply with: R^T (B, r, r), or for one row R^T (s U)^T (r, d_out) at once.

    For one row that spares a product in every linear; for more it would be more to read than it spares.
    """
    if len(r) > 1:
        return r.transpose(1, 2).to(frozen.u_t.dtype).contiguous()
    return (r[0].T @ frozen.u_t.to(r.dtype)).to(frozen.u_t.dtype)


def answered_linear(x: Tensor, middle: Tensor, frozen: FrozenLinear) -> Tensor:
    """As :func:`adapted_linear`, of a :func:`folded` R and without a gradient: fewer and smaller operations."""
    y, z = frozen.matrix.both(x)
    flat, rank = y.view(-1, frozen.matrix.d_out), frozen.rank
    if middle.ndim == 2:
        flat.addmm_(z.view(-1, rank), middle)
    else:
        flat.addmm_(torch.bmm(z, middle).view(-1, rank), frozen.u_t)
    return y


def frozen_product(x: Tensor, matrix: FrozenMatrix) -> Tensor:
    """(N, d_in) -> (N, d_out), differentiable in x."""
    if not x.requires_grad:
        return matrix(x)
    result: Tensor = _FrozenProduct.apply(x, matrix)  # type: ignore[no-untyped-call]
    return result


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """(..., h) -> (..., h), differentiable in x."""
    if not x.requires_grad:
        return F.rms_norm(x, x.shape[-1:], weight, epsilon)
    result: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return result


def gated_silu(both: Tensor) -> Tensor:
    """(..., 2 f), gate and up side by side -> (..., f), differentiable."""
    if not both.requires_grad:
        gate, up = both.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)
    result: Tensor = _GatedSilu.apply(both)  # type: ignore[no-untyped-call]
    return result


def gated_sum(x: Tensor, f: Tensor, gate: Tensor) -> Tensor:
    """X + gate * f of x and f (B, T, h) and gate (B, 1, 1), differentiable in all three."""
    if not torch.is_grad_enabled():
        return torch.addcmul(x, f, gate)
    result: Tensor = _GatedSum.apply(x, f, gate)  # type: ignore[no-untyped-call]
    return result


def chosen_log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,): the log probability of one token each, of logits (N, vocabulary) and targets (N,) int64."""
    result: Tensor = _ChosenLogProbability.apply(logits, targets)  # type: ignore[no-untyped-call]
    return result
