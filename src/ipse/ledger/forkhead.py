# SPDX-License-Identifier: Apache-2.0
"""The head of a fork: size and root hash of its own tree of records, signed by its owner, and shown to nobody.

A fork's tree has one leaf a record: the record's digest. Its head is a signed note of three lines like a log's
checkpoint, with the origin ``ipse.fork/<fork id>``, signed by a member of the fork with Ed25519 and ML-DSA-65::

    ipse.fork/f_6kb3fa7m2zqkxlq5d3t4w3x3ta
    128
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

The public log gets a *blinded* head: 32 bytes that say nothing, not even whose they are or that two of them are of
one fork, until the owner shows head and blinding value of one. ::

    entry = SHA-256("ipse/v1/blinded head" || 0x00 || blinding value || text of the head)

The blinding value of each size is derived from a fork's first data key. When a fork is erased the data keys go, and
what is left in the log are 32 random bytes; every proof over them goes on to verify.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ipse.errors import VerificationError
from ipse.ledger.keys import NoteKey, SignatureType, VerifierKey
from ipse.ledger.note import Note
from ipse.ledger.tree import leaf_hash, root_hash
from ipse.ledger.treehead import TreeHead
from ipse.vault.identity import Identity, PublicIdentity
from ipse.vault.keys import ForkKey, derive
from ipse.wire.digest import DIGEST_BYTES, sha256
from ipse.wire.ids import ForkId

ORIGIN = "ipse.fork/"
BLINDING_BYTES = 32

_ENTRY_LABEL = b"ipse/v1/blinded head\0"


def head_of(fork_id: ForkId, digests: Sequence[bytes]) -> TreeHead:
    """The head over records with these digests, from the first."""
    return TreeHead(ORIGIN + fork_id, len(digests), root_hash([leaf_hash(each) for each in digests]))


def sign_head(head: TreeHead, member: Identity) -> bytes:
    """The signed head: about 4.6 kB."""
    name = member.public.name
    note = Note(head.to_text())
    for key in (
        NoteKey(name, SignatureType.ED25519, member.ed25519_seed),
        NoteKey(name, SignatureType.ML_DSA_65, member.ml_dsa_65_seed),
    ):
        note = note.sign(key)
    return note.to_bytes()


def open_head(data: bytes, fork_id: ForkId, members: Iterable[PublicIdentity]) -> TreeHead:
    """Check that a member of the fork signed this head, with both keys.

    Args:
        members: of the fork at the head's size.

    Raises:
        VerificationError: the form, the fork or a signature is wrong, or no member signed with both.
    """
    return signed_head(data, fork_id, members)[0]


def signed_head(data: bytes, fork_id: ForkId, members: Iterable[PublicIdentity]) -> tuple[TreeHead, PublicIdentity]:
    """``open_head``, and the first member who signed with both keys."""
    note = Note.from_bytes(data)
    pairs = {_verifiers(member): member for member in members}
    signed = {each.key for each in note.verify(key for pair in pairs for key in pair)}
    signers = [member for pair, member in pairs.items() if signed.issuperset(pair)]
    if not signers:
        raise VerificationError("No member of the fork has signed this head with both Ed25519 and ML-DSA-65.")
    head = TreeHead.from_text(note.text)
    if head.origin != ORIGIN + fork_id:
        raise VerificationError(f"It is a head of {head.origin!r}, not of fork {fork_id}.")
    return head, signers[0]


def blinding_value(first: ForkKey, size: int) -> bytes:
    """(32,) bytes: what hides the head of this size, until its owner shows it.

    Args:
        first: the first data key of the fork.
    """
    return derive(derive(first, "blinding"), "blinding value", size.to_bytes(8, "big"), BLINDING_BYTES)


def blinded(head: TreeHead, value: bytes) -> bytes:
    """(32,) bytes: the entry of this head in the public log.

    Raises:
        VerificationError: the blinding value has another length.
    """
    if len(value) != BLINDING_BYTES:
        raise VerificationError(f"Expected a blinding value of {BLINDING_BYTES} bytes, got {len(value)}.")
    return sha256(_ENTRY_LABEL + value + head.to_text().encode())


def check_root(head: TreeHead, digests: Sequence[bytes]) -> None:
    """Pass if this is the head over the first records with these digests.

    Raises:
        VerificationError: it is not, or there are fewer.
    """
    if len(digests) < head.size or any(len(each) != DIGEST_BYTES for each in digests):
        raise VerificationError(f"The head is of {head.size} records, and {len(digests)} are here.")
    if root_hash([leaf_hash(each) for each in digests[: head.size]]) != head.root:
        raise VerificationError(
            f"The first {head.size} records are not those that the head was signed over.",
            "Keep the head and the records: one of them is not what it was.",
        )


def _verifiers(member: PublicIdentity) -> tuple[VerifierKey, VerifierKey]:
    return (
        VerifierKey(member.name, SignatureType.ED25519, member.ed25519),
        VerifierKey(member.name, SignatureType.ML_DSA_65, member.ml_dsa_65),
    )
