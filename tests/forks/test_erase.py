# SPDX-License-Identifier: Apache-2.0
"""After an erasure no file has anything of the fork but digests, and what was proven of it before still is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ipse.errors import InputError, StoreBusy, VerificationError, WrongKey
from ipse.forks.erase import Erased, erase, erased_fork, finish_erasures
from ipse.forks.home import Home
from ipse.forks.members import access_of, let_in
from ipse.forks.openfork import OpenFork, SealedHistory
from ipse.forks.prove import prove_record
from ipse.forks.publish import publish
from ipse.forks.verify import verify_fork
from ipse.ledger.envelope import read_envelope
from ipse.ledger.forkhead import blinded, blinding_value, check_root, open_head
from ipse.ledger.log import LogWriter
from ipse.ledger.publiclog import check_log
from ipse.ledger.recordproof import RecordProof
from ipse.ledger.tree import inclusion_proof, leaf_hash, list_reader, verify_inclusion
from ipse.store.erasure import Destroyed, Erasure
from ipse.store.logrows import PublicationRow
from ipse.store.rows import ForkRow
from ipse.store.seen import FOLDER_NAME, Seen
from ipse.store.store import FILE_NAME, Store
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, check_value, fork_key
from ipse.wire.ids import ForkId
from tests.forks.remains import plain, traces
from tests.forks.tiny import LAYOUT, append, numbers, tiny_fork, turn

OWNER = "Ada King, Countess of Lovelace"
WHEN = 1_800_000_000_000
PHONE = RootKey(b"p" * 32)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


class Ada:
    """A fork with so many records, under a name that occurs nowhere by accident."""

    def __init__(self, home: Home, records: int, owner: str = OWNER) -> None:
        self.home, self.fork = home, tiny_fork(home, owner)
        rng = np.random.default_rng(7)
        for count in range(records):
            append(self.fork, turn(f"turn {count}", numbers(rng)[0], numbers(rng, 1)[0]))

    @property
    def id(self) -> ForkId:
        return self.fork.row.fork_id

    @property
    def keys(self) -> list[bytes]:
        """The secrets of its data keys."""
        history = self.home.sealed(self.id)
        bring = [r.seq for r in self.home.store.records(self.id) if read_envelope(r.data).wrapped_key is not None]
        return [fork_key(self.home._root_key, self.id).secret, *(history.keys.key(seq).secret for seq in bring)]


@pytest.mark.parametrize("secure_delete", ["ON", "OFF"])
def test_nothing_of_an_erased_fork_is_in_any_file(home: Home, secure_delete: str) -> None:
    home.store._connection.execute(f"PRAGMA secure_delete = {secure_delete}")  # OFF: as files were written before
    ada = Ada(home, 40)
    Erasure(home.store).fold()  # these are in the file now, and what comes is in the log
    let_in(home.sealed(ada.id), Identity(PHONE).public, "my phone", WHEN)
    ada.fork.reload()
    for count in range(95):  # two snapshots, of which one was dropped, and two data keys
        append(ada.fork, turn(f"later {count}"))
    Seen(home.root / FOLDER_NAME).note(ada.id, 1, bytes(32), sync=True)
    publish(home)
    expected, never = traces(home, ada.id), plain(ada.fork.folded.z, ada.keys)
    assert len(ada.keys) >= 3
    assert expected.in_folder(home.root) >= {"ipse.db", "ipse.db-wal"}
    assert never.in_folder(home.root) == set()
    size = home.store.bytes_of(ada.id)
    if secure_delete == "OFF":
        home.store._connection.execute("PRAGMA secure_delete = ON")

    done = erase(home.store, ada.id, WHEN)

    assert done == Erased(ada.id, Destroyed(136, 1, size, 1), 136, WHEN)
    assert expected.in_folder(home.root) == set()
    assert never.in_folder(home.root) == set()
    assert not (home.root / FOLDER_NAME / ada.id).exists()
    home.store.check_file()
    home.close()
    assert expected.in_folder(home.root) == set()
    assert never.in_folder(home.root) == set()


def test_deleting_alone_would_leave_the_records_in_the_files(home: Home) -> None:
    """That the search finds what is there: the same deletion without folding the log and rewriting the file."""
    ada = Ada(home, 60)
    expected = traces(home, ada.id)
    Erasure(home.store).begin(ada.id, lambda data: True, WHEN)
    Erasure(home.store).drop_records(ada.id)
    assert "ipse.db-wal" in expected.in_folder(home.root)


def test_an_erased_fork_is_not_found_and_opens_by_no_way(home: Home) -> None:
    ada = Ada(home, 3)
    row, stale = ada.fork.row, ada.fork
    erase(home.store, ada.id, WHEN)
    assert home.forks() == []
    assert home.find(OWNER) is None
    assert home.find(ada.id) is None
    for use in (
        lambda: home.open_fork(ada.id, LAYOUT),
        lambda: home.sealed(ada.id),
        lambda: home.store.head(ada.id),
        lambda: list(home.store.records(ada.id)),
        lambda: home.store.record(ada.id, 1),
        lambda: home.store.put_snapshot(ada.id, 0, b""),
        lambda: append(stale, turn("an Ipse that had it open says more")),
        lambda: home.store.create_fork(row),
    ):
        with pytest.raises(InputError):
            use()
    assert home.store.record_of(ada.id, bytes(16)) is None
    assert home.store.latest_snapshot(ada.id, 3) is None


def test_the_first_step_takes_the_data_keys_and_closes_the_fork(home: Home) -> None:
    ada = Ada(home, 3)
    brought, kept = home.store.record(ada.id, 1), home.store.record(ada.id, 2)
    Erasure(home.store).begin(ada.id, lambda data: read_envelope(data).wrapped_key is not None, WHEN)
    left = home.store._read("SELECT digest FROM record ORDER BY seq", ())
    assert [digest for (digest,) in left] == [kept.digest, home.store._read("SELECT digest FROM head", ())[0][0]]
    assert home.store.record_of(ada.id, brought.op_id) is None
    assert home.store.record_of(ada.id, kept.op_id) is None
    with pytest.raises(InputError):
        home.sealed(ada.id)


def test_its_owner_may_begin_anew(home: Home) -> None:
    erase(home.store, Ada(home, 2).id, WHEN)
    again = Ada(home, 1)
    assert [(info.owner, info.records) for info in home.forks()] == [(OWNER, 1)]
    assert home.find(OWNER) == home.forks()[0]
    assert verify_fork(home.store, home.open_fork(again.id, LAYOUT)).records == 1


def test_the_other_forks_of_the_same_root_are_untouched(home: Home) -> None:
    bob, ada = Ada(home, 70, "bob"), Ada(home, 70)
    bobs = list(home.store.records(bob.id)), home.store.latest_snapshot(bob.id, 70)
    expected = traces(home, ada.id, others=[bob.id])
    assert expected.in_folder(home.root)
    erase(home.store, ada.id, WHEN)
    assert expected.in_folder(home.root) == set()
    assert (list(home.store.records(bob.id)), home.store.latest_snapshot(bob.id, 70)) == bobs
    found = verify_fork(home.store, home.open_fork(bob.id, LAYOUT))
    assert (found.records, found.snapshot_seq) == (70, 64)
    assert tiny_fork(home, "bob").folded.same_as(bob.fork.folded)


def test_heads_and_proofs_of_before_still_verify(home: Home) -> None:
    bob, ada = Ada(home, 1, "bob"), Ada(home, 7)
    members = access_of(home.sealed(ada.id))[1].members
    publish(home, origin="log.example/ada")
    log = LogWriter.open(home.store)
    (row,) = log.public.rows.publications(ada.id, log.log.origin)
    head = open_head(row.note, ada.id, members)
    entry = blinded(head, blinding_value(home.sealed(ada.id).keys.first(), head.size))
    proof, record = log.public.prove(row.entry), home.store.record(ada.id, 4).digest
    given_away = prove_record(home, ada.id, 4).to_bytes()
    append(ada.fork, turn("later"))
    publish(home)
    size = home.store.bytes_of(ada.id)

    assert erase(home.store, ada.id, WHEN).destroyed == Destroyed(8, 0, size, 2)

    kept = Erasure(home.store).digests(ada.id)
    assert len(kept) == 8
    assert kept[3] == record
    assert open_head(row.note, ada.id, members) == head
    check_root(head, kept)
    leaves = [leaf_hash(each) for each in kept[: head.size]]
    hashes = inclusion_proof(3, head.size, list_reader(leaves))
    verify_inclusion(leaf_hash(record), 3, head.size, hashes, head.root)
    proof.verify(leaf_hash(entry), log.log)
    RecordProof.from_bytes(given_away).verify(log.log)
    assert log.public.entry(row.entry) == entry
    assert check_log(log.public, log.log).size == 3
    assert log.public.rows.publications(ada.id, log.log.origin) == []
    assert blinded(head, blinding_value(fork_key(home._root_key, ada.id), head.size)) != entry  # the root is not enough
    append(bob.fork, turn("later"))
    assert [(each.fork_id, each.entry) for each in publish(home).heads] == [(bob.id, 3)]


def test_a_head_that_was_being_published_of_an_erased_fork_is_refused(home: Home) -> None:
    ada = Ada(home, 1)
    log = LogWriter.open(home.store)
    erase(home.store, ada.id, WHEN)
    with pytest.raises(InputError):
        log.append([bytes(32)], lambda first: [PublicationRow(ada.id, 1, log.log.origin, first, b"")])
    assert check_log(log.public, log.log).size == 0


def test_digests_that_are_missing_or_changed_are_an_error(home: Home) -> None:
    ada = Ada(home, 3)
    erase(home.store, ada.id, WHEN)
    for damage in ("UPDATE leaf SET digest = zeroblob(32) WHERE seq = 3", "DELETE FROM leaf WHERE seq = 2"):
        home.store._connection.execute(damage)
        with pytest.raises(VerificationError):
            Erasure(home.store).digests(ada.id)
    with pytest.raises(InputError):
        Erasure(home.store).digests(Ada(home, 1).id)


def opened_by_root(home: Home, row: ForkRow) -> SealedHistory:
    """What somebody with the root key gets, who knows the fork's row from before."""
    key = fork_key(home._root_key, row.fork_id)
    assert check_value(key) == row.key_check
    return SealedHistory(home.store, row, home.identity, key)


