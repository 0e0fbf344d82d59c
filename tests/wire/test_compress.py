# SPDX-License-Identifier: Apache-2.0
"""Compression of fields."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from ipse.errors import VerificationError
from ipse.wire.compress import compress, decompress

SENTENCE = b"It was the best of times, it was the worst of times, it was the age of wisdom."


def test_random_bytes_grow_by_one_byte_only() -> None:
    data = os.urandom(300)
    assert len(compress(data)) == 301


def test_ordinary_text_shrinks() -> None:
    assert len(compress(SENTENCE)) < len(SENTENCE) * 0.85
    assert decompress(compress(SENTENCE)) == SENTENCE


@pytest.mark.parametrize("data", [b"", b"\x02abc", b"\x01", b"\x01\x00", b"\x01" + b"\xff" * 20, b"\xff"])
def test_bytes_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        decompress(data)


def test_bytes_after_the_frame_are_refused() -> None:
    with pytest.raises(VerificationError):
        decompress(compress(SENTENCE) + b"x")


def test_a_frame_that_claims_a_terabyte_is_refused_before_memory_is_taken() -> None:
    claim = b"\x01" + b"\xe0" + (2**40).to_bytes(8, "little") + b"\x01\x00\x00"  # header: single segment, 8-byte size
    tracemalloc.start()
    with pytest.raises(VerificationError, match="claim"):
        decompress(claim)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_more_than_the_limit_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.wire.compress.MAX_PLAIN_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10"):
        compress(bytes(11))
    with pytest.raises(VerificationError):
        decompress(b"\x00" + bytes(11))
