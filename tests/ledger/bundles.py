# SPDX-License-Identifier: Apache-2.0
"""A small fork of signed records, a log that has its head, and the bundle of it: without store and without home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipse.ledger.access import Access
from ipse.ledger.bundle import Contents, Manifest, Published
from ipse.ledger.checkpoint import Log, sign_checkpoint
from ipse.ledger.envelope import read_envelope
from ipse.ledger.forkhead import blinded, blinding_value, head_of, sign_head
from ipse.ledger.keys import NoteKey, SignatureType
from ipse.ledger.record import Record, RecordKind, record_digest, seal_record
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import leaf_hash, root_hash
from ipse.ledger.treehead import TreeHead
from ipse.vault.datakeys import new_data_key
from ipse.vault.identity import Identity, PublicIdentity
from ipse.vault.keys import ForkKey, RootKey
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import BaseId, ForkId, OwnerId, new_fork_id

OWNER, DEVICE, STRANGER = (Identity(RootKey(bytes([number]) * 32)) for number in (1, 2, 3))
FORK = new_fork_id(lambda count: bytes(range(count)))
ORIGIN = "example.org/log"
LOG_KEYS = tuple(
    NoteKey(ORIGIN, kind, bytes([kind]) * 32) for kind in (SignatureType.ED25519, SignatureType.ML_DSA_44_COSIGNATURE)
)
LOG = Log(ORIGIN, tuple(key.verifier() for key in LOG_KEYS))


@dataclass
class Written:
    """A history in the making."""

    fork_id: ForkId = FORK
    owner: str = "ada"

    def __post_init__(self) -> None:
        self.records: list[bytes] = []
        self.access = Access()
        self.keys: dict[int, ForkKey] = {}

    def add(
        self,
        signer: Identity = OWNER,
        kind: RecordKind = RecordKind.INTERACTION,
        identity: PublicIdentity | None = None,
        member: bytes = b"",
        op_id: bytes = b"",
    ) -> Written:
        """One more record by this signer; the law is kept."""
        seq = len(self.records) + 1
        record = Record(
            fork_id=self.fork_id,
            owner=OwnerId(self.owner),
            seq=seq,
            op_id=op_id or seq.to_bytes(16, "big"),
            kind=kind,
            timestamp_ms=1_790_000_000_000 + seq,
            previous_digest=record_digest(self.records[-1]) if self.records else NO_DIGEST,
            input_text=f"message {seq}",
            identity=signer.public if seq == 1 else identity,
            member=member,
        )
        number, brought = self.access.key_number, None
        if self.access.needs_key(kind, record.timestamp_ms):
            members = self.access.changed(kind, record.identity, member).members
            self.keys[seq], brought = new_data_key(self.fork_id, seq, members, self.keys.get(number))
            number = seq
        data = seal_record(record, self.keys[number], signer, brought=brought)
        self.access = self.access.following(read_envelope(data))
        self.records.append(data)
        return self


def history(count: int = 3) -> Written:
    """So many records of the owner."""
    written = Written()
    for _ in range(count):
        written.add()
    return written


def with_device(*more: Identity) -> Written:
    """Two records of the owner, one that lets the device in, and one by each of these."""
    written = history(2).add(kind=RecordKind.DEVICE, identity=DEVICE.public)
    for signer in more:
        written.add(signer)
    return written


def signed_head(records: Sequence[bytes], signer: Identity = OWNER, fork_id: ForkId = FORK) -> bytes:
    return sign_head(head_of(fork_id, [record_digest(data) for data in records]), signer)


def contents(written: Written, signer: Identity = OWNER) -> Contents:
    """What a bundle of this history holds, signed by this member."""
    manifest = Manifest(
        fork_id=written.fork_id,
        owner=OwnerId(written.owner),
        base_id=BaseId("0123456789abcdef"),
        base_name="a-base",
        layout_digest=bytes(range(32)),
        created_ms=1_790_000_000_000,
        exported_ms=1_790_000_100_000,
    )
    return Contents(manifest, tuple(written.records), signed_head(written.records, signer, written.fork_id))


def published(written: Written, size: int, *, into: Contents) -> Contents:
    """The same with a head of this size in the log."""
    head = head_of(written.fork_id, [record_digest(data) for data in written.records[:size]])
    value = blinding_value(written.keys[1], size)
    leaf = leaf_hash(blinded(head, value))
    other = leaf_hash(bytes(32))
    checkpoint = sign_checkpoint(TreeHead(ORIGIN, 2, root_hash([other, leaf])), LOG_KEYS)
    return replace(into, published=(Published(size, value, TlogProof(1, (other,), checkpoint)),), log=LOG)
