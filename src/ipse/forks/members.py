# SPDX-License-Identifier: Apache-2.0
"""Letting a device into a fork, putting one out, and going on with a new root: one appended record each.

None of them rewrites anything. Each brings a new data key for the members that there are then; who has that key has
the ones before it, so a new member reads the whole history, and one that was put out nothing that comes later.

A history of before signatures names no owner. It is signed first, by one more record that changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ipse.forks.openfork import SealedHistory
from ipse.ledger.access import Access
from ipse.ledger.chain import ChainHead
from ipse.ledger.record import Record, RecordKind, record_digest
from ipse.store.rows import AppendRow
from ipse.vault.identity import PublicIdentity
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OwnerId, new_op_id


def let_in(history: SealedHistory, device: PublicIdentity, name: str, now_ms: int) -> Record:
    """Let a device read and write from the next record on.

    Args:
        name: what the owner calls it; sealed, as all text is.

    Raises:
        InputError: it is a member already, or the fork has no record yet.
        WrongKey: this identity does not read the fork.
        VerificationError: this identity is not the owner, or the history is damaged.
        HeightConflict: somebody else appended first: try again.
    """
    return _append(history, RecordKind.DEVICE, now_ms, identity=device, input_text=name)


def put_out(history: SealedHistory, device: bytes, now_ms: int) -> Record:
    """Put a device out: what it wrote stays, what it could read it keeps, and it reads nothing that comes later.

    Args:
        device: its short id, 8 bytes.

    Raises: as ``let_in``.
    """
    return _append(history, RecordKind.REVOKE, now_ms, member=device)


def go_on_as(history: SealedHistory, owner: PublicIdentity, now_ms: int) -> Record:
    """The owner goes on with a new root; the old one can write no more, and read nothing that comes later.

    Raises: as ``let_in``.
    """
    return _append(history, RecordKind.ROTATE, now_ms, identity=owner)


def access_of(history: SealedHistory) -> tuple[ChainHead, Access]:
    """Where a history stands and who its members are, every record opened and checked."""
    head, access = ChainHead(0, NO_DIGEST), Access()
    for record, data, after in history.followed(head, access):
        head, access = ChainHead(record.seq, record_digest(data)), after
    return head, access


@dataclass(frozen=True, slots=True)
class Device:
    """A device that may read and write a fork.

    Attributes:
        name: what the owner called it.
        since_seq, since_ms: the record that let it in, and the time that this record claims.
    """

    identity: PublicIdentity
    name: str
    since_seq: int
    since_ms: int


def devices_of(history: SealedHistory) -> list[Device]:
    """The devices of a fork as of its newest record, in the order in which they were let in.

    Raises:
        WrongKey, VerificationError: the history does not open.
    """
    access, found = Access(), dict[bytes, Device]()
    for record, _, after in history.followed(ChainHead(0, NO_DIGEST), access):
        access = after
        if record.kind == RecordKind.DEVICE and record.identity is not None:
            device = Device(record.identity, record.input_text, record.seq, record.timestamp_ms)
            found[record.identity.short_id] = device
    return [found[each.short_id] for each in access.devices]


def _append(
    history: SealedHistory,
    kind: RecordKind,
    now_ms: int,
    *,
    identity: PublicIdentity | None = None,
    member: bytes = b"",
    input_text: str = "",
) -> Record:
    head, access = access_of(history)
    if head.seq and access.owner is None:
        Access(history.identity.public).changed(kind, identity, member)  # nothing is signed for what cannot be
        head, access = _claimed(history, head, now_ms)
    blank = replace(_blank(history, head, kind, now_ms), input_text=input_text)
    record, head, _ = _appended(history, replace(blank, identity=identity, member=member), head, access)
    return record


def _claimed(history: SealedHistory, head: ChainHead, now_ms: int) -> tuple[ChainHead, Access]:
    """Sign a history of before signatures: a rollback to its newest record takes nothing out, and names the owner."""
    newest = history.store.record(history.row.fork_id, head.seq)
    blank = replace(_blank(history, head, RecordKind.ROLLBACK, now_ms), target_op_id=newest.op_id)
    _, head, access = _appended(history, blank, head, Access())
    return head, access


def _blank(history: SealedHistory, head: ChainHead, kind: RecordKind, now_ms: int) -> Record:
    return Record(
        fork_id=history.row.fork_id,
        owner=OwnerId(history.row.owner),
        seq=head.seq + 1,
        op_id=new_op_id(),
        kind=kind,
        timestamp_ms=now_ms,
        previous_digest=head.digest,
    )


def _appended(
    history: SealedHistory, record: Record, head: ChainHead, access: Access
) -> tuple[Record, ChainHead, Access]:
    record, data, after = history.seal(record, access)
    row = AppendRow(record.seq, record.op_id, record_digest(data), data)
    history.store.append(history.row.fork_id, row, expected_head=head.digest)
    return record, ChainHead(record.seq, row.digest), after
