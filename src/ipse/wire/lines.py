# SPDX-License-Identifier: Apache-2.0
"""Base64 and decimals as the texts of C2SP write them, each accepted in one spelling only.

One spelling means that what was accepted is written again as the same bytes: nobody can make a second text that
says the same and hashes otherwise.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from ipse.errors import VerificationError

MAX_NUMBER = 2**63 - 1
"""The largest size, index or time that is read or written."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def to_base64(data: bytes) -> str:
    """Standard alphabet, padded (RFC 4648, section 4)."""
    return b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """Inverse of ``to_base64``.

    Raises:
        VerificationError: anything that ``to_base64`` does not write: another alphabet, no padding, spare bits.
    """
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise VerificationError("Expected base64, found something else.") from error
    if to_base64(data) != text:
        raise VerificationError("Expected base64 in its one spelling, found another.")
    return data


def parse_decimal(text: str) -> int:
    """A number from 0 to 2**63 - 1 in ASCII digits, without sign or leading zeroes.

    Raises:
        VerificationError: anything else.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_NUMBER:
        raise VerificationError("Expected a decimal number from 0 to 2**63 - 1, found something else.")
    return int(text)
