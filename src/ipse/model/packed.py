# SPDX-License-Identifier: Apache-2.0
"""Products with a weight that never changes, kept in the order in which the processor wants to read it.

torch rearranges a weight anew for every product, because the weight might have changed. A base's never does, so
oneDNN is asked once to lay it out in blocks, and the products then take 0.3 to 0.6 of the time in float32 (measured
with one thread on a processor with AVX512; in bfloat16 0.65 for one token, 0.95 for many). Results differ from the
plain product's by rounding only.

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
_SMALL = 1 << 19
"""Multiplications below which a plain product in float32 is as fast: calling oneDNN has its own cost."""


class FrozenMatrix:
    """``x -> x W^T + b`` for a frozen W, and with it ``x V^T`` for a few frozen rows V.

    Where the weight is packed, a large one is not kept in its plain form beside it. The transposed form, which only
    a gradient needs, is made at the first gradient.
    """

    def __init__(self, weight: Tensor, below: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Weight (d_out, d_in); below, V, (r, d_in); bias (d_out,). All of one dtype on one device."""
        self.d_out, d_in = weight.shape
        self._size = weight.numel()
        self._bias = bias
        self._below = weight.new_zeros(0, d_in) if below is None else below
        self._long_bias = None if bias is None else torch.cat([bias, bias.new_zeros(len(self._below))])
        packs = weight.device.type == "cpu" and can_pack(weight.dtype)
        self._packed = _pack(weight) if packs else None
        self._packed_below = _pack(self._below) if packs and len(self._below) else None
        self._packed_back: Any = None
        self._plain: Tensor | None = None
        """(d_out + r, d_in): V as further rows of W, so that one product gives both."""
        if self._packed is None or self._takes_plain(1, self._size):
            self._plain = weight if below is None else torch.cat([weight, below]).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)"""
        if self._plain is not None and (self._packed is None or self._takes_plain(_rows(x), self._size)):
            return F.linear(x, self._plain[: self.d_out], self._bias)
        return _product(x, self._packed, self._bias)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., d_in) -> x W^T + b (..., d_out) and x V^T (..., r); the first is the caller's to write to."""
        rows = _rows(x)
        if self._plain is not None and (self._packed is None or self._takes_plain(rows, self._size)):
            joined = F.linear(x, self._plain, self._long_bias)
            return joined[..., : self.d_out], joined[..., self.d_out :]
        if self._takes_plain(rows, self._below.numel()):
            return _product(x, self._packed, self._bias), F.linear(x, self._below)
        return _product(x, self._packed, self._bias), _product(x, self._packed_below, None)

    def back(self, dy: Tensor, dz: Tensor | None = None) -> Tensor:
        """The gradient with respect to x: dy W + dz V, of dy (N, d_out) and dz (N, r), as (N, d_in)."""
        if self._packed is None or self._takes_plain(len(dy), self._size):
            assert self._plain is not None
            dx = dy @ self._plain[: self.d_out]
        else:
            if self._packed_back is None:
                plain = self._packed.to_dense() if self._plain is None else self._plain[: self.d_out]
                self._packed_back = _pack(plain.T.contiguous())
            dx = _product(dy, self._packed_back, None)
        return dx if dz is None else dx.addmm_(dz, self._below)

    def _takes_plain(self, rows: int, size: int) -> bool:
        """Whether a product of so many rows with so many numbers is too small for packing to help."""
        return self._below.dtype == torch.float32 and rows * size < _SMALL


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


def _rows(x: Tensor) -> int:
    return x.numel() // x.shape[-1]


def _pack(weight: Tensor) -> Any:
    """(d_out, d_in) in oneDNN's own order; opaque to everything but :func:`_product` and ``to_dense``."""
    with torch.inference_mode(False), torch.no_grad():  # the first gradient may come after the first reply, or before
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)


def _product(x: Tensor, packed: Any, bias: Tensor | None) -> Tensor:
    """(..., d_in) -> (..., d_out)"""
    y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, packed, bias, "none", [], "")
    return y
