# SPDX-License-Identifier: Apache-2.0
"""Asking a witness to cosign a checkpoint (C2SP tlog-witness), and believing no cosignature before it is checked.

A log calls this after it has signed a checkpoint, once for each witness. The witness says how large a tree it saw
last; the log proves that its own begins with that one. A log that cannot has lost what it once signed, or somebody
signs in its name: then nothing is to be published before a person has looked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ipse.client.web import Answer, request
from ipse.errors import InputError, NetworkError, VerificationError
from ipse.ledger.checkpoint import Log, open_checkpoint
from ipse.ledger.keys import VerifierKey
from ipse.ledger.note import Note
from ipse.ledger.witness import MAX_PROOF_LINES, AddCheckpoint
from ipse.wire.lines import parse_decimal

Prove = Callable[[int], Sequence[bytes]]
"""(old size) -> the hashes that prove that the checkpoint's tree begins with its tree of that size."""

_PATH = "/add-checkpoint"
_TRIES = 3
_MAX_ANSWER_BYTES = 64 * 1024


def ask(
    url: str, witness: Sequence[VerifierKey], checkpoint: bytes, log: Log, *, old_size: int = 0, prove: Prove
) -> bytes:
    """Let a witness cosign a checkpoint.

    Args:
        url: the witness's submission prefix, without ``/add-checkpoint``.
        witness: its keys; every one of them must have cosigned.
        checkpoint: as the log signed it, with or without other cosignatures.
        old_size: of the tree that this witness probably saw last; 0 if nobody knows. It is told otherwise.
        prove: never asked for 0, nor for more than the checkpoint's size.

    Returns:
        Signature lines of these keys and of nobody else: ``checkpoint + lines`` is the cosigned checkpoint.

    Raises:
        NetworkError: the witness is not to be had, or cannot cosign now.
        VerificationError: it has seen a tree that ours does not contain; it refuses the checkpoint; or what it
            answers is no cosignature of these keys.
    """
    if not witness:
        raise InputError("A witness without keys cannot be verified.", "Give its verifier keys.")
    size = open_checkpoint(checkpoint, log).head.size
    old_size = min(old_size, size)
    for _ in range(_TRIES):
        proof = tuple(prove(old_size)) if 0 < old_size < size else ()
        if len(proof) > MAX_PROOF_LINES:
            raise InputError(f"A consistency proof has at most {MAX_PROOF_LINES} hashes.")
        body = AddCheckpoint(old_size, proof, checkpoint).to_bytes()
        answer = request(url.rstrip("/") + _PATH, _MAX_ANSWER_BYTES, body=body)
        if answer.status != 409:
            return _cosignatures(url, answer, old_size, witness, checkpoint)
        old_size = _remembered(url, answer, size)
    raise NetworkError(f"{url} sees other checkpoints of this log at the same time.", "Try again.")


def _remembered(url: str, answer: Answer, size: int) -> int:
    if not answer.body.endswith(b"\n"):
        raise VerificationError(f"{url} does not say how large a tree it saw last.")
    seen = parse_decimal(answer.body[:-1].decode("ascii", errors="replace"))
    if seen > size:
        raise _not_contained(url, seen)
    return seen


def _cosignatures(url: str, answer: Answer, old_size: int, witness: Sequence[VerifierKey], checkpoint: bytes) -> bytes:
    if answer.status == 422 and old_size:
        raise _not_contained(url, old_size)
    if answer.status >= 500:
        raise NetworkError(f"{url} cannot cosign now: status {answer.status}.", "Try again later.")
    if answer.status != 200:
        says = ascii(answer.body[:200].decode(errors="replace").strip())
        raise VerificationError(f"{url} does not cosign: status {answer.status}, {says}.", _REFUSED)
    note = Note.from_bytes(Note.from_bytes(checkpoint).text.encode() + b"\n" + answer.body)
    signed = {each.key for each in note.verify(witness) if each.time_s}  # a witness says when
    missing = set(witness) - signed
    if missing:
        kinds = ", ".join(sorted(key.kind.name for key in missing))
        raise VerificationError(f"{url} has not cosigned with all of its keys: {kinds} is missing.")
    lines = {(key.name, key.key_id): "" for key in witness}
    for each in note.signatures:
        if not lines.get((each.name, each.key_id), "stranger"):
            lines[each.name, each.key_id] = each.to_line()  # the first one of each key: it was checked
    return "".join(lines.values()).encode()


_REFUSED = "Does this witness know the log, with all of its keys?"


def _not_contained(url: str, seen: int) -> VerificationError:
    return VerificationError(
        f"{url}: the witness has seen a tree of {seen} entries that ours does not contain.",
        "Publish nothing: an older copy of the log was put back, or somebody signs with its keys.",
    )
