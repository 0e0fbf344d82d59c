# SPDX-License-Identifier: Apache-2.0
"""A fork's records as a chain: checked whole, without any key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ipse.errors import VerificationError
from ipse.ledger.access import Access
from ipse.ledger.envelope import check_place, read_envelope
from ipse.ledger.record import record_digest
from ipse.vault.identity import PublicIdentity
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where a fork's chain stands: number and digest of its newest record, (0, ``NO_DIGEST``) if it has none."""

    seq: int
    digest: bytes


def check_chain(
    records: Iterable[bytes], fork_id: ForkId, *, expected_owner: PublicIdentity | None = None
) -> tuple[ChainHead, Access]:
    """Check a fork's whole history without a key: form, fork, numbers 1, 2, 3, ..., digests, signatures, members.

    This finds records that were altered, dropped from the middle, doubled, reordered, or written by somebody who was
    not let in. Compare the result with a head kept elsewhere to find a cut-off end.

    Args:
        records: the bytes of all records, from the first.
        expected_owner: who the owner in the first signed record must be, if that is known.

    Raises:
        VerificationError: names the fork and the first record that does not fit.
    """
    last = ChainHead(0, NO_DIGEST), Access()
    for each in follow_chain(records, fork_id, expected_owner=expected_owner):
        last = each
    return last


def follow_chain(
    records: Iterable[bytes], fork_id: ForkId, *, expected_owner: PublicIdentity | None = None
) -> Iterator[tuple[ChainHead, Access]]:
    """``check_chain`` record by record: where the chain stands and who has access after each."""
    head, access = ChainHead(0, NO_DIGEST), Access()
    for data in records:
        seq = head.seq + 1
        try:
            envelope = read_envelope(data)
            check_place(envelope.message, fork_id, seq, head.digest)
            begins = access.owner is None
            access = access.following(envelope)
            if begins and access.owner is not None and expected_owner not in (None, access.owner):
                raise VerificationError(f"It names {access.owner.name} as the owner of the fork, who is another.")
        except VerificationError as error:
            raise VerificationError(
                f"Record {seq} of fork {fork_id}: {error.message}", "Restore the store from a copy."
            ) from error
        head = ChainHead(seq, record_digest(data))
        yield head, access
