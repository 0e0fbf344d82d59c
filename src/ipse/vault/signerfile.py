# SPDX-License-Identifier: Apache-2.0
"""The file of one who signs in public: a name, and two seeds of 32 bytes, one for each kind of signature. ::

    ipse-signer-v1
    name witness.example/one
    ed25519 mfra2yltmrsgk...
    ml-dsa-44 ojsxg5lsm4qg...
    check 5d41402abc4b2a76

The seeds are random and hang on no owner's root: a log and a witness have names of their own, and a machine that only
witnesses holds no fork. What the seeds become, the ledger says.

Not protected: who can read the file signs in that name. A copy of it on a second machine that runs at the same time
signs what this one has not seen: move the whole folder, memory and all.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32decode, b32encode
from binascii import Error as Base32Error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ipse.errors import InputError, VaultError
from ipse.vault.files import create_file, read_secret
from ipse.wire.digest import sha256

SEED_BYTES = 32

_MARK = "ipse-signer-v1"
_COMMENT = """\
# Ipse signing keys. Whoever has the lines below can sign in this name.
# Never let two machines sign with copies of this file.
"""
_NAME = re.compile(r"[!-*,-~]{1,255}", re.ASCII)
_LINES = re.compile(
    r"ipse-signer-v1\nname (?P<name>\S+)\ned25519 (?P<ed25519>[a-z2-7]+)\nml-dsa-44 (?P<ml_dsa_44>[a-z2-7]+)\n"
    r"check [0-9a-f]{16}\n",
    re.ASCII,
)
_MAX_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Signer:
    """A name and its two seeds. Its text form shows no secret.

    Attributes:
        name: 1 to 255 visible ASCII characters without plus: a log's origin, or a witness's name.
        ed25519, ml_dsa_44: 32 secret bytes each.
    """

    name: str
    ed25519: bytes
    ml_dsa_44: bytes

    def __post_init__(self) -> None:
        self.check_name(self.name)
        if len(self.ed25519) != SEED_BYTES or len(self.ml_dsa_44) != SEED_BYTES:
            raise InputError(f"Expected two seeds of {SEED_BYTES} bytes.")

    @staticmethod
    def check_name(name: str) -> None:
        """Pass only if a signer can have this name.

        Raises:
            InputError: otherwise.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                "Expected a name of 1 to 255 visible ASCII characters without plus signs and spaces.",
                "Take one that others can find you by, like example.com/witness.",
            )

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, hidden)"


def create_signer(path: Path, name: str, rng: Callable[[int], bytes] = secrets.token_bytes) -> Signer:
    """Make new seeds and their file: mode 0600, whole or not at all, never in place of another file.

    Raises:
        InputError: the name cannot be one.
        VaultError: there is a file already, or it cannot be written.
    """
    signer = Signer(name, rng(SEED_BYTES), rng(SEED_BYTES))
    try:
        create_file(path, _COMMENT + _spell(signer))
    except FileExistsError as error:
        raise VaultError(f"There are signing keys at {path} already.", "They were left as they are.") from error
    except OSError as error:
        raise VaultError(
            f"The signing keys {path} cannot be written: {error.strerror}.", "Choose a folder that you can write to."
        ) from error
    return signer


def load_signer(path: Path) -> Signer:
    """Read seeds that nobody else on the machine can read.

    Raises:
        VaultError: no file, others may read it, or it does not hold exactly one signer.
    """
    found = read_secret(path, _MAX_FILE_BYTES + 1, "file of signing keys", "Make them, or give the right folder.")
    return _parse(found, path)


def _spell(signer: Signer) -> str:
    """The lines of the file; the last one finds damage, it protects nothing."""
    seeds = f"ed25519 {_base32(signer.ed25519)}\nml-dsa-44 {_base32(signer.ml_dsa_44)}\n"
    body = f"{_MARK}\nname {signer.name}\n{seeds}"
    return f"{body}check {sha256(b'ipse signer check' + bytes(1) + body.encode()).hex()[:16]}\n"


def _base32(seed: bytes) -> str:
    return b32encode(seed).decode().rstrip("=").lower()


def _parse(data: bytes, path: Path) -> Signer:
    damaged = VaultError(f"The signing keys in {path} are damaged.", "Restore the file from your copy.")
    lines = [line.rstrip("\r") for line in data.decode("ascii", errors="replace").split("\n")]
    text = "".join(f"{line}\n" for line in lines if line and not line.startswith("#"))
    match = _LINES.fullmatch(text)
    if match is None or len(data) > _MAX_FILE_BYTES:
        raise damaged
    try:
        seeds = [b32decode(match[kind].upper() + "====") for kind in ("ed25519", "ml_dsa_44")]
        signer = Signer(match["name"], *seeds)
    except (Base32Error, ValueError, InputError) as error:
        raise damaged from error
    if _spell(signer) != text:
        raise damaged
    return signer
