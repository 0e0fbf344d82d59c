# SPDX-License-Identifier: Apache-2.0
"""Records: what happened to a fork, sealed to its owner, signed and chained.

``seal_record`` turns a Record into bytes (wire/record.proto); ``open_record`` is its inverse and trusts nothing. A
whole history is checked without any key by chain.py.

How the bytes are protected, from the outside in:

- *chain*: each record names the digest of the one before, so whoever knows the latest digest knows them all.
- *signature*: Ed25519 of a member of the fork (access.py), over all bytes: anybody can check who wrote it.
- *record MAC*: HMAC-SHA-256 over all bytes before it under the data key. It covers what is in the clear too (owner,
  number, time, kind), and it fixes the key: the record opens under one data key only.
- *parts*: input, output, update, feedback, metrics and prior are compressed, then AES-256-GCM each.

Why one nonce for each field number is safe: the record key is derived from the operation id, the place (number and
digest of the record before) AND 8 bytes drawn at each sealing, and a record has each field once. So no two sealings
share a key: not when somebody else appended first and the operation goes to another place, and not when it is tried
again in the same place, with other durations, after a full disk or a crash that left the first try's bytes on disk.

Not protected: cutting off the newest records goes unseen by somebody who holds no later digest or head (forkhead.py).
Sizes, times and kinds of records are in the clear, and so is the owner's name. ``zkp_proof`` stays empty in this
version. Ed25519 alone would fall to a quantum computer; the heads over all records are signed with ML-DSA-65 too.

An ordinary record (owner of 5 letters, 100 + 100 characters of English, 4-bit update and 1-bit prior along 768
coordinates) takes 1,000 bytes: text 147, update 429, prior 144, metrics 43, signature 77, everything else 160; once a
day a data key adds 1,241. Its test holds that.
"""

from __future__ import annotations

import hmac
import secrets
from ctypes import c_float
from dataclasses import dataclass, field
from enum import IntEnum
from math import isfinite

from ipse.errors import InputError, VerificationError
from ipse.ledger.access import MEMBERSHIP, certify
from ipse.ledger.envelope import (
    MAC_FIELD,
    RECORD_LABEL,
    SIGNATURE_FIELD,
    Envelope,
    check_place,
    naming,
    read_envelope,
)
from ipse.ledger.parts import Feedback, Metrics
from ipse.vault.datakeys import WrappedKey
from ipse.vault.identity import SHORT_ID_BYTES, Identity, PublicIdentity
from ipse.vault.keys import ForkKey, derive
from ipse.vault.seal import NONCE_BYTES, open_part, seal_part, sealing_context
from ipse.wire import record_pb2 as pb
from ipse.wire.compress import compress, decompress
from ipse.wire.digest import DIGEST_BYTES, NO_DIGEST, sha256
from ipse.wire.ids import OP_ID_BYTES, ForkId, OwnerId, Randomness, parse_owner_id

__all__ = [
    "Feedback",
    "Metrics",
    "Record",
    "RecordKind",
    "open_envelope",
    "open_record",
    "record_digest",
    "seal_record",
]

MAX_PART_BYTES = 8 * 1024 * 1024

_SALT_BYTES = 8

_INPUT, _OUTPUT, _UPDATE, _FEEDBACK, _METRICS, _PRIOR = 4, 5, 6, 8, 9, 10  # field numbers, also the nonces
_TEXTS = (_INPUT, _OUTPUT, _FEEDBACK)

_HINT = "The history before it can still be used; restore the rest from a copy."


class RecordKind(IntEnum):
    """What a record records. The numbers are those of wire/record.proto."""

    INTERACTION = 1
    FEEDBACK = 2
    UNDO = 3
    ROLLBACK = 4
    IMPORT = 5
    DEVICE = 6
    REVOKE = 7
    ROTATE = 8

    @property
    def changes_members(self) -> bool:
        """Whether it lets somebody in or out: then nothing takes it out, and it holds nothing to learn."""
        return int(self) in MEMBERSHIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One operation on a fork, opened.

    Attributes:
        seq: place in the fork, from 1 without gaps (``interaction_number``).
        op_id: 16 random bytes, chosen before the operation started.
        timestamp_ms: Unix time by the writer's clock; never decides order.
        previous_digest: SHA-256 over the record before, ``NO_DIGEST`` in the first.
        target_op_id: the operation that this one speaks of, or empty.
        update: coded update that was applied (wire/update.py), empty if none was.
        prior_update: coded update of the prior, empty if none.
        learning_rate: rounded to float32.
        identity: of the owner in the first signed record; else of whom DEVICE or ROTATE names.
        member: short id of the device that REVOKE puts out.
        signer: short id of who signed it; set by ``open_record``.
    """

    fork_id: ForkId
    owner: OwnerId
    seq: int
    op_id: bytes
    kind: RecordKind
    timestamp_ms: int
    previous_digest: bytes
    target_op_id: bytes = b""
    input_text: str = ""
    output_text: str = ""
    update: bytes = b""
    prior_update: bytes = b""
    feedback: Feedback | None = None
    metrics: Metrics = field(default_factory=Metrics)
    learning_rate: float = 0.0
    identity: PublicIdentity | None = None
    member: bytes = b""
    signer: bytes = b""

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", c_float(self.learning_rate).value)


def record_digest(data: bytes) -> bytes:
    """SHA-256 over a record's bytes: what the next record names."""
    return sha256(data)


