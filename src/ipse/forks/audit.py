# SPDX-License-Identifier: Apache-2.0
"""Check a home without its base: the public log, every fork's records, and that the published heads are theirs.

    records ──chain, signatures, members──> digests ──> tree of the fork ──> root at each published size
    published head: signed by a member of then, over that root ──blinded──> its entry in the log ──> checkpoint

With the key every record is opened too, and every published head is compared with its entry: the blinding value takes
the key. Without it the newest head is checked for its signature and its root, and which entry it is remains unknown.

Nothing is changed and no torch is needed. What is not seen is in ``AuditedFork.not_checked``; whether the sum of the
updates is what the program uses takes the base: `ipse.forks.verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from ipse.errors import StoreRolledBack, VerificationError
from ipse.forks.openfork import SealedHistory
from ipse.ledger.access import Access
from ipse.ledger.chain import ChainHead, follow_chain
from ipse.ledger.checkpoint import Log, open_checkpoint
from ipse.ledger.forkhead import ORIGIN, blinded, blinding_value, signed_head
from ipse.ledger.log import log_of
from ipse.ledger.publiclog import DAMAGED, PublicLog, check_log, head_of
from ipse.ledger.tree import CompactRange, inclusion_proof, leaf_hash, verify_inclusion
from ipse.ledger.treehead import TreeHead
from ipse.store.logrows import PublicationRow
from ipse.store.rows import Head
from ipse.store.seen import confirm
from ipse.store.store import Store
from ipse.vault.identity import PublicIdentity
from ipse.vault.keys import ForkKey
from ipse.vault.logkeys import FILE_NAME as LOG_KEY_NAME
from ipse.vault.logkeys import load_log_key
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId

Progress = Callable[[int, int], None]
"""Told (steps done, steps in all)."""

_LOST = "Restore the store from a copy; keep the head that was published, it shows what there was."


@dataclass(frozen=True, slots=True)
class AuditedFork:
    """A fork whose records and published heads fit together.

    Attributes:
        owner: what the application calls its owner.
        records: how many were read; all of them.
        head: digest of the last one.
        unsigned: of them, those at the start from before signatures.
        identity: name of the owner's identity now, empty if no record is signed.
        first_identity: the one that the first signed record brought; another one if the owner went on with a new root.
        devices: names of the identities that may write besides.
        opened: whether every record was opened with the key.
        reads: whether the identity of this home is a member now; None where it was not asked for.
        heads: how many are published in the log; without the key only the newest one is looked at.
        published: records that the newest published head covers, 0 if none is published.
        log: name of the log that has the heads, empty if there is none.
        seen: whether ``seen/`` knew the fork, and has nothing that is not here.
    """

    fork_id: ForkId
    owner: str
    records: int
    head: bytes
    unsigned: int
    identity: str
    first_identity: str
    devices: tuple[str, ...]
    opened: bool
    reads: bool | None
    heads: int
    published: int
    log: str
    seen: bool

    @property
    def checked(self) -> list[str]:
        """What was, in words."""
        signature = "its signature, where it has one" if self.unsigned else "its signature"
        found = [
            f"every record: its digest, its number, the digest of the one before it, {signature}",
            "who may read and write: each member was let in by the owner, and each data key is for the members alone",
            "the head of the store is the last record",
        ]
        if self.seen:
            found.append("the store is not older than what was seen of the fork in this folder")
        if self.opened:
            found.append("every record opens under the key of its time: its MAC, each part")
        if self.heads:
            found.append("the newest published head: signed by a member, Ed25519 and ML-DSA-65, over these records")
        if self.heads and self.opened:
            found.append("each published head is the blinded entry that the log has in its place, under its checkpoint")
        return found

    @property
    def not_checked(self) -> list[str]:
        """What was not, in words."""
        found = []
        if self.unsigned:
            which = "record: it is" if self.unsigned == 1 else f"{self.unsigned} records: they are"
            found.append(f"who wrote the first {which} from before signatures")
        if self.reads is None:
            found.append("what is sealed, each MAC, and which entries of the log the heads are: that takes the key")
            if self.identity:
                found.append(f"whose identity {self.identity} is: compare it with one that you have from elsewhere")
        elif not self.opened:
            found.append("what is sealed, and which entries of the log the heads are: this home may not read it now")
        since = f"after the {self.published} that are published" if self.published else "at the end, none is published"
        too = ", and from `seen/` too" if self.seen else ""
        found.append(f"whether records were cut off {since}{too}: `ipse ledger publish` covers what there is")
        found.append("that the sum of the updates is what the program uses: `ipse fork verify`, with the base")
        found.append("whether each update was the right step for what was said")
        return found


@dataclass(frozen=True, slots=True)
class _Walk:
    """What the records came to, read from the first."""

    head: ChainHead
    access: Access
    first: PublicIdentity | None
    unsigned: int
    members: frozenset[PublicIdentity]
    at: Mapping[int, tuple[TreeHead, Access, bytes]]


def home_log(public: PublicLog) -> Log | None:
    """The log of a home as its verifiers know it; None if there is none yet.

    Raises:
        VaultError: its key is missing or damaged.
    """
    return log_of(load_log_key(public.folder / LOG_KEY_NAME)) if public.rows.head() is not None else None


def audit_log(public: PublicLog, log: Log, progress: Progress | None = None) -> TreeHead:
    """Compute the log of a home anew, and compare it with what was seen of it.

    Raises:
        VerificationError: names the first thing that does not fit, or what the store has lost.
    """
    try:
        head = check_log(public, log, progress)
    except VerificationError as error:
        raise VerificationError(error.message, error.hint or DAMAGED) from error
    lost = public.rolled_back()
    if lost:
        raise VerificationError(lost, "Put the newest copy of the folder back.")
    return head


def audit_fork(
    store: Store, fork_id: ForkId, *, history: SealedHistory | None = None, progress: Progress | None = None
) -> AuditedFork:
    """Check the records of a fork and its published heads.

    Args:
        history: the fork with its key; None to ask for none.
        progress: told as it goes; the steps are records, twice where they are opened.

    Raises:
        VerificationError: names the first record, head or entry that does not fit.
        InputError: there is no such fork.
        VaultError: there is a log, and its key is missing.
    """
    told = progress or (lambda done, whole: None)
    public = PublicLog(store)
    log = home_log(public)
    last = public.seen.last(fork_id)
    # What was seen and published is read before the log, and that before the records: these only grow meanwhile.
    rows = [] if log is None else public.rows.publications(fork_id, log.origin)
    entries = None if log is None else _Entries(public, log)
    head = store.verify(fork_id)
    whole = head.seq * (1 if history is None else 2)
    sizes = {row.size for row in rows} | ({last.seq} if last is not None else set())
    walk = _walk(store, fork_id, head.seq, sizes, lambda done: told(done, whole))
    if walk.head.digest != head.digest:
        raise VerificationError(f"The head of fork {fork_id} is not its last record.", "Restore the store from a copy.")
    me = None if history is None else history.identity.public
    if me is not None and walk.access.owner is not None and me not in walk.members:
        raise VerificationError(
            f"Fork {fork_id} is of {walk.access.owner.name}, and {me.name}, whose home this is, was never let in.",
            "Somebody put another history in the place of this one: restore the store from a copy.",
        )
    reads = me is not None and (walk.access.owner is None or me in walk.access.members)
    first_key = None
    if history is not None and reads:
        for done, _ in enumerate(islice(history.records(), head.seq), head.seq + 1):
            told(done, whole)
        first_key = history.keys.first() if rows else None
    for row in rows:
        _check_publication(row, walk, entries, first_key)
    if last is not None:
        _check_seen(last, fork_id, walk)
    return AuditedFork(
        fork_id=fork_id,
        owner=store.fork(fork_id).owner,
        records=head.seq,
        head=head.digest,
        unsigned=walk.unsigned,
        identity=walk.access.owner.name if walk.access.owner else "",
        first_identity=walk.first.name if walk.first else "",
        devices=tuple(device.name for device in walk.access.devices),
        opened=reads,
        reads=None if me is None else reads,
        heads=len(rows),
        published=rows[-1].size if rows else 0,
        log=log.origin if log is not None else "",
        seen=last is not None,
    )


class _Entries:
    """The entries of a log as of one checkpoint, opened with the log's keys."""

    def __init__(self, public: PublicLog, log: Log) -> None:
        row = public.row()
        try:
            open_checkpoint(row.checkpoint, log)
            self._public, self._head = public, head_of(row)
        except VerificationError as error:
            raise VerificationError(f"The checkpoint of the log: {error.message}", error.hint or DAMAGED) from error
        self._read = public.reader(self._head.size)

    def check(self, number: int, entry: bytes) -> None:
        """Pass if this is the entry of that number, and it is under the checkpoint's root hash."""
        size = self._head.size
        if not 0 <= number < size or self._public.rows.entries(number, 1) != [entry]:
            raise VerificationError(f"Entry {number} of the log is not this head, blinded.", _LOST)
        proof = inclusion_proof(number, size, self._read)
        verify_inclusion(leaf_hash(entry), number, size, proof, self._head.root)


