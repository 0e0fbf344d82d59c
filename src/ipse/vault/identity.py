# SPDX-License-Identifier: Apache-2.0
"""Who an owner is to others: three keys of one root, and what they do.

    root key ── HKDF, a label each ──┬── Ed25519       signs every record, and with the next one what weighs more
                                     ├── ML-DSA-65     signs heads, certificates and proofs of ownership
                                     └── X-Wing        opens data keys (X25519 and ML-KEM-768 together)

A *hybrid signature* is both signatures, 64 + 3309 bytes, over one message; both must verify, so forging takes
breaking both. The identity id is a digest over all three public keys: none can be exchanged or left out.

What is signed is ``"ipse/v1/" label 0x00 data``: a signature made for one purpose says nothing for another. ML-DSA is
given the label as its context too.

X-Wing keys are expanded from 32 bytes as draft-connolly-cfrg-xwing-kem says (SHAKE256, 96 bytes); sealing is HPKE
(RFC 9180, draft-ietf-hpke-pq) in base mode with X-Wing, HKDF-SHA256 and AES-256-GCM: it does not say who sealed.

Not protected: an identity is what it is trusted for, and nothing here says whose it is. Compare ids by another way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from ipse.errors import VerificationError, WrongKey
from ipse.vault.keys import RootKey, derive
from ipse.wire.digest import sha256
from ipse.wire.lines import from_base64, to_base64

ED25519_BYTES = 32
ML_DSA_65_BYTES = 1952
ML_KEM_768_BYTES = 1184
X_WING_BYTES = ML_KEM_768_BYTES + 32
IDENTITY_BYTES = ED25519_BYTES + ML_DSA_65_BYTES + X_WING_BYTES

SIGNATURE_BYTES = 64
HYBRID_SIGNATURE_BYTES = SIGNATURE_BYTES + 3309

IDENTITY_ID_BYTES = 16
SHORT_ID_BYTES = 8

_TEXT_MARK = "ipse-identity-v1:"
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class PublicIdentity:
    """What others may know of an owner or a device.

    Attributes:
        ed25519: 32 bytes.
        ml_dsa_65: 1952 bytes.
        x_wing: 1216 bytes: ML-KEM-768, then X25519.
    """

    ed25519: bytes
    ml_dsa_65: bytes
    x_wing: bytes

    def __post_init__(self) -> None:
        sizes = (len(self.ed25519), len(self.ml_dsa_65), len(self.x_wing))
        if sizes != (ED25519_BYTES, ML_DSA_65_BYTES, X_WING_BYTES):
            raise VerificationError(f"Expected public keys of 32, 1952 and 1216 bytes, got {sizes}.")

    @cached_property
    def id(self) -> bytes:
        """(16,) bytes: digest over all three keys, cut off."""
        return sha256(b"ipse identity v1\0" + self.to_bytes())[:IDENTITY_ID_BYTES]

    @property
    def short_id(self) -> bytes:
        """(8,) bytes: the start of the id. It names, and is never what is trusted."""
        return self.id[:SHORT_ID_BYTES]

    @property
    def name(self) -> str:
        """The id for people: ``i_`` and 32 hex characters."""
        return "i_" + self.id.hex()

    def to_bytes(self) -> bytes:
        """The three keys, one after the other."""
        return self.ed25519 + self.ml_dsa_65 + self.x_wing

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicIdentity:
        """Inverse of ``to_bytes``.

        Raises:
            VerificationError: another length.
        """
        first, second = ED25519_BYTES, ED25519_BYTES + ML_DSA_65_BYTES
        return cls(data[:first], data[first:second], data[second:])

    def to_text(self) -> str:
        """One line to hand to others."""
        return _TEXT_MARK + to_base64(self.to_bytes())

    @classmethod
    def from_text(cls, text: str) -> PublicIdentity:
        """Inverse of ``to_text``; outer blanks, and lines that start with #, do not matter.

        Raises:
            VerificationError: the text holds anything but one identity.
        """
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if len(lines) != 1 or not lines[0].startswith(_TEXT_MARK):
            raise VerificationError(
                "This is not the public identity of an owner or device.",
                "It is one line that starts with ipse-identity-v1; `ipse key show --public` prints it.",
            )
        return cls.from_bytes(from_base64(lines[0].removeprefix(_TEXT_MARK)))

    def verify_record(self, label: str, data: bytes, signature: bytes) -> None:
        """Check an Ed25519 signature.

        Raises:
            VerificationError: it is not this identity's over these bytes for this purpose.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.ed25519).verify(signature, _message(label, data))
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(f"The signature of {self.name} is wrong.") from error

    def verify(self, label: str, data: bytes, signature: bytes) -> None:
        """Check a hybrid signature: both must be right.

        Raises:
            VerificationError: either is not.
        """
        if len(signature) != HYBRID_SIGNATURE_BYTES:
            raise VerificationError(f"Expected a signature of {HYBRID_SIGNATURE_BYTES} bytes, got {len(signature)}.")
        self.verify_record(label, data, signature[:SIGNATURE_BYTES])
        try:
            public = MLDSA65PublicKey.from_public_bytes(self.ml_dsa_65)
            public.verify(signature[SIGNATURE_BYTES:], _message(label, data), label.encode())
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(f"The ML-DSA-65 signature of {self.name} is wrong.") from error

    def seal_to(self, plaintext: bytes, info: bytes) -> bytes:
        """Seal to this identity: 1136 bytes longer than the plaintext.

        Args:
            info: what it is and where it belongs (``sealing_context``); opening with another one fails.

        Raises:
            VerificationError: the public key is none.
        """
        try:
            kem = MLKEM768PublicKey.from_public_bytes(self.x_wing[:ML_KEM_768_BYTES])
            dh = X25519PublicKey.from_public_bytes(self.x_wing[ML_KEM_768_BYTES:])
            return _SUITE.encrypt(plaintext, MLKEM768X25519PublicKey(kem, dh), info)
        except ValueError as error:
            raise VerificationError(f"The X-Wing key of {self.name} is not one.") from error


