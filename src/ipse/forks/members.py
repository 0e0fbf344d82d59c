# SPDX-License-Identifier: Apache-2.0
"""Letting a device into a fork, putting one out, and going on with a new root: one appended record each.

None of them rewrites anything. Each brings a new data key for the members that there are then; who has that key has
the ones before it, so a new member reads the whole history, and one that was put out nothing that comes later.
"""

from __future__ import annotations

from dataclasses import replace

from ipse.forks.openfork import SealedHistory
from ipse.ledger.access import Access
from ipse.ledger.record import ChainHead, Record, RecordKind, record_digest
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


def device_names(history: SealedHistory) -> dict[bytes, str]:
    """What the owner called each device that was ever let in, by short id."""
    return {
        record.identity.short_id: record.input_text
        for record, _ in history.records()
        if record.kind == RecordKind.DEVICE and record.identity is not None
    }


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
    blank = Record(
        fork_id=history.row.fork_id,
        owner=OwnerId(history.row.owner),
        seq=head.seq + 1,
        op_id=new_op_id(),
        kind=kind,
        timestamp_ms=now_ms,
        previous_digest=head.digest,
        input_text=input_text,
    )
    record, data, _ = history.seal(replace(blank, identity=identity, member=member), access)
    row = AppendRow(record.seq, record.op_id, record_digest(data), data)
    history.store.append(history.row.fork_id, row, expected_head=head.digest)
    return record
