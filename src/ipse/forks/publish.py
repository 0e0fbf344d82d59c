# SPDX-License-Identifier: Apache-2.0
"""Putting the heads of forks into the public log: signed by their owner, blinded, one entry for each that grew.

    records -> the fork's own tree -> head, signed Ed25519 + ML-DSA-65 -> blinded: 32 bytes -> public log -> checkpoint

What is signed was looked at: the tree of what was published last is still the same, and each record since then follows
the one before it. A fork that did not grow gets no entry. Which entry is which head is kept in the same transaction
that adds it, so that a crash leaves both or neither.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ipse.errors import HeightConflict, InputError, StoreBusy, VerificationError, WrongKey
from ipse.forks.home import Home
from ipse.forks.openfork import SealedHistory
from ipse.ledger.envelope import check_place, read_envelope
from ipse.ledger.forkhead import blinded, blinding_value, check_root, head_of, sign_head
from ipse.ledger.log import LogWriter
from ipse.ledger.note import Note
from ipse.ledger.treehead import TreeHead
from ipse.store.logrows import LogRows, PublicationRow
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId

ATTEMPTS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """One head that is in the log now: of which fork, over how many records, as which entry."""

    fork_id: ForkId
    size: int
    entry: int


@dataclass(frozen=True, slots=True)
class Publication:
    """What one publishing did.

    Attributes:
        heads: new in the log, oldest fork first; none if no fork had grown.
        checkpoint: of the log that has them, signed.
    """

    heads: tuple[PublishedHead, ...]
    checkpoint: bytes


def publish(home: Home, *, origin: str | None = None) -> Publication:
    """Put the head of every fork that grew into the public log of this home, which is made on first use.

    Forks that this home's key may not read any more are passed over, with a warning in the log.

    Args:
        origin: what a log that is made now is called.

    Raises:
        VerificationError: the records are not those that an earlier head was signed over, or the log is damaged.
        StoreRolledBack: an older copy of the store was put back; nothing was signed.
        VaultError: the log's key is missing or damaged.
        StoreError: as they say.
    """
    writer = LogWriter.open(home.store, origin=origin)
    for _ in range(ATTEMPTS - 1):
        try:
            return _publish(home, writer)
        except (HeightConflict, StoreBusy):
            writer.reload()
    return _publish(home, writer)


def _publish(home: Home, writer: LogWriter) -> Publication:
    rows = LogRows(home.store)
    grown: list[tuple[SealedHistory, TreeHead]] = []
    for row in home.store.forks():
        before = rows.publications(row.fork_id, writer.log.origin)
        if home.store.head(row.fork_id).seq == (before[-1].size if before else 0):
            continue
        try:
            history = home.sealed(row.fork_id)
            head = _looked_at(history, before)
            history.keys.first()  # what blinds it must open
        except (WrongKey, InputError) as error:
            log.warning("fork %s is not published: %s", row.fork_id, error)
            continue
        grown.append((history, head))
    if not grown:
        return Publication((), writer.public.checkpoint())
    entries = [blinded(head, blinding_value(history.keys.first(), head.size)) for history, head in grown]
    notes = [sign_head(head, home.identity) for _, head in grown]

    def heads(first: int) -> Iterable[PublicationRow]:
        for number, ((history, head), note) in enumerate(zip(grown, notes, strict=True), first):
            yield PublicationRow(history.row.fork_id, head.size, writer.log.origin, number, note)

    appended = writer.append(entries, heads)
    done = (PublishedHead(each.fork_id, each.size, each.entry) for each in heads(appended.index))
    return Publication(tuple(done), appended.checkpoint)


def _looked_at(history: SealedHistory, before: Sequence[PublicationRow]) -> TreeHead:
    """The head over all records, if they continue those of the head that was published last."""
    store, fork_id = history.store, history.row.fork_id
    digests = store.digests(fork_id)
    size = 0
    if before:
        size = before[-1].size
        check_root(TreeHead.from_text(Note.from_bytes(before[-1].note).text), digests)
    previous = digests[size - 1] if size else NO_DIGEST
    for stored in store.records(fork_id, size):
        try:
            check_place(read_envelope(stored.data).message, fork_id, stored.seq, previous)
        except VerificationError as error:
            raise VerificationError(
                f"Record {stored.seq} of fork {fork_id}: {error.message}", "Restore the store from a copy."
            ) from error
        previous = stored.digest
        if stored.seq == len(digests):
            break
    return head_of(fork_id, digests)