def seal_record(
    record: Record,
    fork_key: ForkKey,
    signer: Identity | None = None,
    *,
    brought: WrappedKey | None = None,
    rng: Randomness = secrets.token_bytes,
) -> bytes:
    """The record's bytes; other bytes each time. Seal once, then keep them.

    Args:
        fork_key: the data key that it is sealed under.
        signer: who signs it; None only for records of the form from before signatures.
        brought: how it carries that key, if it is the one that brings it.

    Raises:
        InputError: the record cannot be sealed as it is (sizes, texts that are not UTF-8, another fork's key).
    """
    _check_sealable(record, fork_key)
    salt = rng(_SALT_BYTES)
    key = _record_key(fork_key, record.seq, record.op_id, record.previous_digest, salt)

    def part(number: int, plaintext: bytes) -> bytes:
        context = _part_context(record.fork_id, record.seq, record.op_id, number)
        packed = compress(plaintext, words=number in _TEXTS)
        return seal_part(key, packed, nonce=_nonce(number), context=context)

    message = pb.UserTrainingRecord(
        user_id=record.owner,
        fork_id=record.fork_id,
        interaction_number=record.seq,
        learning_rate=record.learning_rate,
        op_id=record.op_id,
        previous_digest=record.previous_digest,
        kind=pb.RecordKind.ValueType(record.kind),
        timestamp_ms=record.timestamp_ms,
        target_op_id=record.target_op_id,
        key_salt=salt,
        data_key_record=fork_key.number,
        member=record.member,
    )
    if record.input_text:
        message.encrypted_input = part(_INPUT, record.input_text.encode())
    if record.output_text:
        message.encrypted_output = part(_OUTPUT, record.output_text.encode())
    if record.update:
        message.encrypted_gradient = part(_UPDATE, record.update)
    if record.feedback is not None:
        message.feedback.sealed = part(_FEEDBACK, record.feedback.to_bytes())
    if record.metrics != Metrics():
        message.metrics.sealed = part(_METRICS, record.metrics.to_bytes())
    if record.prior_update:
        message.prior_update.sealed = part(_PRIOR, record.prior_update)
    _add_keys(message, record.identity, brought)
    if signer is not None:
        message.signer = signer.public.short_id
        if record.kind.changes_members:
            message.certificate = certify(message, signer)
    body = message.SerializeToString(deterministic=True)
    signed = body + MAC_FIELD + _mac(fork_key, body)
    return signed if signer is None else signed + SIGNATURE_FIELD + signer.sign_record(RECORD_LABEL, signed)


def open_record(data: bytes, fork_key: ForkKey, *, expect_seq: int, expect_previous: bytes) -> Record:
    """Check a record and open it. Who signed it is for ``Access.following`` to check.

    Args:
        data: the record's bytes, as stored or received.
        fork_key: the data key that it must be sealed under, of the fork that it must belong to.
        expect_seq: the number it must have.
        expect_previous: the digest of the record before, ``NO_DIGEST`` for the first.

    Raises:
        VerificationError: any byte was altered, the record belongs elsewhere, or the key is another. The message
            names the fork and the record number.
    """
    with naming(fork_key.fork_id, expect_seq, _HINT):
        envelope = read_envelope(data)
    return open_envelope(envelope, fork_key, expect_seq=expect_seq, expect_previous=expect_previous)


def open_envelope(envelope: Envelope, fork_key: ForkKey, *, expect_seq: int, expect_previous: bytes) -> Record:
    """The same for a record whose bytes were taken apart already."""
    with naming(fork_key.fork_id, expect_seq, _HINT):
        if not hmac.compare_digest(envelope.mac, _mac(fork_key, envelope.body)):
            raise VerificationError("It was altered, or the key is not that of its fork.")
        check_place(envelope.message, fork_key.fork_id, expect_seq, expect_previous)
        return _open(envelope, fork_key)


