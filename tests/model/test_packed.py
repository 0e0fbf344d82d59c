# SPDX-License-Identifier: Apache-2.0
"""Packed weights give the plain product's numbers, and nothing depends on their being there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from ipse.model.frozen_ops import FrozenLinear, adapted_linear, answered_linear, folded
from ipse.model.packed import FrozenMatrix, can_pack

SHAPES = [(24, 16), (8, 1376), (256, 256), (1376, 256), (2100, 500)]
"""Rows and columns: two so small that it depends on the tokens what is done, one so large that V stays apart."""
TOKENS = [1, 2, 9, 33, 130]
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float64: 1e-12}


def assert_near(found: torch.Tensor, expected: torch.Tensor, slack: float = 4.0) -> None:
    near = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.double(), expected, atol=near * slack, rtol=near)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_a_frozen_matrix_gives_the_plain_products(dtype: torch.dtype, shape: tuple[int, int], biased: bool) -> None:
    d_out, d_in = shape
    weight, below = (numbers(n, d_in, seed=n).div(d_in**0.5).to(dtype) for n in (d_out, 8))
    bias = numbers(d_out, seed=1).to(dtype) if biased else None
    matrix = FrozenMatrix(weight, below, bias)
    for count in TOKENS:
        x, dy, dz = (numbers(count, n, seed=2).to(dtype) for n in (d_in, d_out, 8))
        expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
        y, z = matrix.both(x.view(1, count, d_in))
        assert_near(matrix(x), expected)
        assert_near(y[0], expected)
        assert_near(z[0], x.double() @ below.double().T)
        back = dy.double() @ weight.double() + dz.double() @ below.double()
        assert_near(matrix.back(dy, dz), back, slack=16 * (d_out / d_in) ** 0.5)


def test_the_rows_of_v_change_nothing_in_the_product_with_w() -> None:
    """Bit for bit: what the bare base computes does not depend on whether forks share it."""
    for shape in SHAPES:
        weight = numbers(*shape).float()
        with_v, without = FrozenMatrix(weight, numbers(8, shape[1]).float()), FrozenMatrix(weight)
        for count in TOKENS:
            x = numbers(count, shape[1], seed=3).float()
            assert torch.equal(with_v(x), without(x))


def test_a_matrix_first_used_for_a_reply_can_be_differentiated_and_the_other_way_round() -> None:
    frozen = FrozenLinear(*(numbers(*s).float() for s in ((1500, 400), (1500,), (1500, 8), (8, 400))))
    r = numbers(2, 8, 8).float()
    with torch.inference_mode():
        answered_linear(numbers(2, 5, 400).float(), folded(r, frozen), frozen)
    x = numbers(2, 5, 400).float().requires_grad_(True)
    adapted_linear(x, r, frozen).sum().backward()
    assert x.grad is not None
    with torch.inference_mode():
        again = answered_linear(x.detach(), folded(r, frozen), frozen)
    torch.testing.assert_close(again, adapted_linear(x, r, frozen).detach())


_PROGRAM = """
from ipse.model.base import load_base
from ipse.model.gradient import Example, gradients
from ipse.model.packed import can_pack
import torch
loss, found = gradients(load_base(), [Example(tuple(range(20, 60)), (0.0,) + (1.0,) * 39)], [None])
print(can_pack(torch.float32), float(loss[0]), float((found[0] ** 2).sum()))
"""


def test_a_processor_that_cannot_pack_gives_the_same_gradient() -> None:
    """torch is told to see no vector instructions, which is one of the cases where nothing is packed."""

    def run(**more: str) -> tuple[str, float, float]:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], env=os.environ | more, capture_output=True, text=True, check=True
        )
        able, loss, square = done.stdout.split()
        return able, float(loss), float(square)

    able, loss, square = run(ATEN_CPU_CAPABILITY="default")
    assert able == "False"
    _, here, squared = run()
    assert loss == pytest.approx(here, abs=1e-4)
    assert square == pytest.approx(squared, rel=1e-3)


def test_no_precision_but_those_of_bases_is_packed() -> None:
    assert not can_pack(torch.float64)
    assert not can_pack(torch.float16)
