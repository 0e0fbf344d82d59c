# SPDX-License-Identifier: Apache-2.0
"""The root key under a passphrase: a small text file that opens with the passphrase, or not at all. ::

    ipse-root-wrap-v1
    # Opens with its passphrase only. Keep a copy; whoever has both can read every fork of this root.
    argon2id memory_kib=65536 passes=3 lanes=4 salt=<32 hex>
    root <32 hex>           the public check value of the root (keys.py): says which root this is, without opening
    sealed <160 hex>        seal(Argon2id(passphrase), root), see seal.py: commitment, AES-256-GCM, tag
    check <16 hex>          SHA-256 of all that is above: tells damage from a wrong passphrase, protects nothing

Everything above ``sealed`` is associated data, so no line can be exchanged. The seal commits to its key: one wrap
cannot be made to open to two roots under two passphrases. The all-zero nonce is safe: a key from a fresh salt of 16
bytes seals once. There is one spelling of a wrap; a file that is spelt otherwise is refused.

A hostile file cannot ask for much: costs past ``MAX_COST`` are refused before anything is computed.

Not protected here: a passphrase that can be guessed. An old copy of the file opens with the passphrase of then, since
a new passphrase does not change the root.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ipse.errors import InputError, VaultError, VerificationError, WrongKey
from ipse.vault.files import read_file
from ipse.vault.keys import KEY_BYTES, RootKey, root_check
from ipse.vault.seal import NONCE_BYTES, open_sealed, seal

SALT_BYTES = 16
MIN_PASSPHRASE_CHARACTERS = 8
MAX_PASSPHRASE_BYTES = 1024

_MARK = "ipse-root-wrap-v1"
_COMMENT = "# Opens with its passphrase only. Keep a copy; whoever has both can read every fork of this root."
_MAX_FILE_BYTES = 4096
_FORM = re.compile(
    rf"{_MARK}\n{re.escape(_COMMENT)}\n"
    r"argon2id memory_kib=([1-9][0-9]{0,9}) passes=([1-9][0-9]{0,9}) lanes=([1-9][0-9]{0,9}) salt=([0-9a-f]{32})\n"
    r"root ([0-9a-f]{32})\nsealed ([0-9a-f]{160})\ncheck ([0-9a-f]{16})\n",
    re.ASCII,
)
_HINT = (
    "Put your copy of it back, or move it away and set the passphrase again "
    "(if root.key is gone, first `ipse key restore` with your 24 words)."
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at a passphrase costs: the parameters of Argon2id (RFC 9106)."""

    memory_kib: int
    passes: int
    lanes: int

    def within(self, most: Cost) -> bool:
        """Whether Argon2id takes these, and none is past ``most``."""
        return (
            8 * self.lanes <= self.memory_kib <= most.memory_kib
            and 1 <= self.passes <= most.passes
            and 1 <= self.lanes <= most.lanes
        )


DEFAULT_COST = Cost(memory_kib=65536, passes=3, lanes=4)
"""The second recommended option of RFC 9106, section 4: 64 MiB, a fraction of a second."""

MAX_COST = Cost(memory_kib=1024 * 1024, passes=10, lanes=16)
"""What a file may ask for: 1 GiB."""


@dataclass(frozen=True, slots=True)
class PassphraseWrap:
    """A wrap as read: well spelt, and not opened.

    Attributes:
        cost, salt: of Argon2id.
        check: public check value of the root that it says to hold.
        sealed: the root key, sealed.
        path: where it was read, for messages.
    """

    cost: Cost
    salt: bytes
    check: bytes
    sealed: bytes
    path: Path

    def open(self, passphrase: str) -> RootKey:
        """The root key.

        Raises:
            WrongKey: another passphrase.
            VerificationError: the file was altered.
            VaultError: there is not enough memory.
        """
        key = _stretched(passphrase, self.salt, self.cost)
        header = _header(self.cost, self.salt, self.check).encode()
        try:
            root = RootKey(open_sealed(key, self.sealed, nonce=bytes(NONCE_BYTES), context=header))
        except WrongKey as error:
            raise WrongKey(
                f"This passphrase does not open {self.path}.",
                "Try again, or restore the key with `ipse key restore` and your 24 words.",
            ) from error
        except VerificationError as error:
            raise VerificationError(f"The wrap {self.path} was altered: {error}", _HINT) from error
        if not hmac.compare_digest(root_check(root), self.check):
            raise VerificationError(f"The wrap {self.path} holds another root key than it says.", _HINT)
        return root


