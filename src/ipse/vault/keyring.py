# SPDX-License-Identifier: Apache-2.0
"""The wraps of one root: a key file, a passphrase wrap, and 24 words on paper. Any one of them opens the root.

    root.key     the root in the clear, mode 0600: opens unattended. What a new home has (keys.py)
    root.wrap    the root under a passphrase (wraps.py)
    24 words     stored nowhere (words.py)

Adding, changing and removing a wrap never changes the root and never touches data: forks and records do not know how
their root was opened. A wrap is removed only after another one here has been opened and holds the same root.

| key file | wrap | opened by |
|---|---|---|
| there | absent, or of the same root | the key file |
| there | of another root | refused: which of the two is meant cannot be known |
| there | damaged | the key file, with a warning |
| absent | there | the passphrase |
| absent | absent | the words, by writing a key file |
| damaged, or others may read it | any | refused: a key file that cannot be trusted is never passed over in silence |
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ipse.errors import VaultError
from ipse.vault.files import changing, remove_file, replace_file, sync_file
from ipse.vault.keys import RootKey, load_root_key, root_check, write_root_key
from ipse.vault.wraps import DEFAULT_COST, Cost, PassphraseWrap, load_wrap, spell_wrap

Passphrase = Callable[[], str]
"""Asked for a passphrase only when it is needed."""

log = logging.getLogger(__name__)


def root_name(check: bytes) -> str:
    """How a root is called in messages: the start of its public check value."""
    return check.hex()[:8]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Where the wraps of one root lie."""

    key_path: Path
    wrap_path: Path

    @property
    def has_file(self) -> bool:
        """Whether there is a key file, whatever its state."""
        return _is_there(self.key_path)

    @property
    def has_passphrase(self) -> bool:
        """Whether there is a passphrase wrap, whatever its state."""
        return _is_there(self.wrap_path)

    @property
    def is_there(self) -> bool:
        """Whether there is either."""
        return self.has_file or self.has_passphrase

    def is_of(self, root: RootKey) -> bool:
        """Whether what is here, if anything, is of this root; by the key file if there is one.

        Raises:
            VaultError: it is damaged.
        """
        if self.has_file:
            return load_root_key(self.key_path) == root
        return not self.has_passphrase or hmac.compare_digest(load_wrap(self.wrap_path).check, root_check(root))

    def open(self, passphrase: Passphrase) -> RootKey:
        """The root, by the key file if there is one, else by the passphrase.

        Raises:
            VaultError: there is neither, or one is damaged, or they hold different roots.
            WrongKey: the passphrase is another.
        """
        if self.has_file:
            root = load_root_key(self.key_path)
            self._confirm_wrap(root)
            return root
        if self.has_passphrase:
            return load_wrap(self.wrap_path).open(passphrase())
        raise VaultError(
            f"The key is missing: there is neither {self.key_path} nor {self.wrap_path.name} beside it.",
            "Put your copy of either in its place, or run `ipse key restore` with your 24 words.",
        )

    def set_passphrase(self, root: RootKey, passphrase: str, cost: Cost = DEFAULT_COST) -> None:
        """Make the passphrase wrap, or put another one in its place: the old passphrase then opens nothing here.

        Args:
            root: as opened.

        Raises:
            VaultError: a wrap is there that is damaged or of another root, or it cannot be written.
            InputError: the passphrase cannot be used.
        """
        text = spell_wrap(root, passphrase, cost=cost)
        with self._changing("written", self.wrap_path):
            if self.has_passphrase:
                self._confirm(root, load_wrap(self.wrap_path))  # what cannot be read is not written over
            self._confirm_file(root)
            replace_file(self.wrap_path, text)

    def remove_passphrase(self) -> None:
        """Remove the passphrase wrap; the key file must open and hold the same root.

        Raises:
            VaultError: it does not, or there is no wrap, or it cannot be removed.
        """
        with self._changing("removed", self.wrap_path):
            wrap = load_wrap(self.wrap_path)
            if not self.has_file:
                raise VaultError(
                    "The passphrase is the only way to this root here.", "Run `ipse key add-file` first, then this."
                )
            self._confirm(load_root_key(self.key_path), wrap)
            sync_file(self.key_path)
            remove_file(self.wrap_path)

    def add_file(self, root: RootKey) -> bool:
        """Write the key file of this root; False if it was there.

        Raises:
            VaultError: a key file or wrap of another root is there, or it cannot be written.
        """
        with self._changing("written", self.key_path):
            self._confirm_wrap(root)
            self._confirm_file(root)
            if self.has_file:
                return False
            write_root_key(self.key_path, root)
            return True

    def remove_file(self, passphrase: Passphrase) -> None:
        """Remove the key file, after the passphrase has opened the wrap and given the same root.

        Raises:
            VaultError: there is no wrap or no key file, they hold different roots, or it cannot be removed.
            WrongKey: the passphrase is another.
        """
        if not self.has_file:
            raise VaultError(f"There is no key file at {self.key_path}.", "There is nothing to remove.")
        if not self.has_passphrase:
            raise VaultError(
                "The key file is the only way to this root here.", "Run `ipse key set-passphrase` first, then this."
            )
        given = passphrase()  # before the lock: a person may take a while
        with self._changing("removed", self.key_path):
            from_file = load_root_key(self.key_path)
            wrap = load_wrap(self.wrap_path)
            self._confirm(from_file, wrap)
            self._confirm(wrap.open(given), wrap)
            sync_file(self.wrap_path)
            remove_file(self.key_path)

    # -- inside -----------------------------------------------------------------------------------

    def _confirm(self, root: RootKey, wrap: PassphraseWrap) -> None:
        if not hmac.compare_digest(root_check(root), wrap.check):
            raise VaultError(
                f"{self.wrap_path} is of root {root_name(wrap.check)}, and the key at hand is of root "
                f"{root_name(root_check(root))}.",
                "Find out which one your forks belong to and move the other one away; nothing was changed.",
            )

    def _confirm_wrap(self, root: RootKey) -> None:
        """The wrap, if it can be read, is of this root. A damaged one is in nobody's way here."""
        if self.has_passphrase:
            try:
                wrap = load_wrap(self.wrap_path)
            except VaultError as error:
                log.warning("the passphrase would not open this root: %s %s", error, error.hint)
            else:
                self._confirm(root, wrap)

    def _confirm_file(self, root: RootKey) -> None:
        """The key file, if there is one, is of this root."""
        if self.has_file:
            there = load_root_key(self.key_path)
            if there != root:
                raise VaultError(
                    f"{self.key_path} is of root {root_name(root_check(there))}, and the key at hand is of root "
                    f"{root_name(root_check(root))}.",
                    "Move that file to a safe place first, if its root is not the one you want here.",
                )

    @contextmanager
    def _changing(self, done: str, path: Path) -> Iterator[None]:
        try:
            if done == "written":
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with changing(path.parent):
                yield
        except OSError as error:
            raise VaultError(
                f"{path} cannot be {done}: {error.strerror}.",
                "Check the folder's permissions and the free space; what was there is still there.",
            ) from error


def nobody_to_ask() -> str:
    """The passphrase where there is none.

    Raises:
        VaultError: always.
    """
    raise VaultError(
        "This root opens with its passphrase, and there is no terminal to ask for it.",
        "Give --passphrase-file FILE, or set IPSE_PASSPHRASE_FILE.",
    )


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
