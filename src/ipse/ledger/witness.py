# SPDX-License-Identifier: Apache-2.0
"""A witness: it has seen a log only grow, and says so with a cosignature and the time (C2SP tlog-witness).

    add-checkpoint   old 20852014                        the tree that the client believes we saw last
                     PlRNCrwHpqhGrupue0L7gxbjbMiKA9...   consistency proof from there, at most 63 hashes

                     example.com/behind-the-sofa         the checkpoint, to its end
                     ...

One law: of two cosigned trees of one log, the later one begins with the earlier one. It rests on a memory, one marker
of the store for each log: size, root hash and time of what was cosigned last. A request is checked against it, and
before anything is signed the memory is swapped, durably, if nobody swapped it in between. A witness that dies after
that has lost an answer, which the client asks for again; it has forgotten nothing. Of two requests from one old size
one is told that the size is another now.

The time of a cosignature never runs backwards for one log: where the clock stands before the last time, nothing is
signed until somebody has looked.

An older copy of the memory that is put back would make the witness forget. So each swap is also noted beside the
store before it is signed (store/seen.py), and where the memory lacks what was noted, nothing is signed.

Not protected: a copy of the whole folder that is put back, notes and all, is not noticed; nor is another memory that
has come further. It does not see entries, and does not know whether anybody else is shown the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum

from ipse.errors import ClockError, InputError, StoreRolledBack, VerificationError
from ipse.ledger.checkpoint import Log, open_checkpoint
from ipse.ledger.keys import NoteKey, SignatureType, VerifierKey
from ipse.ledger.note import Note, Signature
from ipse.ledger.policy import LogLine, Policy
from ipse.ledger.tree import EMPTY_ROOT, verify_consistency
from ipse.ledger.treehead import TreeHead
from ipse.store.rows import Head
from ipse.store.seen import FOLDER_NAME, confirm
from ipse.store.seen import Seen as Notes
from ipse.store.store import Store
from ipse.vault.signerfile import Signer
from ipse.wire.digest import DIGEST_BYTES, sha256
from ipse.wire.lines import MAX_NUMBER, from_base64, parse_decimal, to_base64

MAX_PROOF_LINES = 63

_LOGS = "witness/logs"
_SEEN = "witness/seen/"
_COSIGNED = "witness/cosigned/"


class Reason(Enum):
    """Why a checkpoint is not cosigned."""

    MALFORMED = "the request is not of the form, or its old size is larger than the checkpoint"
    UNKNOWN_LOG = "no log of this origin is known here"
    NOT_SIGNED = "the log has not signed it with all of its keys"
    OTHER_SIZE = "the last tree that was cosigned has another size"
    INCONSISTENT = "it is not shown to begin with the last tree that was cosigned"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer that is no cosignature.

    Attributes:
        message: one sentence for the client.
        size: of the last tree that was cosigned, where the reason is ``OTHER_SIZE``.
    """

    reason: Reason
    message: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a witness remembers of a log: the last tree that it cosigned, and when. Nothing yet: size 0, time 0."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    time_s: int = 0

    def to_bytes(self) -> bytes:
        """Three lines."""
        return f"{self.size}\n{to_base64(self.root)}\n{self.time_s}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Seen:
        """Inverse of ``to_bytes``.

        Raises:
            VerificationError: the memory is damaged.
        """
        lines = data.decode("ascii", errors="replace").split("\n")
        if len(lines) != 4 or lines[3]:
            raise VerificationError("What the witness remembers is damaged.", "Restore its folder from a copy.")
        seen = cls(parse_decimal(lines[0]), from_base64(lines[1]), parse_decimal(lines[2]))
        if len(seen.root) != DIGEST_BYTES:
            raise VerificationError("What the witness remembers is damaged.", "Restore its folder from a copy.")
        return seen


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign. Unchecked but for its form.

    Attributes:
        old_size: of the tree that the proof starts from.
        proof: at most 63 hashes.
        checkpoint: the bytes of a signed note.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """The body of the request."""
        lines = [f"old {self.old_size}", *map(to_base64, self.proof)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> AddCheckpoint:
        """Inverse of ``to_bytes``.

        Raises:
            VerificationError: the bytes are not of that form.
        """
        header, gap, checkpoint = data.partition(b"\n\n")
        first, *lines = header.decode("ascii", errors="replace").split("\n")
        if not gap or not first.startswith("old ") or len(lines) > MAX_PROOF_LINES:
            raise VerificationError(
                f"Expected an old size, at most {MAX_PROOF_LINES} hashes, an empty line and a checkpoint."
            )
        proof = tuple(map(from_base64, lines))
        if any(len(each) != DIGEST_BYTES for each in proof):
            raise VerificationError(f"Expected hashes of {DIGEST_BYTES} bytes.")
        return cls(parse_decimal(first.removeprefix("old ")), proof, checkpoint)


class Witness:
    """Cosigns the checkpoints of the logs it knows. Several may share a store: threads, or processes.

    Args:
        keys: all of them cosign; of types 4 and 6. See ``cosigning_keys``.
        store: its memory, and the logs that it knows (``add_log``).
        clock: seconds since 1970.
    """

    def __init__(self, keys: Sequence[NoteKey], store: Store, clock: Callable[[], int]) -> None:
        if not keys or any(key.kind is SignatureType.ED25519 for key in keys):
            raise InputError("A witness cosigns with keys of type 4 or 6.")
        self._keys = tuple(keys)
        self._store = store
        self._clock = clock

    @property
    def store(self) -> Store:
        """Its memory."""
        return self._store

    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The public parts of its keys."""
        return tuple(key.verifier() for key in self._keys)

    def add_checkpoint(self, body: bytes) -> bytes | Refusal:
        """Answer a request.

        Returns:
            Signature lines, one for each key; or why there are none.

        Raises:
            ClockError: the clock stands before the last cosignature of this log. Nothing was changed.
            VerificationError: our own memory is damaged; bytes of a client never raise it.
            StoreRolledBack: an older copy of our memory was put back; nothing is signed on top of it.
            StoreError: it may or may not be remembered, and nothing was signed.
        """
        try:
            return self._cosign(body)
        except _Refused as refused:
            return refused.refusal

    def _cosign(self, body: bytes) -> bytes:
        with _otherwise(Reason.MALFORMED):
            request = AddCheckpoint.from_bytes(body)
            note = Note.from_bytes(request.checkpoint)
        log = known_logs(self._store).log(note.text.partition("\n")[0])
        if log is None:
            raise _Refused(Refusal(Reason.UNKNOWN_LOG, "The log is not known here."))
        head = _tree_head(note.text)
        with _otherwise(Reason.NOT_SIGNED):
            open_checkpoint(request.checkpoint, log)
        if request.old_size > head.size:
            raise _Refused(Refusal(Reason.MALFORMED, "The old size is larger than that of the checkpoint."))
        noted = _noted(self._store, head.origin)  # before the memory, which may move in between
        before = self._store.marker(_SEEN + head.origin)
        last = _seen(before)
        _confirm_noted(noted, last, head.origin)
        if request.old_size != last.size:
            raise _Refused(_other_size(last))
        with _otherwise(Reason.INCONSISTENT):
            verify_consistency(last.size, last.root, head.size, head.root, request.proof)
        now = Seen(head.size, head.root, self._time_after(last, head.origin))
        if not self._store.swap_marker(_SEEN + head.origin, before, now.to_bytes()):
            raise _Refused(_other_size(last_seen(self._store, head.origin)))
        _notes(self._store).note(_note_name(head.origin), now.size, now.root, sync=True)
        cosignatures = self._sign(head, now.time_s)  # only now: what is signed is remembered on the disk
        names = {(key.name, key.key_id) for key in log.keys}
        its_own = {(x.name, x.key_id): x for x in reversed(note.signatures) if (x.name, x.key_id) in names}
        self._keep(head, Note(note.text, (*its_own.values(), *cosignatures)).to_bytes())
        return "".join(signature.to_line() for signature in cosignatures).encode()

    def _sign(self, head: TreeHead, time_s: int) -> tuple[Signature, ...]:
        note = Note(head.to_text())
        for key in self._keys:
            note = note.sign(key, time_s)
        return note.signatures

    def _keep(self, head: TreeHead, cosigned: bytes) -> None:
        """For monitors: the newest cosigned checkpoint. Dying before this leaves an older one, until the next."""
        while True:
            before = self._store.marker(_COSIGNED + head.origin)
            if before is not None and TreeHead.from_text(Note.from_bytes(before).text).size > head.size:
                return  # another request was later, and is ahead of us here
            if self._store.swap_marker(_COSIGNED + head.origin, before, cosigned):
                return

    def _time_after(self, last: Seen, origin: str) -> int:
        now_s = self._clock()
        if not max(1, last.time_s) <= now_s <= MAX_NUMBER:
            raise ClockError(
                f"The clock says {now_s}, and the last cosignature of {origin!r} is of {last.time_s}.",
                "Set the clock of this machine; nothing of this log is cosigned before that time.",
            )
        return now_s


def cosigning_keys(signer: Signer) -> tuple[NoteKey, NoteKey]:
    """The two keys of a witness, of one name: Ed25519 and ML-DSA-44."""
    return (
        NoteKey(signer.name, SignatureType.ED25519_COSIGNATURE, signer.ed25519),
        NoteKey(signer.name, SignatureType.ML_DSA_44_COSIGNATURE, signer.ml_dsa_44),
    )


def known_logs(store: Store) -> Policy:
    """The logs that a witness cosigns, as a policy that asks for no witnesses."""
    data = store.marker(_LOGS)
    return Policy() if data is None else Policy.from_bytes(data)


def last_seen(store: Store, origin: str) -> Seen:
    """What a witness remembers of a log."""
    return _seen(store.marker(_SEEN + origin))


def confirm_memory(store: Store, origin: str) -> None:
    """Pass only if the memory has what was noted when it was swapped.

    Raises:
        StoreRolledBack: an older copy of it was put back.
        StoreDamaged, StoreError: what was noted cannot be read.
    """
    noted = _noted(store, origin)
    _confirm_noted(noted, last_seen(store, origin), origin)


def cosigned_checkpoint(store: Store, origin_hash: str) -> bytes | None:
    """A recent checkpoint of a log with the log's signatures and the witness's; None where there is none.

    Args:
        origin_hash: SHA-256 of the log's origin, in lower-case hex.
    """
    for origin in {line.key.name for line in known_logs(store).logs}:
        if sha256(origin.encode()).hex() == origin_hash:
            return store.marker(_COSIGNED + origin)
    return None


def add_log(store: Store, log: Log) -> bool:
    """Let a witness cosign one more log. Other threads and processes that use the store do so at once.

    Returns:
        Whether it is new.

    Raises:
        InputError: a log of this origin is known with other keys, or a key is not named after its log.
    """
    while True:
        before = store.marker(_LOGS)
        policy = known_logs(store) if before is None else Policy.from_bytes(before)
        known = policy.log(log.origin)
        if known is not None and set(known.keys) == set(log.keys):
            return False
        if known is not None:
            raise InputError(
                f"The log {log.origin!r} is known with other keys.",
                "Give all of its keys; a log with new keys is a new log, with a name of its own.",
            )
        if any(key.name != log.origin for key in log.keys):
            raise InputError(f"Not every key has the name of the log, {log.origin!r}.", "Name its keys only.")
        try:
            after = replace(policy, logs=(*policy.logs, *map(LogLine, log.keys)))
        except VerificationError as error:
            raise InputError(error.message, "Each log has keys of its own.") from error
        if store.swap_marker(_LOGS, before, after.to_bytes()):
            return True


class _Refused(Exception):
    """Carries a refusal up to ``add_checkpoint``; never leaves this module."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@contextmanager
def _otherwise(reason: Reason) -> Iterator[None]:
    """A check that fails inside is this refusal."""
    try:
        yield
    except VerificationError as error:
        raise _Refused(Refusal(reason, error.message)) from error


def _tree_head(text: str) -> TreeHead:
    """The head that is to be cosigned. It is read before the signatures: they can only be checked over a head."""
    lines = text.split("\n")
    if len(lines) == 4 and lines[1] == "0" and lines[2] != to_base64(EMPTY_ROOT):
        raise _Refused(Refusal(Reason.INCONSISTENT, "The root hash is not that of the empty tree."))
    with _otherwise(Reason.MALFORMED):
        return TreeHead.from_text(text)


def _seen(data: bytes | None) -> Seen:
    return Seen() if data is None else Seen.from_bytes(data)


def _notes(store: Store) -> Notes:
    return Notes(store.path.parent / FOLDER_NAME)


def _note_name(origin: str) -> str:
    return f"witness-{sha256(origin.encode()).hex()}"


def _noted(store: Store, origin: str) -> Head | None:
    return _notes(store).last(_note_name(origin))


def _confirm_noted(noted: Head | None, last: Seen, origin: str) -> None:
    try:
        confirm(noted, _note_name(origin), last.size, last.root)
    except StoreRolledBack as error:
        raise StoreRolledBack(
            f"The memory of the witness is at {last.size} entries of {origin!r}, and is not what was noted: an older "
            "or another copy was put back.",
            "Put its newest copy back; if there is none, make a new witness of another name in another folder.",
        ) from error


def _other_size(seen: Seen) -> Refusal:
    return Refusal(Reason.OTHER_SIZE, f"The last tree that was cosigned has {seen.size} leaves.", seen.size)
