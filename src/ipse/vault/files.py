# SPDX-License-Identifier: Apache-2.0
"""Small secret files that must never be half there: made, replaced and removed so that a power cut loses nothing.

Written beside its place with mode 0600, synced, put there by one step of the file system, and the folder synced. The
verb says what happens to a file that is there already: ``create`` leaves it and fails, ``replace`` takes its place.
All but ``read_secret`` raise OSError; their callers know what the file is for and say it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ipse.errors import VaultError

_MARK_BYTES = 8


def create_file(path: Path, text: str | bytes) -> None:
    """Make a file, in a folder that is made 0700 if it is missing. FileExistsError if there is one of that name."""
    with _written_aside(path, text) as partial:
        os.link(partial, path)  # fails if the name is taken, which renaming would not


def replace_file(path: Path, text: str | bytes) -> None:
    """Make a file or take the place of one: at every moment the name leads to the whole old or the whole new one."""
    with _written_aside(path, text) as partial:
        partial.replace(path)


def remove_file(path: Path) -> None:
    """Remove a file, and what a killed process may have left of writing it.

    Its bytes may stay in free blocks of the disk, in its journal or in backups: nothing here can prevent that.
    """
    path.unlink()
    remove_partials(path)
    _sync(path.parent)


def move_file(source: Path, target: Path) -> None:
    """Let a file take the place of another one, on the same disk; what killed writers left of either goes too."""
    source.replace(target)
    for path in (target, source):
        remove_partials(path)
        _sync(path.parent)


def remove_partials(path: Path) -> None:
    """Remove what killed processes may have left of writing a file."""
    for partial in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 2 * _MARK_BYTES}"):
        partial.unlink(missing_ok=True)


def read_file(path: Path, most_bytes: int) -> tuple[bytes, int] | None:
    """The first ``most_bytes`` of a file and its mode; None if it is a pipe, a folder or anything else but a file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe must not block us
    with os.fdopen(descriptor, "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        return (stream.read(most_bytes), mode) if stat.S_ISREG(mode) else None


def read_secret(path: Path, most_bytes: int, what: str, missing: str) -> bytes:
    """The first ``most_bytes`` of a file that nobody else on the machine can read.

    Args:
        what: what it is called in messages, like "key file".
        missing: what to do where there is none.

    Raises:
        VaultError: there is no such file, it cannot be read, is no file, or others may read it.
    """
    try:
        found = read_file(path, most_bytes)
    except FileNotFoundError as error:
        raise VaultError(f"There is no {what} at {path}.", missing) from error
    except OSError as error:
        raise VaultError(f"The {what} {path} cannot be read: {error.strerror}.", "Check its owner.") from error
    if found is None:
        raise VaultError(f"{path} is not a file.", f"Give the path of a {what}.")
    data, mode = found
    if os.name == "posix" and mode & 0o077:
        raise VaultError(f"Other users may read the {what} {path}.", f"Run: chmod 600 {path}")
    return data


def sync_file(path: Path) -> None:
    """Make a file that somebody else wrote (``cp``) survive a power cut."""
    _sync(path)
    _sync(path.parent)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """One process at a time changes the files of this folder; others wait. The lock ends with the process.

    Without it, two processes could each remove one of two files, each having seen the other one.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _written_aside(path: Path, text: str | bytes) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(_MARK_BYTES)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:  # a file where the folder should be; not the FileExistsError of `create_file`
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
