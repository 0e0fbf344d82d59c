# SPDX-License-Identifier: Apache-2.0
"""``ipse verify``: what is whole passes, every kind of damage is one error that names the place, and nothing is hidden.

Homes are real, damage is done with SQL where somebody with the disk would do it, and logs are served over HTTP.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ipse.forks.home import Home, now_ms
from ipse.forks.members import go_on_as, let_in
from ipse.forks.openfork import SealedHistory
from ipse.forks.publish import publish
from ipse.ledger.access import Access
from ipse.ledger.envelope import RECORD_LABEL, SIGNATURE_FIELD, read_envelope
from ipse.ledger.forkhead import ORIGIN, sign_head
from ipse.ledger.record import RecordKind, record_digest
from ipse.ledger.treehead import TreeHead
from ipse.store.rows import AppendRow
from ipse.store.store import FILE_NAME, Store
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, fork_key, load_root_key
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId
from tests.cli.inprocess import Ipse
from tests.cli.verifying import (
    STRANGER,
    Made,
    change_an_entry,
    database,
    drop_the_last_record,
    exchange_entries,
    flipped,
    put,
    record,
    refused,
    write_another_third_record,
)
from tests.forks.tiny import append, blank, tiny_fork, turn
from tests.ledger.logs import LOG as EXAMPLE

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


def test_what_was_cut_off_before_it_was_published_is_found_while_it_is_known_to_have_been_seen(
    made: Made, ipse: Ipse
) -> None:
    with database(made.data) as db:
        (number,) = db.execute("SELECT number FROM fork WHERE fork_id = ?", (made.ben,)).fetchone()
        db.execute("DELETE FROM record WHERE fork = ?", (number,))
        db.execute("UPDATE head SET seq = 0, digest = zeroblob(32) WHERE fork = ?", (number,))
    for words in ((), ("--no-key",)):
        done = ipse("verify", "fork", "--fork", "ben", *words, "--data", made.data)
        refused(done, f"The store is at number 0 of {made.ben}, and 1 was seen already: an older copy was put back.")
    (made.data / "seen" / made.ben).unlink()
    done = ipse("verify", "fork", "--fork", "ben", "--data", made.data)
    assert done.code == 0
    assert "whether records were cut off at the end, none is published:" in done.out


def test_a_wrong_mac_under_a_right_signature_takes_the_key_to_find(made: Made, ipse: Ipse) -> None:
    with Home.open(made.data) as home:
        whole = read_envelope(home.store.record(ForkId(made.ben), 1).data).signed
        signed = flipped(whole, len(whole) - 1)
        data = signed + SIGNATURE_FIELD + home.identity.sign_record(RECORD_LABEL, signed)
    with database(made.data) as db:
        put(db, made.ben, 1, data)
    (made.data / "seen" / made.ben).unlink()  # or it tells
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


# -- what is asked wrongly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "--data", "TMP/none"), "There is nothing to check in"),
        (("verify", "--no-key", "fork"), "Give options after 'fork'."),
        (("verify", "fork", "--fork", "nobody", "--data", "HOME"), "There is no fork of nobody."),
        (("verify", "ledger", "TMP/none", "--key", EXAMPLE.keys[0].to_text()), "There is no log at"),
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