def _walk(store: Store, fork_id: ForkId, count: int, sizes: set[int], told: Callable[[int], None]) -> _Walk:
    """Follow the chain of the first ``count`` records; at these sizes keep head, members and digest."""
    head, access, first, unsigned = ChainHead(0, NO_DIGEST), Access(), None, 0
    tree, members, at = CompactRange(), set[PublicIdentity](), {}
    for head, access in follow_chain(_bytes(store, fork_id, count), fork_id):
        tree = tree.append(leaf_hash(head.digest))
        unsigned += access.owner is None
        first = first or access.owner
        members.update(access.members)
        if head.seq in sizes:
            at[head.seq] = TreeHead(ORIGIN + fork_id, head.seq, tree.root()), access, head.digest
        told(head.seq)
    return _Walk(head, access, first, unsigned, frozenset(members), at)


def _bytes(store: Store, fork_id: ForkId, count: int) -> Iterable[bytes]:
    return (stored.data for stored in islice(store.records(fork_id), count))


def _check_publication(row: PublicationRow, walk: _Walk, entries: _Entries | None, first_key: ForkKey | None) -> None:
    """One published head: its signature and root where it is kept, its entry where the key is there."""
    what = f"The head of {row.size} records of fork {row.fork_id}, published as entry {row.entry}"
    if row.size not in walk.at:
        raise VerificationError(f"{what}, covers more than the {walk.head.seq} records that are here.", _LOST)
    head, access, _ = walk.at[row.size]
    try:
        if row.note and signed_head(row.note, row.fork_id, access.members)[0] != head:
            raise VerificationError("It was signed over other records than these.", _LOST)
        if entries is not None and first_key is not None:
            entries.check(row.entry, blinded(head, blinding_value(first_key, row.size)))
    except VerificationError as error:
        raise VerificationError(f"{what}: {error.message}", error.hint or _LOST) from error


def _check_seen(last: Head, fork_id: ForkId, walk: _Walk) -> None:
    try:
        confirm(last, fork_id, walk.head.seq, walk.head.digest, lambda size: walk.at[size][2] if size else NO_DIGEST)
    except StoreRolledBack as error:
        raise VerificationError(error.message, error.hint) from error