def _check_sealable(record: Record, fork_key: ForkKey) -> None:
    problems = {
        "its fork is not that of the key": record.fork_id != fork_key.fork_id,
        "its number is not from 1 to 2**63 - 1": not 1 <= record.seq < 2**63,
        "its operation id is not of 16 bytes": len(record.op_id) != OP_ID_BYTES,
        "its target is not of 16 bytes": len(record.target_op_id) not in (0, OP_ID_BYTES),
        "its previous digest is not of 32 bytes": len(record.previous_digest) != DIGEST_BYTES,
        "only the first record has no predecessor": (record.seq == 1) != (record.previous_digest == NO_DIGEST),
        "its time is not from 0 to 2**63 - 1": not 0 <= record.timestamp_ms < 2**63,
        "its learning rate is not finite": not isfinite(record.learning_rate),
        "its member is not named by 8 bytes": len(record.member) not in (0, SHORT_ID_BYTES),
    }
    wrong = [problem for problem, found in problems.items() if found]
    if wrong:
        raise InputError(f"{_name(record.fork_id, record.seq)} cannot be sealed: {'; '.join(wrong)}.")
    parse_owner_id(record.owner)
    edited = record.feedback.edited_output if record.feedback else ""
    try:
        parts = [text.encode() for text in (record.input_text, record.output_text, edited)]
    except UnicodeEncodeError as error:
        raise InputError(f"{_name(record.fork_id, record.seq)} holds text that is not Unicode.") from error
    if max(map(len, [*parts, record.update, record.prior_update])) > MAX_PART_BYTES:
        raise InputError(f"{_name(record.fork_id, record.seq)} has a part of more than {MAX_PART_BYTES} bytes.")


def _add_keys(message: pb.UserTrainingRecord, identity: PublicIdentity | None, brought: WrappedKey | None) -> None:
    if identity is not None:
        message.identity.ed25519 = identity.ed25519
        message.identity.ml_dsa_65 = identity.ml_dsa_65
        message.identity.x_wing = identity.x_wing
    if brought is not None:
        message.data_key.previous_record = brought.previous_number
        message.data_key.previous = brought.previous
        for recipient, sealed in brought.wraps:
            message.data_key.wrapped.add(recipient=recipient, sealed=sealed)


def _open(envelope: Envelope, fork_key: ForkKey) -> Record:
    """The record of an envelope whose bytes are authenticated."""
    message = envelope.message
    fork_id, seq, op_id = fork_key.fork_id, message.interaction_number, message.op_id
    key = _record_key(fork_key, seq, op_id, message.previous_digest, message.key_salt)

    def part(number: int, sealed: bytes) -> bytes:
        context = _part_context(fork_id, seq, op_id, number)
        return decompress(open_part(key, sealed, nonce=_nonce(number), context=context))

    def text(number: int, sealed: bytes) -> str:
        return _text(part(number, sealed)) if sealed else ""

    if len(message.target_op_id) not in (0, OP_ID_BYTES):
        raise VerificationError("Its target is not of 16 bytes.")
    feedback, metrics = None, Metrics()
    if message.HasField("feedback"):
        feedback = Feedback.from_bytes(part(_FEEDBACK, message.feedback.sealed))
    if message.HasField("metrics"):
        metrics = Metrics.from_bytes(part(_METRICS, message.metrics.sealed))
    return Record(
        fork_id=fork_id,
        owner=OwnerId(message.user_id),
        seq=seq,
        op_id=op_id,
        kind=_read_kind(message.kind),
        timestamp_ms=message.timestamp_ms,
        previous_digest=message.previous_digest,
        target_op_id=message.target_op_id,
        input_text=text(_INPUT, message.encrypted_input),
        output_text=text(_OUTPUT, message.encrypted_output),
        update=part(_UPDATE, message.encrypted_gradient) if message.encrypted_gradient else b"",
        prior_update=part(_PRIOR, message.prior_update.sealed) if message.HasField("prior_update") else b"",
        feedback=feedback,
        metrics=metrics,
        learning_rate=message.learning_rate,
        identity=envelope.identity,
        member=message.member,
        signer=message.signer,
    )


def _record_key(fork_key: ForkKey, seq: int, op_id: bytes, previous: bytes, salt: bytes) -> bytes:
    """Key of one sealing's parts; see the module docstring on why it is used once."""
    return derive(fork_key, "record", sealing_context(op_id, seq, previous, salt))


def _mac(fork_key: ForkKey, body: bytes) -> bytes:
    return hmac.digest(derive(fork_key, "record mac"), body, "sha256")


def _nonce(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES, "big")


def _part_context(fork_id: ForkId, seq: int, op_id: bytes, number: int) -> bytes:
    return sealing_context("record", fork_id, seq, op_id, number)


def _read_kind(number: int) -> RecordKind:
    try:
        return RecordKind(number)
    except ValueError as error:
        raise VerificationError(f"It is of an unknown kind ({number}).", "Update Ipse.") from error


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise VerificationError("It holds text that is not UTF-8.") from error


def _name(fork_id: ForkId, seq: int) -> str:
    return f"Record {seq} of fork {fork_id}"
