# SPDX-License-Identifier: Apache-2.0
"""Digests of bytes."""

from __future__ import annotations

from ipse.wire.digest import sha256, short


def test_sha256_is_sha256() -> None:  # FIPS 180-4, the example "abc"
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_short_digest_is_its_first_eight_bytes() -> None:
    assert short(sha256(b"abc")) == "ba7816bf8f01cfea"
