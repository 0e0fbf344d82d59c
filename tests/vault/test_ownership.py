# SPDX-License-Identifier: Apache-2.0
"""A proof of ownership is good for one challenge, one subject, one who asks, and a short time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import InputError, VerificationError
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey
from ipse.vault.ownership import MAX_AGE_MS, PROOF_BYTES, Challenge, new_challenge, prove, verify

OWNER, DEVICE, STRANGER = (Identity(RootKey(bytes([number]) * 32)) for number in (1, 2, 3))
MEMBERS = (OWNER.public, DEVICE.public)
NOW = 1_790_000_000_000
SUBJECT = bytes(31) + b"s"
ASKED = new_challenge("example.org/ipse", SUBJECT, NOW)
PROOF = prove(OWNER, ASKED)


def test_owner_and_device_answer_and_it_is_said_who_did() -> None:
    assert verify(PROOF, ASKED, MEMBERS, NOW + 5) == OWNER.public
    assert verify(prove(DEVICE, ASKED), ASKED, MEMBERS, NOW) == DEVICE.public


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, verifier="example.com/ipse"),
        replace(ASKED, nonce=new_challenge("x", SUBJECT, NOW).nonce),
        replace(ASKED, subject=bytes(32)),
        replace(ASKED, issued_ms=NOW + 1),
    ],
    ids=["another who asks", "an old nonce", "another bundle", "another time"],
)
def test_an_answer_to_another_challenge_is_none_to_this_one(other: Challenge) -> None:
    with pytest.raises(VerificationError, match="signature of i_"):
        verify(PROOF, other, MEMBERS, NOW + 5)


def test_two_challenges_are_never_the_same() -> None:
    assert len({new_challenge("x", SUBJECT, NOW).nonce for _ in range(64)}) == 64


def test_strangers_and_those_who_are_out_show_nothing() -> None:
    with pytest.raises(VerificationError, match="neither the owner nor a device"):
        verify(prove(STRANGER, ASKED), ASKED, MEMBERS, NOW)
    with pytest.raises(VerificationError, match="neither the owner nor a device"):
        verify(prove(DEVICE, ASKED), ASKED, (OWNER.public,), NOW)


def test_a_stranger_who_sends_the_owners_keys_has_no_signature_for_them() -> None:
    forged = OWNER.public.to_bytes() + prove(STRANGER, ASKED)[len(OWNER.public.to_bytes()) :]
    with pytest.raises(VerificationError, match="signature"):
        verify(forged, ASKED, MEMBERS, NOW)


def test_it_has_to_come_in_time() -> None:
    assert verify(PROOF, ASKED, MEMBERS, NOW + MAX_AGE_MS) == OWNER.public
    for late in (NOW + MAX_AGE_MS + 1, NOW - 1):
        with pytest.raises(VerificationError, match="after its challenge"):
            verify(PROOF, ASKED, MEMBERS, late)


@given(st.integers(0, PROOF_BYTES * 8 - 1))
def test_no_bit_of_a_proof_can_be_another(bit: int) -> None:
    bad = bytearray(PROOF)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(VerificationError):
        verify(bytes(bad), ASKED, MEMBERS, NOW)


@given(st.binary(max_size=64) | st.binary(min_size=PROOF_BYTES - 1, max_size=PROOF_BYTES + 1))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(VerificationError):
        verify(data, ASKED, MEMBERS, NOW)


def test_a_challenge_that_could_be_mistaken_is_not_made() -> None:
    for wrong in ({"verifier": ""}, {"nonce": b""}, {"subject": b"short"}, {"issued_ms": -1}, {"issued_ms": 2**63}):
        with pytest.raises(InputError):
            replace(ASKED, **wrong)
