# SPDX-License-Identifier: Apache-2.0
"""The operations with a backward pass of their own, against automatic differentiation and finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from ipse.model.attention import causal_attention, causal_mask, turn
from ipse.model.frozen_ops import (
    FrozenLinear,
    adapted_linear,
    answered_linear,
    chosen_log_probability,
    folded,
    frozen_product,
    gated_silu,
    gated_sum,
    rms_norm,
)
from ipse.model.packed import FrozenMatrix


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Float64, of which nothing is packed: what is tested here is the formulas."""
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.requires_grad_(True)


def fixed(*shape: int, seed: int = 0) -> Tensor:
    return numbers(*shape, seed=seed).detach()


TARGETS = torch.tensor([3, 0, 10, 3])
LINEAR = FrozenLinear(fixed(24, 16), fixed(24, seed=1), fixed(24, 3, seed=2), fixed(3, 16, seed=3))
MATRIX = FrozenMatrix(fixed(24, 16))
CASES: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "adapted_linear": (lambda x, r: adapted_linear(x, r, LINEAR), (numbers(2, 5, 16, seed=4), numbers(2, 3, 3))),
    "frozen_product": (lambda x: frozen_product(x, MATRIX), (numbers(5, 16),)),
    "rms_norm": (lambda x: rms_norm(x, fixed(6, seed=5), 1e-5), (numbers(2, 3, 6),)),
    "gated_silu": (gated_silu, (numbers(2, 3, 8),)),
    "gated_sum": (gated_sum, (numbers(2, 3, 4), numbers(2, 3, 4, seed=1), numbers(2, 1, 1, seed=2))),
    "chosen_log_probability": (lambda logits: chosen_log_probability(logits, TARGETS), (numbers(4, 11),)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_backward_pass_is_the_derivative(name: str) -> None:
    function, inputs = CASES[name]
    assert gradcheck(function, inputs)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 4])
def test_a_reply_is_answered_with_the_numbers_that_are_learned_from(batch: int, length: int) -> None:
    x, r = fixed(batch, length, 16), fixed(batch, 3, 3, seed=6)
    found = answered_linear(x, folded(r, LINEAR), LINEAR)
    torch.testing.assert_close(found, adapted_linear(x, r, LINEAR))


def test_a_gate_may_be_learned_where_what_it_is_added_to_is_not() -> None:
    """As in the first layer, whose input is an embedding."""
    x, f, gate = fixed(2, 3, 4), numbers(2, 3, 4, seed=1), numbers(2, 1, 1, seed=2)
    assert gradcheck(lambda f, gate: gated_sum(x, f, gate), (f, gate))


def test_log_probabilities_are_right_for_the_likeliest_and_the_least_likely_token() -> None:
    logits = torch.tensor([[300.0, -300.0, 0.0], [1e-3, 0.0, -1e-3], [50.0, 49.9, -80.0]]).repeat(3, 1)
    targets = torch.arange(3).repeat_interleave(3)
    expected = F.log_softmax(logits.double(), -1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(chosen_log_probability(logits, targets).double(), expected, atol=1e-6, rtol=1e-6)


def angles(length: int, width: int) -> tuple[Tensor, Tensor]:
    turned = torch.outer(torch.arange(length), 1.0 / 7.0 ** torch.arange(width // 2)).double()
    return torch.cat([turned, turned], 1).cos()[None, None], torch.cat([-turned, turned], 1).sin()[None, None]


def plainly_turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([high, low], -1) * sin


def test_turning_back_undoes_turning() -> None:
    cos, sin = angles(5, 8)
    x = fixed(2, 3, 5, 8)
    torch.testing.assert_close(turn(turn(x, cos, sin), cos, sin, back=True), x)
    torch.testing.assert_close(turn(x, cos, sin), plainly_turned(x, cos, sin))


@pytest.mark.parametrize(("heads", "kv", "length"), [(4, 4, 5), (4, 2, 7), (6, 1, 1)])
def test_attention_of_a_chunk_is_torchs_forward_and_backward(heads: int, kv: int, length: int) -> None:
    width = 6
    cos, sin = angles(length, width)
    mask = causal_mask(length, heads // kv, cos)
    qkv = numbers(2, length, heads + 2 * kv, width)

    def plain(qkv: Tensor) -> Tensor:
        q, k, v = qkv.transpose(1, 2).split([heads, kv, kv], dim=1)
        q, k = plainly_turned(q, cos, sin), plainly_turned(k, cos, sin)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2).flatten(2)

    torch.testing.assert_close(causal_attention(qkv, cos, sin, mask, heads), plain(qkv))
    assert gradcheck(lambda qkv: causal_attention(qkv, cos, sin, mask, heads), (qkv,))