def test_the_root_key_opens_a_copy_from_before_and_nothing_of_now(tmp_path: Path) -> None:
    """The limit: who has copied the folder, key and all, has the fork. Erasing does not reach copies."""
    with Home.open(tmp_path / "home") as home:
        ada = Ada(home, 3)
        row, words = ada.fork.row, [record.input_text for record, _ in ada.fork.records()]
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    with Home.open(tmp_path / "home") as home:
        erase(home.store, row.fork_id, WHEN)
        with pytest.raises(InputError):
            opened_by_root(home, row).alone(1)
        with pytest.raises(InputError):
            list(opened_by_root(home, row).records())
    with Home.open(tmp_path / "copy") as copy:
        assert [record.input_text for record, _ in opened_by_root(copy, row).records()] == words


def test_records_that_were_copied_without_the_one_that_brings_the_data_key_do_not_open(tmp_path: Path) -> None:
    """Why the data keys go first: what is found of the rest is noise, for the owner's root too."""
    with Home.open(tmp_path) as home:
        ada = Ada(home, 3)
        row, second = ada.fork.row, home.store.record(ada.id, 2)
        history = opened_by_root(home, row)
        home.store._connection.execute("DELETE FROM record WHERE seq = 1")
        with pytest.raises((WrongKey, VerificationError)):
            history._open(second, home.store.record(ada.id, 2).digest)


