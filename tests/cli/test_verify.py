# SPDX-License-Identifier: Apache-2.0
"""``ipse verify``: what is whole passes, every kind of damage is one error that names the place, and nothing is hidden.

Homes are real, damage is done with SQL where somebody with the disk would do it, and logs are served over HTTP.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ipse.forks.audit import home_log
from ipse.forks.home import Home, now_ms
from ipse.forks.members import go_on_as, let_in
from ipse.forks.openfork import SealedHistory
from ipse.forks.publish import publish
from ipse.ledger.access import Access
from ipse.ledger.checkpoint import cosign
from ipse.ledger.envelope import RECORD_LABEL, SIGNATURE_FIELD, read_envelope
from ipse.ledger.forkhead import ORIGIN, head_of, sign_head
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.record import RecordKind, record_digest
from ipse.ledger.tiles import bundles_of, encode_bundle
from ipse.ledger.treehead import TreeHead
from ipse.server.tiles import TileServer
from ipse.store.rows import AppendRow
from ipse.store.store import FILE_NAME, Store
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, fork_key, load_root_key
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId
from tests.cli.inprocess import Ipse, Outcome
from tests.forks.tiny import Life, append, blank, tiny_fork, turn
from tests.ledger.logs import KEYS, TIME_S, WITNESSES
from tests.ledger.logs import LOG as EXAMPLE
from tests.server.serving import FileServer, History, running

STRANGER = Identity(RootKey(bytes(32)))
EXAMPLE_KEYS = [key.to_text() for key in EXAMPLE.keys]
NAMES = [b"entry %d" % number for number in range(600)]
ONE = History.of(*(name.decode() for name in NAMES))
OTHER_NAMES = [*NAMES[:400], b"put in", *NAMES[400:]]
OTHER = History.of(*(name.decode() for name in OTHER_NAMES))


@dataclass(frozen=True)
class Made:
    """A home: ada's fork with three records, published at two and at three; ben's with one, not published."""

    data: Path
    ada: str
    ben: str
    keys: tuple[str, ...]
    owner: str


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    data = tmp_path_factory.mktemp("template") / "home"
    with Home.open(data) as home:
        life = Life(home)
        life.learn("a", "b")
        publish(home)
        life.learn("c")
        publish(home)
        ben = tiny_fork(home, "ben")
        append(ben, turn("x"))
        log = home_log(PublicLog(home.store))
        assert log is not None
        keys = tuple(word for key in log.keys for word in ("--key", key.to_text()))
        return Made(data, life.fork.row.fork_id, ben.row.fork_id, keys, home.identity.public.name)


@pytest.fixture
def made(template: Made, tmp_path: Path) -> Made:
    data = tmp_path / "home"
    shutil.copytree(template.data, data)
    return Made(data, template.ada, template.ben, template.keys, template.owner)


@contextmanager
def database(data: Path) -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(data / FILE_NAME) as db:
        yield db
    db.close()


def record(db: sqlite3.Connection, fork: str, seq: int) -> bytes:
    where = "fork = (SELECT number FROM fork WHERE fork_id = ?) AND seq = ?"
    data: bytes = db.execute(f"SELECT data FROM record WHERE {where}", (fork, seq)).fetchone()[0]
    return data


def put(db: sqlite3.Connection, fork: str, seq: int, data: bytes) -> None:
    """Other bytes for a fork's last record, with everything that the store keeps about them put right."""
    (number,) = db.execute("SELECT number FROM fork WHERE fork_id = ?", (fork,)).fetchone()
    digest = record_digest(data)
    db.execute("UPDATE record SET data = ?, digest = ? WHERE fork = ? AND seq = ?", (data, digest, number, seq))
    db.execute("UPDATE head SET digest = ? WHERE fork = ? AND seq = ?", (digest, number, seq))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


def refused(done: Outcome, *said: str) -> None:
    assert done.code == 1, done
    assert done.out == ""
    assert len(done.errors) == 1
    assert len([line for line in done.err if line.startswith("hint: ")]) == 1
    for each in said:
        assert each in done.errors[0]


