# SPDX-License-Identifier: Apache-2.0
"""Where forks live: one folder with the root key and the store.

    <root>/root.key     the root key, mode 0600: whoever has it owns every fork here
    <root>/root.wrap    the root key under a passphrase, beside the key file or instead of it (vault/keyring.py)
    <root>/root.next/   the next root in the same two forms, while the forks are handed over to it (rotation.py)
    <root>/ipse.db      sealed records and snapshots

``Home`` finds and makes forks; ``OpenFork`` (openfork.py) is one of them with its key.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ipse.errors import InputError, VaultError, WrongKey
from ipse.forks.erase import finish_if_possible
from ipse.forks.openfork import OpenFork, SealedHistory
from ipse.ledger.record import Record
from ipse.model.layout import StateLayout
from ipse.store.rows import ForkRow
from ipse.store.store import FILE_NAME, Store
from ipse.vault.identity import Identity
from ipse.vault.keyring import KeyRing, Passphrase, nobody_to_ask
from ipse.vault.keys import RootKey, check_value, create_root_key, fork_key, load_root_key
from ipse.wire.ids import BaseId, ForkId, new_fork_id, parse_owner_id

KEY_NAME = "root.key"
WRAP_NAME = "root.wrap"
NEXT_NAME = "root.next"


def now_ms() -> int:
    """Unix time in milliseconds. Says when, never in which order."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class ForkInfo:
    """What can be said of a fork without opening it."""

    fork_id: ForkId
    owner: str
    base_id: str
    base_name: str
    records: int
    created_ms: int
    bytes_on_disk: int


class Home:
    """A folder of forks and the root key that opens them."""

    def __init__(self, root: Path, store: Store, root_key: RootKey) -> None:
        self.root = root
        self.store = store
        self._root_key = root_key
        self.identity = Identity(root_key)
        """Whose forks these are: signs what is recorded, opens the data keys."""

    @property
    def keys(self) -> KeyRing:
        """Where its root key lies."""
        return key_ring(self.root)

    @classmethod
    def open(cls, root: Path, *, create: bool = True, passphrase: Passphrase = nobody_to_ask) -> Home:
        """Open the folder, making store and key on first use, and finish an erasure that was begun.

        Args:
            passphrase: asked for it only where there is a passphrase wrap and no key file.

        Raises:
            VaultError: the key file is gone, is readable for others, or is no key file; or a rotation was interrupted.
            WrongKey: the passphrase is another.
            StoreError: see :meth:`ipse.store.store.Store.open`.
            InputError: nothing is there and ``create`` is false.
        """
        if not create and not (root / FILE_NAME).exists():
            raise InputError(f"There are no forks in {root}.", "Start one with `ipse chat`, or give --data DIR.")
        confirm_settled(root)
        keys = key_ring(root)
        key = keys.open(passphrase) if keys.is_there else None
        store = Store.open(root, create=create)
        try:
            finish_if_possible(store)
            if key is None:  # forks without a key: `open` says what is missing
                key = keys.open(passphrase) if store.forks() else _create_or_load(keys.key_path)
        except BaseException:
            store.close()
            raise
        return cls(root, store, key)

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Home:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def forks(self) -> list[ForkInfo]:
        """All forks here, oldest first."""
        return forks_of(self.store)

    def find(self, name: str) -> ForkInfo | None:
        """A fork by its id, or the newest one of an owner."""
        return find_fork(self.store, name)

    def create_fork(
        self, owner: str, layout: StateLayout, base_name: str, *, created_ms: int | None = None
    ) -> OpenFork:
        """A new fork for an owner; it answers as its base does.

        Raises:
            VaultError: the root was rotated since this home was opened.
        """
        confirm_settled(self.root)
        if not self.keys.is_of(self._root_key):
            raise VaultError("The key of this folder was rotated meanwhile.", "Start again.")
        fork_id = new_fork_id()
        key = fork_key(self._root_key, fork_id)
        row = ForkRow(
            fork_id=fork_id,
            owner=parse_owner_id(owner),
            base_id=BaseId(layout.base_id),
            base_name=base_name,
            layout_digest=layout.digest,
            key_check=check_value(key),
            created_ms=now_ms() if created_ms is None else created_ms,
        )
        self.store.create_fork(row)
        return OpenFork(self._sealed(row), layout)

    def open_fork(self, fork_id: ForkId, layout: StateLayout) -> OpenFork:
        """Open a fork on the base that it belongs to.

        Raises:
            BaseMismatch, WrongKey, VerificationError: as they say.
        """
        return OpenFork(self._sealed(self.store.fork(fork_id)), layout)

    def open_or_create(self, owner: str, layout: StateLayout, base_name: str) -> OpenFork:
        """The owner's newest fork, or a first one."""
        info = self.find(owner)
        if info is not None:
            return self.open_fork(info.fork_id, layout)
        return self.create_fork(owner, layout, base_name)

    def read_records(self, fork_id: ForkId) -> Iterator[Record]:
        """All records of a fork, opened, without a base: for showing its history.

        Raises:
            WrongKey, VerificationError: as they say.
        """
        for record, _ in self.sealed(fork_id).records():
            yield record

    def sealed(self, fork_id: ForkId) -> SealedHistory:
        """A fork's records, to be opened without a base.

        Raises:
            WrongKey: this root opens another fork.
        """
        return self._sealed(self.store.fork(fork_id))

    def _sealed(self, row: ForkRow) -> SealedHistory:
        return SealedHistory(self.store, row, self.identity, fork_key(self._root_key, row.fork_id))


