# SPDX-License-Identifier: Apache-2.0
"""The keys of this installation's public log: a name and two seeds in one file, ``log.key``. ::

    ipse-log-v1
    # Signs in the name of this log. ...
    origin ipse.local/k3v5qzj2m7xw4tyb
    ed25519 <64 hex>
    ml-dsa-44 <64 hex>
    check <16 hex>          SHA-256 of all that is above: finds damage, protects nothing

They are random and belong to the installation, not to an owner: the log of many owners has one signer, and a root key
that moves to another machine does not take the log along. Seeds are plain bytes here; ledger/log.py makes keys of
them. There is one spelling of such a file; one that is spelt otherwise is refused.

Not protected: who can read the file can sign two histories in the log's name. That does not open a fork and does not
forge a record; only witnesses tell.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ipse.errors import InputError, VaultError
from ipse.vault.files import changing, create_file, read_file, replace_file

FILE_NAME = "log.key"
SEED_BYTES = 32

_ORIGIN = r"[!-*,-~]{1,255}"  # what a key of a signed note may be called, in ASCII: no space, no plus
_MARK = "ipse-log-v1"
_COMMENT = "# Signs in the name of this log. Keep a copy; without it nothing can be added to the log."
_MAX_FILE_BYTES = 4096
_FORM = re.compile(
    rf"{_MARK}\n{re.escape(_COMMENT)}\norigin ({_ORIGIN})\n"
    r"ed25519 ([0-9a-f]{64})\nml-dsa-44 ([0-9a-f]{64})\ncheck ([0-9a-f]{16})\n",
    re.ASCII,
)
_HINT = "Put your copy of it back; if the log is lost, `ipse ledger new` starts another one."


@dataclass(frozen=True, slots=True)
class LogKey:
    """What a log signs with. Its text form shows the origin only.

    Attributes:
        origin: the log's name, 1 to 255 printable ASCII characters without spaces and plus signs.
        ed25519, ml_dsa_44: 32 secret bytes each; one seed for one kind of key.
    """

    origin: str
    ed25519: bytes = field(repr=False)
    ml_dsa_44: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(_ORIGIN, self.origin, re.ASCII):
            raise InputError(
                f"{self.origin[:60]!r} cannot name a log.",
                "Use the address that it will be served at, without https:// and without a slash at its end.",
            )
        if len(self.ed25519) != SEED_BYTES or len(self.ml_dsa_44) != SEED_BYTES:
            raise InputError(f"Expected two seeds of {SEED_BYTES} bytes.")


def new_log_key(origin: str | None = None, rng: Callable[[int], bytes] = secrets.token_bytes) -> LogKey:
    """A random key; without an origin, a random name too: ``ipse.local/`` and 16 letters or digits.

    Raises:
        InputError: this cannot name a log.
    """
    name = f"ipse.local/{b32encode(rng(10)).decode().lower()}" if origin is None else origin
    return LogKey(name, rng(SEED_BYTES), rng(SEED_BYTES))


def create_log_key(path: Path, key: LogKey) -> None:
    """Make the file: mode 0600, whole or not at all, on the disk when this returns, never in another one's place.

    Raises:
        VaultError: there is a file already, or it cannot be written.
    """
    try:
        create_file(path, _spell(key))
    except FileExistsError as error:
        raise VaultError(f"There is a log key at {path} already.", "It was left as it is; use it.") from error
    except OSError as error:
        raise _unwritable(path, error) from error


def renew_log_key(path: Path, key: LogKey) -> Path | None:
    """Put another log's key in the place of the one that is there, if any. The old one is kept beside it.

    Returns:
        Where the old one is kept: ``log.key.1``, or the next number that is free.

    Raises:
        VaultError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with changing(path.parent):
            kept = _kept_aside(path)
            replace_file(path, _spell(key))
    except OSError as error:
        raise _unwritable(path, error) from error
    return kept


def load_log_key(path: Path) -> LogKey:
    """Read a log key that nobody else on the machine can read.

    Raises:
        VaultError: no file, others may read it, or it does not hold exactly one log key.
    """
    try:
        found = read_file(path, _MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise VaultError(f"There is no log key at {path}.", _HINT) from error
    except OSError as error:
        raise VaultError(f"The log key {path} cannot be read: {error.strerror}.", "Check its owner.") from error
    if found is None:
        raise VaultError(f"{path} is not a file.", _HINT)
    data, mode = found
    if os.name == "posix" and mode & 0o077:
        raise VaultError(f"Other users may read the log key {path}.", f"Run: chmod 600 {path}")
    return _parse(data.decode("latin-1"), path)


def _parse(text: str, path: Path) -> LogKey:
    first = text.partition("\n")[0]
    if re.fullmatch(r"ipse-log-v[0-9]{1,3}", first, re.ASCII) and first != _MARK:
        raise VaultError(f"{path} holds a key of a kind that this version does not know: {first}.", "Update Ipse.")
    match = _FORM.fullmatch(text)
    key = LogKey(match[1], bytes.fromhex(match[2]), bytes.fromhex(match[3])) if match else None
    if key is None or _spell(key) != text:
        raise VaultError(f"The log key {path} is damaged.", _HINT)
    return key


def _spell(key: LogKey) -> str:
    text = f"{_MARK}\n{_COMMENT}\norigin {key.origin}\ned25519 {key.ed25519.hex()}\nml-dsa-44 {key.ml_dsa_44.hex()}\n"
    return f"{text}check {hashlib.sha256(text.encode('ascii')).hexdigest()[:16]}\n"


def _kept_aside(path: Path) -> Path | None:
    """A second name for the file that is there."""
    number = 1
    while path.exists():
        kept = path.with_name(f"{path.name}.{number}")
        try:
            os.link(path, kept)
        except FileExistsError:
            number += 1
        else:
            return kept
    return None


def _unwritable(path: Path, error: OSError) -> VaultError:
    return VaultError(f"The log key {path} cannot be written: {error.strerror}.", "Choose a folder you can write to.")
