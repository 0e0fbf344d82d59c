# SPDX-License-Identifier: Apache-2.0
"""Forks and rows to put into a store. Their bytes mean nothing: the store does not look inside."""

from __future__ import annotations

import os

from ipse.store.rows import AppendRow, ForkRow
from ipse.store.store import Store
from ipse.wire.digest import NO_DIGEST, sha256
from ipse.wire.ids import BaseId, ForkId, OwnerId, new_fork_id


def fork_row(fork_id: ForkId | None = None, owner: str = "alice") -> ForkRow:
    """A fork."""
    return ForkRow(
        fork_id=fork_id or new_fork_id(),
        owner=OwnerId(owner),
        base_id=BaseId("0123456789abcdef"),
        base_name="shipped",
        layout_digest=bytes(range(32)),
        key_check=bytes(16),
        created_ms=1_790_000_000_000,
    )


def row(seq: int, data: bytes | None = None, op_id: bytes | None = None) -> AppendRow:
    """A record of about 1,000 random bytes."""
    data = os.urandom(1000) if data is None else data
    return AppendRow(seq, op_id or os.urandom(16), sha256(data), data)


def filled(store: Store, count: int) -> tuple[ForkId, list[AppendRow]]:
    """A new fork with so many records."""
    fork = fork_row()
    store.create_fork(fork)
    rows: list[AppendRow] = []
    for seq in range(1, count + 1):
        rows.append(row(seq))
        store.append(fork.fork_id, rows[-1], expected_head=rows[-2].digest if seq > 1 else NO_DIGEST)
    return fork.fork_id, rows
