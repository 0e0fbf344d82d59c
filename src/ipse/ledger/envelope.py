# SPDX-License-Identifier: Apache-2.0
"""The outside of a record: what can be read of it and checked without any key.

    body || record_mac (35 bytes) || signature (66 bytes)

``Envelope`` is what a stranger sees: place, kind, time, signer, sizes. Nothing in it is to be believed because it was
parsed: access.py says who may have signed it, and record.py opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ipse.errors import VerificationError
from ipse.vault.datakeys import WrappedKey
from ipse.vault.identity import SIGNATURE_BYTES, PublicIdentity
from ipse.wire import record_pb2 as pb
from ipse.wire.ids import OP_ID_BYTES, ForkId

MAX_RECORD_BYTES = 64 * 1024 * 1024

MAC_BYTES = 32
MAC_FIELD = b"\xd2\x06\x20"  # field 106, length-delimited, 32 bytes: the wire form of record_mac's tag and length
SIGNATURE_FIELD = b"\x62\x40"  # field 12, length-delimited, 64 bytes

RECORD_LABEL = "record"
"""What a record's signature is made for."""

_MAC_LENGTH = len(MAC_FIELD) + MAC_BYTES
_SIGNATURE_LENGTH = len(SIGNATURE_FIELD) + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class Envelope:
    """A record's bytes, taken apart.

    Attributes:
        message: its fields, without MAC and signature.
        body: the bytes that the MAC covers.
        mac: 32 bytes.
        signature: 64 bytes, or none.
        signed: the bytes that the signature covers: body and MAC.
    """

    message: pb.UserTrainingRecord
    body: bytes
    mac: bytes
    signature: bytes
    signed: bytes

    @property
    def identity(self) -> PublicIdentity | None:
        """The identity that it brings. Raises VerificationError if its keys have wrong lengths."""
        if not self.message.HasField("identity"):
            return None
        keys = self.message.identity
        return PublicIdentity(keys.ed25519, keys.ml_dsa_65, keys.x_wing)

    @property
    def wrapped_key(self) -> WrappedKey | None:
        """The data key that it brings."""
        if not self.message.HasField("data_key"):
            return None
        key = self.message.data_key
        wraps = tuple((each.recipient, each.sealed) for each in key.wrapped)
        return WrappedKey(wraps, key.previous_record, key.previous)


def read_envelope(data: bytes) -> Envelope:
    """Take a record's bytes apart.

    Raises:
        VerificationError: they are not of the form of a record.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise VerificationError(f"It is longer than {MAX_RECORD_BYTES} bytes.")
    rest, last = data[:-_SIGNATURE_LENGTH], data[-_SIGNATURE_LENGTH:]
    if last.startswith(SIGNATURE_FIELD) and rest[-_MAC_LENGTH:-MAC_BYTES] == MAC_FIELD:
        signed, signature = rest, last[len(SIGNATURE_FIELD) :]
    else:
        signed, signature = data, b""
    if signed[-_MAC_LENGTH:-MAC_BYTES] != MAC_FIELD:
        raise VerificationError("It does not end with a record MAC.", "It is damaged, or made by a newer Ipse.")
    body = signed[:-_MAC_LENGTH]
    try:
        message = pb.UserTrainingRecord.FromString(body)
    except DecodeError as error:
        raise VerificationError("It is not of the form of a record.") from error
    if message.zkp_proof or message.signature or message.record_mac:
        raise VerificationError("It carries a proof or signature that this version cannot check.", "Update Ipse.")
    return Envelope(message, body, signed[-MAC_BYTES:], signature, signed)


@contextmanager
def naming(fork_id: ForkId, seq: int, hint: str = "") -> Iterator[None]:
    """A check that fails inside says of which record it is; ``hint`` where it gives none."""
    try:
        yield
    except VerificationError as error:
        raise VerificationError(f"Record {seq} of fork {fork_id}: {error.message}", error.hint or hint) from error


def check_place(message: pb.UserTrainingRecord, fork_id: ForkId, seq: int, previous: bytes) -> None:
    """Pass if the record says that it has this place.

    Raises:
        VerificationError: it says otherwise.
    """
    if message.fork_id != fork_id:
        raise VerificationError("It belongs to another fork.")
    if message.interaction_number != seq:
        raise VerificationError(f"It says that it is record {message.interaction_number}.")
    if message.previous_digest != previous:
        raise VerificationError("It does not follow the record before it.")
    if len(message.op_id) != OP_ID_BYTES:
        raise VerificationError("Its operation id is not of 16 bytes.")
