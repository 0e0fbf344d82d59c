# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree: small cases by hand, all small trees exhaustively, and vectors of transparency-dev/merkle."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest

from ipse.errors import InputError, VerificationError
from ipse.ledger.tree import (
    EMPTY_ROOT,
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
    verify_subtree_consistency,
)
from tests.ledger.logs import leaves
from tests.ledger.thirdparty import vectors

CT_ENTRIES = [bytes.fromhex(x) for x in "- 00 10 2021 3031 40414243 5051525354555657".replace("-", "").split(" ")]
CT_ENTRIES.append(bytes(range(0x60, 0x70)))
"""The eight entries with which implementations of Certificate Transparency are tested."""


def test_hashes_are_those_of_rfc_6962() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"x") == sha256(b"\0x").digest()
    assert node_hash(b"a" * 32, b"b" * 32) == sha256(b"\1" + b"a" * 32 + b"b" * 32).digest()


def test_a_tree_of_five_has_four_on_its_left() -> None:
    a, b, c, d, e = leaves(5)
    left = node_hash(node_hash(a, b), node_hash(c, d))
    assert root_hash([a, b, c, d, e]) == node_hash(left, e)
    assert CompactRange().extend([a, b, c, d, e]) == CompactRange(5, (left, e))
    assert inclusion_proof(4, 5, list_reader([a, b, c, d, e])) == (left,)
    assert consistency_proof(3, 5, list_reader([a, b, c, d, e])) == (c, d, node_hash(a, b), e)


def test_every_proof_in_every_tree_up_to_33_leaves_verifies() -> None:
    all_leaves = leaves(33)
    roots = [root_hash(all_leaves[:size]) for size in range(34)]
    read = list_reader(all_leaves)
    for size in range(34):
        assert CompactRange().extend(all_leaves[:size]).root() == read_root(size, read) == roots[size]
        for index in range(size):
            proof = inclusion_proof(index, size, read)
            verify_inclusion(all_leaves[index], index, size, proof, roots[size])
        for old in range(size + 1):
            proof = consistency_proof(old, size, read)
            verify_consistency(old, roots[old], size, roots[size], proof)


def test_an_inclusion_proof_holds_for_no_other_place_and_no_other_size_of_the_same_path() -> None:
    all_leaves = leaves(9)
    read = list_reader(all_leaves)
    for size in range(1, 10):
        root = root_hash(all_leaves[:size])
        for index in range(size):
            proof = inclusion_proof(index, size, read)
            for other in range(-1, 20):
                if other != index:
                    with pytest.raises(VerificationError):
                        verify_inclusion(all_leaves[index], other, size, proof, root)


def test_hashes_above_the_root_are_refused_even_when_they_lead_to_the_root_that_is_asked_for() -> None:
    a, b, c, d, above = leaves(5)
    with pytest.raises(VerificationError, match="too many"):
        verify_inclusion(a, 0, 1, (above,), node_hash(above, a))
    proof = consistency_proof(3, 4, list_reader([a, b, c, d]))
    old_root, root = (node_hash(above, root_hash([a, b, c, d][:size])) for size in (3, 4))
    with pytest.raises(VerificationError, match="too many"):
        verify_consistency(3, old_root, 4, root, (*proof, above))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (2**63, 2**64), (0, -1), (2**70, 2**71)])
def test_a_leaf_that_cannot_be_is_no_proof_and_no_other_error(index: int, size: int) -> None:
    with pytest.raises(VerificationError):
        verify_inclusion(EMPTY_ROOT, index, size, (), EMPTY_ROOT)
    with pytest.raises(InputError):
        inclusion_proof(index, size, list_reader(leaves(1)))


