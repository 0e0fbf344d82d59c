# SPDX-License-Identifier: Apache-2.0
"""Laws of the log: three ways to one root hash, every proof verifies, every changed one fails, no bytes surprise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.ledger.checkpoint import TreeHead, open_checkpoint
from ipse.ledger.keys import VerifierKey
from ipse.ledger.note import Note
from ipse.ledger.tiles import Tile, decode_bundle, decode_tile, encode_bundle, tile_reader, tiles_of
from ipse.ledger.tlogproof import TlogProof
from ipse.ledger.tree import (
    CompactRange,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    list_reader,
    node_hash,
    read_root,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from ipse.wire.lines import from_base64, parse_decimal
from tests.ledger.logs import KNOWN_WITNESSES, LOG, checkpoint, leaves, tile_bytes

LEAVES = leaves(600)
HASHES = st.binary(min_size=32, max_size=32)
SOME_HASH = st.one_of(HASHES, st.sampled_from(LEAVES), st.binary(max_size=40))
ANY_SIZE = st.one_of(st.integers(-3, 40), st.integers(2**63 - 3, 2**63 + 3), st.integers())


def naive_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The recursion of RFC 6962, section 2.1, word for word."""
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    k = 1
    while 2 * k < len(leaf_hashes):
        k *= 2
    return node_hash(naive_root(leaf_hashes[:k]), naive_root(leaf_hashes[k:]))


def naive_inclusion(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaf_hashes) == 1:
        return []
    k = 1
    while 2 * k < len(leaf_hashes):
        k *= 2
    left, right = leaf_hashes[:k], leaf_hashes[k:]
    if index < k:
        return [*naive_inclusion(index, left), naive_root(right)]
    return [*naive_inclusion(index - k, right), naive_root(left)]


def naive_consistency(old: int, leaf_hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if old == len(leaf_hashes):
        return [] if whole else [naive_root(leaf_hashes)]
    k = 1
    while 2 * k < len(leaf_hashes):
        k *= 2
    left, right = leaf_hashes[:k], leaf_hashes[k:]
    if old <= k:
        return [*naive_consistency(old, left, whole), naive_root(right)]
    return [*naive_consistency(old - k, right, False), naive_root(left)]


def changed(data: st.DataObject, proof: Sequence[bytes]) -> tuple[bytes, ...]:
    """The proof with one bit flipped, or one hash more, less or elsewhere."""
    hashes = list(proof)
    kinds = ["insert"] + ["flip", "drop"] * bool(hashes) + ["swap"] * (len(set(hashes)) > 1)
    kind = data.draw(st.sampled_from(kinds))
    at = data.draw(st.integers(0, max(len(hashes) - 1, 0)))
    if kind == "insert":
        hashes.insert(at, data.draw(SOME_HASH))
    elif kind == "drop":
        del hashes[at]
    elif kind == "swap":
        hashes[at], hashes[at - 1] = hashes[at - 1], hashes[at]
    else:
        bit = data.draw(st.integers(0, 255))
        hashes[at] = (int.from_bytes(hashes[at], "big") ^ 1 << bit).to_bytes(32, "big")
    return tuple(hashes)


@given(st.lists(HASHES, min_size=1, max_size=70), st.data())
def test_appending_one_by_one_or_many_gives_the_naive_root(leaf_hashes: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(leaf_hashes)))
    one_by_one = CompactRange()
    for leaf in leaf_hashes:
        one_by_one = one_by_one.append(leaf)
    many = CompactRange().extend(leaf_hashes[:cut]).extend(leaf_hashes[cut:])
    read = list_reader(leaf_hashes)
    assert one_by_one == many
    assert one_by_one.root() == root_hash(leaf_hashes) == read_root(len(leaf_hashes), read) == naive_root(leaf_hashes)


@given(st.data())
def test_every_inclusion_proof_is_the_naive_one_and_verifies_and_every_changed_one_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 600))
    index = data.draw(st.integers(0, size - 1))
    here, root = LEAVES[:size], root_hash(LEAVES[:size])
    proof = inclusion_proof(index, size, list_reader(here))
    assert list(proof) == naive_inclusion(index, here)
    verify_inclusion(here[index], index, size, proof, root)
    other = changed(data, proof)
    if other != proof:
        with pytest.raises(VerificationError):
            verify_inclusion(here[index], index, size, other, root)
    for bad_leaf, bad_index, bad_root in (
        (root, index, root),
        (here[index], index ^ 1, root),
        (here[index], index, here[0]),
    ):
        if (bad_leaf, bad_index, bad_root) != (here[index], index, root):
            with pytest.raises(VerificationError):
                verify_inclusion(bad_leaf, bad_index, size, proof, bad_root)


@given(st.data())
def test_every_consistency_proof_is_the_naive_one_and_verifies_and_every_changed_one_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 600))
    old = data.draw(st.integers(1, size))
    here, old_root, root = LEAVES[:size], root_hash(LEAVES[:old]), root_hash(LEAVES[:size])
    proof = consistency_proof(old, size, list_reader(here))
    assert list(proof) == naive_consistency(old, here)
    verify_consistency(old, old_root, size, root, proof)
    other = changed(data, proof)
    if other != proof:
        with pytest.raises(VerificationError):
            verify_consistency(old, old_root, size, root, other)
    stranger = leaf_hash(b"stranger")
    for bad_old_root, bad_root in ((stranger, root), (old_root, stranger), (root, old_root)):
        if (bad_old_root, bad_root) != (old_root, root):
            with pytest.raises(VerificationError):
                verify_consistency(old, bad_old_root, size, bad_root, proof)


