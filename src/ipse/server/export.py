# SPDX-License-Identifier: Apache-2.0
"""The public log as a folder of files that any web server can serve (C2SP tlog-tiles).

A log only grows, and so does such a folder: a tile that is there is never given other bytes, and a checkpoint only
makes room for one that continues it. A folder for which that cannot be kept holds another log or another history, and
is left as it is. Tiles come first and the checkpoint last, each file whole: who reads in the middle of an export, or
after one that died, finds everything that the checkpoint promises.

Partial tiles of earlier exports stay, for readers of earlier checkpoints.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ipse.errors import InputError, VerificationError
from ipse.ledger.checkpoint import Log
from ipse.ledger.note import Note
from ipse.ledger.publiclog import PublicLog, check_log
from ipse.ledger.tiles import bundles_of, tiles_of
from ipse.ledger.tree import HashReader, read_root
from ipse.ledger.treehead import TreeHead

_CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left: the head that the folder is at, how many files it has for that, and how many were new."""

    head: TreeHead
    files: int
    written: int


def export_log(public: PublicLog, log: Log, folder: Path) -> Exported:
    """Write the log's files, or what is new of them, after all of it was checked.

    Args:
        folder: made if it is missing; files in it are readable for everybody, as far as the umask lets them.

    Raises:
        VerificationError: the log is not what was signed; or the folder has another log, or another history of it.
        InputError: there is no log yet, or the folder is a file.
        OSError: the folder cannot be written.
    """
    head = check_log(public, log)
    while _head(checkpoint := public.checkpoint()) != head:  # it has grown in the meantime
        head = check_log(public, log)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Give another one.")
    _confirm_continued(folder / _CHECKPOINT, head, public.reader(head.size))
    files = written = 0
    for tile in chain(tiles_of(head.size), bundles_of(head.size)):
        files += 1
        written += _create_same(folder / tile.path(), public.stored(tile))
    _replace(folder / _CHECKPOINT, checkpoint)
    return Exported(head, files + 1, written + 1)


def _confirm_continued(path: Path, head: TreeHead, read: HashReader) -> None:
    """Pass if the checkpoint that is there, if any, is of this log, and this head continues it."""
    if not path.exists():
        return
    there = _head(path.read_bytes())
    if there.origin != head.origin:
        raise VerificationError(f"{path} is of another log, {there.origin}.", "Export to another folder.")
    if there.size > head.size or read_root(there.size, read) != there.root:
        raise VerificationError(
            f"{path} is of {there.size} entries, and the log with its {head.size} does not continue it.",
            "An older copy of the log was put back: put the newest one back, or export to another folder.",
        )


def _create_same(path: Path, data: bytes) -> bool:
    """Make a file; False if it was there with these bytes."""
    if path.exists():
        if path.read_bytes() != data:
            raise VerificationError(
                f"{path} has other bytes than the log.", "The folder has another history; export to another one."
            )
        return False
    _replace(path, data)
    return True


def _replace(path: Path, data: bytes) -> None:
    """Put a whole file there, on the disk before it has the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _head(checkpoint: bytes) -> TreeHead:
    return TreeHead.from_text(Note.from_bytes(checkpoint).text)
