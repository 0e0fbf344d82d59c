# SPDX-License-Identifier: Apache-2.0
"""A fork leaves one installation and arrives in another one: whole, or what is new of it.

    carried_out(home, fork_id)     the bundle: all records as they lie here, a head signed now, the newest log entry
    received(home, data)           opened, checked, ownership shown, every record opened; nothing is written
    take_in(home, bundle)          written: all of it or nothing

Two installations of one owner go on in turns by it: what continues the history here is added to it, what is here
already is left alone, and a history that parts from the one here is refused, whichever is the longer.

Not protected: two devices that both go on from one record have two histories, and only one of them can be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ipse.errors import DuplicateOperation, HeightConflict, InputError, StoreRolledBack, VerificationError
from ipse.forks.home import Home, now_ms
from ipse.forks.keychain import KeyChain
from ipse.forks.openfork import SealedHistory
from ipse.ledger.bundle import CheckedBundle, Contents, Manifest, Published, make_bundle, read_bundle
from ipse.ledger.checkpoint import Log
from ipse.ledger.envelope import read_envelope
from ipse.ledger.forkhead import blinding_value, check_root, head_of, sign_head
from ipse.ledger.log import LogWriter
from ipse.ledger.note import Note
from ipse.ledger.record import open_envelope
from ipse.ledger.treehead import TreeHead
from ipse.store.erasure import Erasure
from ipse.store.logrows import LogRows
from ipse.store.rows import AppendRow, ForkRow
from ipse.store.seen import FOLDER_NAME
from ipse.store.store import Store
from ipse.vault.identity import PublicIdentity
from ipse.vault.keys import check_value
from ipse.vault.ownership import new_challenge, prove, verify
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId

ATTEMPTS = 5

Clock = Callable[[], int]
"""Gives Unix time in milliseconds."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What taking a bundle in did.

    Attributes:
        new: the fork was not here before.
        added: records that were written; none if all of them were here.
        ahead: records that are here and not in the bundle, which is older then.
    """

    new: bool
    added: int
    ahead: int


def carried_out(
    home: Home, fork_id: ForkId, recipients: Sequence[PublicIdentity] = (), *, clock: Clock = now_ms
) -> bytes:
    """A fork as a bundle.

    Args:
        recipients: who can open it, members of the fork; nobody named means this home's own identity.

    Raises:
        InputError: the fork has no record yet, or a recipient is no member.
        WrongKey: this root opens another fork.
        VerificationError: the history is damaged, is older than a head of it that was published, or this home's
            identity is no member of the fork (any more).
        VaultError: the key of the public log is missing or damaged.
    """
    history = home.sealed(fork_id)
    stored = list(home.store.records(fork_id))
    if not stored:
        raise InputError(f"Fork {fork_id} has no record yet.", "Say something to it first.")
    digests = [each.digest for each in stored]
    published, log = _published(history, digests)
    row = history.row
    manifest = Manifest(
        fork_id=row.fork_id,
        owner=row.owner,
        base_id=row.base_id,
        base_name=row.base_name,
        layout_digest=row.layout_digest,
        created_ms=row.created_ms,
        exported_ms=clock(),
    )
    head = sign_head(head_of(fork_id, digests), home.identity)
    contents = Contents(manifest, tuple(each.data for each in stored), head, published, log)
    return make_bundle(contents, home.identity, recipients or [home.identity.public])


def received(home: Home, data: bytes, *, clock: Clock = now_ms) -> CheckedBundle:
    """Open a bundle that arrived, check all of it, and show that this home may have it. Writes nothing.

    Raises:
        WrongKey: it is sealed to others.
        VerificationError: it is damaged or does not fit, this home's identity is neither owner nor device of its
            fork, or a record does not open.
    """
    bundle = read_bundle(data, home.identity)
    challenge = new_challenge(_name_of(home), bundle.digest, clock())
    verify(prove(home.identity, challenge), challenge, bundle.access.members, clock())
    _open_all(home, bundle)
    return bundle


def take_in(home: Home, bundle: CheckedBundle) -> Arrival:
    """Write what is new of a bundle that was ``received``, in one transaction.

    Raises:
        InputError: the fork was erased here.
        VerificationError: the fork here is another one, or parts from the bundle at a record, which is named.
        WrongKey: the fork is here, and belongs to another root.
        StoreRolledBack: this folder had more of the fork once than it would have then.
        VaultError: this home's root was rotated since it was opened.
        StoreError: as they say; nothing was written.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(HeightConflict, DuplicateOperation):  # somebody else writes to this fork: look again
            return _taken_in(home, bundle)
    return _taken_in(home, bundle)


