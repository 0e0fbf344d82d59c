# SPDX-License-Identifier: Apache-2.0
"""Rotary positions and causal attention over one short chunk, with a backward pass of their own.

For the few dozen tokens of an interaction the score matrix is small enough to keep, and on a CPU five small batched
products beat the fused kernel, which computes the scores a second time in its backward pass. The gradient of query,
key and value is written where the fused linear wants it, so nothing is cut apart and joined again::

    P = softmax(Q K^T / sqrt(w) + mask)      O = P V
    dV = P^T dO      dS = P * (dO V^T - rowsum(dO * O)) / sqrt(w)      dQ = dS K      dK = dS^T Q

Heads that share a key are laid under one another: (B * kv, G * T, w) against (B * kv, T, w).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

SHORT = 128
"""Tokens up to which this is faster than torch's fused kernel on a CPU."""


def turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor | None = None, *, back: bool = False) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864), first half of the width against the second.

    Args:
        x: (..., w).
        cos, sin: broadcastable to x; the first half of sin is negative: ``x cos + swap(x) sin``.
        out: written to, if given; of x's shape.
        back: turn the other way, which is also the gradient.
    """
    result = torch.mul(x, cos, out=out)
    low, high = x.chunk(2, -1)
    low_sin, high_sin = sin.chunk(2, -1)
    to_low, to_high = result.chunk(2, -1)
    sign = -1 if back else 1
    to_low.addcmul_(high, low_sin, value=sign)
    to_high.addcmul_(low, high_sin, value=sign)
    return result


def causal_mask(length: int, groups: int, like: Tensor) -> Tensor:
    """(G * T, T): 0 where a token may look, -inf where not."""
    return like.new_full((length, length), float("-inf")).triu_(1).repeat(groups, 1)


class _CausalAttention(Function):
    """See the module's docstring."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, heads: int) -> Tensor:
        batch, length, total, width = qkv.shape
        kv = (total - heads) // 2
        by_head = qkv.transpose(1, 2)
        qk = turn(by_head[:, : heads + kv], cos, sin)
        q, k = qk[:, :heads].reshape(batch * kv, -1, width), qk[:, heads:].reshape(batch * kv, length, width)
        v = by_head[:, heads + kv :].reshape(batch * kv, length, width)
        p = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=width**-0.5).softmax(-1)
        out = torch.bmm(p, v)
        ctx.save_for_backward(q, k, v, p, out, cos, sin)
        return out.view(batch, heads, length, width).transpose(1, 2).reshape(batch, length, heads * width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, p, out, cos, sin = ctx.saved_tensors
        batch, length, width = dout.shape[0], dout.shape[1], q.shape[-1]
        heads, kv = dout.shape[-1] // width, len(k) // dout.shape[0]
        flat = dout.view(batch, length, heads, width).transpose(1, 2).reshape(q.shape)
        ds = torch.bmm(flat, v.transpose(1, 2)).sub_(torch.linalg.vecdot(flat, out)[..., None])
        ds.mul_(p).mul_(width**-0.5)
        dqkv = dout.new_empty(batch, length, heads + 2 * kv, width)
        to_q, to_k, to_v = dqkv.transpose(1, 2).split([heads, kv, kv], dim=1)
        turn(torch.bmm(ds, k).view(to_q.shape), cos, sin, to_q, back=True)
        turn(torch.bmm(ds.transpose(1, 2), q).view(to_k.shape), cos, sin, to_k, back=True)
        to_v.copy_(torch.bmm(p.transpose(1, 2), flat).view(to_v.shape))
        return dqkv, None, None, None, None


def causal_attention(qkv: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention of a chunk to itself, rotary positions included.

    Args:
        qkv: (B, T, heads + 2 * kv heads, w).
        cos, sin: (1, 1, T, w), see :func:`turn`.
        mask: see :func:`causal_mask`.
        heads: of the queries.

    Returns:
        (B, T, heads * w), differentiable in qkv.
    """
    result: Tensor = _CausalAttention.apply(qkv, cos, sin, mask, heads)  # type: ignore[no-untyped-call]
    return result
