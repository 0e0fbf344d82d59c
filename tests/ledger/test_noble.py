# SPDX-License-Identifier: Apache-2.0
"""@noble/post-quantum and Node read the cosignatures of our witness, and we read noble's.

It needs Node of 20.19 or newer with npm, and three packages of npm, which noble/package-lock.json pins by digest.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.keys import SignatureType
from ipse.ledger.treehead import TreeHead
from ipse.ledger.witness import AddCheckpoint, Witness, add_log, cosigning_keys
from ipse.store.store import Store
from ipse.vault.signerfile import Signer
from tests.ledger.logs import LOG, ORIGIN, TIME_S, checkpoint, head
from tests.server.serving import Clock

SOURCE = Path(__file__).with_name("noble")
SIZES = (1, 5, 700)
SIGNER = Signer("witness.example/one", bytes(range(32)), bytes(range(32, 64)))
KEYS = cosigning_keys(SIGNER)


@pytest.fixture(scope="module")
def noble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the oracle and what it imports."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node with npm here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, version.strip().removeprefix("v").split(".")[:2])) < (20, 19):
        pytest.skip(f"node {version.strip()} is too old for @noble/post-quantum; 20.19 is not")
    folder = tmp_path_factory.mktemp("noble") / "oracle"
    shutil.copytree(SOURCE, folder)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot bring @noble/post-quantum: {done.stderr.strip().splitlines()[:1]}")
    return folder


def cosigned(root: Path, size: int) -> bytes:
    """A checkpoint as our witness cosigns it."""
    with Store.open(root) as store:
        add_log(store, LOG)
        data = checkpoint(size)
        lines = Witness(KEYS, store, Clock()).add_checkpoint(AddCheckpoint(0, (), data).to_bytes())
    assert isinstance(lines, bytes)
    return data + lines


def asked(noble: Path, data: bytes) -> list[dict[str, Any]]:
    cosigners = [{"vkey": key.verifier().to_text(), "seed": key.seed.hex()} for key in KEYS]
    given = json.dumps({"checkpoint": data.decode(), "cosigners": cosigners, "time": TIME_S + 7})
    done = subprocess.run(["node", "oracle.mjs"], cwd=noble, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_noble_accepts_our_cosignatures_and_we_accept_nobles(noble: Path, tmp_path: Path, size: int) -> None:
    data = cosigned(tmp_path, size)
    ed25519, ml_dsa = asked(noble, data)
    line = ml_dsa.pop("line")
    common = {"keyId": True, "time": TIME_S, "accepted": True, "otherAccepted": False}
    assert ed25519 == {"kind": 4, "bytes": 64, **common}
    assert ml_dsa == {"kind": 6, "bytes": 2420, "publicKey": True, **common}
    opened = open_checkpoint(checkpoint(size) + line.encode(), LOG, [key.verifier() for key in KEYS])
    assert opened.head == head(size)
    assert [(each.key.kind, each.time_s) for each in opened.cosignatures] == [
        (SignatureType.ML_DSA_44_COSIGNATURE, TIME_S + 7)
    ]


@pytest.mark.slow
def test_noble_refuses_a_cosignature_of_another_tree(noble: Path, tmp_path: Path) -> None:
    """The same lines below another text: only the text tells."""
    lines = cosigned(tmp_path, 5).partition(b"\n\n")[2]
    for other in (head(6), TreeHead(ORIGIN, 5, head(6).root), TreeHead(ORIGIN + "x", 5, head(5).root)):
        findings = asked(noble, other.to_text().encode() + b"\n" + lines)
        assert [each["accepted"] for each in findings] == [False, False]
