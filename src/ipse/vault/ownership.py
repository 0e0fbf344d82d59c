# SPDX-License-Identifier: Apache-2.0
"""Showing that one holds a key: somebody asks with a fresh challenge, and the holder signs it.

    who asks      Challenge: its name, 32 random bytes, the digest of what this is about, the time
    who answers   prove: the three public keys, and Ed25519 + ML-DSA-65 over the challenge
    who asks      verify: the answer is to this challenge, in time, by one of the identities that count

A signature made for one who asks, for one thing, once, is of no use for anything else: name, subject and nonce are in
what is signed. Who asks keeps the challenge and never takes it from the answer.

Not protected: that only one answer is accepted to one challenge. Who asks forgets it after the first.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from ipse.errors import InputError, VerificationError
from ipse.vault.identity import HYBRID_SIGNATURE_BYTES, IDENTITY_BYTES, Identity, PublicIdentity
from ipse.vault.seal import sealing_context
from ipse.wire.digest import DIGEST_BYTES
from ipse.wire.ids import Randomness
from ipse.wire.lines import MAX_NUMBER

NONCE_BYTES = 32
MAX_AGE_MS = 60_000
"""How long a challenge may be answered, unless who asks says otherwise."""

PROOF_BYTES = IDENTITY_BYTES + HYBRID_SIGNATURE_BYTES

_LABEL = "ownership"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One question, to be answered once.

    Attributes:
        verifier: who asks, by a name that no other who asks has.
        nonce: 32 random bytes.
        subject: 32 bytes, digest of what ownership is to be shown of.
        issued_ms: Unix time by the clock of who asks.
    """

    verifier: str
    nonce: bytes
    subject: bytes
    issued_ms: int

    def __post_init__(self) -> None:
        if not self.verifier or len(self.nonce) != NONCE_BYTES or len(self.subject) != DIGEST_BYTES:
            raise InputError("A challenge has a verifier, 32 random bytes and a digest of 32 bytes.")
        if not 0 <= self.issued_ms <= MAX_NUMBER:
            raise InputError(f"A challenge cannot be of the time {self.issued_ms}.")

    def to_bytes(self) -> bytes:
        """What is signed."""
        return sealing_context(self.verifier, self.nonce, self.subject, self.issued_ms)


def new_challenge(verifier: str, subject: bytes, now_ms: int, rng: Randomness = secrets.token_bytes) -> Challenge:
    """A challenge that nobody has seen before.

    Raises:
        InputError: the verifier has no name, the subject is no digest.
    """
    return Challenge(verifier, rng(NONCE_BYTES), subject, now_ms)


def prove(identity: Identity, challenge: Challenge) -> bytes:
    """(6573,) bytes: the public identity, then its hybrid signature over the challenge."""
    return identity.public.to_bytes() + identity.sign(_LABEL, challenge.to_bytes())


def verify(
    proof: bytes, challenge: Challenge, owners: Iterable[PublicIdentity], now_ms: int, max_age_ms: int = MAX_AGE_MS
) -> PublicIdentity:
    """Which of these identities has answered the challenge.

    Args:
        challenge: as who asks kept it.
        owners: the identities that count: owner and devices of a fork as they are now.
        now_ms: the time by the same clock as ``issued_ms``.

    Raises:
        VerificationError: it is no proof, by nobody of them, of another challenge, or too late.
    """
    if len(proof) != PROOF_BYTES:
        raise VerificationError(f"Expected a proof of ownership of {PROOF_BYTES} bytes, got {len(proof)}.")
    who = PublicIdentity.from_bytes(proof[:IDENTITY_BYTES])
    if who not in tuple(owners):
        raise VerificationError(
            f"{who.name} is neither the owner nor a device of this fork.",
            "Use the key of its owner, or let its owner add yours: `ipse key devices add FILE`.",
        )
    who.verify(_LABEL, challenge.to_bytes(), proof[IDENTITY_BYTES:])
    if not challenge.issued_ms <= now_ms <= challenge.issued_ms + max_age_ms:
        raise VerificationError(
            f"The proof of ownership came {now_ms - challenge.issued_ms} ms after its challenge.",
            f"It has to come within {max_age_ms} ms: ask again.",
        )
    return who
