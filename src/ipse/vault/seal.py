# SPDX-License-Identifier: Apache-2.0
"""Sealing: authenticated encryption to the owner, and back. AES-256-GCM from ``cryptography``, nothing of our own.

Two forms:

``seal`` / ``open_sealed``: a blob that stands alone. ::

    32 bytes   commitment: HKDF(key, "seal commitment", nonce)
    n bytes    AES-256-GCM ciphertext under HKDF(key, "seal", nonce), then its 16-byte tag

AES-GCM alone is not key-committing: who knows two keys can make one ciphertext that opens under both, to different
texts. The commitment fixes the key. (A record needs no commitment for each of its parts: its MAC covers them all
and fixes the key, so its parts use ``seal_part``.)

``seal_salted`` / ``open_salted``: for things written any number of times, like snapshots: a fresh random salt of 32
bytes gives a fresh key each time, so the nonce may be constant. ::

    32 bytes   salt
    rest       seal(HKDF(parent key, label, salt), nonce = 0)

What sealing does not hide: the length, and when it was written. What it does not prevent: putting back an older
blob for the same place. Records are protected from that by their chain; snapshots only cache them.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ipse.errors import VerificationError, WrongKey
from ipse.vault.keys import KEY_BYTES, ForkKey, derive
from ipse.wire.compress import compress, decompress
from ipse.wire.ids import ForkId

NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 32
COMMITMENT_BYTES = 32


def sealing_context(*parts: bytes | str | int) -> bytes:
    """Associated data that names the place of a sealed thing, without ambiguity.

    Each part is preceded by its length (4 bytes, big-endian); an int is 8 bytes, big-endian.
    """
    out = bytearray()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part.to_bytes(8, "big") if isinstance(part, int) else part
        out += len(raw).to_bytes(4, "big") + raw
    return bytes(out)


def seal(key: bytes, plaintext: bytes, *, nonce: bytes, context: bytes) -> bytes:
    """Seal under a key that the result commits to.

    Args:
        key: 32 bytes.
        nonce: 12 bytes. The caller must never seal two different things with the same key and nonce: with
            AES-GCM that reveals both and lets anybody forge.
        context: associated data (``sealing_context``): opening with another one fails.
    """
    return derive(key, "seal commitment", nonce) + seal_part(
        derive(key, "seal", nonce), plaintext, nonce=nonce, context=context
    )


def open_sealed(key: bytes, sealed: bytes, *, nonce: bytes, context: bytes) -> bytes:
    """What was sealed.

    Raises:
        WrongKey: another key was used (or the commitment itself was altered, which looks the same).
        VerificationError: any other byte was altered, or the context is another.
    """
    if len(sealed) < COMMITMENT_BYTES + TAG_BYTES:
        raise VerificationError(f"Sealed data are cut off: {len(sealed)} bytes.")
    if not hmac.compare_digest(sealed[:COMMITMENT_BYTES], derive(key, "seal commitment", nonce)):
        raise WrongKey("The key does not fit the sealed data.", "Use the key that they were sealed with.")
    return open_part(derive(key, "seal", nonce), sealed[COMMITMENT_BYTES:], nonce=nonce, context=context)


def seal_part(key: bytes, plaintext: bytes, *, nonce: bytes, context: bytes) -> bytes:
    """AES-256-GCM and no more: 16 bytes longer than the plaintext, and NOT key-committing.

    Only for parts of something that itself fixes the key. The same duty about nonces as in ``seal``.
    """
    _check_sizes(key, nonce)
    return AESGCM(key).encrypt(nonce, plaintext, context)


def open_part(key: bytes, sealed: bytes, *, nonce: bytes, context: bytes) -> bytes:
    """What ``seal_part`` sealed.

    Raises:
        VerificationError: any byte, the key or the context is another.
    """
    _check_sizes(key, nonce)
    if len(sealed) < TAG_BYTES:
        raise VerificationError(f"Sealed data are cut off: {len(sealed)} bytes.")
    try:
        return AESGCM(key).decrypt(nonce, sealed, context)
    except InvalidTag as error:
        raise VerificationError("Sealed data were altered, or the key or their place is another.") from error


def seal_salted(
    parent: ForkKey | bytes,
    label: str,
    plaintext: bytes,
    *,
    context: bytes,
    rng: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """Seal under a fresh key of this parent.

    The all-zero nonce is safe: a key with a fresh salt of 32 bytes is used once.
    """
    salt = rng(SALT_BYTES)
    return salt + seal(derive(parent, label, salt), plaintext, nonce=bytes(NONCE_BYTES), context=context)


def open_salted(parent: ForkKey | bytes, label: str, sealed: bytes, *, context: bytes) -> bytes:
    """What ``seal_salted`` sealed.

    Raises:
        VerificationError: any byte, the key, the label or the context is another (often as WrongKey: an altered
            salt gives another key).
    """
    if len(sealed) < SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES:
        raise VerificationError(f"Sealed data are cut off: {len(sealed)} bytes.")
    key = derive(parent, label, sealed[:SALT_BYTES])
    return open_sealed(key, sealed[SALT_BYTES:], nonce=bytes(NONCE_BYTES), context=context)


def seal_snapshot(key: ForkKey, seq: int, plaintext: bytes, rng: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """A snapshot of the fork after record ``seq``, compressed and sealed. ``seq`` 0: before its first record."""
    context = _snapshot_context(key.fork_id, seq)
    return seal_salted(key, "snapshot", compress(plaintext), context=context, rng=rng)


def open_snapshot(key: ForkKey, seq: int, sealed: bytes) -> bytes:
    """What ``seal_snapshot`` sealed.

    Raises:
        VerificationError: damaged, or of another fork or height. A snapshot is only a cache: log a warning, drop
            it and fold the records instead.
    """
    try:
        return decompress(open_salted(key, "snapshot", sealed, context=_snapshot_context(key.fork_id, seq)))
    except VerificationError as error:
        raise VerificationError(f"The snapshot of fork {key.fork_id} at {seq} does not open: {error}") from error


def _snapshot_context(fork_id: ForkId, seq: int) -> bytes:
    return sealing_context("snapshot", fork_id, seq)


def _check_sizes(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"Expected a key of 32 and a nonce of 12 bytes, got {len(key)} and {len(nonce)}")
