# SPDX-License-Identifier: Apache-2.0
"""Making the proof of one record for a stranger (ledger/recordproof.py), from what was published.

The head in it is the newest one that is in the log, not one signed for the occasion: who checks it learns that the
record was there when the log was signed. A proof that would not verify is an error and not a file.
"""

from __future__ import annotations

from itertools import islice

from ipse.errors import InputError, VerificationError
from ipse.forks.audit import home_log
from ipse.forks.home import Home
from ipse.ledger.chain import check_chain
from ipse.ledger.forkhead import blinding_value, check_root, signed_head
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.recordproof import RecordProof
from ipse.ledger.tree import inclusion_proof, leaf_hash, list_reader
from ipse.store.logrows import PublicationRow
from ipse.wire.ids import ForkId


def prove_record(home: Home, fork_id: ForkId, seq: int, *, digest_only: bool = False) -> RecordProof:
    """Proof that a record is in a fork whose head is in the public log. It verifies.

    Args:
        digest_only: leave the record's bytes out: name, time, kind and sizes are then not shown.

    Raises:
        InputError: there is no such record, or no published head covers it.
        VerificationError: the store does not have what was signed.
        VaultError: the log's key is missing.
    """
    public = PublicLog(home.store)
    home.store.record(fork_id, seq)  # it is there
    log = home_log(public)
    rows = [] if log is None else public.rows.publications(fork_id, log.origin)
    size = rows[-1].size if rows else 0
    if log is None or seq > size:
        covers = f"covers its first {size} records" if size else "is there yet"
        raise InputError(
            f"Record {seq} of fork {fork_id} is not published: {'a' if size else 'no'} head {covers}.",
            "Run `ipse ledger publish` first.",
        )
    try:
        proof = _proof(home, rows[-1], seq, digest_only=digest_only)
        proof.verify(log)
    except VerificationError as error:
        raise VerificationError(
            f"Record {seq} of fork {fork_id} cannot be proven: {error.message}", "`ipse verify` finds what is wrong."
        ) from error
    return proof


def _proof(home: Home, row: PublicationRow, seq: int, *, digest_only: bool) -> RecordProof:
    """From the head of this row, unchecked."""
    store, fork_id, size = home.store, row.fork_id, row.size
    _, access = check_chain((each.data for each in islice(store.records(fork_id), size)), fork_id)
    head, signer = signed_head(row.note, fork_id, access.members)
    digests = store.digests(fork_id)[:size]
    check_root(head, digests)
    stored = store.record(fork_id, seq)
    return RecordProof(
        fork_id=fork_id,
        seq=seq,
        record=b"" if digest_only else stored.data,
        digest=stored.digest,
        inclusion=inclusion_proof(seq - 1, size, list_reader([leaf_hash(digest) for digest in digests])),
        head=row.note,
        signer=signer,
        blinding_value=blinding_value(home.sealed(fork_id).keys.first(), size),
        log_proof=PublicLog(store).prove(row.entry),
    )
