# SPDX-License-Identifier: Apache-2.0
"""Who may write to a fork and read it: a law over what stands in the clear, so that a stranger can check it.

    the first signed record     brings the owner's identity and the first data key
    DEVICE                      the owner lets an identity in: it may sign from the next record on
    REVOKE                      the owner puts one out: it may not sign any more, and the new data key is not for it
    ROTATE                      the owner goes on with another identity: a new root, the same fork
    any record                  may bring a new data key; these three must

A record is signed by a member of the fork as it stood before it. DEVICE, REVOKE and ROTATE are signed by the owner,
and carry a hybrid signature of the owner besides (Ed25519 and ML-DSA-65): a *certificate*. A data key is wrapped for
exactly the members as they are after the record that brings it. Undo and rollback do not touch any of this.

Records from before signatures may stand at the start of a history; after the first signed one all are signed.

Not shown: that the owner in the first record is the person you think of. Compare the identity with one that you
have from elsewhere (``expected_owner`` in ``check_chain``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ipse.errors import InputError, VerificationError
from ipse.ledger.envelope import RECORD_LABEL, Envelope
from ipse.vault.identity import IDENTITY_BYTES, Identity, PublicIdentity
from ipse.vault.seal import sealing_context
from ipse.wire import record_pb2 as pb

MEMBERSHIP: frozenset[int] = frozenset({pb.RECORD_KIND_DEVICE, pb.RECORD_KIND_REVOKE, pb.RECORD_KIND_ROTATE})
"""The kinds of records that change who is a member."""

DAY_MS = 86_400_000

_CERTIFICATE_LABEL = "fork member"
_HEAD = struct.Struct("<QQI")


@dataclass(frozen=True, slots=True)
class Access:
    """Who the members of a fork are after some record.

    Attributes:
        owner: None before the first signed record.
        devices: in the order in which they were let in.
        key_number: number of the record that brought the present data key; 0 before the first.
        key_ms: the time which that record claims.
    """

    owner: PublicIdentity | None = None
    devices: tuple[PublicIdentity, ...] = ()
    key_number: int = 0
    key_ms: int = 0

    @property
    def members(self) -> tuple[PublicIdentity, ...]:
        """The owner, then the devices."""
        return (self.owner, *self.devices) if self.owner is not None else ()

    def needs_key(self, kind: int, timestamp_ms: int) -> bool:
        """Whether the next record should bring a new data key: the first, one that changes members, one of a new day.

        A clock that was set back starts no day.
        """
        return not self.key_number or kind in MEMBERSHIP or timestamp_ms // DAY_MS > self.key_ms // DAY_MS

    def changed(self, kind: int, identity: PublicIdentity | None, member: bytes) -> Access:
        """The members after a record of this kind. ``key_number`` stays.

        Raises:
            InputError: the change cannot be made.
        """
        if self.owner is None and kind in MEMBERSHIP:
            raise InputError("This fork has no signed record yet, so nobody owns it.", "Say something to it first.")
        if kind == pb.RECORD_KIND_REVOKE:
            left = tuple(device for device in self.devices if device.short_id != member)
            if len(left) == len(self.devices):
                raise InputError(f"No device of this fork has the id {member.hex()}.", "See `ipse key devices`.")
            return replace(self, devices=left)
        if identity is None:
            return self
        if self.owner is None:
            return replace(self, owner=identity)
        if any(identity.short_id == each.short_id for each in self.members):
            raise InputError(f"{identity.name} is a member of this fork already.", "See `ipse key devices`.")
        if kind == pb.RECORD_KIND_DEVICE:
            return replace(self, devices=(*self.devices, identity))
        if kind == pb.RECORD_KIND_ROTATE:
            return replace(self, owner=identity)
        raise InputError("Only the first record, DEVICE and ROTATE bring an identity.")

    def following(self, envelope: Envelope) -> Access:
        """Check a record's signature, certificate and data key; the members after it.

        Raises:
            VerificationError: it breaks the law above.
        """
        message = envelope.message
        if not envelope.signature:
            return self._unsigned(envelope)
        try:
            after = self.changed(message.kind, envelope.identity, message.member)
        except InputError as error:
            raise VerificationError(error.message) from error
        signer = _named(message.signer, self.members or after.members)
        signer.verify_record(RECORD_LABEL, envelope.signed, envelope.signature)
        if message.kind in MEMBERSHIP:
            if signer != self.owner:
                raise VerificationError("It changes the members and is not signed by the owner.")
            signer.verify(_CERTIFICATE_LABEL, certified(message), message.certificate)
        elif message.certificate or message.member:
            raise VerificationError("It carries a certificate that its kind has none of.")
        return self._with_key(envelope, after)

    def to_bytes(self) -> bytes:
        """For a snapshot."""
        keys = b"".join(member.to_bytes() for member in self.members)
        return _HEAD.pack(self.key_number, self.key_ms, len(self.members)) + keys

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Access, bytes]:
        """Inverse of ``to_bytes``, and what follows.

        Raises:
            VerificationError: the bytes are cut off.
        """
        if len(data) < _HEAD.size:
            raise VerificationError("The members of a snapshot are cut off.")
        number, time_ms, count = _HEAD.unpack_from(data)
        end = _HEAD.size + count * IDENTITY_BYTES
        starts = range(_HEAD.size, end, IDENTITY_BYTES)
        members = [PublicIdentity.from_bytes(data[at : at + IDENTITY_BYTES]) for at in starts if end <= len(data)]
        if len(members) != count:
            raise VerificationError("The members of a snapshot are cut off.")
        owner, devices = (members[0], tuple(members[1:])) if members else (None, ())
        return cls(owner, devices, number, time_ms), data[end:]

    # -- inside -----------------------------------------------------------------------------------

    def _unsigned(self, envelope: Envelope) -> Access:
        message = envelope.message
        if self.owner is not None:
            raise VerificationError("It is not signed, and records before it are.")
        later = message.signer or message.data_key_record or message.certificate or message.member
        if later or message.HasField("identity") or message.HasField("data_key") or message.kind in MEMBERSHIP:
            raise VerificationError("It has the form of a signed record and no signature.")
        return self

    def _with_key(self, envelope: Envelope, after: Access) -> Access:
        message, brought = envelope.message, envelope.wrapped_key
        if brought is None:
            if message.kind in MEMBERSHIP or after.owner != self.owner:
                raise VerificationError("It changes the members and brings no new data key.")
            if message.data_key_record != self.key_number or not self.key_number:
                raise VerificationError("It is sealed under another data key than the one of its time.")
            return after
        if message.data_key_record != message.interaction_number:
            raise VerificationError("It brings a data key and is sealed under another one.")
        if brought.previous_number != self.key_number:
            raise VerificationError("The data key that it brings does not follow the one before.")
        if [recipient for recipient, _ in brought.wraps] != [member.short_id for member in after.members]:
            raise VerificationError("The data key that it brings is not wrapped for exactly the members of the fork.")
        return replace(after, key_number=message.interaction_number, key_ms=max(self.key_ms, message.timestamp_ms))


def certify(message: pb.UserTrainingRecord, owner: Identity) -> bytes:
    """The certificate of a DEVICE, REVOKE or ROTATE record."""
    return owner.sign(_CERTIFICATE_LABEL, certified(message))


def certified(message: pb.UserTrainingRecord) -> bytes:
    """What a certificate covers: place, kind and whom it names."""
    keys = message.identity
    return sealing_context(
        message.fork_id,
        message.interaction_number,
        message.previous_digest,
        message.kind,
        keys.ed25519 + keys.ml_dsa_65 + keys.x_wing,
        message.member,
    )


def _named(short_id: bytes, members: tuple[PublicIdentity, ...]) -> PublicIdentity:
    for member in members:
        if member.short_id == short_id:
            return member
    raise VerificationError(f"It is signed by {short_id.hex() or 'nobody'}, who is not a member of the fork.")
