# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree of a log: its root hash, and the proofs that an entry is in it and that it only grew.

    leaf_hash(entry)      = SHA-256(0x00 || entry)
    node_hash(left, right) = SHA-256(0x01 || left || right)

The tree of n leaves has on its left the largest power of two of them that is smaller than n (RFC 9162, section
2.1.1; the same tree as in RFC 6962). Every hash has 32 bytes.

Three ways to have a root hash: ``CompactRange`` keeps at most 63 hashes and is appended to; ``root_hash`` folds a
list of leaf hashes; ``read_root`` takes hashes from a ``HashReader``, wherever they lie. The proofs are made from a
HashReader too, and checked from nothing but themselves:

>>> leaves = [leaf_hash(entry) for entry in (b"a", b"b", b"c")]
>>> read = list_reader(leaves)
>>> verify_inclusion(leaves[2], 2, 3, inclusion_proof(2, 3, read), root_hash(leaves))
>>> verify_consistency(1, root_hash(leaves[:1]), 3, root_hash(leaves), consistency_proof(1, 3, read))

A verifier returns nothing, or raises VerificationError; no sizes, indices or bytes make it raise anything else.
What is *not* shown by a proof: that the root hash is the log's (checkpoint.py), and that others were shown the same
(only cosignatures of witnesses say that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from ipse.errors import InputError, VerificationError
from ipse.wire.digest import DIGEST_BYTES, sha256
from ipse.wire.lines import MAX_NUMBER

EMPTY_ROOT = sha256(b"")
"""Root hash of the tree without leaves."""

HashReader = Callable[[int, int], bytes]
"""(level, index) -> the root hash of the 2**level leaves from index * 2**level on, all of which are in the tree."""


def leaf_hash(entry: bytes) -> bytes:
    """(32,) bytes: hash of the leaf that holds this entry."""
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """(32,) bytes: hash of the node over these two."""
    return sha256(b"\x01" + left + right)


@dataclass(frozen=True, slots=True)
class CompactRange:
    """As much of a tree as appending to it needs.

    Attributes:
        size: number of leaves.
        hashes: root hashes of its full subtrees, the largest first: one for each 1 in the binary form of size.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_NUMBER or len(self.hashes) != self.size.bit_count():
            raise VerificationError(f"{len(self.hashes)} hashes are not those of a tree of {self.size} leaves.")
        _check_hashes(*self.hashes)

    def append(self, leaf: bytes) -> CompactRange:
        """The same with one more leaf hash: at most 63 hashings, one on average."""
        return self.extend([leaf])

    def extend(self, leaves: Iterable[bytes]) -> CompactRange:
        """The same with these leaf hashes appended, one by one."""
        hashes, size = list(self.hashes), self.size
        for value in leaves:
            _check_hashes(value)
            full = size  # each 1 at its end is a subtree that the new leaf completes
            while full & 1:
                value, full = node_hash(hashes.pop(), value), full >> 1
            hashes.append(value)
            size += 1
        return CompactRange(size, tuple(hashes))

    def root(self) -> bytes:
        """(32,) bytes: the root hash of the tree."""
        return _join(self.hashes) if self.hashes else EMPTY_ROOT


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """The root hash over these leaf hashes: neighbours are joined, level by level; a lone last one goes up as it is."""
    _check_hashes(*leaves)
    level = list(leaves)
    while len(level) > 1:
        lone = level[len(level) & ~1 :]
        level = [*map(node_hash, level[::2], level[1::2]), *lone]
    return level[0] if level else EMPTY_ROOT


def read_root(size: int, read: HashReader) -> bytes:
    """The root hash of the first ``size`` leaves, from at most 63 hashes."""
    _check_range(0 <= size <= MAX_NUMBER, f"a tree of {size} leaves")
    return _read_range(0, size, read) if size else EMPTY_ROOT


def list_reader(leaves: Sequence[bytes]) -> HashReader:
    """Reads from a list of leaf hashes in memory, hashing anew each time: for small trees."""

    def read(level: int, index: int) -> bytes:
        start, end = index << level, (index + 1) << level
        _check_range(0 <= start < end <= len(leaves), f"leaves {start} to {end} of {len(leaves)}")
        return root_hash(leaves[start:end])

    return read


def inclusion_proof(index: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """Proof that the leaf at ``index`` is in the tree of ``size`` leaves (RFC 9162, section 2.1.3.1).

    Returns:
        At most 63 hashes, from the leaf's sibling up to the child of the root.

    Raises:
        InputError: there is no such leaf.
    """
    _check_range(0 <= index < size <= MAX_NUMBER, f"a leaf {index} in a tree of {size}")
    proof, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_read_range(middle, end, read))
            end = middle
        else:
            proof.append(_read_range(start, middle, read))
            start = middle
    return tuple(reversed(proof))


def consistency_proof(old_size: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """Proof that the tree of ``size`` leaves begins with that of ``old_size`` (RFC 9162, section 2.1.4.1).

    Returns:
        At most 64 hashes; none if the sizes are equal, or if the old tree is empty.

    Raises:
        InputError: the old tree would be the larger one.
    """
    _check_range(0 <= old_size <= size <= MAX_NUMBER, f"a tree of {old_size} at the start of a tree of {size}")
    if old_size == 0:
        return ()
    proof, start, end = [], 0, size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_read_range(middle, end, read))
            end = middle
        else:
            proof.append(_read_range(start, middle, read))
            start = middle
    if start:  # else the old tree is a full subtree, and the verifier knows its root hash already
        proof.append(_read_range(start, end, read))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` is at ``index`` of the tree with this size and root hash (RFC 9162, section 2.1.3.2).

    Args:
        leaf: its leaf hash, computed by the verifier from the entry.
        root: the root hash, from a checkpoint that was verified.

    Raises:
        VerificationError: it is not shown.
    """
    if not 0 <= index < size <= MAX_NUMBER:
        raise VerificationError(f"There is no leaf {index} in a tree of {size} leaves.")
    _check_hashes(leaf, root, *proof)
    node, last, value = index, size - 1, leaf  # the node on the way up, and the last one of its level
    for sibling in proof:
        if last == 0:
            raise VerificationError("The inclusion proof has too many hashes.")
        up = 1
        if node & 1 or node == last:
            value, up = node_hash(sibling, value), _levels_past_lone(node)
        else:
            value = node_hash(value, sibling)
        node, last = node >> up, last >> up
    if last != 0:
        raise VerificationError("The inclusion proof has too few hashes.")
    if value != root:
        raise VerificationError(f"Leaf {index} is not under this root hash.", _OTHER_TREE)


def verify_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree with ``size`` and ``root`` begins with the old one (RFC 9162, section 2.1.4.2).

    The empty tree is the start of every tree: its proof is empty, and says nothing.

    Raises:
        VerificationError: it is not shown; or an empty tree has another root hash than ``EMPTY_ROOT``.
    """
    if size == 0 and root != EMPTY_ROOT:
        raise VerificationError("The root hash is not that of the empty tree.")
    verify_subtree_consistency(0, old_size, old_root, size, root, proof)


def verify_subtree_consistency(
    start: int, end: int, subtree: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that ``subtree`` is the root hash of the leaves from ``start`` to before ``end`` of the tree.

    That is for ranges that are a tree of their own: ``start`` is a multiple of the smallest power of two that is not
    below ``end - start`` (draft-ietf-plants-merkle-tree-certs, section 4.4). From leaf 0 on it is what RFC 9162 calls
    consistency. An empty range is part of every tree: its proof is empty, and says nothing.

    Raises:
        VerificationError: it is not shown, or there is no such range.
    """
    if not 0 <= start <= end <= size <= MAX_NUMBER or start & _mask(end - start):
        raise VerificationError(f"A tree of {size} leaves has no part from {start} to {end}.")
    _check_hashes(subtree, root, *proof)
    if start == end and subtree != EMPTY_ROOT:
        raise VerificationError("The root hash is not that of the empty tree.")
    if start == end or end - start == size:
        if proof:
            raise VerificationError("The consistency proof has too many hashes.")
        if end - start == size and subtree != root:
            raise VerificationError(f"Two trees of {size} leaves have different root hashes.", _SPLIT)
        return
    first, node, last = start, end - 1, size - 1  # on the way up: the part's first and last node, and the level's last
    while first != node and (node & 1 or node == last):  # up to the top of the full subtree that ends the part
        first, node, last = first >> 1, node >> 1, last >> 1
    hashes = [subtree, *proof] if first == node else list(proof)  # there it is the whole part, or the proof's first
    if not hashes:
        raise VerificationError("The consistency proof is empty.")
    part = value = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise VerificationError("The consistency proof has too many hashes.")
        up = 1
        if node & 1 or node == last:
            part = node_hash(sibling, part) if first < node else part
            value, up = node_hash(sibling, value), _levels_past_lone(node)
        else:
            value = node_hash(value, sibling)
        first, node, last = first >> up, node >> up, last >> up
    if last != 0:
        raise VerificationError("The consistency proof has too few hashes.")
    if (part, value) != (subtree, root):
        what = f"have this part from {start} to {end}" if start else f"begin with that of {end}"
        raise VerificationError(f"The tree of {size} leaves does not {what}.", _SPLIT)


_OTHER_TREE = "The proof belongs to another leaf or tree; ask for one for this checkpoint."
_SPLIT = "Keep both checkpoints: together they show that the log took back what it had said, or that one is forged."


def _levels_past_lone(node: int) -> int:
    """Levels up to the parent that a node (not 0) shares with a left sibling: on the others it is a lone left child."""
    return (node & -node).bit_length()


def _mask(width: int) -> int:
    """The smallest power of two that is not below ``width``, less 1."""
    return (1 << max(width - 1, 0).bit_length()) - 1


def _split(width: int) -> int:
    """The largest power of two below ``width`` (at least 2)."""
    return 1 << (width - 1).bit_length() - 1


def _read_range(start: int, end: int, read: HashReader) -> bytes:
    """Root hash of the leaves from ``start`` to before ``end``: a range that the tree's shape has as a node."""
    hashes = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(read(level, start >> level))
        start += 1 << level
    _check_hashes(*hashes)
    return _join(hashes)


def _join(hashes: Sequence[bytes]) -> bytes:
    """Root hash over full subtrees, the largest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


def _check_hashes(*hashes: bytes) -> None:
    if any(len(value) != DIGEST_BYTES for value in hashes):
        raise VerificationError(f"Expected hashes of {DIGEST_BYTES} bytes, found another length.")


def _check_range(possible: bool, what: str) -> None:
    if not possible:
        raise InputError(f"There is no such thing as {what}.")
