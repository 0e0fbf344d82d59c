# SPDX-License-Identifier: Apache-2.0
"""Rotating the root: a new one takes over every fork of a folder, and the old one is removed.

    1  root.next/     the next root, in the forms that the present one has: key file, passphrase, or both
    2  each fork      a ROTATE record by the old root (members.py), then the check value that says which root opens it
    3  root.next/*    take the places of root.wrap and root.key, which removes the old root

Until 3 is done every fork opens with one of the two roots, and both are here. From the first step to the last, nothing
but ``rotate`` opens the folder (``Home.open`` says so), and running it again finishes what an earlier run began. A
fork without records has nobody to tell: only its check value changes.

What the new root cannot do is reach what was before: the old root still opens every copy of the records up to the
rotation, and copies of its own files still hold it. Nothing that is recorded later opens with it.

Not protected: a record that another running Ipse is just making. It was started with the old root, so it is refused
from then on, and has to be started again.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ipse.errors import HeightConflict, InputError, VaultError
from ipse.forks.home import key_ring, next_ring, now_ms
from ipse.forks.members import access_of, go_on_as
from ipse.forks.openfork import SealedHistory
from ipse.ledger.chain import check_chain
from ipse.store.rows import ForkRow
from ipse.store.store import FILE_NAME, Store
from ipse.vault.files import changing, move_file, remove_partials, sync_file
from ipse.vault.identity import Identity, PublicIdentity
from ipse.vault.keyring import KeyRing, Passphrase
from ipse.vault.keys import RootKey, check_value, fork_key, load_root_key, new_root_key, root_check, write_root_key
from ipse.vault.wraps import DEFAULT_COST, Cost, check_passphrase, load_wrap


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        old, new: public check values of the two roots; the old one is None where it was gone already.
        identity: of the new root.
        forks: how many there are.
        handed_over: how many of them this run handed over; an earlier run did the others.
        resumed: whether an earlier run had begun it.
    """

    old: bytes | None
    new: bytes
    identity: PublicIdentity
    forks: int
    handed_over: int
    resumed: bool


def rotate(
    folder: Path,
    passphrase: Passphrase,
    new_passphrase: Passphrase,
    *,
    keep_old: Path | None = None,
    cost: Cost = DEFAULT_COST,
) -> Rotated:
    """Let a new root take over, or finish that.

    Args:
        passphrase: of the present root; asked for only where there is no key file.
        new_passphrase: of the next root; asked for only where the present one has a passphrase.
        keep_old: a key file to be made of the old root.

    Raises:
        InputError: there is no root; a fork is of another owner; or the new passphrase cannot be used.
        WrongKey: one of the passphrases is another.
        VerificationError: a fork's history is damaged. Found before anything is changed.
        VaultError: a key file or wrap cannot be read or written; run it again to go on.
        StoreError: as they say; run it again to go on.
    """
    present, coming = key_ring(folder), next_ring(folder)
    resumed = coming.is_there
    if not present.is_there and not resumed:
        raise InputError(f"There is no key in {folder}, so none can be rotated.", "Make one with `ipse key init`.")
    moving = _is_moving(present, coming)
    old = _old_root(present, passphrase, moving)
    words = None if moving else _words(present, coming, new_passphrase)  # asked before others have to wait
    with _alone(folder):
        if resumed != coming.is_there or (old is not None and not present.is_of(old)):
            raise VaultError("Somebody else rotated this key meanwhile.", "See `ipse key show`; nothing was changed.")
        with _forks(folder) as store:
            if not resumed and store is not None and old is not None:
                for row in store.forks():
                    _confirm_ready(store, row, old)
            if keep_old is not None and old is not None:
                _keep(keep_old, old, present)
            new = load_root_key(coming.key_path) if moving else _next_root(present, coming, words, cost)
            rows = store.forks() if store is not None else []
            handed_over = sum(_hand_over(store, row, old, new, present) for row in rows if store is not None)
        _take_place(present, coming)
    checks = (None if old is None else root_check(old), root_check(new))
    return Rotated(*checks, Identity(new).public, len(rows), handed_over, resumed)


# -- the two roots ----------------------------------------------------------------------------------------------------


def _is_moving(present: KeyRing, coming: KeyRing) -> bool:
    """Whether an earlier run came so far that the wrap has moved already and only the key file is left."""
    if coming.has_passphrase or not (coming.has_file and present.has_passphrase):
        return False
    check = root_check(load_root_key(coming.key_path))
    return hmac.compare_digest(load_wrap(present.wrap_path).check, check)


