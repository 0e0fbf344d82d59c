# SPDX-License-Identifier: Apache-2.0
"""A small log to test with: its keys, witnesses, entries, and its files."""

from __future__ import annotations

from ipse.ledger.checkpoint import Log, TreeHead, sign_checkpoint
from ipse.ledger.keys import NoteKey, SignatureType
from ipse.ledger.tiles import Tile, encode_tile
from ipse.ledger.tree import leaf_hash, root_hash
from ipse.wire.digest import sha256

ORIGIN = "log.example/ipse"
TIME_S = 1_790_000_000


def note_key(name: str, kind: SignatureType, number: int) -> NoteKey:
    return NoteKey(name, kind, bytes([number]) * 32)


KEYS = (
    note_key(ORIGIN, SignatureType.ED25519, 1),
    note_key(ORIGIN, SignatureType.ML_DSA_44_COSIGNATURE, 2),
)
WITNESSES = (
    note_key("witness.example/one", SignatureType.ED25519_COSIGNATURE, 3),
    note_key("witness.example/two", SignatureType.ML_DSA_44_COSIGNATURE, 4),
)
LOG = Log(ORIGIN, tuple(key.verifier() for key in KEYS))
KNOWN_WITNESSES = tuple(key.verifier() for key in WITNESSES)


def entries(size: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(size)]


def blinded(size: int) -> list[bytes]:
    """Entries of 32 bytes, as the log of an installation takes them."""
    return [sha256(entry) for entry in entries(size)]


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(entry) for entry in entries(size)]


def head(size: int) -> TreeHead:
    return TreeHead(ORIGIN, size, root_hash(leaves(size)))


def checkpoint(size: int) -> bytes:
    return sign_checkpoint(head(size), KEYS, time_s=TIME_S)


def tile_bytes(tile: Tile, leaf_hashes: list[bytes]) -> bytes:
    """A tile straight from the definition in C2SP tlog-tiles."""
    span = 256**tile.level
    starts = range(tile.index * 256 * span, (tile.index * 256 + tile.width) * span, span)
    return encode_tile([root_hash(leaf_hashes[start : start + span]) for start in starts])
