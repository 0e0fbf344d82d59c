# SPDX-License-Identifier: Apache-2.0
"""Erasing a fork: its data keys first, then everything that they opened. It cannot be taken back, and needs no key.

A data key is random (vault/datakeys.py) and lies nowhere but in the wraps that records carry. So a fork is erased
though its owner's root lives on, and the other forks of that root are not touched.

Once begun it only goes forward: the fork never opens again, and what a crash or a full disk left undone is done by the
next ``erase``, or the next time that the folder is opened. The steps are those of store/erasure.py, which says why
digests stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ipse.errors import InputError, StoreBusy, StoreError, StoreFull, StoreReadOnly, VerificationError
from ipse.ledger.envelope import read_envelope
from ipse.store.erasure import Destroyed, ErasedFork, Erasure
from ipse.store.seen import FOLDER_NAME, Seen
from ipse.store.store import Store
from ipse.wire.ids import ForkId

NOT_REACHED = (
    "copies of the data folder and backups: with the root key, a copy from before opens the fork",
    "what was exported from it, and proofs that were given away",
    "other machines, where devices of yours may hold what they could read",
    "snapshots of the file system, and blocks that it or a flash disk has put aside",
    "swap, and the memory of an Ipse that still runs",
)
"""Where something of the fork may still be."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did.

    Attributes:
        destroyed: what it destroyed, with what an earlier run of it had; None if nothing was left to do.
        digests: how many records' digests remain.
    """

    fork_id: ForkId
    destroyed: Destroyed | None
    digests: int
    erased_ms: int


def erase(store: Store, fork_id: ForkId, now_ms: int) -> Erased:
    """Erase a fork. When this returns, its file holds nothing of it but its id, two times and digests.

    Raises:
        InputError: there is no such fork.
        StoreError: says what is done and what is not; the same call, or ``finish_erasures``, goes on.
    """
    try:
        Erasure(store).begin(fork_id, _brings_key, now_ms)
    except (StoreBusy, StoreFull, StoreReadOnly) as error:
        raise type(error)(f"{error.message} Nothing was erased.", "Mend that, then try again.") from error
    return _finished(store, erased_fork(store, fork_id))


def finish_erasures(store: Store) -> list[Erased]:
    """Finish what was begun and not finished, in this process or in one that is gone.

    Raises:
        StoreError: as ``erase``.
    """
    return [_finished(store, each) for each in Erasure(store).erased() if each.unfinished]


def finish_if_possible(store: Store) -> None:
    """The same where something else is to be done with the store: a failure is only logged."""
    try:
        finish_erasures(store)
    except StoreError as error:
        log.warning("an erasure is not finished: %s", error)


def erased_fork(store: Store, fork_id: ForkId) -> ErasedFork:
    """What remains of an erased fork. Raises InputError if there is none of this id."""
    for each in Erasure(store).erased():
        if each.fork_id == fork_id:
            return each
    raise InputError(f"No fork {fork_id} was erased here.", "See `ipse fork list --all`.")


def _finished(store: Store, fork: ErasedFork) -> Erased:
    erasure, seen = Erasure(store), Seen(store.path.parent / FOLDER_NAME)
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("cutting the log of writes", erasure.fold),
        ("its records", lambda: erasure.drop_records(fork.fork_id)),
        ("its file in seen/", lambda: seen.forget(fork.fork_id)),
        ("rewriting the store without it", erasure.rewrite),
        ("noting that all is done", lambda: erasure.finish(fork.fork_id)),
    )
    done = ["data keys, name, snapshots and signed heads are deleted"]
    for at, (what, step) in enumerate(steps if fork.unfinished else ()):
        try:
            step()
        except StoreError as error:
            left = ", ".join(name for name, _ in steps[at:])
            raise type(error)(
                f"{error.message} Fork {fork.fork_id} opens no more, but is not erased yet. Done: {', '.join(done)}. "
                f"Left: {left}.",
                f"Mend that, then finish with `ipse fork erase --fork {fork.fork_id}`.",
            ) from error
        done.append(what)
    return Erased(fork.fork_id, fork.unfinished, fork.head.seq, fork.erased_ms)


def _brings_key(data: bytes) -> bool:
    """Whether a record carries wraps. One that cannot be read might."""
    try:
        return read_envelope(data).wrapped_key is not None
    except VerificationError:
        return True
