# SPDX-License-Identifier: Apache-2.0
"""A proof that fits in one small file: this entry is in that log (C2SP tlog-proof, ``.tlog-proof``). ::

    c2sp.org/tlog-proof@v1
    extra YW55dGhpbmc=                                  optional, covered by no signature
    index 1
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=        inclusion proof, from the leaf's sibling up

    example.com/log                                     from here on the checkpoint, byte for byte
    2
    ...

It is checked without the log and without a network: who knows the entry and the log's keys needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ipse.errors import InputError, VerificationError
from ipse.ledger.checkpoint import Checkpoint, Log, open_checkpoint
from ipse.ledger.keys import VerifierKey
from ipse.ledger.note import MAX_NOTE_BYTES
from ipse.ledger.tree import verify_inclusion
from ipse.wire.digest import DIGEST_BYTES
from ipse.wire.lines import MAX_NUMBER, from_base64, parse_decimal, to_base64

MAX_EXTRA_BYTES = 64 * 1024
MAX_PROOF_HASHES = 63

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_MAX_HEADER_BYTES = 2 * MAX_EXTRA_BYTES + 64 * MAX_PROOF_HASHES


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An inclusion proof and the checkpoint that it leads to. Unchecked before ``verify``.

    Attributes:
        index: the entry's place in the log, from 0.
        hashes: at most 63 hashes of 32 bytes, from the leaf's sibling up.
        checkpoint: its bytes, with all signatures.
        extra: whatever goes with it, up to 64 KiB; nobody vouches for it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_NUMBER:
            raise InputError(f"Expected an index from 0 to 2**63 - 1, got {self.index}.")
        if len(self.hashes) > MAX_PROOF_HASHES or any(len(each) != DIGEST_BYTES for each in self.hashes):
            raise InputError(f"Expected at most {MAX_PROOF_HASHES} hashes of {DIGEST_BYTES} bytes.")
        if len(self.checkpoint) > MAX_NOTE_BYTES or len(self.extra) > MAX_EXTRA_BYTES:
            raise InputError("The checkpoint or the extra data are too long to be read again.")

    def to_bytes(self) -> bytes:
        """The file."""
        extra = [f"extra {to_base64(self.extra)}"] if self.extra else []
        lines = [_FIRST_LINE, *extra, f"index {self.index}", *map(to_base64, self.hashes)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> TlogProof:
        """Inverse of ``to_bytes``: the form of what is before the checkpoint, and no more.

        Raises:
            VerificationError: the bytes are not of that form, or the proof is longer than any can be.
        """
        header, gap, checkpoint = data.partition(b"\n\n")
        if not gap or not header.isascii() or len(header) > _MAX_HEADER_BYTES:
            raise VerificationError("Expected a proof, an empty line and a checkpoint.")
        lines = header.decode("ascii").split("\n")
        if lines.pop(0) != _FIRST_LINE:
            raise VerificationError(f"Expected a file that begins with {_FIRST_LINE}.")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "))
            if not extra:
                raise VerificationError("The line of extra data is empty.")
        if not lines or not lines[0].startswith("index "):
            raise VerificationError("Expected the index of the entry, found something else.")
        index = parse_decimal(lines.pop(0).removeprefix("index "))
        try:
            return cls(index, tuple(map(from_base64, lines)), checkpoint, extra)
        except InputError as error:
            raise VerificationError(error.message) from error

    def verify(self, leaf: bytes, log: Log, witnesses: Iterable[VerifierKey] = ()) -> Checkpoint:
        """Check that the leaf with this leaf hash is in the log.

        Args:
            leaf: ``leaf_hash`` of the entry, computed by the verifier.
            log: whose checkpoint it must be; ``witnesses`` as in ``open_checkpoint``.

        Returns:
            The checkpoint that it is in, for a policy on witnesses and times.

        Raises:
            VerificationError: it is not shown.
        """
        checkpoint = open_checkpoint(self.checkpoint, log, witnesses)
        verify_inclusion(leaf, self.index, checkpoint.head.size, self.hashes, checkpoint.head.root)
        return checkpoint
