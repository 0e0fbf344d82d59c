# SPDX-License-Identifier: Apache-2.0
"""``ipse witness``: made once, told of logs, served as a real process, shown for other people's policies."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from pathlib import Path

import pytest

from ipse.client.witness import ask
from ipse.ledger.keys import SignatureType, VerifierKey
from ipse.ledger.policy import LogLine, Policy
from ipse.ledger.tree import consistency_proof
from ipse.store.store import FILE_NAME
from tests.cli.inprocess import Ipse
from tests.cli.running import Running
from tests.ledger.logs import LOG, ORIGIN, note_key
from tests.server.serving import History

NAME = "witness.example/one"
ONE = History.of(*"abcdefghij")
VKEYS = [key.to_text() for key in LOG.keys]


@pytest.fixture
def data(tmp_path: Path, ipse: Ipse) -> Path:
    """A witness that knows the log."""
    root = tmp_path / "witness"
    assert ipse("witness", "init", "--name", NAME, "--data", root).code == 0
    assert ipse("witness", "add-log", *VKEYS, "--data", root).code == 0
    return root


def cosigned(url: str, policy: Policy, size: int) -> bytes:
    keys = [line.key for line in policy.witnesses]
    lines = ask(url, keys, ONE.checkpoint(size), LOG, prove=lambda old: consistency_proof(old, size, ONE.read(size)))
    return ONE.checkpoint(size) + lines


def test_what_show_prints_is_a_policy_that_a_served_witness_satisfies(data: Path, ipse: Ipse) -> None:
    shown = ipse("witness", "show", "--data", data)
    assert (shown.code, shown.err) == (0, [])
    assert f"# {ORIGIN}: 2 keys, size 0, nothing yet\n" in shown.out
    policy = Policy.from_bytes(shown.out.encode())
    policy = Policy(tuple(map(LogLine, LOG.keys)), policy.witnesses, policy.groups, policy.quorum)
    with Running("witness", "serve", "--port", "0", "--data", str(data)) as serving:
        serving.wait_for(r"http://127\.0\.0\.1:\d+/add-checkpoint; Ctrl-C ends it\.\n")
        url = serving.out.split(" answers at ")[1].partition("/add-checkpoint")[0]
        assert policy.open(cosigned(url, policy, 7)).head == ONE.head(7)
        serving.process.send_signal(signal.SIGINT)
        assert serving.finish() == 0
        assert serving.err == ""
    facts = json.loads(ipse("witness", "show", "--json", "--data", data).out)
    (log,) = facts["logs"]
    assert (log["origin"], log["keys"], log["size"], log["root"]) == (ORIGIN, VKEYS, 7, ONE.head(7).root.hex())
    assert facts["keys"] == [line.key.to_text() for line in policy.witnesses]
    assert f"# {ORIGIN}: 2 keys, size 7, 20" in ipse("witness", "show", "--data", data).out


def test_a_log_added_to_a_running_witness_is_witnessed(tmp_path: Path, ipse: Ipse) -> None:
    root = tmp_path / "witness"
    made = json.loads(ipse("witness", "init", "--name", NAME, "--data", root, "--json").out)
    keys = [VerifierKey.from_text(text) for text in made["keys"]]
    assert [key.kind for key in keys] == [
        SignatureType.ED25519_COSIGNATURE,
        SignatureType.ML_DSA_44_COSIGNATURE,
    ]
    with Running("witness", "serve", "--port", "0", "--json", "--data", str(root)) as serving:
        serving.wait_for("\n")
        url = json.loads(serving.out)["url"]
        assert ipse("witness", "add-log", *VKEYS, "--data", root).code == 0
        assert ask(url, keys, ONE.checkpoint(3), LOG, prove=lambda old: ())


@pytest.mark.parametrize("text", ["{0}\n{1}\n", "# our log\n\nlog {0} https://log.example/\nlog {1}\n", "{0}\r\n{1}"])
def test_keys_are_read_from_files_too(text: str, tmp_path: Path, ipse: Ipse) -> None:
    file = tmp_path / "log.vkeys"
    file.write_bytes(text.format(*VKEYS).encode())
    root = tmp_path / "witness"
    ipse("witness", "init", "--name", NAME, "--data", root)
    added = ipse("witness", "add-log", file, "--data", root)
    assert (added.code, added.out) == (0, f"{ORIGIN}: witnessed from now on, 2 keys.\n")
    again = ipse("witness", "add-log", *VKEYS, "--data", root, "--json")
    assert json.loads(again.out) == {"origin": ORIGIN, "keys": VKEYS, "added": False}


def test_a_witness_is_made_once_and_never_over_another(data: Path, ipse: Ipse) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    again = ipse("witness", "init", "--name", NAME, "--data", data)
    assert (again.code, len(again.errors)) == (1, 1)
    assert {path.name: path.read_bytes() for path in data.iterdir()}["witness.key"] == before["witness.key"]


def test_a_witness_without_its_memory_does_not_begin_anew(data: Path, ipse: Ipse) -> None:
    (data / FILE_NAME).unlink()
    for words in (["show"], ["serve", "--port", "0"], ["add-log", *VKEYS]):
        done = ipse("witness", *words, "--data", data)
        assert (done.code, len(done.errors)) == (1, 1)
        assert "has lost its memory" in done.err[0]
        assert not (data / FILE_NAME).exists()


def test_a_witness_whose_memory_is_older_than_what_was_noted_does_not_start(
    data: Path, tmp_path: Path, ipse: Ipse
) -> None:
    shutil.copy(data / FILE_NAME, tmp_path / "older")
    shown = json.loads(ipse("witness", "show", "--json", "--data", data).out)
    keys = [VerifierKey.from_text(text) for text in shown["keys"]]
    with Running("witness", "serve", "--port", "0", "--json", "--data", str(data)) as serving:
        serving.wait_for("\n")
        assert ask(json.loads(serving.out)["url"], keys, ONE.checkpoint(3), LOG, prove=lambda old: ())
    for left in data.glob(f"{FILE_NAME}*"):
        left.unlink()
    shutil.copy(tmp_path / "older", data / FILE_NAME)
    done = ipse("witness", "serve", "--port", "0", "--data", data)
    assert (done.code, len(done.errors)) == (1, 1)
    assert "an older or another copy was put back" in done.errors[0]
    assert "make a new witness" in done.err[1]


def test_what_cannot_be_is_one_error_and_one_hint(data: Path, tmp_path: Path, ipse: Ipse) -> None:
    other = note_key("other.example", SignatureType.ED25519, 60).verifier().to_text()
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    (tmp_path / "empty").write_bytes(b"\n# nothing\n")
    (tmp_path / "long").write_bytes(b"#" * 100_000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for code, *words in (
            (2, "init", "--name", "two words", "--data", tmp_path / "new"),
            (2, "init", "--name", "a+b", "--data", tmp_path / "new"),
            (2, "init", "--name", "", "--data", tmp_path / "new"),
            (2, "show", "--data", tmp_path / "new"),
            (2, "serve", "--data", tmp_path / "new"),
            (2, "add-log", VKEYS[0], "--data", tmp_path / "new"),
            (2, "add-log", VKEYS[0], "--data", data),
            (2, "add-log", VKEYS[0], other, "--data", data),
            (2, "add-log", VKEYS[0][:-4], "--data", data),
            (2, "add-log", tmp_path / "nothing", "--data", data),
            (2, "add-log", tmp_path / "binary", "--data", data),
            (2, "add-log", tmp_path / "empty", "--data", data),
            (2, "add-log", tmp_path / "long", "--data", data),
            (2, "add-log", tmp_path, "--data", data),
            (1, "serve", "--port", str(port), "--data", data),
            (1, "serve", "--host", "256.0.0.1", "--data", data),
        ):
            done = ipse("witness", *words)
            assert (done.code, done.out) == (code, ""), words
            assert [line.partition(" ")[0] for line in done.err] == ["error:", "hint:"], (words, done.err)
    assert not (tmp_path / "new").exists()


def test_a_key_that_others_may_read_is_refused(data: Path, ipse: Ipse) -> None:
    (data / "witness.key").chmod(0o644)
    done = ipse("witness", "serve", "--data", data)
    assert (done.code, done.err[1]) == (1, f"hint: Run: chmod 600 {data / 'witness.key'}")
