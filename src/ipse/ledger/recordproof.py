# SPDX-License-Identifier: Apache-2.0
"""A proof of one record, in one file: this record is in that fork's history, which its owner signed and published.

    record ──digest──> leaf of the fork's tree ──inclusion──> head, signed Ed25519 + ML-DSA-65
        head ──blinding value──> 32-byte entry ──inclusion──> checkpoint of the public log, signed and cosigned

The file is checked offline, and nothing is opened: the record stays sealed, or only its digest is shown. What the
file gives away is what the owner decided to show by making it: the fork's id, how many records it had at the head,
who signed it, which entry of the log it is; of a record that is in it also name, time, kind and sizes.

Nobody is believed because the file names them. Without an identity that the reader has from elsewhere the proof says
"whoever signed this"; without the log's verifier keys it says "whatever this checkpoint is of".

Not shown: that whoever signed the head may sign for the fork (its owner and its devices may; the records that let
them in are not in the file), and what a sealed record says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ipse.errors import InputError, VerificationError
from ipse.ledger.checkpoint import Checkpoint, Log, TreeHead
from ipse.ledger.envelope import MAX_RECORD_BYTES, RECORD_LABEL, read_envelope
from ipse.ledger.forkhead import blinded, open_head
from ipse.ledger.keys import VerifierKey
from ipse.ledger.note import Note
from ipse.ledger.outline import ClearRecord, clear_fields
from ipse.ledger.record import record_digest
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import leaf_hash, verify_inclusion
from ipse.vault.identity import PublicIdentity
from ipse.wire import proofs_pb2 as pb
from ipse.wire.digest import DIGEST_BYTES
from ipse.wire.ids import ForkId, parse_fork_id

MAGIC = b"ipse record proof 1\n"
MAX_PROOF_BYTES = MAX_RECORD_BYTES + 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordProof:
    """The file, unchecked before ``verify``.

    Attributes:
        fork_id, seq: which record it is about; numbers start at 1.
        record: its sealed bytes, or empty.
        digest: 32 bytes, SHA-256 over those bytes.
        inclusion: hashes from the record's sibling up to the head's root.
        head: the signed head, a note.
        signer: who is said to have signed it.
        blinding_value: 32 bytes.
        log_proof: that the blinded head is in the public log.
    """

    fork_id: ForkId
    seq: int
    record: bytes
    digest: bytes
    inclusion: tuple[bytes, ...]
    head: bytes
    signer: PublicIdentity
    blinding_value: bytes
    log_proof: TlogProof

    def to_bytes(self) -> bytes:
        """The file."""
        message = pb.RecordProof(
            fork_id=self.fork_id,
            record_number=self.seq,
            record=self.record,
            digest=b"" if self.record else self.digest,
            inclusion=self.inclusion,
            head=self.head,
            blinding_value=self.blinding_value,
            log_proof=self.log_proof.to_bytes(),
        )
        message.signer.ed25519 = self.signer.ed25519
        message.signer.ml_dsa_65 = self.signer.ml_dsa_65
        message.signer.x_wing = self.signer.x_wing
        return MAGIC + message.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> RecordProof:
        """Inverse of ``to_bytes``: the form only.

        Raises:
            VerificationError: the bytes are not of that form.
        """
        if not data.startswith(MAGIC) or len(data) > MAX_PROOF_BYTES:
            raise VerificationError("This is not a proof of a record.", "`ipse fork prove` writes them.")
        try:
            message = pb.RecordProof.FromString(data[len(MAGIC) :])
            fork_id = parse_fork_id(message.fork_id)
        except (DecodeError, InputError) as error:
            raise VerificationError("The proof is not of the form of one.", _AGAIN) from error
        if bool(message.record) == bool(message.digest):
            raise VerificationError("A proof has a record or its digest, and not both.", _AGAIN)
        digest = record_digest(message.record) if message.record else message.digest
        if len(digest) != DIGEST_BYTES:
            raise VerificationError("The digest in the proof is not of 32 bytes.", _AGAIN)
        keys = message.signer
        try:
            signer = PublicIdentity(keys.ed25519, keys.ml_dsa_65, keys.x_wing)
            log_proof = TlogProof.from_bytes(message.log_proof)
        except VerificationError as error:
            raise VerificationError(f"In the proof: {error.message}", error.hint or _AGAIN) from error
        return cls(
            fork_id,
            message.record_number,
            message.record,
            digest,
            tuple(message.inclusion),
            message.head,
            signer,
            message.blinding_value,
            log_proof,
        )

    def verify(self, log: Log | None, witnesses: Iterable[VerifierKey] = ()) -> ProvenRecord:
        """Check all that the file shows. Whose identity ``signer`` is remains for the caller to compare.

        Args:
            log: whose checkpoint it must be. None: the head is shown to be under the checkpoint's root hash, and
                nothing is known of who signed that.
            witnesses: as in ``open_checkpoint``.

        Raises:
            VerificationError: something is not shown; names what.
        """
        clear = self._clear()
        try:
            head = open_head(self.head, self.fork_id, [self.signer])
        except VerificationError as error:
            raise VerificationError(f"The head of the fork: {error.message}", error.hint or _AGAIN) from error
        try:
            verify_inclusion(leaf_hash(self.digest), self.seq - 1, head.size, self.inclusion, head.root)
        except VerificationError as error:
            raise VerificationError(
                f"Record {self.seq} is not shown to be in the fork: {error.message}", error.hint or _AGAIN
            ) from error
        try:
            entry = leaf_hash(blinded(head, self.blinding_value))
            checkpoint = None if log is None else self.log_proof.verify(entry, log, witnesses)
            under = self._claimed() if checkpoint is None else checkpoint.head
            if checkpoint is None:
                proof = self.log_proof
                verify_inclusion(entry, proof.index, under.size, proof.hashes, under.root)
        except VerificationError as error:
            raise VerificationError(
                f"The head of the fork is not shown to be in the log: {error.message}", error.hint or _AGAIN
            ) from error
        return ProvenRecord(clear, self._signed_by_signer(), head, under, checkpoint)

    # -- inside -----------------------------------------------------------------------------------

    def _clear(self) -> ClearRecord | None:
        """The record's fields in the clear, if it is there and has the place that the proof is about."""
        if not self.record:
            return None
        try:
            clear = clear_fields(self.record)
        except VerificationError as error:
            raise VerificationError(f"The record in the proof: {error.message}", error.hint or _AGAIN) from error
        if (clear.fork_id, clear.seq) != (self.fork_id, self.seq):
            raise VerificationError(
                f"The record in the proof says that it is record {clear.seq} of {clear.fork_id[:80]!r}, "
                f"not {self.seq} of {self.fork_id}.",
                _AGAIN,
            )
        return clear

    def _signed_by_signer(self) -> bool:
        """Whether the record carries a signature of who signed the head; a wrong one is an error."""
        if not self.record:
            return False
        envelope = read_envelope(self.record)
        if not envelope.signature or envelope.message.signer != self.signer.short_id:
            return False
        try:
            self.signer.verify_record(RECORD_LABEL, envelope.signed, envelope.signature)
        except VerificationError as error:
            raise VerificationError(f"Record {self.seq}: {error.message}", _AGAIN) from error
        return True

    def _claimed(self) -> TreeHead:
        return TreeHead.from_text(Note.from_bytes(self.log_proof.checkpoint).text)


@dataclass(frozen=True, slots=True)
class ProvenRecord:
    """What a proof has shown; made by ``RecordProof.verify`` only.

    Attributes:
        record: the record's fields in the clear; None where the file has the digest only.
        signed: whether who signed the head signed the record too.
        head: of the fork.
        log_head: of the log that has it, as its checkpoint says.
        checkpoint: the same, opened with the log's keys; None where these were not known.
    """

    record: ClearRecord | None
    signed: bool
    head: TreeHead
    log_head: TreeHead
    checkpoint: Checkpoint | None


_AGAIN = "The file is damaged: ask for it again."
