# SPDX-License-Identifier: Apache-2.0
"""Keys: one random root on the owner's side, and everything else derived from it.

    root key            32 random bytes in one file, never sent anywhere
    ├── identity        Ed25519, ML-DSA-65, X-Wing: signs, and opens data keys (identity.py)
    └── check value     of each fork: tells a wrong root from a damaged record
    data key            32 random bytes a day and fork, wrapped to the identity (datakeys.py)
    ├── record keys     one for each record, and one for their MACs (ledger/record.py)
    ├── snapshot keys   one for each snapshot (seal.py)
    └── blinding key    from a fork's first data key: hides its heads in the public log (ledger/forkhead.py)

The proposal derives the key from the user id (R40). An id is not a secret, so we do not.

The root lies in a key file, in a wrap under a passphrase (wraps.py), or in both; keyring.py keeps the two, and
words.py spells the root for paper.

Not protected here: who can read the key file, or this process's memory, can read the forks. Python cannot wipe
memory.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b32decode, b32encode
from binascii import Error as Base32Error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ipse.errors import VaultError, WrongKey
from ipse.vault.files import create_file, read_secret
from ipse.wire.ids import ForkId

KEY_BYTES = 32
CHECK_BYTES = 16

_FILE_MARK = "ipse-root-v1"
_FILE_COMMENT = """\
# Ipse root key. Whoever has the line below can read every fork that was made with it.
# Keep a copy in a safe place: without it the forks cannot be opened again, by anybody.
"""
_MAX_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RootKey:
    """The owner's root secret. Its text form shows nothing."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"Expected a root key of {KEY_BYTES} bytes, got {len(self.secret)}")

    def __repr__(self) -> str:
        return "RootKey(hidden)"


@dataclass(frozen=True, slots=True)
class ForkKey:
    """A data key of one fork; it knows which. Its text form shows only that.

    Attributes:
        number: of the record that brought it; 0 follows from the root, as all did before data keys.
    """

    fork_id: ForkId
    secret: bytes
    number: int = 0

    def __repr__(self) -> str:
        return f"ForkKey({self.fork_id}, {self.number}, hidden)"


def hkdf_sha256(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869); an empty salt is the RFC's "not provided"."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt or None, info=info).derive(secret)


def derive(key: RootKey | ForkKey | bytes, label: str, context: bytes = b"", length: int = KEY_BYTES) -> bytes:
    """A key for one purpose.

    ``info = "ipse/v1/" label 0x00 context``: a label holds no zero byte, so two different pairs (label, context)
    never give the same info.

    Raises:
        ValueError: for a label with a zero byte or an empty one.
    """
    if not label or "\0" in label:
        raise ValueError(f"Expected a label without a zero byte, got {label!r}")
    secret = key if isinstance(key, bytes) else key.secret
    return hkdf_sha256(secret, salt=b"", info=b"ipse/v1/" + label.encode() + b"\0" + context, length=length)


def fork_key(root: RootKey, fork_id: ForkId) -> ForkKey:
    """Data key 0 of this root's fork: what its check value is made of."""
    return ForkKey(fork_id, derive(root, "fork", fork_id.encode()))


def check_value(key: ForkKey) -> bytes:
    """16 bytes to keep beside the fork, so that a wrong key is told from a damaged record. Not secret."""
    return derive(key, "check", length=CHECK_BYTES)


def root_check(root: RootKey) -> bytes:
    """16 bytes that say which root this is and nothing else of it. Not secret."""
    return derive(root, "root check", length=CHECK_BYTES)


def confirm_key(key: ForkKey, check: bytes) -> None:
    """Pass only if the key has this check value.

    Raises:
        WrongKey: otherwise.
    """
    if not hmac.compare_digest(check_value(key), check):
        raise WrongKey(
            f"This root key does not open fork {key.fork_id}.", "Use the key file that the fork was made with."
        )


def new_root_key(rng: Callable[[int], bytes] = secrets.token_bytes) -> RootKey:
    """A random root key, kept nowhere yet."""
    return RootKey(rng(KEY_BYTES))


def create_root_key(path: Path, rng: Callable[[int], bytes] = secrets.token_bytes) -> RootKey:
    """Make a new root key and its file: mode 0600, in a folder that is made 0700 if it is missing.

    The file appears whole or not at all, is on the disk when this returns, and never replaces another file: a
    lost root key cannot be recovered.

    Raises:
        VaultError: there is a file already, or it cannot be written.
    """
    key = new_root_key(rng)
    write_root_key(path, key)
    return key


def write_root_key(path: Path, key: RootKey) -> None:
    """Make the file of a root key, as ``create_root_key`` does.

    Raises:
        VaultError: there is a file already, or it cannot be written.
    """
    try:
        create_file(path, _FILE_COMMENT + _spell(key) + "\n")
    except FileExistsError as error:
        raise VaultError(f"There is a key file at {path} already.", "It was left as it is; use it.") from error
    except OSError as error:
        raise VaultError(
            f"The key file {path} cannot be written: {error.strerror}.", "Choose a folder that you can write to."
        ) from error


def load_root_key(path: Path) -> RootKey:
    """Read a root key that nobody else on the machine can read.

    Raises:
        VaultError: no file, others may read it, or it does not hold exactly one root key.
    """
    return _parse(read_secret(path, _MAX_FILE_BYTES + 1, "key file", "Create a key, or give the path of one."), path)


def _spell(key: RootKey) -> str:
    """``ipse-root-v1:<52 base32 characters>:<8 hex>``; the last part finds typing errors, it protects nothing."""
    body = b32encode(key.secret).decode().rstrip("=").lower()
    return f"{_FILE_MARK}:{body}:{_typo_check(key.secret)}"


def _typo_check(secret: bytes) -> str:
    return hashlib.sha256(b"ipse root key check\0" + secret).hexdigest()[:8]


def _parse(text: bytes, path: Path) -> RootKey:
    hint = "Restore it from your copy; a key file holds one line that starts with ipse-root-v1."
    try:
        lines = [line.strip() for line in text.decode("ascii").splitlines()]
    except UnicodeDecodeError as error:
        raise VaultError(f"{path} is not a key file.", hint) from error
    words = [line for line in lines if line and not line.startswith("#")]
    parts = words[0].split(":") if len(words) == 1 and len(text) <= _MAX_FILE_BYTES else []
    if len(parts) != 3:
        raise VaultError(f"{path} does not hold exactly one key.", hint)
    if parts[0] != _FILE_MARK:
        raise VaultError(f"{path} holds a key of a kind that this version does not know.", "Update Ipse.")
    try:
        key = RootKey(b32decode(parts[1].upper() + "===="))
    except (Base32Error, ValueError) as error:
        raise VaultError(f"The key in {path} is damaged.", hint) from error
    if _spell(key) != words[0]:
        raise VaultError(f"The key in {path} is damaged.", hint)
    return key
