# SPDX-License-Identifier: Apache-2.0
"""``ipse verify`` for strangers: a log at an address or in a folder, and the proof of one record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipse.forks.home import Home, now_ms
from ipse.forks.members import let_in
from ipse.forks.publish import publish
from ipse.ledger.checkpoint import cosign
from ipse.ledger.forkhead import head_of, sign_head
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.record import record_digest
from ipse.ledger.tiles import bundles_of, encode_bundle
from ipse.server.tiles import TileServer
from ipse.store.store import Store
from ipse.wire.ids import ForkId
from tests.cli.inprocess import Ipse
from tests.cli.verifying import (
    STRANGER,
    Made,
    change_an_entry,
    database,
    exchange_entries,
    flipped,
    identity_file,
    record,
    refused,
    write_another_third_record,
)
from tests.forks.tiny import tiny_fork
from tests.ledger.logs import KEYS, TIME_S, WITNESSES
from tests.ledger.logs import LOG as EXAMPLE
from tests.server.serving import FileServer, History, running

EXAMPLE_KEYS = [key.to_text() for key in EXAMPLE.keys]
NAMES = [b"entry %d" % number for number in range(600)]
ONE = History.of(*(name.decode() for name in NAMES))
OTHER_NAMES = [*NAMES[:400], b"put in", *NAMES[400:]]
OTHER = History.of(*(name.decode() for name in OTHER_NAMES))


# -- somebody else's log -----------------------------------------------------------------------------------------


@contextmanager
def served(data: Path) -> Iterator[str]:
    with Store.open(data, create=False) as store:
        server = TileServer(PublicLog(store), "127.0.0.1", 0)
        with running(server):
            yield server.url


def test_a_stranger_audits_a_served_and_an_exported_log_with_its_keys(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    assert ipse("ledger", "export", tmp_path / "public", "--data", made.data).code == 0
    with served(made.data) as url:
        for place in (url, tmp_path / "public"):
            done = ipse("verify", "ledger", place, *made.keys)
            assert (done.code, done.err) == (0, [])
            assert "2 entries" in done.out
            assert "NOT checked  whether others are shown the same log" in done.out
            other = ipse("verify", "ledger", place, *(word for key in EXAMPLE_KEYS for word in ("--key", key)))
            refused(other, f"The checkpoint at {place}: No known key has signed this note.")


def files_of(history: History, names: list[bytes], size: int) -> dict[str, bytes]:
    bundles = {
        tile.path(): encode_bundle(names[tile.index * 256 : tile.index * 256 + tile.width]) for tile in bundles_of(size)
    }
    return history.files(size) | bundles


def example(*words: str | Path) -> tuple[str | Path, ...]:
    return ("verify", "ledger", *words, *(word for key in EXAMPLE_KEYS for word in ("--key", key)))


def test_a_split_view_and_a_shrunk_log_are_refused_with_the_evidence(ipse: Ipse, tmp_path: Path) -> None:
    state = tmp_path / "audit" / "state"
    server = FileServer(files_of(ONE, NAMES, 450))
    with running(server):
        first = ipse(*example(server.url, "--state", state))
        assert first.code == 0
        assert "this is the first look" in first.out
        server.files = files_of(ONE, NAMES, 599)
        assert (
            "it continues the log of 450 entries of the last look" in ipse(*example(server.url, "--state", state)).out
        )
        for history, names, size in ((OTHER, OTHER_NAMES, 600), (OTHER, OTHER_NAMES, 599), (ONE, NAMES, 450)):
            server.files = files_of(history, names, size)
            assert ipse(*example(server.url)).code == 0, "alone it is whole: only a memory tells"
            done = ipse(*example(server.url, "--state", state))
            refused(done, server.url)
            assert done.err[-1] == f"hint: Do not trust it; both checkpoints are in {state}.evidence."
    assert len(list(Path(f"{state}.evidence").iterdir())) == 4


def test_every_file_of_a_log_that_is_not_what_it_should_be_is_named(ipse: Ipse) -> None:
    whole = files_of(ONE, NAMES, 600)
    server = FileServer(whole)
    with running(server):
        for path, data in whole.items():
            server.files = whole | {path: flipped(data, len(data) // 2)}
            done = ipse(*example(server.url))
            assert (done.code, len(done.errors)) == (1, 1), path
            assert server.url in done.errors[0]
            server.files = {name: each for name, each in whole.items() if name != path}
            gone = ipse(*example(server.url))
            assert (gone.code, len(gone.errors)) == (1, 1), path
        server.files = whole | {"checkpoint": whole["checkpoint"].replace(b"\n600\n", b"\n599\n")}
        refused(ipse(*example(server.url)), "The checkpoint at")
        server.files = whole | files_of(OTHER, OTHER_NAMES, 600) | {"checkpoint": whole["checkpoint"]}
        refused(ipse(*example(server.url)), "do not lead to the root hash that the log signed")


def test_a_policy_says_whose_log_and_which_quorum(ipse: Ipse, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    lines = [f"log {key}\n" for key in EXAMPLE_KEYS]
    lines += [f"witness w{n} {key.verifier().to_text()}\n" for n, key in enumerate(WITNESSES)]
    policy.write_text("".join(lines) + "group both all w0 w1\nquorum both\n")
    files = files_of(ONE, NAMES, 300)
    server = FileServer(files)
    with running(server):
        refused(ipse("verify", "ledger", server.url, "--policy", policy), "The quorum 'both' has not cosigned")
        once = cosign(files["checkpoint"], WITNESSES[0], time_s=TIME_S)
        server.files = files | {"checkpoint": once}
        refused(ipse("verify", "ledger", server.url, "--policy", policy), "The quorum 'both' has not cosigned")
        server.files = files | {"checkpoint": cosign(once, WITNESSES[1], time_s=TIME_S)}
        done = ipse("verify", "ledger", server.url, "--policy", policy)
        assert (done.code, done.err) == (0, [])
        assert "cosigned by w0, w1" in done.out
        policy.write_text("".join(lines[len(KEYS) :]) + "quorum w0\n")
        assert ipse(*example(server.url, "--policy", policy)).code == 0
        nobody = ipse("verify", "ledger", server.url, "--policy", policy)
        assert nobody.code == 2


def test_a_policy_counts_for_the_log_of_this_folder_too(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_text(f"witness w {WITNESSES[0].verifier().to_text()}\nquorum w\n")
    refused(ipse("verify", "ledger", "--policy", policy, "--data", made.data), "has not cosigned")
    with database(made.data) as db:
        (checkpoint,) = db.execute("SELECT checkpoint FROM log_head").fetchone()
        db.execute("UPDATE log_head SET checkpoint = ?", (cosign(checkpoint, WITNESSES[0], time_s=TIME_S),))
    assert "cosigned by w" in ipse("verify", "ledger", "--policy", policy, "--data", made.data).out


# -- one record --------------------------------------------------------------------------------------------------


@pytest.fixture
def proof(made: Made, ipse: Ipse, tmp_path: Path) -> Path:
    done = ipse("fork", "prove", "2", tmp_path / "proof", "--fork", "ada", "--data", made.data)
    assert (done.code, done.err) == (0, [])
    assert made.owner in done.out
    return tmp_path / "proof"


def test_a_proof_of_a_record_is_checked_without_the_home(made: Made, proof: Path, ipse: Ipse, tmp_path: Path) -> None:
    with Home.open(made.data) as home:
        owner = identity_file(tmp_path / "owner", home.identity)
    shutil.rmtree(made.data)
    alone = ipse("verify", "record", proof)
    assert (alone.code, alone.err) == (0, [])
    assert f"NOT checked  whose identity {made.owner} is" in alone.out
    assert "NOT checked  whose log the checkpoint is of" in alone.out
    known = ipse("verify", "record", proof, "--owner", owner, *made.keys)
    assert (known.code, known.err) == (0, [])
    assert "whose identity" not in known.out
    assert "whose log" not in known.out
    assert "interaction, of ada" in known.out
    told = json.loads(ipse("verify", "record", proof, "--json").out)
    assert (told["fork"], told["record"], told["head"]["size"], told["entry"]) == (made.ada, 2, 3, 1)
    stranger = identity_file(tmp_path / "stranger", STRANGER)
    refused(ipse("verify", "record", proof, "--owner", stranger, *made.keys), STRANGER.public.name)
    other = [word for key in EXAMPLE_KEYS for word in ("--key", key)]
    refused(ipse("verify", "record", proof, *other), "is not shown to be in the log")
    policy = tmp_path / "policy"
    policy.write_text("".join(f"log {key}\n" for key in made.keys[1::2]) + "quorum none\n")
    assert "whose log" not in ipse("verify", "record", proof, "--policy", policy).out
    policy.write_text(f"log {EXAMPLE_KEYS[0]}\nquorum none\n")
    refused(ipse("verify", "record", proof, "--policy", policy), "knows no log")


def test_a_proof_of_a_digest_gives_the_record_away_no_more_than_that(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    words = ("fork", "prove", "2", tmp_path / "proof", "--digest-only", "--fork", "ada", "--data", made.data)
    assert ipse(*words).code == 0
    again = ipse(*words)
    assert (again.code, again.errors) == (2, [f"error: {tmp_path / 'proof'} is there already."])
    with database(made.data) as db:
        whole = record(db, made.ada, 2)
    written = (tmp_path / "proof").read_bytes()
    assert record_digest(whole) in written
    # as a field has it, behind its length: three letters alone stand in base64 by chance
    assert b"\x03ada" not in written.replace(made.ada.encode(), b"")
    done = ipse("verify", "record", tmp_path / "proof", *made.keys)
    assert done.code == 0
    assert record_digest(whole).hex() in done.out
    assert "NOT checked  anything about the record but its digest and its number" in done.out


def test_a_record_that_no_head_covers_is_published_first(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    words = ("fork", "prove", "1", tmp_path / "proof", "--fork", "ben", "--data", made.data)
    done = ipse(*words)
    assert (done.code, len(done.errors)) == (2, 1)
    assert done.err[-1] == "hint: Run `ipse ledger publish` first."
    assert ipse("fork", "prove", "9", tmp_path / "proof", "--fork", "ada", "--data", made.data).code == 2
    assert not (tmp_path / "proof").exists()
    assert ipse("ledger", "publish", "--data", made.data).code == 0
    assert ipse(*words).code == 0
    assert ipse("verify", "record", tmp_path / "proof", *made.keys).code == 0


def test_no_proof_is_written_of_what_would_not_verify(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    for damage in (change_an_entry, exchange_entries):
        copy = tmp_path / damage.__name__
        shutil.copytree(made.data, copy)
        damage(copy)
        refused(ipse("fork", "prove", "2", tmp_path / "proof", "--fork", "ada", "--data", copy), "Record 2", "proven")
    write_another_third_record(made.data, made)
    refused(ipse("fork", "prove", "2", tmp_path / "proof", "--fork", "ada", "--data", made.data), "Record 2", "proven")
    assert not (tmp_path / "proof").exists()


def test_a_head_that_a_device_signed_is_the_devices(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    with Home.open(made.data) as home:
        let_in(home.sealed(tiny_fork(home).row.fork_id), STRANGER.public, "phone", now_ms())
        publish(home)
        head = head_of(ForkId(made.ada), home.store.digests(ForkId(made.ada)))
    with database(made.data) as db:
        db.execute("UPDATE publication SET note = ? WHERE size = 4", (sign_head(head, STRANGER),))
    assert ipse("verify", "fork", "--fork", "ada", "--data", made.data).code == 0
    assert ipse("fork", "prove", "2", tmp_path / "proof", "--fork", "ada", "--data", made.data).code == 0
    done = ipse("verify", "record", tmp_path / "proof", "--owner", identity_file(tmp_path / "id", STRANGER))
    assert done.code == 0
    assert "NOT checked  the signature of the record itself" in done.out


def test_a_file_that_is_no_proof_and_one_that_is_no_identity_are_one_error(
    made: Made, proof: Path, ipse: Ipse, tmp_path: Path
) -> None:
    (tmp_path / "junk").write_bytes(b"\xff\xfejunk")
    refused(ipse("verify", "record", tmp_path / "junk"), "This is not a proof of a record.")
    refused(ipse("verify", "record", proof, "--owner", tmp_path / "junk"), "holds no public identity")


# -- a bundle ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(made: Made, ipse: Ipse, tmp_path: Path) -> Path:
    words = ("export", tmp_path / "ada.bundle", "--format", "bundle", "--fork", "ada", "--data", made.data)
    assert ipse(*words).code == 0
    return tmp_path / "ada.bundle"


def test_a_bundle_is_checked_by_whom_it_is_sealed_to_and_nothing_is_taken_in(
    made: Made, bundle: Path, ipse: Ipse, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    shutil.copytree(made.data, there)
    with database(there) as db:
        db.execute("DELETE FROM publication")
    before = ipse("fork", "list", "--json", "--data", there).out
    done = ipse("verify", "bundle", bundle, *made.keys, "--data", there)
    assert (done.code, done.err) == (0, [])
    assert f"{made.ada} of ada, records: 3" in done.out
    assert "that log has the keys that you gave" in done.out
    told = json.loads(ipse("verify", "bundle", bundle, "--json", "--data", there).out)
    assert (told["opened"], told["records"], told["exporter"], told["published"]) == (True, 3, made.owner, [3])
    assert any("--key VKEY" in each for each in told["not_checked"])
    other = [word for key in EXAMPLE_KEYS for word in ("--key", key)]
    refused(ipse("verify", "bundle", bundle, *other, "--data", there), "with other keys than you gave")
    assert ipse("fork", "list", "--json", "--data", there).out == before


def test_a_bundle_for_somebody_else_is_looked_at_from_outside_and_that_is_said(
    made: Made, bundle: Path, ipse: Ipse, tmp_path: Path
) -> None:
    with Home.open(tmp_path / "stranger"):
        pass
    for words in (("--data", tmp_path / "none"), ("--data", tmp_path / "stranger"), ("--no-key", "--data", made.data)):
        done = ipse("verify", "bundle", bundle, *words)
        assert (done.code, done.err) == (0, [])
        assert made.owner in done.out
        assert "NOT checked  anything inside" in done.out
        assert json.loads(ipse("verify", "bundle", bundle, "--json", *words).out)["opened"] is False
    assert not (tmp_path / "none").exists()


def test_a_damaged_bundle_is_one_error(made: Made, bundle: Path, ipse: Ipse) -> None:
    whole = bundle.read_bytes()
    for at in (0, 40, len(whole) // 2, len(whole) - 1):
        bundle.write_bytes(flipped(whole, at))
        refused(ipse("verify", "bundle", bundle, "--data", made.data))
    bundle.write_bytes(whole[:-1])
    refused(ipse("verify", "bundle", bundle, "--no-key", "--data", made.data), "damaged or cut off")