# -- what is whole -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("all",), ("--no-key",), ("all", "--no-key")])
def test_a_whole_home_passes_and_says_what_was_not_checked(words: tuple[str, ...], made: Made, ipse: Ipse) -> None:
    done = ipse("verify", *words, "--data", made.data)
    assert (done.code, done.err) == (0, [])
    assert made.ada in done.out
    assert made.ben in done.out
    opened = "every record opens under the key" in done.out
    assert opened == ("--no-key" not in words)
    assert ("that takes the key" in done.out) == ("--no-key" in words)
    told = json.loads(ipse("verify", *words, "--json", "--data", made.data).out)
    assert told["log"]["size"] == 2
    forks = {fork["fork"]: fork for fork in told["forks"]}
    ada, ben = forks[made.ada], forks[made.ben]
    assert (ada["records"], ada["published"], ada["heads"], ada["opened"]) == (3, 3, 2, opened)
    assert (ben["records"], ben["published"], ben["heads"]) == (1, 0, 0)
    assert {ada["identity"], ada["first_identity"]} == {made.owner}
    assert all(fork["checked"] and fork["not_checked"] for fork in told["forks"])


def test_each_part_alone_passes(made: Made, ipse: Ipse) -> None:
    for words in (("ledger",), ("fork", "--fork", "ada"), ("fork", "--fork", made.ben, "--no-key")):
        done = ipse("verify", *words, "--data", made.data)
        assert (done.code, done.err) == (0, [])
        assert "\nchecked  " in done.out
        assert "\nNOT checked  " in done.out


