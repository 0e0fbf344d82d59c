# SPDX-License-Identifier: Apache-2.0
"""What anybody can read of a fork's history: the fields of its records that are in the clear, chain checked.

No key is needed and nothing is opened. What is seen: when something happened, of which kind it was, how long each
sealed part is, and which operation a judgement, an undo or a rollback names. That is enough to tell which records
count, and it is also what a fork's history shows to whoever copies the store.

Checked on the way: form, fork, numbers without gaps, that each record names the digest of the one before, and that a
member of the fork signed it (access.py). Not checked, because that takes the key: the record MAC and what is sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ipse.errors import VerificationError
from ipse.ledger.access import Access
from ipse.ledger.envelope import Envelope, check_place, naming, read_envelope
from ipse.ledger.record import RecordKind, record_digest
from ipse.wire import record_pb2 as pb
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OP_ID_BYTES, ForkId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearRecord:
    """One record, as far as it is in the clear.

    Attributes:
        seq: place in the fork, from 1 without gaps.
        digest: SHA-256 over the record's bytes, 32 bytes.
        size: of the whole record, bytes.
        previous_digest: of the record before, ``NO_DIGEST`` in the first.
        target_op_id: the operation that this one speaks of, or empty.
        sealed: name of each sealed part that is there -> its length as it lies there, bytes.
        record_mac: 32 bytes; not checked.
        signer: first 8 bytes of the identity id of who says to have signed it; empty if it is not signed.
        signature: 64 bytes, or none.
        data_key_record: number of the record that brought its data key; its own, if it brings one.
    """

    fork_id: ForkId
    owner: str
    seq: int
    op_id: bytes
    kind: RecordKind
    timestamp_ms: int
    digest: bytes
    size: int
    previous_digest: bytes
    target_op_id: bytes
    learning_rate: float
    sealed: Mapping[str, int]
    key_salt: bytes
    record_mac: bytes
    signer: bytes
    signature: bytes
    data_key_record: int


def clear_fields(data: bytes) -> ClearRecord:
    """What is in the clear in a record's bytes (wire/record.proto). Says nothing about whether it is genuine.

    Raises:
        VerificationError: the bytes are not of the form of a record.
    """
    return _clear(read_envelope(data), data)


def outline(records: Iterable[bytes], fork_id: ForkId) -> Iterator[ClearRecord]:
    """A fork's records in the clear, each checked against those before it.

    Args:
        records: the bytes of all records, from the first.

    Raises:
        VerificationError: names the fork and the first record that does not fit.
    """
    previous, access = NO_DIGEST, Access()
    for seq, data in enumerate(records, 1):
        with naming(fork_id, seq, "Restore the store from a copy."):
            envelope = read_envelope(data)
            check_place(envelope.message, fork_id, seq, previous)
            access = access.following(envelope)
            record = _clear(envelope, data)
        previous = record.digest
        yield record


def _clear(envelope: Envelope, data: bytes) -> ClearRecord:
    message = envelope.message
    if len(message.op_id) != OP_ID_BYTES:
        raise VerificationError("Its operation id is not of 16 bytes.")
    if len(message.target_op_id) not in (0, OP_ID_BYTES):
        raise VerificationError("Its target is not of 16 bytes.")
    try:
        kind = RecordKind(message.kind)
    except ValueError as error:
        raise VerificationError(f"It is of an unknown kind ({message.kind}).", "Update Ipse.") from error
    return ClearRecord(
        fork_id=ForkId(message.fork_id),
        owner=message.user_id,
        seq=message.interaction_number,
        op_id=message.op_id,
        kind=kind,
        timestamp_ms=message.timestamp_ms,
        digest=record_digest(data),
        size=len(data),
        previous_digest=message.previous_digest,
        target_op_id=message.target_op_id,
        learning_rate=message.learning_rate,
        sealed=_sealed(message),
        key_salt=message.key_salt,
        record_mac=envelope.mac,
        signer=message.signer,
        signature=envelope.signature,
        data_key_record=message.data_key_record,
    )


def _sealed(message: pb.UserTrainingRecord) -> dict[str, int]:
    sizes = {
        "input": len(message.encrypted_input),
        "output": len(message.encrypted_output),
        "update": len(message.encrypted_gradient),
        "feedback": len(message.feedback.sealed),
        "metrics": len(message.metrics.sealed),
        "prior": len(message.prior_update.sealed),
    }
    return {name: size for name, size in sizes.items() if size}
