# SPDX-License-Identifier: Apache-2.0
"""Updates along public directions: a few hundred small integers, expanded to all personal numbers exactly.

A matrix ``T`` (d, k) belongs to a base's basis. An ordinary update names ``k`` steps ``y`` along its columns, and the
change of the ``d`` personal numbers is, in integers::

    u = round(T y)        T = matrix / 2**fraction_bits, halves up

Everybody who has the basis computes the same ``u``: the products and their sum are integers below 2**53, which float64
holds exactly in whatever order they are added. What is recorded is the code of ``y`` (:mod:`ipse.wire.update`) behind
one marker bit, and what is applied is ``u``.

>>> import numpy as np
>>> made = Coordinates(np.array([[2], [-3]], np.int16), fraction_bits=1)
>>> coded = made.encode(np.array([3], np.int32), bits=4)
>>> coded.hex(), made.expand(np.array([3], np.int32)).tolist()
('440308', [3, -4])
>>> decode_change(coded, (2,), made).tolist()
[3, -4]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ipse.errors import VerificationError
from ipse.wire.update import Bits, Int32Vector, decode_update, encode_update

MARK = 0x40
"""Set in the first byte of an update that is coded along coordinates."""

MAX_COORDINATES = 1024
GROUP = 64
"""Neighbouring coordinates that share one multiplier."""

_STEP_LIMIT = 2**28
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The public directions of a basis.

    Attributes:
        matrix: (d, k) int16, ``T = matrix / 2**fraction_bits``; k at most 1024.
    """

    matrix: NDArray[np.int16]
    fraction_bits: int

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or not 0 < self.matrix.shape[1] <= MAX_COORDINATES:
            raise ValueError(f"Expected a matrix of 1 to {MAX_COORDINATES} columns, got {self.matrix.shape}.")
        self.matrix.flags.writeable = False

    @property
    def count(self) -> int:
        """K."""
        return int(self.matrix.shape[1])

    @property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the groups that share one multiplier."""
        whole, rest = divmod(self.count, GROUP)
        return (GROUP,) * whole + ((rest,) if rest else ())

    @cached_property
    def real(self) -> NDArray[np.float32]:
        """(d, k) float32: T."""
        return np.ldexp(self.matrix.astype(np.float32), -self.fraction_bits).astype(np.float32)

    @cached_property
    def _exact(self) -> NDArray[np.float64]:
        return self.matrix.astype(np.float64)

    def expand(self, steps: Int32Vector) -> Int32Vector:
        """(k,) int32 -> (d,) int32, both in the state's fixed point.

        Raises:
            VerificationError: a step of 2**28 or more, or a number that leaves int32.
        """
        if np.abs(steps.astype(np.int64)).max(initial=0) >= _STEP_LIMIT:
            raise VerificationError("An update's step along a coordinate is too long.")
        total = (self._exact @ steps.astype(np.float64)).astype(np.int64)  # exact: see the module docstring
        half = (1 << self.fraction_bits) >> 1
        change = (total + half) >> self.fraction_bits
        if np.abs(change).max(initial=0) > _INT32_MAX:
            raise VerificationError("An update along coordinates leaves int32.")
        return change.astype(np.int32)

    def encode(self, steps: Int32Vector, bits: Bits) -> bytes:
        """The bytes of an update of these steps (k,) int32, representable at these bits as `quantise` makes them."""
        coded = encode_update(steps, self.groups, bits)
        return bytes([coded[0] | MARK]) + coded[1:]


def decode_change(data: bytes, groups: Sequence[int], coordinates: Coordinates | None) -> Int32Vector:
    """The change (d,) int32 of the personal numbers that a coded update says, along coordinates or not.

    Args:
        groups: sizes of the segments of the layout.
        coordinates: of the layout's basis, if it has any.

    Raises:
        VerificationError: for any bytes that would not have been written for this layout.
    """
    if not data or not data[0] & MARK:
        return decode_update(data, groups)
    if coordinates is None:
        raise VerificationError("An update is coded along coordinates, and this basis has none.")
    return coordinates.expand(decode_update(bytes([data[0] ^ MARK]) + data[1:], coordinates.groups))