@given(st.data())
def test_tiles_give_the_same_proofs_as_leaves(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 600))
    here = LEAVES[:size]
    files = {tile: tile_bytes(tile, here) for tile in tiles_of(size)}
    from_tiles, from_leaves = tile_reader(size, files.__getitem__), list_reader(here)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert inclusion_proof(index, size, from_tiles) == inclusion_proof(index, size, from_leaves)
    assert consistency_proof(old, size, from_tiles) == consistency_proof(old, size, from_leaves)


@given(SOME_HASH, ANY_SIZE, ANY_SIZE, st.lists(SOME_HASH, max_size=70), SOME_HASH)
def test_no_sizes_and_no_hashes_make_a_verifier_raise_anything_else(
    one: bytes, small: int, large: int, proof: list[bytes], other: bytes
) -> None:
    with contextlib.suppress(VerificationError):
        verify_inclusion(one, small, large, proof, other)
    with contextlib.suppress(VerificationError):
        verify_consistency(small, one, large, other, proof)


@given(st.integers(-2, 70), st.integers(-2, 2**63 + 2), st.integers(-1, 258))
def test_every_tile_that_can_be_has_one_path(level: int, index: int, width: int) -> None:
    with contextlib.suppress(VerificationError):
        tile = Tile(level, index, width)
        assert Tile.from_path(tile.path()) == tile


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_give_their_entries_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == tuple(entries)


def parsed_again(parse: Callable[[bytes], bytes], data: bytes) -> None:
    """What is accepted is written as it was; what is not is a VerificationError."""
    with contextlib.suppress(VerificationError):
        assert parse(data) == data


CHECKPOINT = checkpoint(7)
PROOF = TlogProof(3, inclusion_proof(3, 7, list_reader(LEAVES[:7])), CHECKPOINT, b"extra").to_bytes()
VKEY = LOG.keys[0].to_text().encode()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Good bytes with a slice replaced, most of the time near their start or end."""
    at = draw(st.one_of(st.integers(0, min(250, len(whole))), st.integers(0, len(whole))))
    upto = draw(st.integers(at, min(at + 80, len(whole))))
    middle = draw(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"\n", b"\n\n", b" ", b"+", b"=", b"0", b"\xe2\x80\x94 "]))
    )
    return whole[:at] + middle + whole[upto:]


def some(whole: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda x: x.encode(errors="replace")), damaged(whole)
    )


@given(some(CHECKPOINT))
def test_notes_are_refused_or_written_again_as_they_were(data: bytes) -> None:
    parsed_again(lambda x: Note.from_bytes(x).to_bytes(), data)


@given(some(PROOF))
def test_proof_files_are_refused_or_written_again_as_they_were(data: bytes) -> None:
    parsed_again(lambda x: TlogProof.from_bytes(x).to_bytes(), data)


@given(some(VKEY), some(b"tile/entries/x001/234.p/56"), some(CHECKPOINT.split(b"\n\n")[0] + b"\n"))
def test_keys_paths_and_tree_heads_are_refused_or_written_again_as_they_were(
    key: bytes, path: bytes, head: bytes
) -> None:
    def text(data: bytes) -> str:
        return data.decode("utf-8", errors="surrogateescape")

    def coded(written: str) -> bytes:
        return written.encode("utf-8", errors="surrogateescape")

    parsed_again(lambda x: coded(VerifierKey.from_text(text(x)).to_text()), key)
    parsed_again(lambda x: coded(Tile.from_path(text(x)).path()), path)
    parsed_again(lambda x: coded(TreeHead.from_text(text(x)).to_text()), head)
    for parse in (from_base64, parse_decimal):
        with contextlib.suppress(VerificationError):
            parse(text(key))


@given(damaged(PROOF))
def test_a_damaged_proof_file_proves_the_same_entry_of_the_same_log_or_nothing(data: bytes) -> None:
    with contextlib.suppress(VerificationError):
        opened = TlogProof.from_bytes(data).verify(LEAVES[3], LOG, KNOWN_WITNESSES)
        assert (opened.head.size, opened.head.root) == (7, root_hash(LEAVES[:7]))


@given(damaged(CHECKPOINT))
def test_a_damaged_checkpoint_says_the_same_or_is_refused(data: bytes) -> None:
    with contextlib.suppress(VerificationError):
        assert open_checkpoint(data, LOG).head == TreeHead(LOG.origin, 7, root_hash(LEAVES[:7]))


@given(st.binary(max_size=700), st.integers(1, 256))
def test_bundles_and_tiles_are_refused_or_written_again_as_they_were(data: bytes, width: int) -> None:
    parsed_again(lambda x: encode_bundle(decode_bundle(x, width)), data)
    parsed_again(lambda x: b"".join(decode_tile(x, width)), data)
