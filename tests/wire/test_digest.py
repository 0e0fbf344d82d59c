# SPDX-License-Identifier: Apache-2.0
"""Digests of bytes and files."""

from __future__ import annotations

from pathlib import Path

from ipse.wire.digest import sha256, sha256_file, short


def test_sha256_is_sha256() -> None:  # FIPS 180-4, the example "abc"
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_file(path) == sha256(b"abc" * 100_000)
    assert short(sha256(b"abc")) == "ba7816bf8f01cfea"
