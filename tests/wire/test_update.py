# SPDX-License-Identifier: Apache-2.0
"""The coding of updates: known bytes, refused bytes."""

from __future__ import annotations

import numpy as np
import pytest

from ipse.errors import InputError, StateOverflow, VerificationError
from ipse.wire.update import decode_update, encode_update, quantise, update_bits

MAX = 2**31 - 1


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("values", "groups", "bits", "coded"),
    [
        (ints(300, -300, 300, 0), (3, 1), 1, "01 ac02 00 05"),
        (ints(7, 0, -7), (3,), 2, "02 07 06"),  # codes 2 1 0
        (ints(3, -7, 1), (3,), 4, "04 01 0a 08"),  # codes 10 0 8
        (ints(127, -126), (2,), 8, "08 01 fe 01"),
        (ints(1, -1), (2,), 32, "20 01000000 ffffffff"),
        (ints(0, 0), (1, 1), 1, "01 00 00"),
        (ints(), (), 1, "01"),
        (ints(MAX, -MAX), (1, 1), 1, "01 ffffffff07 ffffffff07 01"),
    ],
)
def test_these_numbers_have_these_bytes(
    values: np.ndarray[tuple[int], np.dtype[np.int32]], groups: tuple[int, ...], bits: int, coded: str
) -> None:
    data = bytes.fromhex(coded)
    assert encode_update(values, groups, bits).hex() == data.hex()
    assert decode_update(data, groups).tolist() == values.tolist()
    assert update_bits(data) == bits


@pytest.mark.parametrize(
    ("why", "groups", "data"),
    [
        ("no bytes", (2,), b""),
        ("unknown width", (2,), b"\x03\x01\x00"),
        ("width only", (2,), b"\x01"),
        ("multiplier cut off", (2,), b"\x01\x80"),
        ("multiplier not minimal", (2,), b"\x01\x81\x00\x03"),
        ("multiplier of 32 bits", (1,), b"\x01\x80\x80\x80\x80\x08\x01"),
        ("multiplier of 6 bytes", (1,), b"\x01\x80\x80\x80\x80\x80\x01\x01"),
        ("codes missing", (2,), b"\x01\x01"),
        ("one byte too many", (2,), b"\x01\x01\x03\x00"),
        ("filling bits set", (2,), b"\x01\x01\x07"),
        ("code out of range", (2,), b"\x02\x01\x0e"),
        ("codes all zero", (2,), b"\x02\x01\x05"),
        ("common factor", (2,), b"\x04\x01\x9b"),  # q = 4, 2
        ("product beyond int32", (1,), b"\x04\xff\xff\xff\xff\x07\x09"),  # m = 2**31-1, q = 2: also a common factor
        ("product beyond int32, coprime", (2,), b"\x04\xff\xff\xff\xff\x07\xa9"),  # q = 2, 3
        ("raw too short", (2,), b"\x20" + bytes(7)),
        ("raw too long", (2,), b"\x20" + bytes(9)),
        ("empty group that moves", (0,), b"\x01\x01"),
    ],
)
def test_any_other_spelling_is_refused(why: str, groups: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(VerificationError):
        decode_update(data, groups)


def test_an_unknown_width_is_refused_when_asked_for_it() -> None:
    for data in (b"", b"\x00", b"\x05"):
        with pytest.raises(VerificationError):
            update_bits(data)


def test_numbers_that_the_bits_cannot_hold_are_refused_and_not_rounded() -> None:
    for values, bits in ((ints(1, 2), 1), (ints(1, 0), 1), (ints(1, 2), 2), (ints(1, 8), 4), (ints(-(2**31), 0), 8)):
        with pytest.raises(InputError):
            encode_update(values, (2,), bits)


def test_wrong_sizes_types_and_bits_are_refused() -> None:
    with pytest.raises(InputError):
        encode_update(ints(1, 2), (3,), 32)
    with pytest.raises(InputError):
        encode_update(ints(1, 2), (2,), 3)
    with pytest.raises(InputError):
        encode_update(np.zeros(2, np.int64), (2,), 32)
    with pytest.raises(InputError):
        quantise(np.zeros(2), (3,), 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
def test_a_number_that_is_not_finite_is_refused(bits: int) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError):
            quantise(np.array([1.0, bad]), (2,), bits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
def test_a_number_beyond_int32_is_an_overflow_and_never_wraps(bits: int) -> None:
    with pytest.raises(StateOverflow):
        quantise(np.array([3e9]), (1,), bits)


def test_one_bit_keeps_signs_and_the_mean_magnitude() -> None:
    assert quantise(np.array([1.0, -3.0, 0.0, 8.0]), (4,), 1).tolist() == [3, -3, 3, 3]


def test_a_group_of_zeros_stays_zero() -> None:
    for bits in (1, 2, 4, 8, 32):
        assert quantise(np.array([0.0, 0.0, 5.0]), (2, 1), bits).tolist() == [0, 0, 5]


def test_an_ordinary_update_of_1804_numbers_takes_279_bytes() -> None:
    groups = [64] * 24 + [256, 12]
    x = np.random.default_rng(0).normal(size=1804) * 1e4
    assert len(encode_update(quantise(x, groups, 1), groups, 1)) == 1 + 26 * 2 + 226
