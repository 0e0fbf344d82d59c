# SPDX-License-Identifier: Apache-2.0
"""Remembering the last checkpoint of a log, and refusing one that takes back what it said.

The first checkpoint is believed for its signatures alone; every later one must be shown to begin with the last. The
state is that checkpoint itself, in one small file. A log that shows a smaller tree, another tree of the same size, or
one that it does not show to continue the last, is refused, the state stays, and both signed checkpoints are kept side
by side in the folder ``<state file>.evidence``. Anybody who knows the log's keys can judge them.

Not shown: that others see the same log. Two auditors who compare their last checkpoints know, or a policy that asks
for witnesses (ledger/policy.py).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ipse.errors import InputError, StoreError, VerificationError
from ipse.ledger.checkpoint import Checkpoint, Log, open_checkpoint
from ipse.ledger.note import MAX_NOTE_BYTES
from ipse.ledger.tree import HashReader, consistency_proof, verify_consistency
from ipse.ledger.treehead import TreeHead
from ipse.vault.files import changing, create_file, read_file, replace_file
from ipse.wire.digest import short


class Auditor:
    """Watches one log.

    Args:
        path: the state file; made with the first checkpoint, its folder too.
        log: origin and keys.
    """

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log

    @property
    def evidence(self) -> Path:
        """Folder of the checkpoints that do not fit together; missing while there are none."""
        return self._path.with_name(self._path.name + ".evidence")

    def last(self) -> Checkpoint | None:
        """The last checkpoint that was accepted.

        Raises:
            VerificationError: the state file is not a checkpoint of this log.
            StoreError: it cannot be read.
        """
        data = self._read()
        return None if data is None else open_checkpoint(data, self._log)

    def accept(self, data: bytes, read: HashReader) -> Checkpoint:
        """Check a checkpoint against the last one and remember it, durably.

        Args:
            data: its bytes.
            read: hashes of its tree, from wherever; for example ``LogFiles.hashes`` of its size.

        Returns:
            The checkpoint.

        Raises:
            VerificationError: it is not of this log, or not shown to continue the last one. The state is unchanged.
            NetworkError: from ``read``. The state is unchanged.
            StoreError: the state cannot be read or written.
        """
        new = open_checkpoint(data, self._log)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with changing(self._path.parent):
                before = self._read()
                if before is not None:
                    self._compare(before, data, new.head, read)
                if data != before:
                    replace_file(self._path, data)
        except OSError as error:
            raise StoreError(
                f"The state of the audit at {self._path} cannot be written: {error.strerror or error}.",
                "Check the folder and the free space; the checkpoint was not accepted.",
            ) from error
        return new

    def _compare(self, before: bytes, data: bytes, new: TreeHead, read: HashReader) -> None:
        old = open_checkpoint(before, self._log).head
        try:
            if new.size < old.size:
                raise VerificationError(f"The log shows {new.size} entries, and has shown {old.size} before.")
            try:
                proof = consistency_proof(old.size, new.size, read)
            except InputError as error:
                raise VerificationError(error.message) from error
            verify_consistency(old.size, old.root, new.size, new.root, proof)
        except VerificationError as error:
            for head, kept in ((old, before), (new, data)):
                with suppress(FileExistsError):  # kept already
                    create_file(self.evidence / f"{head.size}-{short(head.root)}.checkpoint", kept)
            hint = f"Do not trust it; both checkpoints are in {self.evidence}."
            raise VerificationError(error.message, hint) from error

    def _read(self) -> bytes | None:
        try:
            found = read_file(self._path, MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"The state of the audit at {self._path} cannot be read: {error.strerror}.", "Check its owner."
            ) from error
        if found is None:
            raise StoreError(f"{self._path} is not a file.", "Choose another place for the state of the audit.")
        return found[0]