def forks_of(store: Store) -> list[ForkInfo]:
    """All forks of a store, oldest first. Needs no key."""
    return [
        ForkInfo(
            row.fork_id,
            row.owner,
            row.base_id,
            row.base_name,
            store.head(row.fork_id).seq,
            row.created_ms,
            store.bytes_of(row.fork_id),
        )
        for row in store.forks()
    ]


def find_fork(store: Store, name: str) -> ForkInfo | None:
    """A fork of a store by its id, or the newest one of an owner."""
    found = [info for info in forks_of(store) if name in (info.fork_id, info.owner)]
    return found[-1] if found else None


def key_ring(root: Path) -> KeyRing:
    """The wraps of a folder's root key."""
    return KeyRing(root / KEY_NAME, root / WRAP_NAME)


def next_ring(root: Path) -> KeyRing:
    """The wraps of the root that is to take over, while it does."""
    return key_ring(root / NEXT_NAME)


def confirm_settled(root: Path) -> None:
    """Pass only if no rotation of the root was begun and not finished.

    Raises:
        VaultError: one was; the forks belong to two roots until it is finished.
    """
    if next_ring(root).is_there:
        raise VaultError(
            "A rotation of the key was interrupted; nothing is lost.", "Run `ipse key rotate` to finish it."
        )


def new_root(root: Path) -> RootKey:
    """Make the root key of a folder that has none.

    Raises:
        InputError: there is one.
        VaultError: there are forks, so their key is missing; or it cannot be written.
    """
    keys = key_ring(root)
    if keys.is_there or next_ring(root).is_there:
        raise InputError(f"There is a key in {root} already.", "It was left as it is; see `ipse key show`.")
    if (root / FILE_NAME).exists():
        with Store.open(root, create=False) as store:
            if store.forks():
                return keys.open(nobody_to_ask)  # which says what is missing
    return create_root_key(keys.key_path)


def confirm_root(root: Path, key: RootKey) -> int:
    """Pass only if this root key opens every fork of the folder; how many it opens, 0 without a store.

    Where a rotation was interrupted, some forks belong to the next root already; one that it opens is then enough.

    Raises:
        WrongKey: it does not.
    """
    if not (root / FILE_NAME).exists():
        return 0
    with Store.open(root, create=False) as store:
        rows = store.forks()
    strangers = [row for row in rows if check_value(fork_key(key, row.fork_id)) != row.key_check]
    if strangers and not (next_ring(root).is_there and len(strangers) < len(rows)):
        raise WrongKey(
            f"This root key does not open fork {strangers[0].fork_id} of {strangers[0].owner}.",
            "Use the words or the key that this folder's forks were made with; nothing was changed.",
        )
    return len(rows) - len(strangers)


def _create_or_load(path: Path) -> RootKey:
    """Make the key file; if another process made it in the meantime, use that one."""
    try:
        return create_root_key(path)
    except VaultError:
        if not path.exists():
            raise
        return load_root_key(path)
