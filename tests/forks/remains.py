# SPDX-License-Identifier: Apache-2.0
"""What of a fork is still in the bytes of a folder: looked for in every file, at every place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipse.forks.home import Home
from ipse.ledger.envelope import read_envelope
from ipse.store.logrows import LogRows
from ipse.wire.ids import ForkId

WINDOW = 16
"""So many bytes in a row are no accident."""


@dataclass
class Traces:
    """What must be gone, and what may be met in it all the same."""

    pieces: list[bytes] = field(default_factory=list)
    name: bytes = b""
    kept: list[bytes] = field(default_factory=list)

    @property
    def windows(self) -> set[bytes]:
        allowed = re.compile(b"|".join(re.escape(each) for each in self.kept)) if self.kept else None
        found: set[bytes] = set()
        for piece in self.pieces:
            for part in allowed.split(piece) if allowed else [piece]:
                found.update(part[at : at + WINDOW] for at in range(len(part) - WINDOW + 1))
        return {window for window in found if len(set(window)) > 4}  # a signature of ML-DSA ends in zeroes

    def in_folder(self, folder: Path) -> set[str]:
        """The files that have one of the windows or the name in them."""
        windows = self.windows
        return {path.name for path in every_file(folder) if self._in(path.read_bytes(), windows)}

    def _in(self, data: bytes, windows: set[bytes]) -> bool:
        if self.name in data:
            return True
        return any(data[at : at + WINDOW] in windows for at in range(len(data) - WINDOW + 1))


def every_file(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def traces(home: Home, fork_id: ForkId, others: Iterable[ForkId] = ()) -> Traces:
    """All of a fork's records and snapshots as they lie in the store, its signed heads, and its owner's name.

    Digests and the fork's id are kept. The keys of the owner's identity stand in every fork of the same root.
    """
    store = home.store
    stored = list(store.records(fork_id))
    snapshot = store.latest_snapshot(fork_id, stored[-1].seq)
    wraps = [w for r in stored if (w := read_envelope(r.data).wrapped_key) is not None]
    assert wraps
    found = Traces([record.data for record in stored], store.fork(fork_id).owner.encode())
    found.pieces += [sealed for each in wraps for _, sealed in each.wraps]
    found.pieces += [snapshot.data] if snapshot else []
    log = LogRows(store).head()
    found.pieces += [head.note for head in LogRows(store).publications(fork_id, log.origin)] if log else []
    found.kept = [record.digest for record in stored] + [bytes(32), fork_id.encode()]
    if list(others):
        mine = home.identity.public
        found.kept += [mine.ed25519, mine.ml_dsa_65, mine.x_wing, mine.short_id]
    return found


def plain(z: NDArray[np.int64], keys: Iterable[bytes]) -> Traces:
    """What must never lie in a file: the opened data keys, and the personal state in any form of numbers."""
    values = z[z != 0]
    assert values.size >= 8
    forms = [values.astype(kind).tobytes() for kind in ("<i4", "<i8", "<f4", "<f8")]
    return Traces([*forms, *keys], name=b"\0the name of nobody\0")
