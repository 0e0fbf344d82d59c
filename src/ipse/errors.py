# SPDX-License-Identifier: Apache-2.0
"""Every error that Ipse raises on purpose.

    IpseError                         message + hint: what happened, what to do
    ├── InputError                    what the caller gave cannot be used; nothing was changed
    │   └── MessageTooLong            longer than the model's window
    ├── MissingExtra                  an optional part is not installed
    ├── BaseError
    │   ├── BaseNotFound              no such directory or hub id
    │   ├── BaseDamaged               files are there and cannot be read, or have the wrong shapes
    │   ├── UnsupportedArchitecture   not one of the supported families
    │   └── BaseMismatch              this fork belongs to another base (or basis, or rank)
    ├── StateOverflow                 an update would leave the range of the fixed-point state
    ├── VerificationError             any failed check: tag, digest, order, encoding; keeps the evidence
    │   └── WrongKey                  the key or passphrase opens nothing here
    ├── VaultError                    the key file or wrap cannot be made, read or trusted
    ├── NetworkError                  another machine cannot be reached, is too slow, or does not serve what was asked
    ├── ClockError                    this machine's clock cannot be right: no log and no witness signs its time
    └── StoreError
        ├── StoreForeign              the file is not an Ipse store, or of a newer Ipse
        ├── StoreDamaged              the database itself is broken
        ├── StoreReadOnly             the folder or file cannot be written
        ├── StoreFull                 no space left: nothing half-written, try again when there is room
        ├── StoreBusy                 another process holds the store: try again
        ├── StorePoisoned             a write failed to reach the disk; this process writes no more, reopen
        ├── StoreRolledBack           an older copy was put back: nothing is signed on top of it
        ├── HeightConflict            somebody else appended first: reload and try again
        └── DuplicateOperation        this operation is already recorded: treat as done

To add one: put it under the parent whose handler should catch it, draw it here, and give a hint
that names the next step. Malformed input from outside must never surface as ValueError.
"""

from __future__ import annotations


class IpseError(Exception):
    """Base of the tree.

    Attributes:
        message: one sentence: what was expected, what was found.
        hint: one sentence: what to do now. May be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(IpseError):
    """What the caller gave cannot be used; nothing was changed."""


class MessageTooLong(InputError):
    """A message does not fit the model's window."""


class MissingExtra(IpseError):
    """An optional part (``ipse[local]``) is not installed."""


class BaseError(IpseError):
    """Something about the base model."""


class BaseNotFound(BaseError):
    """No such directory, and no such model on the hub or in its cache."""


class BaseDamaged(BaseError):
    """The base's files are there but cannot be read as what they claim to be."""


class UnsupportedArchitecture(BaseError):
    """The model is not of a family that Ipse can adapt."""


class BaseMismatch(BaseError):
    """A fork was opened on a base, basis or rank that it was not made for."""


class StateOverflow(IpseError):
    """An update would leave the int32 range of the personal state."""


class VerificationError(IpseError):
    """A check failed: authentication tag, digest, order or encoding."""


class WrongKey(VerificationError):
    """The key or the passphrase at hand opens nothing here."""


class VaultError(IpseError):
    """The key file, or the wrap under a passphrase, cannot be made, read or trusted."""


class NetworkError(IpseError):
    """Another machine cannot be reached, takes too long, or does not serve what was asked for."""


class ClockError(IpseError):
    """The clock stands before a time that was signed already, so what it says is not signed."""


class StoreError(IpseError):
    """Something about the store on disk."""


class StoreForeign(StoreError):
    """The file is not an Ipse store, or one of a newer Ipse."""


class StoreDamaged(StoreError):
    """The database file itself is broken."""


class StoreReadOnly(StoreError):
    """The store's folder or file cannot be written."""


class StoreFull(StoreError):
    """No space left on the device; nothing was half-written."""


class StoreBusy(StoreError):
    """Another process holds the store's write lock."""


class StorePoisoned(StoreError):
    """A write did not reach the disk; this handle refuses to write again."""


class StoreRolledBack(StoreError):
    """The store is older than what was seen of it, or another one: to go on from there would tell two histories."""


class HeightConflict(StoreError):
    """The head of a fork or of the log moved since it was read."""


class DuplicateOperation(StoreError):
    """An operation with this id is already recorded."""
