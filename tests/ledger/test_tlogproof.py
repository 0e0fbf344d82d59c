# SPDX-License-Identifier: Apache-2.0
"""One entry, proven by one file."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from ipse.errors import InputError, VerificationError
from ipse.ledger.checkpoint import Log, cosign
from ipse.ledger.tlogproof import MAX_EXTRA_BYTES, TlogProof
from ipse.ledger.tree import inclusion_proof, leaf_hash, list_reader
from ipse.wire.lines import to_base64
from tests.ledger.logs import KNOWN_WITNESSES, LOG, TIME_S, WITNESSES, checkpoint, entries, head, leaves


@cache
def cosigned(size: int) -> bytes:
    return cosign(checkpoint(size), WITNESSES[0], time_s=TIME_S)


def made(index: int = 5, size: int = 9, extra: bytes = b"") -> TlogProof:
    data = cosigned(size)
    return TlogProof(index, inclusion_proof(index, size, list_reader(leaves(size))), data, extra)


@pytest.mark.parametrize("extra", [b"", b"anything \0\n\n", b"x" * MAX_EXTRA_BYTES])
def test_a_written_proof_is_read_and_verifies(extra: bytes) -> None:
    proof = TlogProof.from_bytes(made(extra=extra).to_bytes())
    assert proof == made(extra=extra)
    opened = proof.verify(leaf_hash(entries(9)[5]), LOG, KNOWN_WITNESSES)
    assert opened.head == head(9)
    assert [(each.key, each.time_s) for each in opened.cosignatures] == [(KNOWN_WITNESSES[0], TIME_S)]


def test_the_file_has_the_lines_of_the_specification() -> None:
    proof = made(1, 2, b"more")
    lines = ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 1", to_base64(leaves(2)[0]), "", ""]
    assert proof.to_bytes() == "\n".join(lines).encode() + proof.checkpoint


def test_the_only_entry_of_a_log_has_a_proof_without_hashes() -> None:
    proof = TlogProof.from_bytes(made(0, 1).to_bytes())
    assert proof.hashes == ()
    proof.verify(leaves(1)[0], LOG)


def test_another_entry_index_checkpoint_or_log_is_refused() -> None:
    proof, leaf = made(), leaves(9)[5]
    with pytest.raises(VerificationError):
        proof.verify(leaves(9)[4], LOG)
    for changed in (
        replace(proof, index=4),
        replace(proof, index=2**63 - 1),
        replace(proof, hashes=proof.hashes[:-1]),
        replace(proof, hashes=(*proof.hashes, leaf)),
        replace(proof, checkpoint=checkpoint(8)),
        replace(proof, checkpoint=b""),
    ):
        with pytest.raises(VerificationError):
            changed.verify(leaf, LOG)
    with pytest.raises(VerificationError):
        proof.verify(leaf, Log("other.example", LOG.keys))
    with pytest.raises(VerificationError):
        proof.verify(leaf, Log(LOG.origin, KNOWN_WITNESSES))


TEXT = made().to_bytes()
EXTRA = b"c2sp.org/tlog-proof@v1\nextra "


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v1\n\n",
        TEXT.split(b"\n\n")[0],
        TEXT.replace(b"@v1", b"@v2"),
        TEXT.replace(b"index 5", b"index 05"),
        TEXT.replace(b"index 5", b"index -5"),
        TEXT.replace(b"index 5", b"index  5"),
        TEXT.replace(b"index 5", b"Index 5"),
        TEXT.replace(b"index 5", b"index 9223372036854775808"),
        TEXT.replace(b"index 5\n", b""),
        TEXT.replace(b"index 5\n", b"index 5\nindex 5\n"),
        TEXT.replace(b"index 5\n", b"index 5\nAAAA\n"),
        TEXT.replace(b"index 5\n", b"index 5\n" + b"A" * 43 + b"=\n" * 1),
        TEXT.replace(b"c2sp.org/tlog-proof@v1\n", EXTRA + b"\n"),
        TEXT.replace(b"c2sp.org/tlog-proof@v1\n", EXTRA + b"AAAA=\n"),
        TEXT.replace(b"c2sp.org/tlog-proof@v1\n", EXTRA + b"AAAA" * 30_000 + b"\n"),
        TEXT.replace(b"c2sp.org/tlog-proof@v1\n", EXTRA + b"AAAA\nextra AAAA\n"),
        TEXT.replace(b"\nindex", b"\r\nindex"),
        TEXT.replace(b"index 5\n", "index ٥\n".encode()),
        b"\xff" + TEXT,
    ],
)
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        TlogProof.from_bytes(data).verify(leaves(9)[5], LOG)


def test_a_proof_longer_than_any_tree_is_high_is_not_read() -> None:
    lines = b"A" * 43 + b"=\n"
    for count in (64, 100_000):
        with pytest.raises(VerificationError):
            TlogProof.from_bytes(TEXT.replace(b"index 5\n", b"index 5\n" + lines * count))


def test_a_proof_that_cannot_be_is_not_made() -> None:
    for change in ({"index": -1}, {"hashes": (b"",)}, {"hashes": (bytes(32),) * 64}, {"extra": bytes(65_537)}):
        with pytest.raises(InputError):
            replace(made(), **change)
