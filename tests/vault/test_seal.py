# SPDX-License-Identifier: Apache-2.0
"""Sealing: what opens, and everything that must not."""

from __future__ import annotations

import pytest

from ipse.errors import VerificationError, WrongKey
from ipse.vault.keys import RootKey, fork_key
from ipse.vault.seal import (
    open_part,
    open_salted,
    open_sealed,
    open_snapshot,
    seal,
    seal_part,
    seal_salted,
    seal_snapshot,
    sealing_context,
)
from ipse.wire.ids import new_fork_id

KEY, OTHER = bytes(range(32)), bytes(32)
NONCE = bytes(12)
FORK = fork_key(RootKey(KEY), new_fork_id())


def test_what_was_sealed_opens() -> None:
    for plaintext in (b"", b"x", b"hello" * 1000):
        assert open_sealed(KEY, seal(KEY, plaintext, nonce=NONCE, context=b"c"), nonce=NONCE, context=b"c") == plaintext
        assert (
            open_part(KEY, seal_part(KEY, plaintext, nonce=NONCE, context=b"c"), nonce=NONCE, context=b"c") == plaintext
        )
        assert open_salted(KEY, "label", seal_salted(KEY, "label", plaintext, context=b"c"), context=b"c") == plaintext


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    sealed = seal(KEY, b"hello", nonce=NONCE, context=b"c")
    for at in range(len(sealed) * 8):
        bad = bytearray(sealed)
        bad[at // 8] ^= 1 << at % 8
        with pytest.raises(VerificationError):
            open_sealed(KEY, bytes(bad), nonce=NONCE, context=b"c")
    for size in range(len(sealed)):
        with pytest.raises(VerificationError):
            open_sealed(KEY, sealed[:size], nonce=NONCE, context=b"c")


def test_another_key_is_told_as_such() -> None:
    with pytest.raises(WrongKey):
        open_sealed(OTHER, seal(KEY, b"hello", nonce=NONCE, context=b"c"), nonce=NONCE, context=b"c")


def test_another_context_or_nonce_opens_nothing() -> None:
    sealed = seal(KEY, b"hello", nonce=NONCE, context=b"c")
    for nonce, context in ((NONCE, b"d"), (NONCE, b""), (b"\1" * 12, b"c")):
        with pytest.raises(VerificationError):
            open_sealed(KEY, sealed, nonce=nonce, context=context)


def test_the_sealed_form_shows_nothing_of_the_text() -> None:
    assert b"hello" not in seal(KEY, b"hello" * 10, nonce=NONCE, context=b"hello")


def test_sealing_twice_with_a_salt_never_gives_the_same_bytes() -> None:
    first, second = (seal_salted(KEY, "label", b"same", context=b"") for _ in range(2))
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


def test_a_snapshot_opens_only_as_what_it_is() -> None:
    other_fork = fork_key(RootKey(KEY), new_fork_id())
    sealed = seal_snapshot(FORK, 7, b"\0" * 4000)
    assert open_snapshot(FORK, 7, sealed) == b"\0" * 4000
    assert len(sealed) < 200
    for key, seq in ((FORK, 8), (other_fork, 7)):
        with pytest.raises(VerificationError, match="snapshot"):
            open_snapshot(key, seq, sealed)
    for size in (0, 31, 32, 79, len(sealed) - 1):
        with pytest.raises(VerificationError):
            open_snapshot(FORK, 7, sealed[:size])


def test_two_lists_of_parts_never_have_the_same_context() -> None:
    lists: list[tuple[bytes | str | int, ...]] = [
        ("ab",),
        ("a", "b"),
        ("", "ab"),
        ("ab", ""),
        (),
        ("",),
        (0,),
        ("ab", 0),
    ]
    assert len({sealing_context(*parts) for parts in lists}) == len(lists)


def test_keys_and_nonces_of_other_sizes_are_a_mistake() -> None:
    for key, nonce in ((KEY[:16], NONCE), (KEY, NONCE[:8])):
        with pytest.raises(ValueError, match="32 and a nonce of 12"):
            seal_part(key, b"", nonce=nonce, context=b"")


def test_the_form_of_sealed_bytes_never_changes() -> None:
    """Frozen: if this fails, nothing that was sealed before can be opened."""
    assert (
        seal(KEY, b"hello", nonce=NONCE, context=b"c").hex()
        == "68553783fca1c394c04c71458ddd8efd63c4c26342e5ca58a4f58e50f4fdaab9ccebd4543e978a6849dd784daa1dc8d424a141734f"
    )
