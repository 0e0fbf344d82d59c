# SPDX-License-Identifier: Apache-2.0
"""Where forks live: one folder with the root key and the store.

    <root>/root.key     the root key, mode 0600: whoever has it owns every fork here
    <root>/root.wrap    the root key under a passphrase, beside the key file or instead of it (vault/keyring.py)
    <root>/ipse.db      sealed records and snapshots

``Home`` finds and makes forks; ``OpenFork`` is one fork with its key: it folds what is stored and appends what
happens. Nothing here knows what a tensor is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType

from ipse.errors import BaseMismatch, InputError, StoreError, VaultError, VerificationError, WrongKey
from ipse.forks.fork import ModelFork
from ipse.forks.history import Folded, empty, fold, is_older_snapshot, read_snapshot, step, write_snapshot
from ipse.ledger.record import Record, open_record, record_digest, seal_record
from ipse.model.layout import StateLayout
from ipse.store.rows import AppendRow, ForkRow, StoredRecord
from ipse.store.store import FILE_NAME, Store
from ipse.vault.keyring import KeyRing, Passphrase, nobody_to_ask
from ipse.vault.keys import ForkKey, RootKey, check_value, confirm_key, create_root_key, fork_key, load_root_key
from ipse.vault.seal import open_snapshot, seal_snapshot
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import BaseId, ForkId, new_fork_id, parse_owner_id

KEY_NAME = "root.key"
WRAP_NAME = "root.wrap"
SNAPSHOT_EVERY = 64
"""Records between snapshots. They only speed up opening."""

log = logging.getLogger(__name__)


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


class OpenFork:
    """One fork, opened with its key."""

    def __init__(self, store: Store, row: ForkRow, key: ForkKey, layout: StateLayout) -> None:
        confirm_key(key, row.key_check)
        if row.layout_digest != layout.digest:
            raise BaseMismatch(
                f"Fork {row.fork_id} belongs to base {row.base_id} ({row.base_name}), not to {layout.base_id} "
                f"with this basis at rank {layout.rank}.",
                f"It was made on {row.base_name}: start with that base (leave --base out if it is the shipped one), "
                "and with the --rank and --basis of then.",
            )
        self.row = row
        self._store, self._key, self._layout = store, key, layout
        self._folded = empty(layout)
        self._snapshot_seq = 0
        self.reload()

    @property
    def folded(self) -> Folded:
        """The fork as of the newest record that this process knows."""
        return self._folded

    @property
    def fork(self) -> ModelFork:
        at = self._folded
        return ModelFork(self.row.fork_id, self.row.owner, BaseId(self.row.base_id), at.height, at.state)

    def reload(self) -> None:
        """Read what is stored: the newest snapshot that opens, and the records after it."""
        at = self._from_snapshot()
        for record, data in self._opened(at):
            at = step(at, record, record_digest(data), self)
        self._folded = at

    def records(self) -> Iterator[tuple[Record, bytes]]:
        """All records from the first, opened, with their bytes.

        Raises:
            VerificationError: names the first record that does not open.
        """
        return self._opened(empty(self._layout))

    def find(self, op_id: bytes) -> Record:
        """The record of an operation of this fork.

        Raises:
            InputError: there is none.
        """
        stored = self._store.record_of(self.row.fork_id, op_id)
        if stored is None:
            raise InputError("There is no such record in this fork.", "See `ipse fork history`.")
        return self._open_alone(stored)

    def at(self, seq: int) -> Record:
        """The record with this number. Raises InputError when there is none."""
        return self._open_alone(self._store.record(self.row.fork_id, seq))

    def folded_at(self, seq: int) -> Folded:
        """The fork as it was when this record was its newest; 0 is before the first. Folds from zero.

        Raises:
            InputError: it has not come so far.
            VerificationError: names the first record that does not open.
        """
        self.check_number(seq, least=0)
        return fold(islice(self.records(), seq), self._layout)

    def check_number(self, seq: int, *, least: int = 1) -> None:
        """Pass if this process knows a record of this number. Raises InputError otherwise."""
        newest = self._folded.head.seq
        if not least <= seq <= newest:
            there = f"Its records are 1 to {newest}" if newest else "It has none yet"
            raise InputError(f"Fork {self.row.fork_id} has no record {seq}.", f"{there}; see `ipse fork history`.")

    @property
    def behind(self) -> bool:
        """Whether somebody else has appended since: ``reload`` then."""
        return self._store.head(self.row.fork_id).digest != self._folded.head.digest

    def has(self, op_id: bytes) -> bool:
        """Whether an operation is recorded already."""
        return self._store.record_of(self.row.fork_id, op_id) is not None

    def append(self, make: Callable[[Record], Record], *, blank: Record) -> Record:
        """Add a record after the newest one. When this returns, it is on the disk and in the fold.

        Args:
            make: fills in what the record says, given one that stands in its place already.
            blank: its kind, operation and time; place and fork are set here.

        Raises:
            HeightConflict: somebody else appended first: ``reload`` and compute anew.
            StateOverflow: the sum would leave its range; nothing was recorded.
        """
        head = self._folded.head
        record = make(
            replace(
                blank,
                fork_id=self.row.fork_id,
                owner=self.row.owner,
                seq=head.seq + 1,
                previous_digest=head.digest,
            )
        )
        data = seal_record(record, self._key)
        digest = record_digest(data)
        following = step(self._folded, record, digest, self)
        _ = following.state  # checked before anything is written
        row = AppendRow(record.seq, record.op_id, digest, data)
        self._store.append(self.row.fork_id, row, expected_head=head.digest)
        self._folded = following
        self._keep_snapshot()
        return record

    def snapshot(self) -> Folded | None:
        """The newest snapshot; None if there is none, or one that an older Ipse wrote.

        Raises:
            VerificationError: it does not open, or belongs to no record of this history.
        """
        stored = self._store.latest_snapshot(self.row.fork_id, self._store.head(self.row.fork_id).seq)
        if stored is None:
            return None
        data = open_snapshot(self._key, stored.seq, stored.data)
        if is_older_snapshot(data):
            log.info("snapshot of an older form, folding all records")
            return None
        at = read_snapshot(data, self._layout)
        if at.head.digest != self._store.record(self.row.fork_id, stored.seq).digest:
            raise VerificationError("The snapshot does not belong to this history.")
        return at

    # -- inside -----------------------------------------------------------------------------------

    def _from_snapshot(self) -> Folded:
        try:
            at = self.snapshot()
        except VerificationError as error:
            log.warning("snapshot ignored, folding all records: %s", error)
            at = None
        if at is None:
            return empty(self._layout)
        self._snapshot_seq = at.head.seq
        return at

    def _keep_snapshot(self) -> None:
        at = self._folded
        if at.head.seq - self._snapshot_seq < SNAPSHOT_EVERY:
            return
        try:
            self._store.put_snapshot(
                self.row.fork_id, at.head.seq, seal_snapshot(self._key, at.head.seq, write_snapshot(at))
            )
            self._store.drop_snapshots(self.row.fork_id, before_seq=at.head.seq)
        except StoreError as error:  # only a cache: the record that led here is safe
            log.warning("no snapshot kept: %s", error)
        self._snapshot_seq = at.head.seq

    def _opened(self, after: Folded) -> Iterator[tuple[Record, bytes]]:
        previous = after.head.digest
        for stored in self._store.records(self.row.fork_id, after.head.seq):
            record = open_record(stored.data, self._key, expect_seq=stored.seq, expect_previous=previous)
            previous = stored.digest
            yield record, stored.data

    def _open_alone(self, stored: StoredRecord) -> Record:
        before = self._store.record(self.row.fork_id, stored.seq - 1).digest if stored.seq > 1 else NO_DIGEST
        return open_record(stored.data, self._key, expect_seq=stored.seq, expect_previous=before)


class Home:
    """A folder of forks and the root key that opens them."""

    def __init__(self, root: Path, store: Store, root_key: RootKey) -> None:
        self.root = root
        self.store = store
        self._root_key = root_key

    @property
    def keys(self) -> KeyRing:
        """Where its root key lies."""
        return key_ring(self.root)

    @classmethod
    def open(cls, root: Path, *, create: bool = True, passphrase: Passphrase = nobody_to_ask) -> Home:
        """Open the folder, making store and key on first use.

        Args:
            passphrase: asked for it only where there is a passphrase wrap and no key file.

        Raises:
            VaultError: the key file is gone, is readable for others, or is no key file.
            WrongKey: the passphrase is another.
            StoreError: see :meth:`ipse.store.store.Store.open`.
            InputError: nothing is there and ``create`` is false.
        """
        if not create and not (root / FILE_NAME).exists():
            raise InputError(f"There are no forks in {root}.", "Start one with `ipse chat`, or give --data DIR.")
        keys = key_ring(root)
        key = keys.open(passphrase) if keys.has_file or keys.has_passphrase else None
        store = Store.open(root, create=create)
        try:
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
        """A new fork for an owner; it answers as its base does."""
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
        return OpenFork(self.store, row, key, layout)

    def open_fork(self, fork_id: ForkId, layout: StateLayout) -> OpenFork:
        """Open a fork on the base that it belongs to.

        Raises:
            BaseMismatch, WrongKey, VerificationError: as they say.
        """
        return OpenFork(self.store, self.store.fork(fork_id), fork_key(self._root_key, fork_id), layout)

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
        row = self.store.fork(fork_id)
        key = fork_key(self._root_key, fork_id)
        confirm_key(key, row.key_check)
        previous = NO_DIGEST
        for stored in self.store.records(fork_id):
            yield open_record(stored.data, key, expect_seq=stored.seq, expect_previous=previous)
            previous = stored.digest


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


def confirm_root(root: Path, key: RootKey) -> int:
    """Pass only if this root key opens every fork of the folder; how many there are, 0 without a store.

    Raises:
        WrongKey: it does not.
    """
    if not (root / FILE_NAME).exists():
        return 0
    with Store.open(root, create=False) as store:
        rows = store.forks()
    for row in rows:
        try:
            confirm_key(fork_key(key, row.fork_id), row.key_check)
        except WrongKey as error:
            raise WrongKey(
                f"This root key does not open fork {row.fork_id} of {row.owner}.",
                "Use the words or the key that this folder's forks were made with; nothing was changed.",
            ) from error
    return len(rows)


def _create_or_load(path: Path) -> RootKey:
    """Make the key file; if another process made it in the meantime, use that one."""
    try:
        return create_root_key(path)
    except VaultError:
        if not path.exists():
            raise
        return load_root_key(path)
