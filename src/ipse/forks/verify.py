# SPDX-License-Identifier: Apache-2.0
"""Check a fork from its records alone: is what the program uses what was recorded?

Every record is read, its digest, place, MAC and parts are checked, and the whole history is folded from zero. The
snapshot and the state in use must be what that gives, in every number. What this cannot see is in ``NOT_CHECKED``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipse.errors import VerificationError
from ipse.forks.history import Folded, folds
from ipse.forks.openfork import OpenFork
from ipse.ledger.access import Access
from ipse.store.store import Store

CHECKED = (
    "every record: its digest, its number, the digest of the one before it, its signature, its MAC, each part",
    "who may read and write: each member was let in by the owner, and each data key is for the members alone",
    "the head of the store is the last record",
    "state, prior, height and what counts, folded from zero, are those that the program uses",
)

NOT_CHECKED = (
    "whether newer records were cut off, head and all: keep the number and the digest of the head elsewhere",
    "whether each update was the right step for what was said",
)


@dataclass(frozen=True, slots=True)
class Verified:
    """A fork that is what its records say.

    Attributes:
        records: how many were read; all of them.
        counting: how many of them count.
        height: updates in the sum.
        head: digest of the last record: kept elsewhere, it shows later whether the end was cut off.
        snapshot_seq: record of the snapshot that was compared, 0 if there is none of this version's form.
    """

    records: int
    counting: int
    height: int
    head: bytes
    snapshot_seq: int


def verify_fork(store: Store, opened: OpenFork) -> Verified:
    """Fold every record of a fork from zero and compare.

    Raises:
        VerificationError: names the first record that is wrong, or where snapshot or state differ from the fold.
        StoreError: the store cannot be read.
    """
    head = store.verify(opened.row.fork_id)
    kept = store.latest_snapshot(opened.row.fork_id, head.seq)
    snapshot = _snapshot(opened, kept.seq) if kept else None
    used = opened.folded
    at, used_seen = used, False
    for at in folds(opened.records(), used.layout):
        if snapshot is not None and at.head.seq == snapshot[0].head.seq:
            _compare(opened, "The snapshot", snapshot[0], at)
        if at.head.seq == used.head.seq:
            _compare(opened, "The state in use", used, at)
            used_seen = True
    if not used_seen:
        raise VerificationError(
            f"{_name(opened, used.head.seq)} was in use and is gone.", "Restore the store from a copy."
        )
    _ = at.state
    return Verified(
        at.head.seq,
        at.head.seq - len(at.out),
        at.height,
        at.head.digest,
        snapshot[0].head.seq if snapshot is not None else 0,
    )


def _snapshot(opened: OpenFork, seq: int) -> tuple[Folded, Access] | None:
    try:
        return opened.snapshot()
    except VerificationError as error:
        raise VerificationError(
            f"The snapshot at record {seq} of fork {opened.row.fork_id} is damaged: {error.message}",
            "It is only a cache and is not used: the records are folded instead. A later record makes a new one.",
        ) from error


def _compare(opened: OpenFork, what: str, kept: Folded, folded: Folded) -> None:
    if not kept.same_as(folded):
        raise VerificationError(
            f"{what} at record {folded.head.seq} of fork {opened.row.fork_id} is not the sum of the records.",
            "The records are good; restore the rest of the store from a copy, and report this.",
        )


def _name(opened: OpenFork, seq: int) -> str:
    return f"Record {seq} of fork {opened.row.fork_id}"