def test_a_hash_of_another_length_is_refused_everywhere() -> None:
    for bad in (b"", b"x" * 31, b"x" * 33):
        with pytest.raises(VerificationError):
            verify_inclusion(bad, 0, 1, (), bad)
        with pytest.raises(VerificationError):
            verify_inclusion(EMPTY_ROOT, 0, 2, (bad,), EMPTY_ROOT)
        with pytest.raises(VerificationError):
            verify_consistency(1, EMPTY_ROOT, 2, EMPTY_ROOT, (bad,))
        with pytest.raises(VerificationError):
            CompactRange().append(bad)
        with pytest.raises(VerificationError):
            read_root(1, lambda level, index, bad=bad: bad)  # type: ignore[misc]
    with pytest.raises(VerificationError):
        CompactRange(3, (EMPTY_ROOT,))


def test_a_longer_log_with_another_past_is_not_consistent() -> None:
    ours, theirs = leaves(7), [*leaves(3)[:2], leaf_hash(b"rewritten"), *leaves(7)[3:]]
    proof = consistency_proof(3, 7, list_reader(theirs))
    with pytest.raises(VerificationError, match="does not begin") as caught:
        verify_consistency(3, root_hash(ours[:3]), 7, root_hash(theirs), proof)
    assert "Keep both checkpoints" in caught.value.hint


def test_the_empty_tree_begins_every_tree_and_has_one_root() -> None:
    root = root_hash(leaves(2))
    verify_consistency(0, EMPTY_ROOT, 2, root, ())
    for old, old_root, size, new_root in ((0, root, 2, root), (0, EMPTY_ROOT, 0, root), (0, root, 0, EMPTY_ROOT)):
        with pytest.raises(VerificationError):
            verify_consistency(old, old_root, size, new_root, ())
    with pytest.raises(VerificationError):
        verify_consistency(0, EMPTY_ROOT, 2, root, (root,))


def test_the_reader_of_a_list_knows_its_end() -> None:
    with pytest.raises(InputError):
        list_reader(leaves(3))(1, 1)
    with pytest.raises(InputError):
        consistency_proof(4, 3, list_reader(leaves(4)))


def held(check: object, *arguments: object) -> bool:
    assert callable(check)
    try:
        check(*arguments)
    except VerificationError:
        return False
    return True


def subtree_proof(all_leaves: list[bytes], start: int, end: int) -> list[bytes]:
    """SUBTREE_PROOF of draft-ietf-plants-merkle-tree-certs, section 4.4.1, word for word."""

    def proof(start: int, end: int, entries: list[bytes], known: bool) -> list[bytes]:
        n = len(entries)
        if (start, end) == (0, n):
            return [] if known else [root_hash(entries)]
        k = 1 << (n - 1).bit_length() - 1
        if end <= k:
            return [*proof(start, end, entries[:k], known), root_hash(entries[k:])]
        if k <= start:
            return [*proof(start - k, end - k, entries[k:], known), root_hash(entries[:k])]
        return [*proof(0, end - k, entries[k:], False), root_hash(entries[:k])]

    return proof(start, end, all_leaves, True)


def b64s(texts: list[str] | None) -> list[bytes]:
    return [b64decode(text) for text in texts or []]


def inclusion_outcome(v: dict[str, Any], size: str) -> bool:
    leaf, root = b64s([v["leafHash"], v["root"]])
    return held(verify_inclusion, leaf, v["leafIdx"], v[size], b64s(v["proof"]), root)


def consistency_outcome(v: dict[str, Any]) -> bool:
    old_root, root = b64s([v["root1"], v["root2"]])
    return held(verify_consistency, v["size1"], old_root, v["size2"], root, b64s(v["proof"]))


def subtree_inclusion_outcome(v: dict[str, Any]) -> bool:
    """Inclusion in a part that is a tree of its own is ordinary inclusion, counted from where the part starts."""
    start, width = v["start"], v["end"] - v["start"]
    moved = v | {"leafIdx": v["leafIdx"] - start, "width": width}
    return width > 0 and start % (1 << (width - 1).bit_length()) == 0 and inclusion_outcome(moved, "width")


def subtree_consistency_outcome(v: dict[str, Any]) -> bool:
    part, root = b64s([v["root1"], v["root2"]])
    return held(verify_subtree_consistency, v["start"], v["end"], part, v["size"], root, b64s(v["proof"]))