def test_a_reader_in_another_process_is_an_error_that_says_what_is_left(tmp_path: Path) -> None:
    with Home.open(tmp_path) as home:
        ada = Ada(home, 5)
        expected = traces(home, ada.id)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM record").fetchone()
    with Store.open(tmp_path, busy_seconds=0.05) as store:
        with pytest.raises(StoreBusy, match=f"Fork {ada.id} opens no more, but is not erased yet") as refused:
            erase(store, ada.id, WHEN)
        assert "Left: " in refused.value.message
        assert ada.id in refused.value.hint
        assert erased_fork(store, ada.id).unfinished
        assert expected.in_folder(tmp_path)
        other.execute("ROLLBACK")
        other.close()
        assert [done.fork_id for done in finish_erasures(store)] == [ada.id]
        assert finish_erasures(store) == []
        assert expected.in_folder(tmp_path) == set()
    assert erased_again(tmp_path, ada.id) == Erased(ada.id, None, 5, WHEN)


def erased_again(root: Path, fork_id: ForkId) -> Erased:
    with Store.open(root) as store:
        return erase(store, fork_id, WHEN + 1)


def test_another_ipse_that_has_the_folder_open_is_not_in_the_way(tmp_path: Path) -> None:
    with Home.open(tmp_path) as home, Home.open(tmp_path) as other:
        ada, bob = Ada(home, 5), Ada(other, 2, "bob")
        expected = traces(home, ada.id, others=[bob.id])
        opened: OpenFork = tiny_fork(other, OWNER)
        erase(home.store, ada.id, WHEN)
        assert expected.in_folder(tmp_path) == set()
        with pytest.raises(InputError):
            append(opened, turn("still there?"))
        append(bob.fork, turn("me, yes"))
        assert expected.in_folder(tmp_path) == set()