def _old_root(present: KeyRing, passphrase: Passphrase, moving: bool) -> RootKey | None:
    if moving:
        return load_root_key(present.key_path) if present.has_file else None
    return present.open(passphrase) if present.is_there else None


def _words(present: KeyRing, coming: KeyRing, new_passphrase: Passphrase) -> str | None:
    """The passphrase of the next root, where one is to be set, or to be opened."""
    sets = present.has_passphrase and not coming.has_passphrase
    opens = coming.has_passphrase and not coming.has_file
    if not (sets or opens):
        return None
    words = new_passphrase()
    check_passphrase(words)  # before anything is changed
    return words


def _next_root(present: KeyRing, coming: KeyRing, words: str | None, cost: Cost) -> RootKey:
    """The next root, as an earlier run left it or new, in the forms that the present one has."""
    root = coming.open(lambda: words or "") if coming.is_there else new_root_key()
    if present.has_file:
        coming.add_file(root)
    if present.has_passphrase and not coming.has_passphrase and words is not None:
        coming.set_passphrase(root, words, cost)
    sync_file(coming.key_path.parent)  # also that the folder is there: soon records depend on it
    return root


def _keep(path: Path, old: RootKey, present: KeyRing) -> None:
    if path.resolve() in (present.key_path.resolve(), present.wrap_path.resolve()):
        raise InputError(f"{path} is where the new root goes.", "Keep the old one under another name.")
    if not path.exists() or load_root_key(path) != old:
        write_root_key(path, old)
    sync_file(path)


def _take_place(present: KeyRing, coming: KeyRing) -> None:
    """The wrap first: as long as the key file is in ``coming``, it opens everything without a question."""
    pairs = ((coming.wrap_path, present.wrap_path), (coming.key_path, present.key_path))
    for source, target in pairs:
        if source.exists():
            move_file(source, target)
        remove_partials(target)
    with suppress(OSError):  # somebody else's file in it
        coming.key_path.parent.rmdir()


# -- the forks --------------------------------------------------------------------------------------------------------


def _confirm_ready(store: Store, row: ForkRow, old: RootKey) -> None:
    """Read a whole fork before anything is changed: it opens, and it is this root's."""
    history = _history(store, row, old)
    owner = access_of(history)[1].owner
    if owner is not None and owner != history.identity.public:
        raise InputError(
            f"Fork {row.fork_id} is of {owner.name}, and this root is only a device there.",
            "Only its owner can let another root in; nothing was changed.",
        )


def _hand_over(store: Store, row: ForkRow, old: RootKey | None, new: RootKey, present: KeyRing) -> bool:
    """Let a fork go on with the new root; False if it does already."""
    check = check_value(fork_key(new, row.fork_id))
    if row.key_check == check:
        return False
    if old is None:
        raise VaultError(
            f"Fork {row.fork_id} still belongs to the old root, and that is missing.",
            f"Put your copy of it at {present.key_path}, or run `ipse key restore` with its words.",
        )
    owner = Identity(new).public
    while _owes_record(store, row, owner):
        with suppress(HeightConflict):  # somebody who was started before had something to say
            go_on_as(_history(store, row, old), owner, now_ms())
    return store.swap_key_check(row.fork_id, row.key_check, check)


def _owes_record(store: Store, row: ForkRow, owner: PublicIdentity) -> bool:
    """Whether the fork has records, and they do not say yet who its new owner is."""
    head, access = check_chain((stored.data for stored in store.records(row.fork_id)), row.fork_id)
    return head.seq > 0 and access.owner != owner


def _history(store: Store, row: ForkRow, root: RootKey) -> SealedHistory:
    return SealedHistory(store, row, Identity(root), fork_key(root, row.fork_id))


@contextmanager
def _forks(folder: Path) -> Iterator[Store | None]:
    if not (folder / FILE_NAME).exists():
        yield None
        return
    with Store.open(folder, create=False) as store:
        yield store


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One rotation at a time, and nobody else who changes the wraps."""
    try:
        with changing(folder):
            yield
    except OSError as error:
        raise VaultError(
            f"The key in {folder} cannot be rotated: {error.strerror}.",
            "Check the folder's permissions and the free space, then run `ipse key rotate` again; nothing is lost.",
        ) from error
