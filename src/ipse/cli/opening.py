# SPDX-License-Identifier: Apache-2.0
"""Open what a command works on: the home folder, the base, one owner's fork. Torch is first touched here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ipse.errors import InputError, IpseError, VerificationError

if TYPE_CHECKING:
    from ipse.cli.screen import Screen
    from ipse.cli.settings import Settings
    from ipse.forks.home import ForkInfo, Home
    from ipse.forks.interact import UserModelLifecycle
    from ipse.ledger.checkpoint import Log
    from ipse.model.base import Base
    from ipse.store.store import Store
    from ipse.vault.identity import PublicIdentity
    from ipse.wire.ids import ForkId

ID_PREFIX = "f_"

_MAX_IDENTITY_FILE_BYTES = 64 * 1024
_IDENTITY_HINT = "Print it again with `ipse key show --public` where its key is; it is one line."

log = logging.getLogger(__name__)

SMALL_HIDDEN_SIZE = 512
"""Up to this width a base runs on one thread."""


@contextmanager
def opened_home(settings: Settings, *, create: bool) -> Iterator[Home]:
    """The store and its key; closed at the end. Asks for the passphrase where it needs one. No torch needed."""
    from ipse.cli.passphrase import passphrase_of
    from ipse.forks.home import Home

    home = Home.open(settings.data, create=create, passphrase=lambda: passphrase_of(settings))
    try:
        yield home
    finally:
        home.close()


def open_base(settings: Settings, screen: Screen) -> Base:
    """Load the base, with a progress bar for the slow part (its basis, computed once)."""
    from ipse.model.base import load_base

    with base_progress(screen) as progress:
        base = load_base(
            settings.base,
            device=settings.device,
            dtype=settings.dtype,
            rank=settings.rank,
            basis=settings.basis,
            progress=progress,
        )
    _spare_threads(base)
    return base


def _spare_threads(base: Base) -> None:
    """One thread for a small base on a CPU, unless OMP_NUM_THREADS says otherwise.

    On two idle cores a second thread takes a third off a step; where something else runs, threads that wait for
    each other made a demo of 45 seconds take seven minutes.
    """
    if "OMP_NUM_THREADS" not in os.environ and base.config.hidden_size <= SMALL_HIDDEN_SIZE:
        import torch

        torch.set_num_threads(1)


@contextmanager
def base_progress(
    screen: Screen, title: str = "computing the basis of this base, once"
) -> Iterator[Callable[[int, int, str], None] | None]:
    """A callback (done, total, name of what is done) that draws a bar where a person watches."""
    if not screen.live:
        yield None
        return
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        TimeRemainingColumn(),
        console=screen.err,
        transient=True,
    )
    task = bar.add_task(title, total=None)

    def show(done: int, total: int, name: str) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def opened_life(home: Home, base: Base, owner: str, *, fork_id: ForkId | None = None) -> Iterator[UserModelLifecycle]:
    """One owner's newest fork in motion, made if it is new; or the one with this id."""
    from ipse.forks.interact import UserModelLifecycle

    life = UserModelLifecycle(home, base, owner=owner_of(home, owner), fork_id=fork_id)
    try:
        yield life
    finally:
        life.close()
        publish_heads(home)


def publish_heads(home: Home) -> None:
    """Put what was recorded into the public log. What hinders that hinders nothing else: it is said, tried again."""
    from ipse.forks.publish import publish

    try:
        publish(home)
    except IpseError as error:
        log.warning("The public log does not have the newest records yet: %s %s", error.message, error.hint)


@contextmanager
def opened_fork(settings: Settings, screen: Screen, fork: str) -> Iterator[tuple[ForkInfo, UserModelLifecycle]]:
    """The fork that a ``--fork`` option means, which must be there, in motion on its base.

    Raises:
        InputError: there is no such fork.
    """
    with opened_home(settings, create=False) as home:
        info = existing_fork(home, fork)
        base = open_base(settings, screen)
        with opened_life(home, base, info.owner, fork_id=info.fork_id) as life:
            yield info, life


def owner_of(home: Home, owner_or_id: str) -> str:
    """The owner that a ``--fork`` option means.

    Raises:
        InputError: it is spelled like a fork id and there is no such fork.
    """
    found = home.find(owner_or_id)
    if found is not None:
        return found.owner
    if owner_or_id.startswith(ID_PREFIX):
        raise InputError(f"There is no fork {owner_or_id}.", "See 'ipse fork list', or give an owner's name.")
    return owner_or_id


def existing_fork(home: Home, owner_or_id: str) -> ForkInfo:
    """A fork that must be there.

    Raises:
        InputError: it is not.
    """
    return existing_fork_of(home.store, owner_or_id)


def existing_fork_of(store: Store, owner_or_id: str) -> ForkInfo:
    """The same in a store, without a key."""
    from ipse.forks.home import find_fork, forks_of

    found = find_fork(store, owner_or_id)
    if found is None:
        names = ", ".join(sorted({info.owner for info in forks_of(store)}))
        hint = f"There are forks of: {names}." if names else "There is none yet; 'ipse chat' makes the first."
        raise InputError(f"There is no fork of {owner_or_id}.", hint)
    return found


def log_of_keys(keys: Sequence[str]) -> Log | None:
    """The log of these verifier keys, None of none.

    Raises:
        InputError: they are no verifier keys, or not of one log.
    """
    from ipse.ledger.checkpoint import Log
    from ipse.ledger.keys import VerifierKey

    try:
        known = tuple(dict.fromkeys(VerifierKey.from_text(key.strip()) for key in keys))
    except VerificationError as error:
        raise InputError(f"A --key is no verifier key: {error.message}", "Copy the whole key again.") from error
    if len({key.name for key in known}) > 1:
        raise InputError("The keys are of several logs.", "Give the keys of one log; they have one name.")
    return Log(known[0].name, known) if known else None


def identity_in(file: Path) -> PublicIdentity:
    """The identity in a file.

    Raises:
        InputError: the file cannot be read.
        VerificationError: it holds something else.
    """
    from ipse.vault.identity import PublicIdentity

    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_IDENTITY_FILE_BYTES)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
    try:
        identity = PublicIdentity.from_text(data.decode("ascii", errors="replace"))
        identity.seal_to(b"", b"")  # a key that cannot be sealed to is found before anything is recorded
    except VerificationError as error:
        raise VerificationError(f"{file} holds no public identity: {error.message}", _IDENTITY_HINT) from error
    return identity