def test_opening_the_folder_finishes_what_was_begun(tmp_path: Path) -> None:
    with Home.open(tmp_path) as home:
        ada = Ada(home, 5)
        expected = traces(home, ada.id)
        Erasure(home.store).begin(ada.id, lambda data: read_envelope(data).wrapped_key is not None, WHEN)
        assert home.forks() == []
    assert expected.in_folder(tmp_path)
    with Home.open(tmp_path) as home:
        assert erased_fork(home.store, ada.id).unfinished is None
        assert expected.in_folder(tmp_path) == set()


def test_a_fork_whose_records_are_damaged_is_erased_all_the_same(home: Home) -> None:
    ada = Ada(home, 4)
    home.store._connection.execute("UPDATE record SET data = x'00' WHERE seq = 2")
    home.store._connection.execute("DELETE FROM record WHERE seq = 3")
    expected = traces(home, Ada(home, 1, "bob").id)
    done = erase(home.store, ada.id, WHEN)
    assert done.destroyed is not None
    assert done.destroyed.records == 3
    assert expected.in_folder(home.root)
    with pytest.raises(VerificationError):
        Erasure(home.store).digests(ada.id)


def test_what_is_not_there_is_not_erased(home: Home) -> None:
    with pytest.raises(InputError):
        erase(home.store, ForkId("f_none"), WHEN)
    with pytest.raises(InputError):
        erased_fork(home.store, Ada(home, 1).id)
    assert len(home.forks()) == 1
    Erasure(home.store).drop_records(home.forks()[0].fork_id)
    assert verify_fork(home.store, tiny_fork(home, OWNER)).records == 1


def test_a_fork_without_records_is_erased_too(home: Home) -> None:
    ada = Ada(home, 0)
    assert erase(home.store, ada.id, WHEN) == Erased(ada.id, Destroyed(0, 0, 0, 0), 0, WHEN)
    assert Erasure(home.store).digests(ada.id) == []
