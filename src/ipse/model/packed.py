# SPDX-License-Identifier: Apache-2.0
"""Products with a weight that never changes, kept in the order in which the processor wants to read it.

torch rearranges a weight anew for every product, because the weight might have changed. A base's never does, so
oneDNN is asked once to lay it out in blocks, and the products then take 0.3 to 0.6 of the time in float32 for 8 tokens
and more (measured with one thread on a processor with AVX512; in bfloat16 0.65 for one token, 0.95 for many). For one
token a product waits for the memory either way. Results differ from the plain product's by rounding only.

The operators are torch's own but not documented, so they are believed only after a trial product, and everything
here works without them: on a GPU, in another precision, on a processor or a torch that has none.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)

_ROWS = 64
"""Tokens for which oneDNN chooses the blocks; measured as good for 2 to 512."""
_SKINNY = 1 << 15
"""Numbers in a matrix of few rows or columns, for which a plain product is faster while there are few tokens."""
_SMALL = 1 << 18
"""Multiplications of such a product up to which it is: calling oneDNN has its own cost."""
_JOINED = 1 << 20
"""Numbers in a matrix up to which V is packed once more below W: there it is the calls that cost, not the memory."""


class FrozenMatrix:
    """``x -> x W^T + b`` for a frozen W, and with it ``x V^T`` for a few frozen rows V.

    Where the weight is packed it is not kept in its plain form beside it. The transposed form, which only a gradient
    needs, is made at the first gradient, and the form with V below it, of a small W, at the first fork.
    """

    def __init__(self, weight: Tensor, below: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Weight (d_out, d_in); below, V, (r, d_in); bias (d_out,). All of one dtype on one device."""
        self.d_out = len(weight)
        self._size = weight.numel()
        self._sizes = [self.d_out, 0 if below is None else len(below)]
        self._bias = bias
        self._rows_of_v = below
        self._packed = _pack(weight) if weight.device.type == "cpu" and can_pack(weight.dtype) else None
        self._packed_back: Any = None
        self._packed_joined: Any = None
        self._plain: Tensor | None = None
        """(d_out, d_in), where it is needed."""
        self._below: FrozenMatrix | None = None
        self._joined: Tensor | None = None
        """(d_out + r, d_in): V as further rows of W, where nothing is packed: one product gives both."""
        self._joined_bias = None
        if below is not None and bias is not None:
            self._joined_bias = torch.cat([bias, bias.new_zeros(len(below))])
        if self._packed is None:
            self._joined = weight if below is None else torch.cat([weight, below]).contiguous()
            self._plain = self._joined[: self.d_out]
        else:
            self._below = None if below is None or self._size <= _JOINED else FrozenMatrix(below)
            if self._size < _SKINNY and weight.dtype == torch.float32:
                self._plain = weight

    def __call__(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)"""
        if self._packed is None or self._takes_plain(x):
            assert self._plain is not None
            return F.linear(x, self._plain, self._bias)
        return _product(x, self._packed, self._bias)

    def both(self, x: Tensor) -> tuple[Tensor, ...]:
        """(..., d_in) -> x W^T + b (..., d_out) and x V^T (..., r); the first is the caller's to write to."""
        if self._packed_joined is not None:  # asked first: a decoding step comes here for every linear
            return _product(x, self._packed_joined, self._joined_bias).split_with_sizes(self._sizes, -1)
        if self._below is not None:
            return self(x), self._below(x)
        if self._packed is None:
            assert self._joined is not None
            return F.linear(x, self._joined, self._joined_bias).split_with_sizes(self._sizes, -1)
        assert self._rows_of_v is not None
        self._packed_joined = _pack(torch.cat([self._packed.to_dense(), self._rows_of_v]))
        return self.both(x)

    def back(self, dy: Tensor, dz: Tensor | None = None) -> Tensor:
        """The gradient with respect to x: dy W + dz V, of dy (N, d_out) and dz (N, r), as (N, d_in)."""
        if self._packed is None:
            assert self._plain is not None
            dx = dy @ self._plain
        else:
            if self._packed_back is None:
                self._packed_back = _pack(self._packed.to_dense().T.contiguous())
            dx = _product(dy, self._packed_back, None)
        return dx if dz is None or self._rows_of_v is None else dx.addmm_(dz, self._rows_of_v)

    def _takes_plain(self, x: Tensor) -> bool:
        """Whether the product is so small that packing does not help."""
        return self._plain is not None and x.numel() * self.d_out < _SMALL


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor take packed weights of this dtype, by trying."""
    if dtype not in (torch.float32, torch.bfloat16) or torch.backends.cpu.get_cpu_capability() not in _MEASURED:
        return False
    x, weight, bias = (torch.linspace(-1, 1, n).to(dtype) for n in (5 * 48, 72 * 48, 72))
    x, weight = x.view(5, 48), weight.view(72, 48)
    try:
        packed = _pack(weight)
        found, restored = _product(x, packed, bias), packed.to_dense()
        good = torch.equal(restored, weight) and torch.allclose(
            found.float(), F.linear(x.float(), weight.float(), bias.float()), rtol=0.02, atol=0.05
        )
    except Exception as error:  # whatever an undocumented operator may raise, the plain product is always there
        logger.debug("packed weights are not to be had: %s", type(error).__name__)
        return False
    return good


_MEASURED = ("AVX2", "AVX512")
"""Instruction sets for which this is known to help."""


def _pack(weight: Tensor) -> Any:
    """(d_out, d_in) in oneDNN's own order; opaque to everything but :func:`_product` and ``to_dense``."""
    with torch.inference_mode(False), torch.no_grad():  # the first gradient may come after the first reply, or before
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)


def _product(x: Tensor, packed: Any, bias: Tensor | None) -> Tensor:
    """(..., d_in) -> (..., d_out)"""
    y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, packed, bias, "none", [], "")
    return y
