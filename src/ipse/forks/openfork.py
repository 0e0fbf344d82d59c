# SPDX-License-Identifier: Apache-2.0
"""One fork with its key: it folds what is stored, and appends what happens.

``SealedHistory`` opens a fork's records and writes new ones; it needs no base, and does not know what they mean.
``OpenFork`` folds them on the base's layout. Nothing here knows what a tensor is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from ipse.errors import BaseMismatch, InputError, StoreError, VerificationError
from ipse.forks.fork import ModelFork
from ipse.forks.history import Folded, empty, fold, read_snapshot, step, write_snapshot
from ipse.forks.keychain import KeyChain
from ipse.ledger.access import Access
from ipse.ledger.chain import ChainHead
from ipse.ledger.envelope import Envelope, naming, read_envelope
from ipse.ledger.record import Record, open_envelope, record_digest, seal_record
from ipse.model.layout import StateLayout
from ipse.store.rows import AppendRow, ForkRow, StoredRecord
from ipse.store.store import Store
from ipse.vault.datakeys import new_data_key
from ipse.vault.identity import Identity
from ipse.vault.keys import ForkKey, confirm_key
from ipse.vault.seal import open_snapshot, seal_snapshot
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import BaseId

SNAPSHOT_EVERY = 64
"""Records between snapshots. They only speed up opening."""

_KEY_NUMBER_BYTES = 8

log = logging.getLogger(__name__)


class SealedHistory:
    """A fork's records and who may write them, opened with one identity.

    Raises:
        WrongKey: when made: the identity's root is not that of this fork here.
    """

    def __init__(self, store: Store, row: ForkRow, identity: Identity, first_key: ForkKey) -> None:
        confirm_key(first_key, row.key_check)
        self.row = row
        self.store = store
        self.identity = identity
        self.keys = KeyChain(row.fork_id, identity, first_key, self._data, self._newest_key)

    def records(self) -> Iterator[tuple[Record, bytes]]:
        """All records, opened, with their bytes; signatures and members checked on the way.

        Raises:
            VerificationError: names the first record that does not fit or does not open.
        """
        for record, data, _ in self.followed(ChainHead(0, NO_DIGEST), Access()):
            yield record, data

    def followed(self, head: ChainHead, access: Access) -> Iterator[tuple[Record, bytes, Access]]:
        """The records after ``head``, with who has access after each."""
        previous = head.digest
        for stored in self.store.records(self.row.fork_id, head.seq):
            record, envelope = self._open(stored, previous)
            with naming(self.row.fork_id, stored.seq):
                access = access.following(envelope)
            previous = stored.digest
            yield record, stored.data, access

    def alone(self, seq: int) -> Record:
        """One record, opened; who signed it is not checked again. Raises InputError when there is none."""
        return self._alone(self.store.record(self.row.fork_id, seq))

    def find(self, op_id: bytes) -> Record | None:
        """The record of an operation, if it is recorded."""
        stored = self.store.record_of(self.row.fork_id, op_id)
        return None if stored is None else self._alone(stored)

    def seal(self, record: Record, access: Access) -> tuple[Record, bytes, Access]:
        """The next record, completed with what its place demands: the owner's identity, a new data key.

        Returns:
            The record, its bytes, and who has access after it.

        Raises:
            InputError: it cannot be made.
            VerificationError: this identity may not write to the fork.
        """
        if access.owner is None and not record.kind.changes_members:
            record = replace(record, identity=self.identity.public)
        number, brought = access.key_number, None
        if access.needs_key(record.kind, record.timestamp_ms):
            members = access.changed(record.kind, record.identity, record.member).members
            previous = self.keys.key(number) if number or record.seq > 1 else None
            key, brought = new_data_key(self.row.fork_id, record.seq, members, previous)
        else:
            key = self.keys.key(number)
        data = seal_record(record, key, self.identity, brought=brought)
        after = access.following(read_envelope(data))
        return replace(record, signer=self.identity.public.short_id), data, after

    # -- inside -----------------------------------------------------------------------------------

    def _alone(self, stored: StoredRecord) -> Record:
        before = self.store.record(self.row.fork_id, stored.seq - 1).digest if stored.seq > 1 else NO_DIGEST
        return self._open(stored, before)[0]

    def _open(self, stored: StoredRecord, previous: bytes) -> tuple[Record, Envelope]:
        with naming(self.row.fork_id, stored.seq):
            envelope = read_envelope(stored.data)
        key = self.keys.key(envelope.message.data_key_record)
        return open_envelope(envelope, key, expect_seq=stored.seq, expect_previous=previous), envelope

    def _data(self, seq: int) -> bytes:
        return self.store.record(self.row.fork_id, seq).data

    def _newest_key(self) -> int:
        seq = self.store.head(self.row.fork_id).seq
        return read_envelope(self._data(seq)).message.data_key_record if seq else 0


class OpenFork:
    """One fork, opened with its key."""

    def __init__(self, sealed: SealedHistory, layout: StateLayout) -> None:
        row = sealed.row
        if row.layout_digest != layout.digest:
            raise BaseMismatch(
                f"Fork {row.fork_id} belongs to base {row.base_id} ({row.base_name}), not to {layout.base_id} "
                f"with this basis at rank {layout.rank}.",
                f"It was made on {row.base_name}: start with that base (leave --base out if it is the shipped one), "
                "and with the --rank and --basis of then.",
            )
        self.row = row
        self._sealed, self._store, self._layout = sealed, sealed.store, layout
        self._folded, self._access = empty(layout), Access()
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

    @property
    def access(self) -> Access:
        """Who may read and write it as of that record."""
        return self._access

    def reload(self) -> None:
        """Read what is stored: the newest snapshot that opens, and the records after it."""
        at, access = self._from_snapshot()
        for record, data, after in self._sealed.followed(at.head, access):
            at, access = step(at, record, record_digest(data), self), after
        self._folded, self._access = at, access

    def records(self) -> Iterator[tuple[Record, bytes]]:
        """All records from the first, opened, with their bytes.

        Raises:
            VerificationError: names the first record that does not open.
        """
        return self._sealed.records()

    def find(self, op_id: bytes) -> Record:
        """The record of an operation of this fork.

        Raises:
            InputError: there is none.
        """
        found = self._sealed.find(op_id)
        if found is None:
            raise InputError("There is no such record in this fork.", "See `ipse fork history`.")
        return found

    def at(self, seq: int) -> Record:
        """The record with this number. Raises InputError when there is none."""
        return self._sealed.alone(seq)

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
            VerificationError: this identity may not write to the fork; nothing was recorded.
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
        record, data, access = self._sealed.seal(record, self._access)
        digest = record_digest(data)
        following = step(self._folded, record, digest, self)
        _ = following.state  # checked before anything is written
        row = AppendRow(record.seq, record.op_id, digest, data)
        self._store.append(self.row.fork_id, row, expected_head=head.digest)
        self._folded, self._access = following, access
        self._keep_snapshot()
        return record

    def snapshot(self) -> tuple[Folded, Access] | None:
        """The newest snapshot, if there is one.

        Raises:
            VerificationError: it does not open, or belongs to no record of this history.
        """
        stored = self._store.latest_snapshot(self.row.fork_id, self._store.head(self.row.fork_id).seq)
        if stored is None:
            return None
        number = int.from_bytes(stored.data[:_KEY_NUMBER_BYTES], "big")
        if not 0 < number <= stored.seq:
            raise VerificationError("The snapshot names no data key.")
        opened = open_snapshot(self._sealed.keys.key(number), stored.seq, stored.data[_KEY_NUMBER_BYTES:])
        access, rest = Access.from_bytes(opened)
        at = read_snapshot(rest, self._layout)
        if at.head.digest != self._store.record(self.row.fork_id, stored.seq).digest:
            raise VerificationError("The snapshot does not belong to this history.")
        return at, access

    def sealed_snapshot(self, at: Folded) -> bytes:
        """A snapshot of this fork as it is now, were ``at`` its fold: number of its data key, then the sealed rest."""
        number = self._access.key_number
        plain = self._access.to_bytes() + write_snapshot(at)
        sealed = seal_snapshot(self._sealed.keys.key(number), at.head.seq, plain)
        return number.to_bytes(_KEY_NUMBER_BYTES, "big") + sealed

    # -- inside -----------------------------------------------------------------------------------

    def _from_snapshot(self) -> tuple[Folded, Access]:
        try:
            found = self.snapshot()
        except VerificationError as error:
            log.warning("snapshot ignored, folding all records: %s", error)
            found = None
        if found is None:
            return empty(self._layout), Access()
        self._snapshot_seq = found[0].head.seq
        return found

    def _keep_snapshot(self) -> None:
        at = self._folded
        if at.head.seq - self._snapshot_seq < SNAPSHOT_EVERY:
            return
        try:
            self._store.put_snapshot(self.row.fork_id, at.head.seq, self.sealed_snapshot(at))
            self._store.drop_snapshots(self.row.fork_id, before_seq=at.head.seq)
        except StoreError as error:  # only a cache: the record that led here is safe
            log.warning("no snapshot kept: %s", error)
        self._snapshot_seq = at.head.seq
