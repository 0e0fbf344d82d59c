# SPDX-License-Identifier: Apache-2.0
"""Base64 and decimals have one spelling."""

from __future__ import annotations

import pytest

from ipse.errors import VerificationError
from ipse.wire.lines import from_base64, parse_decimal, to_base64


def test_base64_comes_back() -> None:
    for data in (b"", b"\0", b"\xfb\xff", bytes(range(256))):
        assert from_base64(to_base64(data)) == data
    assert to_base64(b"\xfb\xff\xfe") == "+//+"


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AB==", "AAB=", "AA==\n", " AA==", "-_-_", "AA==AA==", "é", "\ud800", "===="]
)
def test_another_spelling_of_base64_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        from_base64(text)


def test_decimals_end_at_2_to_the_63() -> None:
    assert [parse_decimal(text) for text in ("0", "10", str(2**63 - 1))] == [0, 10, 2**63 - 1]
    for text in ("", "00", "01", "-1", "+1", " 1", "1 ", "1\n", "1_0", "0x1", "1.0", "٣", "²", str(2**63), "1" * 20):
        with pytest.raises(VerificationError):
            parse_decimal(text)
