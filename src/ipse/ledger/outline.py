# SPDX-License-Identifier: Apache-2.0
"""What anybody can read of a fork's history: the fields of its records that are in the clear, chain checked.

No key is needed and nothing is opened. What is seen: when something happened, of which kind it was, how long each
sealed part is, and which operation a judgement, an undo or a rollback names. That is enough to tell which records
count, and it is also what a fork's history shows to whoever copies the store.

Checked on the way: form, fork, numbers without gaps, and that each record names the digest of the one before. Not
checked, because that takes the key: the record MAC. Whoever can write to the store can write another history that
passes here; only a head that is kept elsewhere, or the key (`ipse fork verify`), tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ipse.errors import VerificationError
from ipse.ledger.record import MAX_RECORD_BYTES, RecordKind, record_digest
from ipse.wire import record_pb2 as pb
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OP_ID_BYTES, ForkId

_MAC_BYTES = 32


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


def clear_fields(data: bytes) -> ClearRecord:
    """What is in the clear in a record's bytes (wire/record.proto). Says nothing about whether it is genuine.

    Raises:
        VerificationError: the bytes are not of the form of a record.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise VerificationError(f"It is longer than {MAX_RECORD_BYTES} bytes.")
    try:
        message = pb.UserTrainingRecord.FromString(data)
    except DecodeError as error:
        raise VerificationError("It is not of the form of a record.") from error
    if len(message.record_mac) != _MAC_BYTES or not data.endswith(message.record_mac):
        raise VerificationError("It does not end with a record MAC.", "It is damaged, or made by a newer Ipse.")
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
        record_mac=message.record_mac,
    )


def outline(records: Iterable[bytes], fork_id: ForkId) -> Iterator[ClearRecord]:
    """A fork's records in the clear, each checked against the one before it.

    Args:
        records: the bytes of all records, from the first.

    Raises:
        VerificationError: names the fork and the first record that does not fit.
    """
    previous = NO_DIGEST
    for seq, data in enumerate(records, 1):
        try:
            record = clear_fields(data)
            _check_place(record, fork_id, seq, previous)
        except VerificationError as error:
            raise VerificationError(
                f"Record {seq} of fork {fork_id}: {error.message}", error.hint or "Restore the store from a copy."
            ) from error
        previous = record.digest
        yield record


def _check_place(record: ClearRecord, fork_id: ForkId, seq: int, previous: bytes) -> None:
    if record.fork_id != fork_id:
        raise VerificationError("It belongs to another fork.")
    if record.seq != seq:
        raise VerificationError(f"It says that it is record {record.seq}.")
    if record.previous_digest != previous:
        raise VerificationError("It does not follow the record before it.")


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
