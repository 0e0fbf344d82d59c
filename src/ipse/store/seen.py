# SPDX-License-Identifier: Apache-2.0
"""What was last seen of a history, kept beside the database: so that an older copy of the database is noticed.

    seen/<name>     ipse-seen-v1 0000000000000000042 <64 hex>        number and digest of the newest head

A database cannot know that it is an old copy of itself. A small file that is not part of it can: when it names a
later head, or another one of the same number, somebody put an older copy back. To write on from there would tell two
histories, and in a log that is what nobody may sign.

The file follows the database, never leads it: a head is noted after its commit. So a crash between the two leaves a
file that lags, which is harmless, and never one that cries wolf. Read the file first and the database then (or read
both within a write transaction), since another process may append in between.

It is written in place, always the same 98 bytes, under a lock: it never goes back, whoever is late. What a power cut
leaves of a file that was never synced (nothing, or zeroes) counts as nothing seen.

Not protected: a copy of the whole folder that is put back, this file included, is not noticed, and who may write to
the folder may remove the file. Against that it takes others who remember: witnesses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ipse.errors import InputError, StoreDamaged, StoreError, StoreRolledBack
from ipse.store.rows import Head

FOLDER_NAME = "seen"

_MARK = "ipse-seen-v1"
_FORM = re.compile(rb"%s ([0-9]{19}) ([0-9a-f]{64})\n" % _MARK.encode())
_MOST_BYTES = 4096
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.ASCII)


class Seen:
    """The files of one folder, which is made when something is noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def last(self, name: str) -> Head | None:
        """The newest head that was noted under this name, if there is one.

        Raises:
            StoreDamaged: the file is there and says nothing that can be read.
            StoreError: it cannot be read.
            InputError: such a name is not taken.
        """
        path = self._path(name)
        try:
            with path.open("rb") as stream:
                return _parse(stream.read(_MOST_BYTES), path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"The file {path} cannot be read: {error.strerror}.", "Check its owner.") from error

    def check(self, name: str, seq: int, digest: bytes, digest_at: Callable[[int], bytes] | None = None) -> None:
        """Pass if the database, which is at this head, has everything that was seen of it.

        Args:
            seq, digest: the database's newest head.
            digest_at: what the database has at an earlier number; with it, another history that grew past the one
                that was seen is noticed too.

        Raises:
            StoreRolledBack: it has not.
            StoreDamaged, StoreError, InputError: as ``last``.
        """
        confirm(self.last(name), name, seq, digest, digest_at)

    def note(self, name: str, seq: int, digest: bytes, *, sync: bool) -> None:
        """Note a head that is committed, unless one as late as this is noted already.

        Args:
            seq: 0 to 2**63 - 1.
            digest: 32 bytes.
            sync: return only when it is on the disk. Without it, a power cut may take back the last seconds.

        Raises:
            StoreError: it cannot be written. The head is in the database all the same.
            StoreDamaged, InputError: as ``last``.
        """
        path, line = self._path(name), f"{_MARK} {seq:019} {digest.hex()}\n".encode()
        if not _FORM.fullmatch(line):
            raise InputError(f"There is no head {seq} with a digest of {len(digest)} bytes.")
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with _locked(path) as stream:
                last = _parse(stream.read(_MOST_BYTES), path)
                if last is None or last.seq < seq:
                    stream.seek(0)
                    stream.write(line)
                if sync:  # also what another process wrote and may not have synced
                    os.fsync(stream.fileno())
            if sync and last is None:
                _sync_names(self.folder)
                _sync_names(self.folder.parent)
        except OSError as error:
            raise StoreError(
                f"The file {path} cannot be written: {error.strerror}.",
                "What was to be noted is in the store; make room or check the folder, then try again.",
            ) from error

    def forget(self, name: str) -> None:
        """As if nothing had been seen under this name. Harmless to repeat.

        Raises:
            StoreError: the file cannot be removed.
        """
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
            if self.folder.exists():
                _sync_names(self.folder)
        except OSError as error:
            raise StoreError(f"The file {path} cannot be removed: {error.strerror}.", "Check its owner.") from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InputError(f"Nothing is noted under the name {name[:80]!r}.")
        return self.folder / name


def confirm(
    last: Head | None, name: str, seq: int, digest: bytes, digest_at: Callable[[int], bytes] | None = None
) -> None:
    """``Seen.check``, for who has to read the file before the database.

    Raises:
        StoreRolledBack: the database lacks what was seen.
    """
    if last is None:
        return
    if last.seq > seq:
        raise StoreRolledBack(
            f"The store is at number {seq} of {name}, and {last.seq} was seen already: an older copy was put back.",
            _HINT,
        )
    if last.seq < seq and digest_at is None:
        return
    if last.digest != (digest_at(last.seq) if digest_at and last.seq < seq else digest):
        raise StoreRolledBack(
            f"What the store has at number {last.seq} of {name} is not what was seen: another copy was put there.",
            _HINT,
        )


_HINT = (
    "Put the newest copy back. If it is lost: `ipse fork go-on` for a fork, `ipse ledger new` for the log, starts from "
    "what is here."
)


def _parse(data: bytes, path: Path) -> Head | None:
    if not data.strip(b"\0"):
        return None
    found = _FORM.fullmatch(data)
    if found is None:
        raise StoreDamaged(
            f"The file {path} is damaged.",
            "Remove it if you are sure that nobody put an older copy of the store back.",
        )
    return Head(int(found[1]), bytes.fromhex(found[2].decode()))


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, made with mode 0600 if it is missing, for one process at a time. The lock ends with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        if os.name == "posix":
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _sync_names(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