def test_inclusion_vectors_of_transparency_dev_have_the_outcome_they_say() -> None:
    cases = vectors("merkle/testdata/inclusion/**/*.json")
    assert [name for name, v in cases.items() if inclusion_outcome(v, "treeSize") == v["wantErr"]] == []
    assert len(cases) == 98


def test_consistency_vectors_of_transparency_dev_have_the_outcome_they_say_where_a_hash_is_a_hash() -> None:
    cases = vectors("merkle/testdata/consistency/**/*.json")
    others = [name for name, v in cases.items() if consistency_outcome(v) == v["wantErr"]]
    # Equal sizes and equal roots of 12 bytes pass there. Here a root hash has 32 bytes.
    assert others == ["merkle/testdata/consistency/additional/sizes-are-equal-one-and-proof-is-empty.json"]
    assert len(cases) == 98


def test_subtree_inclusion_vectors_of_transparency_dev_have_the_outcome_they_say() -> None:
    cases = vectors("merkle/testdata/subtreeinclusion/**/*.json")
    assert [name for name, v in cases.items() if subtree_inclusion_outcome(v) == v["wantErr"]] == []
    assert len(cases) == 204


def test_subtree_consistency_vectors_of_transparency_dev_have_the_outcome_they_say_where_a_hash_is_a_hash() -> None:
    cases = vectors("merkle/testdata/subtreeconsistency/**/*.json")
    others = [v for v in cases.values() if subtree_consistency_outcome(v) == v["wantErr"]]
    assert [len(b64decode(v["root2"])) for v in others] == [12] * 3  # these pass there: no hashes, so refused here
    assert len(cases) == 118


def test_every_part_that_is_a_tree_of_its_own_is_shown_and_with_another_hash_or_place_it_is_not() -> None:
    size = 21
    all_leaves = leaves(size)
    root = root_hash(all_leaves)
    for end in range(1, size + 1):
        for start in range(end):
            if start % (1 << (end - start - 1).bit_length()):
                with pytest.raises(VerificationError, match="no part"):
                    verify_subtree_consistency(start, end, root, size, root, ())
                continue
            part = root_hash(all_leaves[start:end])
            proof = subtree_proof(all_leaves, start, end)
            verify_subtree_consistency(start, end, part, size, root, proof)
            for i in range(len(proof)):
                changed = [*proof[:i], leaf_hash(proof[i]), *proof[i + 1 :]]
                assert not held(verify_subtree_consistency, start, end, part, size, root, changed)
            for changed in (proof[:-1], [*proof, root]):
                assert changed == proof or not held(verify_subtree_consistency, start, end, part, size, root, changed)
            if (start, end) != (0, size):
                assert not held(verify_subtree_consistency, start, end, leaf_hash(part), size, root, proof)
                width = end - start
                assert not held(verify_subtree_consistency, start + width, end + width, part, size, root, proof)


def test_our_tree_over_the_reference_entries_makes_the_proofs_of_the_happy_vectors() -> None:
    all_leaves = [leaf_hash(entry) for entry in CT_ENTRIES]
    read = list_reader(all_leaves)
    inclusion = vectors("merkle/testdata/inclusion/[0-9]/happy-path.json").values()
    for v in inclusion:
        assert all_leaves[v["leafIdx"]] == b64decode(v["leafHash"])
        assert root_hash(all_leaves[: v["treeSize"]]) == b64decode(v["root"])
        assert list(inclusion_proof(v["leafIdx"], v["treeSize"], read)) == b64s(v["proof"])
    consistency = vectors("merkle/testdata/consistency/[0-9]/happy-path.json").values()
    for v in consistency:
        assert [root_hash(all_leaves[: v[size]]) for size in ("size1", "size2")] == b64s([v["root1"], v["root2"]])
        assert list(consistency_proof(v["size1"], v["size2"], read)) == b64s(v["proof"])
    assert (len(inclusion), len(consistency)) == (5, 5)