class Identity:
    """The secret side of a root's identity. Its text form shows the public id only."""

    def __init__(self, root: RootKey) -> None:
        self.ed25519_seed = derive(root, "identity ed25519")
        self.ml_dsa_65_seed = derive(root, "identity ml-dsa-65")
        self._x_wing_seed = derive(root, "identity x-wing")

    def __repr__(self) -> str:
        return f"Identity({self.public.name}, hidden)"

    @cached_property
    def public(self) -> PublicIdentity:
        """What others may know."""
        return PublicIdentity(
            self._ed25519.public_key().public_bytes_raw(),
            self._ml_dsa_65.public_key().public_bytes_raw(),
            self._kem.public_key().public_bytes_raw() + self._dh.public_key().public_bytes_raw(),
        )

    def sign_record(self, label: str, data: bytes) -> bytes:
        """(64,) bytes: Ed25519."""
        return self._ed25519.sign(_message(label, data))

    def sign(self, label: str, data: bytes) -> bytes:
        """(3373,) bytes: Ed25519, then ML-DSA-65; other bytes each time."""
        return self.sign_record(label, data) + self._ml_dsa_65.sign(_message(label, data), label.encode())

    def open_sealed(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to this identity.

        Raises:
            WrongKey: it was sealed to another, or altered, or is of another place.
        """
        try:
            return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(self._kem, self._dh), info)
        except (InvalidTag, ValueError) as error:
            raise WrongKey(
                f"This was not sealed to {self.public.name}, or it was altered.", "Use the key that it is meant for."
            ) from error

    @cached_property
    def _ed25519(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.ed25519_seed)

    @cached_property
    def _ml_dsa_65(self) -> MLDSA65PrivateKey:
        return MLDSA65PrivateKey.from_seed_bytes(self.ml_dsa_65_seed)

    @cached_property
    def _expanded(self) -> bytes:
        return hashlib.shake_256(self._x_wing_seed).digest(96)

    @cached_property
    def _kem(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self._expanded[:64])

    @cached_property
    def _dh(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._expanded[64:])


def _message(label: str, data: bytes) -> bytes:
    return b"ipse/v1/" + label.encode() + b"\0" + data
