# SPDX-License-Identifier: Apache-2.0
"""How an update is written down: a few bits for each number, and exact.

An update is a vector ``u`` of int32 in the state's fixed point. Within a group (a segment of the layout) every
number is a small code times one multiplier::

    u[k] = m_group * q[k]            m >= 0, exactly, in integers

The gradient is quantised first, and exactly the quantised integers are applied and recorded; what is stored is
therefore the update itself and not an approximation of it.

Bytes::

    1 byte     bits per code b: 1, 2, 4, 8 or 32
    b < 32:    one unsigned LEB128 varint m for each group, in order (0 = the group does not move)
               the codes of the groups that move, b bits each, low bits first, without gaps, zero-filled to a byte
                 b = 1:  0 is q = -1, 1 is q = +1
                 b > 1:  code - (2**(b-1) - 1) is q, from -(2**(b-1) - 1) to 2**(b-1) - 1
    b = 32:    the numbers as little-endian int32 (sums: a rollback or an import is not a small step)

There is one accepted spelling of each pair (values, bits): varints are minimal, the codes of a group have no
common factor, filling bits are zero, nothing follows. Everything else is a VerificationError.

>>> import numpy as np
>>> coded = encode_update(np.array([300, -300, 300, 0], np.int32), groups=(3, 1), bits=1)
>>> coded.hex()
'01ac020005'
>>> decode_update(coded, groups=(3, 1)).tolist()
[300, -300, 300, 0]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ipse.errors import InputError, StateOverflow, VerificationError

Bits = Literal[1, 2, 4, 8, 32]
Int32Vector = NDArray[np.int32]

_CODED_BITS = (1, 2, 4, 8)
_RAW_BITS = 32
_INT32_MAX = 2**31 - 1


def quantise(x: NDArray[np.float64], groups: Sequence[int], bits: int) -> Int32Vector:
    """The nearest update that can be written with so many bits.

    Guarantees, for each group:
        - b = 1: every number becomes +-m with m = round(mean |x|): the best scale for signs in least squares.
          Zero counts as positive. The l2 norm does not grow, up to the rounding of m.
        - b = 2, 4, 8: |u - x| <= m / 2 with m = ceil(max |x| / (2**(b-1) - 1)).
        - b = 32: |u - x| <= 1/2.
        - the result encodes with ``encode_update`` at the same bits.

    Args:
        x: (d,) float64, in fixed-point units (already multiplied by 2**FRACTION_BITS).
        groups: sizes of the groups, in order, with sum d.
        bits: 1, 2, 4, 8 or 32.

    Returns:
        (d,) int32.

    Raises:
        InputError: wrong size or bits, or a number that is not finite.
        StateOverflow: a number beyond int32.
    """
    _check_shape(x, groups, bits)
    if not np.isfinite(x).all():
        raise InputError("An update holds a number that is not finite.", "The gradient must be clipped first.")
    if bits == _RAW_BITS:
        return _to_int32(np.rint(x))
    out = np.zeros(x.shape, dtype=np.float64)
    for part in _slices(groups):
        values = x[part]
        if not values.size:
            continue
        if bits == 1:
            out[part] = np.where(values < 0, -1.0, 1.0) * np.rint(np.abs(values).mean())
        else:
            multiplier = np.ceil(np.abs(values).max() / _top_code(bits))
            if multiplier:
                out[part] = multiplier * np.rint(values / multiplier)
    return _to_int32(out)


def encode_update(values: Int32Vector, groups: Sequence[int], bits: int) -> bytes:
    """The bytes of an update.

    Args:
        values: (d,) int32, representable exactly at these bits (as ``quantise`` makes them).
        groups: sizes of the groups, in order, with sum d.
        bits: 1, 2, 4, 8 or 32.

    Raises:
        InputError: wrong size, type or bits, or a group that these bits cannot hold exactly.
    """
    _check_shape(values, groups, bits)
    if values.dtype != np.int32:
        raise InputError(f"Expected an update of int32 numbers, got {values.dtype}.")
    if bits == _RAW_BITS:
        return bytes([bits]) + values.astype("<i4").tobytes()
    out = bytearray([bits])
    codes: list[NDArray[np.uint8]] = []
    for number, part in enumerate(_slices(groups)):
        group = values[part].astype(np.int64)
        multiplier = int(np.gcd.reduce(group)) if group.size else 0
        out += _varint(multiplier)
        if not multiplier:
            continue
        q = group // multiplier
        if multiplier > _INT32_MAX or np.abs(q).max() > _top_code(bits) or (bits == 1 and not q.all()):
            raise InputError(f"Group {number} of the update cannot be written with {bits} bits.", "Quantise it first.")
        codes.append(((q + 1) // 2 if bits == 1 else q + _top_code(bits)).astype(np.uint8))
    return bytes(out) + _pack(np.concatenate(codes) if codes else np.zeros(0, np.uint8), bits)


def decode_update(data: bytes, groups: Sequence[int]) -> Int32Vector:
    """The update that the bytes say, exactly.

    Args:
        data: as from ``encode_update``.
        groups: sizes of the groups of the layout that the update belongs to.

    Returns:
        (d,) int32.

    Raises:
        VerificationError: for any bytes that ``encode_update`` would not have made for these groups.
    """
    size = sum(groups)
    bits = data[0] if data else 0
    if bits == _RAW_BITS:
        if len(data) != 1 + 4 * size:
            raise VerificationError(f"Expected an update of {1 + 4 * size} bytes, got {len(data)}.")
        return np.frombuffer(data, dtype="<i4", offset=1).astype(np.int32)
    if bits not in _CODED_BITS:
        raise VerificationError(f"An update starts with an unknown code width ({bits}).")
    at, multipliers = 1, []
    for _ in groups:
        multiplier, at = _read_varint(data, at)
        multipliers.append(multiplier)
    count = sum(n for n, m in zip(groups, multipliers, strict=True) if m)
    if len(data) - at != (count * bits + 7) // 8:
        raise VerificationError(f"Expected {(count * bits + 7) // 8} bytes of codes, got {len(data) - at}.")
    codes = _unpack(data[at:], bits, count).astype(np.int64)
    q = 2 * codes - 1 if bits == 1 else codes - _top_code(bits)
    return _scale(q, groups, multipliers, bits)


def update_bits(data: bytes) -> int:
    """How many bits each code of a coded update has.

    Raises:
        VerificationError: if the first byte names no code width.
    """
    if not data or data[0] not in (*_CODED_BITS, _RAW_BITS):
        raise VerificationError("An update starts with an unknown code width.")
    return data[0]


def _scale(q: NDArray[np.int64], groups: Sequence[int], multipliers: list[int], bits: int) -> Int32Vector:
    """Multiply out, refusing what the encoder never writes."""
    out = np.zeros(sum(groups), dtype=np.int32)
    used = 0
    for number, (part, multiplier) in enumerate(zip(_slices(groups), multipliers, strict=True)):
        if not multiplier:
            continue
        group = q[used : used + part.stop - part.start]
        used += group.size
        if not group.size or int(np.gcd.reduce(group)) != 1 or int(group.max()) > _top_code(bits):
            raise VerificationError(f"Group {number} of an update is not in its one accepted form.")
        if multiplier * int(np.abs(group).max()) > _INT32_MAX:
            raise VerificationError(f"Group {number} of an update leaves int32.")
        out[part] = group * multiplier
    return out


def _check_shape(values: NDArray[np.generic], groups: Sequence[int], bits: int) -> None:
    if bits not in get_args(Bits):
        raise InputError(f"Expected 1, 2, 4, 8 or 32 bits for each number of an update, got {bits}.")
    if values.shape != (sum(groups),):
        raise InputError(f"Expected an update of {sum(groups)} numbers, got shape {values.shape}.")


def _slices(groups: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in groups:
        yield slice(start, start + size)
        start += size


def _top_code(bits: int) -> int:
    """Largest |q|."""
    return 1 if bits == 1 else 2 ** (bits - 1) - 1


def _to_int32(x: NDArray[np.float64]) -> Int32Vector:
    if x.size and np.abs(x).max() > _INT32_MAX:
        raise StateOverflow("An update holds a number beyond the range of +-2048.", "Lower the learning rate.")
    return x.astype(np.int32)


def _pack(codes: NDArray[np.uint8], bits: int) -> bytes:
    """(n,) codes below 2**bits -> bytes, low bits first."""
    planes = (codes[:, None] >> np.arange(bits, dtype=np.uint8)) & 1  # (n, bits)
    return np.packbits(planes.reshape(-1), bitorder="little").tobytes()


def _unpack(data: bytes, bits: int, count: int) -> NDArray[np.uint8]:
    """Inverse of ``_pack``; filling bits must be zero."""
    flat = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if flat[count * bits :].any():
        raise VerificationError("The filling bits of an update are not zero.")
    planes = flat[: count * bits].reshape(count, bits)
    codes: NDArray[np.uint8] = (planes << np.arange(bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    return codes


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it) of a minimal varint of at most 31 bits."""
    value = 0
    for index in range(5):
        if at + index >= len(data):
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if (byte == 0 and index) or value > _INT32_MAX:
                break
            return value, at + index + 1
    raise VerificationError("An update holds a multiplier that is cut off, too large or not minimal.")