# -- inside -------------------------------------------------------------------------------------------------------


def _published(history: SealedHistory, digests: Sequence[bytes]) -> tuple[tuple[Published, ...], Log | None]:
    """The newest head that is in this installation's log, shown by its proof; nothing if there is none."""
    rows, fork_id = LogRows(history.store), history.row.fork_id
    if rows.head() is None:
        return (), None
    writer = LogWriter.open(history.store)
    before = rows.publications(fork_id, writer.log.origin)
    if not before:
        return (), None
    newest = before[-1]
    check_root(TreeHead.from_text(Note.from_bytes(newest.note).text), digests)
    blinding = blinding_value(history.keys.first(), newest.size)
    return (Published(newest.size, blinding, writer.public.prove(newest.entry)),), writer.log


def _name_of(home: Home) -> str:
    """What this installation is called when it asks: as its log, which no other has."""
    row = LogRows(home.store).head()
    return home.identity.public.name if row is None else row.origin


def _open_all(home: Home, bundle: CheckedBundle) -> None:
    """Pass if every record opens with this home's identity."""
    fork_id, records = bundle.manifest.fork_id, bundle.records
    keys = KeyChain(
        fork_id,
        home.identity,
        home.first_key(fork_id),
        lambda seq: records[seq - 1].data,
        lambda: bundle.access.key_number,
    )
    previous = NO_DIGEST
    for record in records:
        envelope = read_envelope(record.data)
        key = keys.key(envelope.message.data_key_record)
        open_envelope(envelope, key, expect_seq=record.seq, expect_previous=previous)
        previous = record.digest


def _taken_in(home: Home, bundle: CheckedBundle) -> Arrival:
    home.confirm_current()
    row = _row(home, bundle.manifest)
    if any(each.fork_id == row.fork_id for each in Erasure(home.store).erased()):
        raise InputError(
            f"Fork {row.fork_id} was erased here, and stays erased.",
            "Nothing was written. If you want it all the same, import it into another folder: --data DIR.",
        )
    new = all(each.fork_id != row.fork_id for each in home.store.forks())
    ours = [] if new else _here(home, row)
    for seq, (mine, theirs) in enumerate(zip(ours, bundle.records, strict=False), 1):
        if mine != theirs.digest:
            raise VerificationError(
                f"Record {seq} of fork {row.fork_id} here is not the one in the bundle: the two histories part there.",
                "Nothing was changed. Only one of them can go on as this fork: keep the bundle, and look at both.",
            )
    missing = [AppendRow(each.seq, each.op_id, each.digest, each.data) for each in bundle.records[len(ours) :]]
    if missing:
        _write(home.store, row, missing, expected_head=ours[-1] if ours else NO_DIGEST, new=new)
    return Arrival(new, len(missing), max(0, len(ours) - len(bundle.records)))


def _write(store: Store, row: ForkRow, missing: Sequence[AppendRow], *, expected_head: bytes, new: bool) -> None:
    try:
        store.import_fork(row, missing, expected_head=expected_head)
    except StoreRolledBack as error:
        if not new:
            raise
        seen = store.path.parent / FOLDER_NAME / row.fork_id
        raise StoreRolledBack(
            f"This folder once had more of fork {row.fork_id} than the bundle has: {error.message}",
            f"Import a newer bundle. If what came later is lost, remove {seen} and import this one again.",
        ) from error


def _row(home: Home, manifest: Manifest) -> ForkRow:
    return ForkRow(
        fork_id=manifest.fork_id,
        owner=manifest.owner,
        base_id=manifest.base_id,
        base_name=manifest.base_name,
        layout_digest=manifest.layout_digest,
        key_check=check_value(home.first_key(manifest.fork_id)),
        created_ms=manifest.created_ms,
    )


def _here(home: Home, row: ForkRow) -> list[bytes]:
    """The digests of the fork's records here, if it is the same fork."""
    there = home.sealed(row.fork_id).row
    if (there.owner, there.base_id, there.layout_digest) != (row.owner, row.base_id, row.layout_digest):
        raise VerificationError(
            f"Fork {row.fork_id} here is {there.owner}'s on base {there.base_id}; in the bundle it is {row.owner}'s "
            f"on base {row.base_id}, or has another layout.",
            "Nothing was changed. A fork keeps owner, base and layout: one of the two is not what it says.",
        )
    return home.store.digests(row.fork_id)
