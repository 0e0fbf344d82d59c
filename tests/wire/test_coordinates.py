# SPDX-License-Identifier: Apache-2.0
"""Updates along public directions: exact in integers, one spelling, and nothing else is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.wire.coordinates import MARK, Coordinates, decode_change
from ipse.wire.update import Bits, encode_update, quantise


def made(seed: int, size: int, count: int, bits: int = 11) -> Coordinates:
    rng = np.random.default_rng(seed)
    return Coordinates(rng.integers(-(2**15) + 1, 2**15, (size, count)).astype(np.int16), bits)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 60),
    count=st.integers(1, 150),
    bits=st.sampled_from([1, 2, 4, 8]),
    fraction=st.integers(0, 20),
)
def test_a_change_is_the_rounded_product_in_whole_numbers(
    seed: int, size: int, count: int, bits: Bits, fraction: int
) -> None:
    coordinates = made(seed, size, count, fraction)
    steps = quantise(np.random.default_rng(seed).normal(size=count) * 300, coordinates.groups, bits)
    whole = [sum(int(a) * int(b) for a, b in zip(row, steps, strict=True)) for row in coordinates.matrix]
    expected = [(total + ((1 << fraction) >> 1)) >> fraction for total in whole]  # Python's own integers, halves up
    assert coordinates.expand(steps).tolist() == expected
    coded = coordinates.encode(steps, bits)
    assert decode_change(coded, (size,), coordinates).tolist() == expected


def test_the_longest_steps_are_still_exact() -> None:
    coordinates = Coordinates(np.full((1, 1024), 32767, np.int16), 15)
    steps = np.full(1024, 2**21 - 1, np.int32)
    assert coordinates.expand(steps).tolist() == [(32767 * 1024 * (2**21 - 1) + 2**14) >> 15]
    with pytest.raises(VerificationError, match="too long"):
        coordinates.expand(np.full(1024, 2**28, np.int32))
    with pytest.raises(VerificationError, match="leaves int32"):
        coordinates.expand(np.full(1024, 2**28 - 1, np.int32))


def test_an_update_along_coordinates_needs_a_basis_that_has_them() -> None:
    coded = made(0, 4, 2).encode(np.array([1, -1], np.int32), 1)
    assert coded[0] & MARK
    with pytest.raises(VerificationError, match="has none"):
        decode_change(coded, (4,), None)


def test_an_update_without_coordinates_reads_as_it_always_did() -> None:
    values = np.array([5, -5, 0], np.int32)
    assert decode_change(encode_update(values, (2, 1), 1), (2, 1), made(0, 3, 2)).tolist() == values.tolist()


@settings(deadline=None)
@given(data=st.binary(max_size=40))
def test_no_bytes_whatever_surface_as_anything_but_a_verification_error(data: bytes) -> None:
    coordinates = made(1, 5, 70)
    try:
        change = decode_change(data, (5,), coordinates)
    except VerificationError:
        return
    assert change.dtype == np.int32
    assert change.shape == (5,)


def test_an_ordinary_update_along_768_coordinates_takes_421_bytes() -> None:
    coordinates = made(2, 8, 768)
    steps = quantise(np.random.default_rng(0).normal(size=768) * 20_000, coordinates.groups, 4)
    assert len(coordinates.encode(steps, 4)) <= 421
