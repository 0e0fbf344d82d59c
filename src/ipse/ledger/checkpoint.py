# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: tree heads that the log has signed (C2SP tlog-checkpoint), and whoever cosigned them.

A log is known by its origin and its keys, and *all* of its keys must have signed: with one Ed25519 and one ML-DSA-44
key a forger has to break both. Witnesses' cosignatures are checked as well and handed back; how many of them are
enough is for the caller to say.

>>> from ipse.ledger.keys import NoteKey, SignatureType
>>> from ipse.ledger.tree import EMPTY_ROOT
>>> keys = [NoteKey("example.com/log", kind, bytes(31) + bytes([kind])) for kind in SignatureType]
>>> log = Log("example.com/log", tuple(key.verifier() for key in keys))
>>> data = sign_checkpoint(TreeHead("example.com/log", 0, EMPTY_ROOT), keys, time_s=1_790_000_000)
>>> open_checkpoint(data, log).head.size
0

What a checkpoint does not show: that everybody was shown the same one. Two of one log are compared by a consistency
proof (tree.py); nobody must sign one that does not follow from all signed before, and nothing here can hold a log to
that: it takes a memory, which is the store's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ipse.errors import InputError, VerificationError
from ipse.ledger.keys import NoteKey, VerifierKey
from ipse.ledger.note import Note, Signed
from ipse.ledger.treehead import TreeHead

__all__ = ["Checkpoint", "Log", "TreeHead", "cosign", "open_checkpoint", "sign_checkpoint"]


@dataclass(frozen=True, slots=True)
class Log:
    """A log as its verifiers know it.

    Attributes:
        origin: the first line of its checkpoints.
        keys: at least one; every one of them signs each checkpoint.
    """

    origin: str
    keys: tuple[VerifierKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise InputError("A log without keys cannot be verified.", "Give at least one verifier key.")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head that its log has signed; made by ``open_checkpoint`` only.

    Attributes:
        head: origin, size and root hash.
        cosignatures: one for each known witness that cosigned, with its time.
    """

    head: TreeHead
    cosignatures: tuple[Signed, ...]


def sign_checkpoint(head: TreeHead, keys: Sequence[NoteKey], *, time_s: int = 0) -> bytes:
    """The bytes of a checkpoint signed with all of a log's keys.

    Call it only for a tree that continues every tree signed before: a log that signs two which do not fit together
    is caught lying, and there is no taking back.

    Args:
        time_s: what cosignatures of the log itself carry; 0 makes no claim.
    """
    note = Note(head.to_text())
    for key in keys:
        note = note.sign(key, time_s if key.kind.cosigns else 0)
    return note.to_bytes()


def cosign(data: bytes, key: NoteKey, *, time_s: int) -> bytes:
    """A checkpoint with one more cosignature at its end. Nothing is checked: that is the witness's duty, before.

    Raises:
        VerificationError: the bytes are not of the form of a checkpoint.
        InputError: the key is not one of cosignatures.
    """
    if not key.kind.cosigns:
        raise InputError("An ordinary signing key does not cosign.", "Use a key of type 4 or 6.")
    return Note.from_bytes(data).sign(key, time_s).to_bytes()


def open_checkpoint(data: bytes, log: Log, witnesses: Iterable[VerifierKey] = ()) -> Checkpoint:
    """Check that this is a checkpoint of that log.

    Args:
        witnesses: keys whose cosignatures are checked too; none of them has to be there.

    Raises:
        VerificationError: the form, the origin or a signature of a known key is wrong, or a key of the log has not
            signed.
    """
    note = Note.from_bytes(data)
    signed = note.verify({*log.keys, *witnesses})
    missing = set(log.keys) - {each.key for each in signed}
    if missing:
        kinds = ", ".join(sorted(key.kind.name for key in missing))
        raise VerificationError(f"The log has not signed with all of its keys: {kinds} is missing.")
    head = TreeHead.from_text(note.text)
    if head.origin != log.origin:
        raise VerificationError(f"It is a checkpoint of {head.origin!r}, not of {log.origin!r}.")
    return Checkpoint(head, tuple(each for each in signed if each.key not in log.keys))
