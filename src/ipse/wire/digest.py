# SPDX-License-Identifier: Apache-2.0
"""SHA-256, the one digest of the project, over bytes."""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 32

NO_DIGEST = bytes(DIGEST_BYTES)
"""Stands where a first record names its predecessor. No preimage of it is known."""


def sha256(data: bytes) -> bytes:
    """(32,) bytes."""
    return hashlib.sha256(data).digest()


def short(digest: bytes) -> str:
    """First 8 bytes in hex: for logs and messages, never for a check."""
    return digest[:8].hex()
