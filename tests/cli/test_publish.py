# SPDX-License-Identifier: Apache-2.0
"""``ipse ledger publish``: heads of forks go into the log, witnesses cosign, and a split view is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ipse.forks.home import Home
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter
from ipse.ledger.policy import Policy
from ipse.ledger.witness import Witness, add_log, cosigning_keys
from ipse.server.witness import WitnessServer
from ipse.store.store import Store
from ipse.vault.signerfile import create_signer
from tests.cli.inprocess import Ipse
from tests.forks.tiny import append, tiny_fork, turn
from tests.server.serving import running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A home whose fork has two records, none of them published."""
    with Home.open(tmp_path / "home") as home:
        fork = tiny_fork(home)
        append(fork, turn("a"))
        append(fork, turn("b"))
    return tmp_path / "home"


def more(data: Path) -> None:
    with Home.open(data) as home:
        append(tiny_fork(home), turn("more"))


def test_heads_are_published_once(data: Path, ipse: Ipse) -> None:
    first = ipse("ledger", "publish", "--data", data)
    assert (first.code, first.err) == (0, [])
    assert ": 2 records, as entry 0\n" in first.out
    assert "has 1 entry.\n" in first.out
    assert "no fork had grown" in ipse("ledger", "publish", "--data", data).out
    more(data)
    facts = json.loads(ipse("ledger", "publish", "--json", "--data", data).out)
    assert [(head["size"], head["entry"]) for head in facts["heads"]] == [(3, 1)]
    assert facts["size"] == 2


def test_witnesses_cosign_until_the_log_contradicts_itself(data: Path, tmp_path: Path, ipse: Ipse) -> None:
    assert ipse("ledger", "publish", "--data", data).code == 0
    with Home.open(data) as home:
        log = LogWriter.open(home.store).log
    signer = create_signer(tmp_path / "keys", "witness.example/w")
    keys = cosigning_keys(signer)
    with Store.open(tmp_path / "witness") as memory:
        add_log(memory, log)
        server = WitnessServer(Witness(keys, memory, lambda: 2_000_000_000), "127.0.0.1", 0)
        policy = tmp_path / "policy"
        lines = [f"witness w{n} {key.verifier().to_text()} {server.url}\n" for n, key in enumerate(keys)]
        policy.write_text("".join(lines) + "group both all w0 w1\nquorum both\n")
        with running(server):
            done = ipse("ledger", "publish", "--policy", policy, "--data", data)
            assert (done.code, done.err) == (0, [])
            assert "cosigned by w0, w1" in done.out
            with Home.open(data) as home:
                kept = LogWriter.open(home.store).public.checkpoint()
            Policy.from_bytes(policy.read_bytes()).check(open_checkpoint(kept, log, [k.verifier() for k in keys]))
            shutil.copytree(data, tmp_path / "older")  # the whole folder: nothing in it can tell
            more(data)
            assert ipse("ledger", "publish", "--policy", policy, "--data", data).code == 0
            more(tmp_path / "older")
            refused = ipse("ledger", "publish", "--policy", policy, "--data", tmp_path / "older")
            assert refused.code == 1
            assert "the witness has seen a tree of 2 entries that ours does not contain" in refused.errors[0]
    assert "cosigned by w0, w1" in ipse("ledger", "publish", "--policy", policy, "--data", data).out, "it was before"
    more(data)
    gone = ipse("ledger", "publish", "--policy", policy, "--data", data)
    assert gone.code == 1
    assert "no cosignature of w0" in gone.out
    assert len(gone.errors) == 1


def test_a_policy_that_is_none_is_one_error(data: Path, tmp_path: Path, ipse: Ipse) -> None:
    (tmp_path / "policy").write_text("witness w nonsense\nquorum none\n")
    for path, code, said in ((tmp_path / "policy", 1, "Line 1"), (tmp_path / "missing", 2, "cannot be read")):
        done = ipse("ledger", "publish", "--policy", path, "--data", data)
        assert (done.code, len(done.errors)) == (code, 1)
        assert said in done.errors[0]


def test_a_clock_that_was_set_back_publishes_nothing_and_loses_nothing(
    data: Path, ipse: Ipse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ipse("ledger", "publish", "--data", data).code == 0
    more(data)
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 1_000_000_000.0)
        done = ipse("ledger", "publish", "--data", data)
    assert (done.code, len(done.errors)) == (1, 1)
    assert "This machine's clock shows 2001-09-09" in done.errors[0]
    assert ": 3 records, as entry 1\n" in ipse("ledger", "publish", "--data", data).out
