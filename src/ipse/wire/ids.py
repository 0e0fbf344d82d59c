# SPDX-License-Identifier: Apache-2.0
"""Names of things: forks, owners, bases, operations.

A fork id and an operation id are random: they say nothing about their owner and need no registry. A base id is
the start of a digest: 8 bytes, which is what the proposal budgets for a base reference (R58).
"""

from __future__ import annotations

import re
import secrets
from base64 import b32decode, b32encode
from collections.abc import Callable
from typing import NewType

from ipse.errors import InputError

ForkId = NewType("ForkId", str)
"""``f_`` and 26 lower-case base32 characters: 128 random bits."""

OwnerId = NewType("OwnerId", str)
"""What the surrounding application calls its user. Not a secret, and never a source of keys."""

BaseId = NewType("BaseId", str)
"""First 8 bytes of a base's weight digest, 16 hex characters."""

OP_ID_BYTES = 16
MAX_OWNER_BYTES = 128

Randomness = Callable[[int], bytes]
"""How random bytes are drawn: ``secrets.token_bytes`` outside tests."""

_FORK_ID = re.compile(r"f_[a-z2-7]{26}", re.ASCII)
_BASE_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def new_fork_id(rng: Randomness = secrets.token_bytes) -> ForkId:
    """A fresh fork id."""
    return ForkId("f_" + b32encode(rng(16)).decode().rstrip("=").lower())


def parse_fork_id(text: str) -> ForkId:
    """Accept exactly what ``new_fork_id`` can make.

    Raises:
        InputError: for anything else, also for an alias of an id (26 characters hold 2 bits more than 128).
    """
    if _FORK_ID.fullmatch(text):
        raw = b32decode(text[2:].upper() + "======")
        if new_fork_id(lambda _: raw) == text:
            return ForkId(text)
    raise InputError(f"{text[:60]!r} is not a fork id.", "A fork id is f_ and 26 letters or digits from a-z and 2-7.")


def parse_owner_id(text: str) -> OwnerId:
    """Accept 1 to 128 bytes of UTF-8 without control characters or outer spaces.

    Raises:
        InputError: for anything else.
    """
    if text and text == text.strip() and text.isprintable() and len(text.encode()) <= MAX_OWNER_BYTES:
        return OwnerId(text)
    raise InputError(
        f"{text[:60]!r} cannot name an owner.",
        f"Use 1 to {MAX_OWNER_BYTES} bytes of printable text without spaces at its ends.",
    )


def base_id(weight_digest: bytes) -> BaseId:
    """The id of the base with this SHA-256 over its weights."""
    return BaseId(weight_digest[:8].hex())


def parse_base_id(text: str) -> BaseId:
    """Accept 16 lower-case hex characters.

    Raises:
        InputError: for anything else.
    """
    if not _BASE_ID.fullmatch(text):
        raise InputError(f"{text[:60]!r} is not a base id.", "A base id is 16 lower-case hex characters.")
    return BaseId(text)


def new_op_id(rng: Randomness = secrets.token_bytes) -> bytes:
    """16 random bytes that name one operation, chosen before it starts.

    They make a retry recognisable: a crash may leave a record that was written but never acknowledged.
    """
    return rng(OP_ID_BYTES)