def test_nothing_is_written_and_no_key_is_made(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    with Store.open(bare):
        pass
    assert ipse("verify", "--data", bare).code == 0
    assert not (bare / "root.key").exists()
    before = {path.name: path.read_bytes() for path in made.data.iterdir() if path.suffix in (".db", ".key")}
    assert ipse("verify", "--data", made.data).code == 0
    assert {name: (made.data / name).read_bytes() for name in before} == before


def test_an_entry_that_is_no_head_of_a_fork_here_is_said(made: Made, ipse: Ipse) -> None:
    assert "they are no head of a fork that is here" not in ipse("verify", "--data", made.data).out
    with database(made.data) as db:
        db.execute("DELETE FROM publication WHERE size = 3")
    done = ipse("verify", "--data", made.data)
    assert done.code == 0
    assert "what 1 entry of the log stand for: they are no head of a fork that is here" in done.out


def test_a_device_is_named_and_a_new_root_says_from_whom_it_went_on(made: Made, ipse: Ipse) -> None:
    phone, root = Identity(RootKey(b"p" * 32)).public, STRANGER.public
    with Home.open(made.data) as home:
        let_in(home.sealed(tiny_fork(home).row.fork_id), phone, "phone", now_ms())
        publish(home)
    told = json.loads(ipse("verify", "fork", "--fork", "ada", "--json", "--data", made.data).out)
    assert (told["devices"], told["identity"], told["opened"], told["heads"]) == ([phone.name], made.owner, True, 3)
    with Home.open(made.data) as home:
        go_on_as(home.sealed(tiny_fork(home).row.fork_id), root, now_ms())
    done = ipse("verify", "fork", "--fork", "ada", "--data", made.data)
    assert done.code == 0
    assert f"{root.name}, who went on from {made.owner}" in done.out
    assert "this home may not read it now" in done.out


# -- damage ------------------------------------------------------------------------------------------------------


def flip_a_record(data: Path, made: Made) -> None:
    with database(data) as db:
        whole = record(db, made.ada, 2)
        db.execute("UPDATE record SET data = ? WHERE data = ?", (flipped(whole, 40), whole))


def flip_a_signature(data: Path, made: Made) -> None:
    with database(data) as db:
        whole = record(db, made.ada, 3)
        put(db, made.ada, 3, flipped(whole, len(whole) - 5))


def swap_two_records(data: Path, made: Made) -> None:
    with database(data) as db:
        first, second = record(db, made.ada, 1), record(db, made.ada, 2)
        put(db, made.ada, 1, second)
        put(db, made.ada, 2, first)


def drop_the_last_record(data: Path, made: Made) -> None:
    with database(data) as db:
        digest = record_digest(record(db, made.ada, 2))
        (number,) = db.execute("SELECT number FROM fork WHERE fork_id = ?", (made.ada,)).fetchone()
        db.execute("DELETE FROM record WHERE fork = ? AND seq = 3", (number,))
        db.execute("UPDATE head SET seq = 2, digest = ? WHERE fork = ?", (digest, number))


def write_another_third_record(data: Path, made: Made) -> None:
    """The owner told the end of the history anew, after the first one was published."""
    drop_the_last_record(data, made)
    with Home.open(data) as home:
        append(tiny_fork(home), turn("another"))


def sign_a_head_as_a_stranger(data: Path, made: Made) -> None:
    with database(data) as db:
        note = sign_head(TreeHead(ORIGIN + made.ada, 3, bytes(32)), STRANGER)
        db.execute("UPDATE publication SET note = ? WHERE size = 3", (note,))


def sign_a_head_over_other_records(data: Path, made: Made) -> None:
    with Home.open(data) as home:
        note = sign_head(TreeHead(ORIGIN + made.ada, 3, bytes(32)), home.identity)
    with database(data) as db:
        db.execute("UPDATE publication SET note = ? WHERE size = 3", (note,))


def cut_a_head(data: Path, made: Made) -> None:
    with database(data) as db:
        db.execute("UPDATE publication SET note = substr(note, 1, 1000) WHERE size = 3")


HEAD = "The head of 3 records of fork {ada}, published as entry 1"
DAMAGE: list[tuple[Callable[[Path, Made], None], str]] = [
    (flip_a_record, "Record 2 of fork {ada} is damaged"),
    (flip_a_signature, "Record 3 of fork {ada}: The signature of {owner} is wrong."),
    (swap_two_records, "Record 1 of fork {ada}: It says that it is record 2."),
    (drop_the_last_record, HEAD + ", covers more than the 2 records that are here."),
    (write_another_third_record, HEAD + ": It was signed over other records than these."),
    (sign_a_head_as_a_stranger, HEAD + ": No known key has signed this note."),
    (sign_a_head_over_other_records, HEAD + ": It was signed over other records than these."),
    (cut_a_head, HEAD + ": "),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_damage_to_a_fork_is_found_with_and_without_the_key(
    damage: Callable[[Path, Made], None], said: str, made: Made, ipse: Ipse
) -> None:
    damage(made.data, made)
    for words in (("fork", "--fork", "ada"), ("fork", "--fork", "ada", "--no-key"), ("all",), ("--no-key",)):
        refused(ipse("verify", *words, "--data", made.data), said.format(ada=made.ada, owner=made.owner))
    assert ipse("verify", "fork", "--fork", "ben", "--data", made.data).code == 0


def exchange_entries(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE publication SET entry = 1 - entry")


def change_an_entry(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE log_entry SET entry = ? WHERE number = 1", (bytes(32),))


def point_past_the_log(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE publication SET entry = 7 WHERE size = 3")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (exchange_entries, "Entry 1 of the log is not this head, blinded."),
        (change_an_entry, "Entry 1 of the log is not this head, blinded."),
        (point_past_the_log, "Entry 7 of the log is not this head, blinded."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_head_that_is_not_its_entry_takes_the_key_to_find(
    damage: Callable[[Path], None], said: str, made: Made, ipse: Ipse
) -> None:
    damage(made.data)
    refused(ipse("verify", "fork", "--fork", "ada", "--data", made.data), said, made.ada)
    without = ipse("verify", "fork", "--fork", "ada", "--no-key", "--data", made.data)
    assert without.code == 0
    assert "which entries of the log the heads are: that takes the key" in without.out


def test_a_wrong_mac_under_a_right_signature_takes_the_key_to_find(made: Made, ipse: Ipse) -> None:
    with Home.open(made.data) as home:
        whole = read_envelope(home.store.record(ForkId(made.ben), 1).data).signed
        signed = flipped(whole, len(whole) - 1)
        data = signed + SIGNATURE_FIELD + home.identity.sign_record(RECORD_LABEL, signed)
    with database(made.data) as db:
        put(db, made.ben, 1, data)
    refused(ipse("verify", "fork", "--fork", "ben", "--data", made.data), f"Record 1 of fork {made.ben}")
    assert ipse("verify", "fork", "--fork", "ben", "--no-key", "--data", made.data).code == 0


def test_a_history_of_somebody_else_in_the_place_of_ours_is_refused(made: Made, ipse: Ipse) -> None:
    with Home.open(made.data) as home:
        row = tiny_fork(home, "eve").row
        key = fork_key(load_root_key(home.keys.key_path), row.fork_id)
        first = replace(blank(RecordKind.INTERACTION), fork_id=row.fork_id, seq=1)
        _, data, _ = SealedHistory(home.store, row, STRANGER, key).seal(first, Access())
        home.store.append(row.fork_id, AppendRow(1, first.op_id, record_digest(data), data), expected_head=NO_DIGEST)
    refused(ipse("verify", "fork", "--fork", "eve", "--data", made.data), STRANGER.public.name, "was never let in")
    done = ipse("verify", "fork", "--fork", "eve", "--no-key", "--data", made.data)
    assert done.code == 0
    assert f"whose identity {STRANGER.public.name} is" in done.out


def change_a_tile(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE log_tile SET hashes = zeroblob(64)")


def change_the_root(data: Path) -> None:
    with database(data) as db:
        db.execute("UPDATE log_head SET root = zeroblob(32)")


def change_the_checkpoint(data: Path) -> None:
    with database(data) as db:
        (checkpoint,) = db.execute("SELECT checkpoint FROM log_head").fetchone()
        db.execute("UPDATE log_head SET checkpoint = ?", (checkpoint.replace(b"\n2\n", b"\n3\n"),))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change_an_entry, "tile/0/000.p/2 of the log is not what its entries give."),
        (change_a_tile, "tile/0/000.p/2 of the log is not what its entries give."),
        (change_the_root, "The head of the log is not what its checkpoint says."),
        (change_the_checkpoint, "signature"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damage_to_the_log_is_found(damage: Callable[[Path], None], said: str, made: Made, ipse: Ipse) -> None:
    damage(made.data)
    for words in (("ledger",), ("--no-key",)):
        refused(ipse("verify", *words, "--data", made.data), said)


def test_an_older_copy_that_was_put_back_is_found(made: Made, ipse: Ipse, tmp_path: Path) -> None:
    shutil.copy(made.data / FILE_NAME, tmp_path / "older")
    with Home.open(made.data) as home:
        publish(home)
    shutil.copy(tmp_path / "older", made.data / FILE_NAME)
    refused(ipse("verify", "ledger", "--data", made.data), "an older copy was put back")


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


def identity_file(path: Path, identity: Identity) -> Path:
    path.write_text(f"# ada\n{identity.public.to_text()}\n")
    return path


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
    assert b"ada" not in written.replace(made.ada.encode(), b"")
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


# -- what is asked wrongly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "--data", "TMP/none"), "There is nothing to check in"),
        (("verify", "--no-key", "fork"), "Give options after 'fork'."),
        (("verify", "fork", "--fork", "nobody", "--data", "HOME"), "There is no fork of nobody."),
        (("verify", "ledger", "TMP/none", "--key", EXAMPLE_KEYS[0]), "There is no log at"),
        (("verify", "ledger", "TMP"), "Whose log must it be?"),
        (("verify", "ledger", "TMP", "--key", "nonsense"), "A --key is no verifier key"),
        (
            ("verify", "ledger", "--state", "TMP/state", "--data", "HOME"),
            "--key and --state are for somebody else's log.",
        ),
        (("verify", "record", "TMP/none"), "cannot be read"),
        (("verify", "record", "TMP"), "Is a directory"),
    ],
)
def test_what_cannot_be_checked_is_one_error(
    words: tuple[str, ...], said: str, made: Made, ipse: Ipse, tmp_path: Path
) -> None:
    given = [word.replace("TMP", str(tmp_path)).replace("HOME", str(made.data)) for word in words]
    done = ipse(*given)
    assert (done.code, len(done.errors)) == (2, 1), done
    assert said in done.errors[0]


def test_a_home_without_a_log_says_so(ipse: Ipse, tmp_path: Path) -> None:
    with Home.open(tmp_path / "home") as home:
        append(tiny_fork(home), turn("a"))
    assert "a public log: there is none yet" in ipse("verify", "--data", tmp_path / "home").out
    assert ipse("verify", "ledger", "--data", tmp_path / "home").code == 2
    assert ipse("fork", "prove", "1", tmp_path / "p", "--fork", "ada", "--data", tmp_path / "home").code == 2


def test_a_file_that_is_no_proof_and_one_that_is_no_identity_are_one_error(
    made: Made, proof: Path, ipse: Ipse, tmp_path: Path
) -> None:
    (tmp_path / "junk").write_bytes(b"\xff\xfejunk")
    refused(ipse("verify", "record", tmp_path / "junk"), "This is not a proof of a record.")
    refused(ipse("verify", "record", proof, "--owner", tmp_path / "junk"), "is no identity")
