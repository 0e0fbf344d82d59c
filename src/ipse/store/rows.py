# SPDX-License-Identifier: Apache-2.0
"""What goes into a store and comes out of it: plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from ipse.wire.ids import BaseId, ForkId, OwnerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRow:
    """What is known of a fork before its first record; none of it ever changes.

    Attributes:
        base_name: how the owner called the base when the fork was made (a path or hub id); only ``base_id`` binds.
        layout_digest: 32 bytes, digest of the layout that the fork's updates belong to.
        key_check: 16 bytes (vault.keys.check_value): tells a wrong key from a damaged record.
        created_ms: Unix time.
    """

    fork_id: ForkId
    owner: OwnerId
    base_id: BaseId
    base_name: str
    layout_digest: bytes
    key_check: bytes
    created_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """A fork's newest record: its number and digest. (0, 32 zero bytes) before the first."""

    seq: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class AppendRow:
    """A sealed record on its way in.

    Attributes:
        seq: the head's number plus one.
        op_id: 16 bytes, unique in the store.
        digest: SHA-256 over ``data``.
        data: the record's bytes; the store does not look inside.
    """

    seq: int
    op_id: bytes
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A sealed record as it came out, its digest checked."""

    seq: int
    op_id: bytes
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A sealed copy of the state after record ``seq``. Only a cache: it may be missing, old or damaged."""

    seq: int
    data: bytes
