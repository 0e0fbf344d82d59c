# SPDX-License-Identifier: Apache-2.0
"""Laws of the encodings: what was coded comes back, and every accepted spelling is the only one."""

from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import InputError, StateOverflow, VerificationError
from ipse.wire.compress import compress, decompress
from ipse.wire.ids import parse_fork_id
from ipse.wire.update import decode_update, encode_update, quantise, update_bits

BITS = st.sampled_from([1, 2, 4, 8, 32])
GROUPS = st.lists(st.integers(0, 12), max_size=5).map(tuple)
INT32 = st.integers(-(2**31), 2**31 - 1)


@st.composite
def real_updates(draw: st.DrawFn) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], tuple[int, ...]]:
    groups = draw(GROUPS)
    scale = draw(st.sampled_from([0.0, 1.0, 1e4, 2.0**31 - 1]))
    numbers = draw(st.lists(st.floats(-1, 1), min_size=sum(groups), max_size=sum(groups)))
    return np.array(numbers, dtype=np.float64) * scale, groups


@given(real_updates(), BITS)
def test_what_was_quantised_encodes_and_decodes_exactly(
    case: tuple[np.ndarray[tuple[int], np.dtype[np.float64]], tuple[int, ...]], bits: int
) -> None:
    x, groups = case
    try:
        values = quantise(x, groups, bits)
    except StateOverflow:
        assert np.abs(x).max() > 2**31 - 200  # only rounding up by a multiplier can leave the range
        return
    coded = encode_update(values, groups, bits)
    assert update_bits(coded) == bits
    assert decode_update(coded, groups).tolist() == values.tolist()


@given(real_updates(), BITS)
def test_quantising_stays_within_its_bounds(
    case: tuple[np.ndarray[tuple[int], np.dtype[np.float64]], tuple[int, ...]], bits: int
) -> None:
    x, groups = case
    with contextlib.suppress(StateOverflow):
        values = quantise(x, groups, bits).astype(np.float64)
        start = 0
        for size in groups:
            u, v = values[start : start + size], x[start : start + size]
            start += size
            if not size:
                continue
            if bits == 1:
                assert np.ptp(np.abs(u)) == 0
                assert abs(np.abs(u[0]) - np.abs(v).mean()) <= 0.5 + 1e-6
                assert ((u >= 0) | (v < 0)).all()
            elif bits == 32:
                assert np.abs(u - v).max() <= 0.5
            else:
                top = 2 ** (bits - 1) - 1
                assert np.abs(u - v).max() <= np.ceil(np.abs(v).max() / top) / 2 + 1e-6


@given(GROUPS, st.data())
def test_raw_updates_hold_every_int32(groups: tuple[int, ...], data: st.DataObject) -> None:
    numbers = data.draw(st.lists(INT32, min_size=sum(groups), max_size=sum(groups)))
    values = np.array(numbers, dtype=np.int32)
    assert decode_update(encode_update(values, groups, 32), groups).tolist() == numbers


@given(GROUPS, BITS, st.data())
def test_small_codes_times_any_multiplier_round_trip_or_are_refused(
    groups: tuple[int, ...], bits: int, data: st.DataObject
) -> None:
    numbers: list[int] = []
    for size in groups:
        multiplier = data.draw(st.integers(0, 2**31 - 1))
        numbers += [multiplier * q for q in data.draw(st.lists(st.integers(-9, 9), min_size=size, max_size=size))]
    if any(abs(n) >= 2**31 for n in numbers):
        return
    values = np.array(numbers, dtype=np.int32)
    with contextlib.suppress(InputError):
        assert decode_update(encode_update(values, groups, bits), groups).tolist() == numbers


@settings(max_examples=500)
@given(GROUPS, BITS, st.binary(max_size=24))
def test_every_accepted_update_re_encodes_to_the_same_bytes(groups: tuple[int, ...], bits: int, rest: bytes) -> None:
    coded = bytes([bits]) + rest
    try:
        values = decode_update(coded, groups)
    except VerificationError:
        return
    assert encode_update(values, groups, bits) == coded


@given(real_updates(), BITS, st.data())
def test_every_accepted_neighbour_of_a_good_update_re_encodes_to_the_same_bytes(
    case: tuple[np.ndarray[tuple[int], np.dtype[np.float64]], tuple[int, ...]], bits: int, data: st.DataObject
) -> None:
    x, groups = case
    with contextlib.suppress(StateOverflow, VerificationError):
        coded = bytearray(encode_update(quantise(x, groups, bits), groups, bits))
        coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        values = decode_update(bytes(coded), groups)
        assert encode_update(values, groups, update_bits(bytes(coded))) == coded


@given(st.binary(max_size=400), st.integers(1, 50))
def test_compression_gives_back_what_it_was_given(data: bytes, times: int) -> None:
    assert decompress(compress(data * times)) == data * times
    assert len(compress(data)) <= len(data) + 1


@given(st.binary(max_size=60))
def test_decompressing_anything_gives_bytes_or_a_verification_error(data: bytes) -> None:
    for mark in (b"", b"\x00", b"\x01"):
        with contextlib.suppress(VerificationError):
            decompress(mark + data)


@given(st.text(max_size=30) | st.from_regex(r"f_[a-z2-7]{26}", fullmatch=True))
def test_a_text_is_a_fork_id_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_fork_id(text) == text