def spell_wrap(
    root: RootKey,
    passphrase: str,
    *,
    cost: Cost = DEFAULT_COST,
    rng: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """The text of a new wrap.

    Raises:
        InputError: the passphrase is too short or cannot be used.
        VaultError: there is not enough memory.
        ValueError: a cost that no file may have.
    """
    if not cost.within(MAX_COST):
        raise ValueError(f"Expected a cost of at most {MAX_COST}, got {cost}")
    check_passphrase(passphrase)
    salt = rng(SALT_BYTES)
    header = _header(cost, salt, root_check(root))
    sealed = seal(_stretched(passphrase, salt, cost), root.secret, nonce=bytes(NONCE_BYTES), context=header.encode())
    return _checked(f"{header}sealed {sealed.hex()}\n")


def check_passphrase(passphrase: str) -> None:
    """Pass only if this may be set as a passphrase.

    Raises:
        InputError: it is too short or cannot be used.
    """
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise InputError(
            f"Expected a passphrase of at least {MIN_PASSPHRASE_CHARACTERS} characters, got {len(passphrase)}.",
            "Five or six words that nobody would guess are better than one with digits.",
        )
    _passphrase_bytes(passphrase)


def load_wrap(path: Path) -> PassphraseWrap:
    """Read a wrap without opening it.

    Raises:
        VaultError: no file, damaged, of a newer version, or asking for more than ``MAX_COST``.
    """
    try:
        found = read_file(path, _MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise VaultError(
            f"There is no passphrase wrap at {path}.", "Make one with `ipse key set-passphrase`."
        ) from error
    except OSError as error:
        raise VaultError(f"The wrap {path} cannot be read: {error.strerror}.", "Check its owner.") from error
    if found is None:
        raise VaultError(f"{path} is not a file.", _HINT)
    return parse_wrap(found[0], path)


def parse_wrap(data: bytes, path: Path) -> PassphraseWrap:
    """A wrap from the bytes of its file.

    Raises:
        VaultError: as ``load_wrap``.
    """
    text = data.decode("latin-1")
    first = text.partition("\n")[0]
    if re.fullmatch(r"ipse-root-wrap-v[0-9]{1,3}", first, re.ASCII) and first != _MARK:
        raise VaultError(f"{path} is a wrap of a kind that this version does not know: {first}.", "Update Ipse.")
    found = _FORM.fullmatch(text)
    if found is None or _checked(text[: found.start(7) - len("check ")]) != text:
        raise VaultError(f"The passphrase wrap {path} is damaged.", _HINT)
    memory_kib, passes, lanes = (int(found[group]) for group in (1, 2, 3))
    cost = Cost(memory_kib, passes, lanes)
    if not cost.within(MAX_COST):
        raise VaultError(
            f"The wrap {path} asks for Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes; at most "
            f"{MAX_COST.memory_kib} KiB, {MAX_COST.passes} and {MAX_COST.lanes} are accepted.",
            _HINT,
        )
    salt, check, sealed = (bytes.fromhex(found[group]) for group in (4, 5, 6))
    return PassphraseWrap(cost, salt, check, sealed, path)


def _header(cost: Cost, salt: bytes, check: bytes) -> str:
    return (
        f"{_MARK}\n{_COMMENT}\n"
        f"argon2id memory_kib={cost.memory_kib} passes={cost.passes} lanes={cost.lanes} salt={salt.hex()}\n"
        f"root {check.hex()}\n"
    )


def _checked(text: str) -> str:
    return f"{text}check {hashlib.sha256(text.encode('latin-1')).hexdigest()[:16]}\n"


def _stretched(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    kdf = Argon2id(salt=salt, length=KEY_BYTES, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib)
    try:
        return kdf.derive(_passphrase_bytes(passphrase))
    except MemoryError as error:
        raise VaultError(
            f"The passphrase needs {cost.memory_kib // 1024} MiB of memory to be checked.", "Close other programs."
        ) from error


def _passphrase_bytes(passphrase: str) -> bytes:
    """UTF-8 of the NFC form, as RFC 8265 prepares passwords: keyboards differ in how they compose a letter.

    Raises:
        InputError: empty, too long, or with characters that cannot be meant.
    """
    hint = "Type another one; in a file it is the first line."
    text = unicodedata.normalize("NFC", passphrase)
    if not text:
        raise InputError("The passphrase is empty.", hint)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InputError("The passphrase has a control character, or is not UTF-8.", hint)
    data = text.encode()
    if len(data) > MAX_PASSPHRASE_BYTES:
        raise InputError(f"The passphrase has {len(data)} bytes; at most {MAX_PASSPHRASE_BYTES} are taken.", hint)
    return data
