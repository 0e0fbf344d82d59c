# SPDX-License-Identifier: Apache-2.0
"""Keys that sign notes, and what exactly they sign.

A key has a name, a signature type and 32 secret bytes (``NoteKey``), or the public part of that (``VerifierKey``).
Three types, by the byte that C2SP gave them, and one of ours, as it leaves room for:

    0x01  Ed25519 over the text of the note                                      signed-note
    0x04  Ed25519 cosignature: over "cosignature/v1", the time, the text         tlog-cosignature
    0x06  ML-DSA-44 cosignature: over names, time, tree size and root hash       tlog-cosignature
    0xff  ML-DSA-65 over the text, context "ipse note"; further bytes name it    signed-note, "signature types"

Cosignatures carry the time at which they were made, in seconds since 1970, and sign checkpoints only. One checkpoint
of ours bears 0x01 and 0x06, the head of a fork 0x01 and 0xff: forging either takes breaking both. Sizes in bytes:
public keys 32, 1312 and 1952, signatures 64, 2420 and 3309, and 8 for the time.

Not protected: who has the secret signs. A key id is 4 bytes and only names a key; the public key is what is trusted.
A time is what the signer claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
)

from ipse.errors import InputError, VerificationError
from ipse.ledger.treehead import TreeHead, is_line
from ipse.wire.digest import sha256
from ipse.wire.lines import MAX_NUMBER, from_base64, to_base64

SEED_BYTES = 32
KEY_ID_BYTES = 4

_TIME_BYTES = 8
_LABEL = b"subtree/v1\n\0"


class SignatureType(IntEnum):
    """How a key signs."""

    ED25519 = 0x01
    ED25519_COSIGNATURE = 0x04
    ML_DSA_44_COSIGNATURE = 0x06
    ML_DSA_65 = 0xFF

    @property
    def cosigns(self) -> bool:
        """Whether it carries a time and signs checkpoints only."""
        return self in (SignatureType.ED25519_COSIGNATURE, SignatureType.ML_DSA_44_COSIGNATURE)


_PUBLIC_BYTES = {
    SignatureType.ED25519: 32,
    SignatureType.ED25519_COSIGNATURE: 32,
    SignatureType.ML_DSA_44_COSIGNATURE: 1312,
    SignatureType.ML_DSA_65: 1952,
}
_CODES = {kind: bytes([kind]) for kind in SignatureType} | {SignatureType.ML_DSA_65: b"\xffipse ml-dsa-65 v1\0"}
_ML_DSA_65_CONTEXT = b"ipse note"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public part of a key, with the name under which it signs.

    Attributes:
        name: 1 to 255 bytes of UTF-8 without spaces, control characters and plus.
        kind: how it signs.
        public: the raw public key, 32, 1312 or 1952 bytes.
    """

    name: str
    kind: SignatureType
    public: bytes

    def __post_init__(self) -> None:
        if not (is_key_name(self.name) and is_line(self.name)):
            raise VerificationError("Expected a key name of 1 to 255 bytes without spaces and plus signs.")
        if len(self.public) != _PUBLIC_BYTES[self.kind]:
            raise VerificationError(f"Expected a public key of {_PUBLIC_BYTES[self.kind]} bytes.")

    @property
    def key_id(self) -> bytes:
        """(4,) bytes: SHA-256(name || newline || type || public key), cut off."""
        return sha256(self.name.encode() + b"\n" + self._coded())[:KEY_ID_BYTES]

    def to_text(self) -> str:
        """The verifier key string: ``name+hex key id+base64(type || public key)``."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(self._coded())}"

    @classmethod
    def from_text(cls, text: str) -> VerifierKey:
        """Inverse of ``to_text``.

        Raises:
            VerificationError: the text is no verifier key, or one of a type that is not checked here.
        """
        name, _, rest = text.partition("+")
        key_id, _, coded = rest.partition("+")
        raw = from_base64(coded)
        kind = next((kind for kind, code in _CODES.items() if raw.startswith(code)), None)
        if kind is None:
            raise VerificationError("The verifier key is of an unknown type.", "Types 1, 4 and 6 can be checked.")
        key = cls(name, kind, raw[len(_CODES[kind]) :])
        if key.key_id.hex() != key_id:
            raise VerificationError(f"The key id {key_id[:8]!r} is not that of the key.", "Copy the whole line again.")
        return key

    def verify(self, text: str, signature: bytes) -> int:
        """Check a signature, without the key id before it, over a note's text.

        Returns:
            The time that a cosignature carries; 0 for an ordinary signature.

        Raises:
            VerificationError: it is not this key's signature over this text.
        """
        time_s = 0
        if self.kind.cosigns:
            time_s, signature = int.from_bytes(signature[:_TIME_BYTES], "big"), signature[_TIME_BYTES:]
        message = _message(self.kind, self.name, text, time_s)
        public: Ed25519PublicKey | MLDSA44PublicKey
        try:
            if self.kind is SignatureType.ML_DSA_65:
                MLDSA65PublicKey.from_public_bytes(self.public).verify(signature, message, _ML_DSA_65_CONTEXT)
                return time_s
            if self.kind is SignatureType.ML_DSA_44_COSIGNATURE:
                public = MLDSA44PublicKey.from_public_bytes(self.public)
            else:
                public = Ed25519PublicKey.from_public_bytes(self.public)
            public.verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(f"The signature of {self.name} is wrong.", _FORGED) from error
        return time_s

    def _coded(self) -> bytes:
        return _CODES[self.kind] + self.public


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that signs. Its text form shows no secret.

    Attributes:
        name, kind: as in its VerifierKey.
        seed: 32 secret bytes: the private key of RFC 8032, or the seed of FIPS 204. One seed for one kind only.
    """

    name: str
    kind: SignatureType
    seed: bytes

    def __post_init__(self) -> None:
        if not (is_key_name(self.name) and is_line(self.name)):
            raise InputError("Expected a key name of 1 to 255 bytes without spaces and plus signs.")
        if len(self.seed) != SEED_BYTES:
            raise InputError(f"Expected a seed of {SEED_BYTES} bytes, got {len(self.seed)}.")

    def __repr__(self) -> str:
        return f"NoteKey({self.name!r}, {self.kind!r}, hidden)"

    def verifier(self) -> VerifierKey:
        """The public part."""
        if self.kind is SignatureType.ML_DSA_65:
            public = MLDSA65PrivateKey.from_seed_bytes(self.seed).public_key().public_bytes_raw()
        else:
            public = self._private().public_key().public_bytes_raw()
        return VerifierKey(self.name, self.kind, public)

    def sign(self, text: str, time_s: int = 0) -> bytes:
        """Sign a note's text; the key id is not part of the result. ML-DSA gives other bytes each time.

        Args:
            time_s: seconds since 1970 of a cosignature; 0 makes no claim that the tree was the newest.

        Raises:
            InputError: an ordinary signature carries no time, and a cosignature none past 2**63 - 1.
            VerificationError: a cosignature signs checkpoints only.
        """
        plain = not self.kind.cosigns
        if not 0 <= time_s <= (0 if plain else MAX_NUMBER):
            raise InputError(f"A signature of type {self.kind} cannot carry the time {time_s}.")
        message = _message(self.kind, self.name, text, time_s)
        if self.kind is SignatureType.ML_DSA_65:
            return MLDSA65PrivateKey.from_seed_bytes(self.seed).sign(message, _ML_DSA_65_CONTEXT)
        signature = self._private().sign(message)
        return signature if plain else time_s.to_bytes(_TIME_BYTES, "big") + signature

    def _private(self) -> Ed25519PrivateKey | MLDSA44PrivateKey:
        if self.kind is SignatureType.ML_DSA_44_COSIGNATURE:
            return MLDSA44PrivateKey.from_seed_bytes(self.seed)
        return Ed25519PrivateKey.from_private_bytes(self.seed)


_FORGED = "The note was altered, or somebody else signed in that name; do not use it."


def is_key_name(name: str) -> bool:
    """Whether a signature line can have this name: no Unicode spaces, no plus. Keys of ours are lines too."""
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _message(kind: SignatureType, name: str, text: str, time_s: int) -> bytes:
    """What is really signed (C2SP tlog-cosignature, "signed message"). Leading lines and the label keep types apart."""
    if not kind.cosigns:
        return text.encode()
    if time_s > MAX_NUMBER:
        raise VerificationError("The time of the cosignature is past 2**63 - 1.")
    head = TreeHead.from_text(text)
    if kind is SignatureType.ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    whole_tree = bytes(8) + head.size.to_bytes(8, "big")  # from leaf 0 to the last
    return _LABEL + _short(name) + time_s.to_bytes(8, "big") + _short(head.origin) + whole_tree + head.root


def _short(text: str) -> bytes:
    """A string of 1 to 255 bytes behind its length (RFC 8446, section 3.4)."""
    raw = text.encode()
    return bytes([len(raw)]) + raw
