# SPDX-License-Identifier: Apache-2.0
"""A new root takes over a folder: every fork goes on with all its records, and the old root reads nothing new."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ipse.errors import HeightConflict, InputError, IpseError, VaultError, VerificationError, WrongKey
from ipse.forks.home import KEY_NAME, NEXT_NAME, WRAP_NAME, Home, confirm_root, confirm_settled, key_ring, next_ring
from ipse.forks.members import devices_of, go_on_as, let_in
from ipse.forks.openfork import OpenFork
from ipse.forks.publish import publish
from ipse.forks.rotation import rotate
from ipse.ledger.chain import check_chain
from ipse.ledger.forkhead import head_of, open_head, sign_head
from ipse.ledger.record import RecordKind
from ipse.store.seen import FOLDER_NAME
from ipse.store.store import FILE_NAME, Store
from ipse.vault.identity import Identity
from ipse.vault.keyring import nobody_to_ask
from ipse.vault.keys import RootKey, check_value, fork_key, load_root_key, write_root_key
from ipse.vault.words import root_of, words_of
from ipse.vault.wraps import load_wrap
from tests.forks.rotated import CHEAP, NEW, OLD, SAID, check_all_there, histories, made, opened_by, texts
from tests.forks.tiny import LAYOUT, append, turn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three forks: one with a device, one of before signatures, one without records; a key file."""
    return made(tmp_path / "home")


def turned(folder: Path, **options: Path) -> RootKey:
    rotate(folder, lambda: OLD, lambda: NEW, cost=CHEAP, **options)
    return key_ring(folder).open(lambda: NEW)


def test_every_fork_goes_on_and_the_old_root_reads_nothing_new(folder: Path) -> None:
    old = load_root_key(folder / KEY_NAME)
    with Store.open(folder) as store:
        before = {row.fork_id: [r.data for r in store.records(row.fork_id)] for row in store.forks()}
    done = rotate(folder, nobody_to_ask, nobody_to_ask)
    new = load_root_key(folder / KEY_NAME)
    assert (done.forks, done.handed_over, done.resumed, done.identity) == (3, 3, False, Identity(new).public)
    assert new != old
    check_all_there(folder, new)
    with Home.open(folder) as home:
        for info in home.forks():
            append(home.open_fork(info.fork_id, LAYOUT), turn("later"))
        for row in home.store.forks():
            data = [stored.data for stored in home.store.records(row.fork_id)]
            assert data[: len(before[row.fork_id])] == before[row.fork_id]  # nothing is rewritten
            assert check_chain(data, row.fork_id)[1].owner == Identity(new).public
            assert texts(home.sealed(row.fork_id))[-1] == "later"
            with pytest.raises(WrongKey):
                texts(opened_by(home.store, row, old))
            with pytest.raises(IpseError):
                append(OpenFork(opened_by(home.store, row, old), LAYOUT), turn("forged"))


def test_devices_stay(folder: Path) -> None:
    phone = RootKey(b"p" * 32)
    with Home.open(folder) as home:
        before = devices_of(histories(home)["ada"])
    turned(folder)
    with Home.open(folder) as home:
        assert devices_of(histories(home)["ada"]) == before
        row = home.sealed(next(info.fork_id for info in home.forks() if info.owner == "ada")).row
        assert "a" in texts(opened_by(home.store, row, phone))


@pytest.mark.parametrize("forms", [(KEY_NAME,), (WRAP_NAME,), (KEY_NAME, WRAP_NAME)])
def test_the_new_root_has_the_forms_of_the_old_one_and_nothing_is_kept_of_that(
    folder: Path, forms: tuple[str, ...]
) -> None:
    keys = key_ring(folder)
    old = keys.open(nobody_to_ask)
    if WRAP_NAME in forms:
        keys.set_passphrase(old, OLD, CHEAP)
    if KEY_NAME not in forms:
        keys.remove_file(lambda: OLD)
    partial = folder / f".{KEY_NAME}.0123456789abcdef"  # of a killed writer
    partial.write_text("")
    new = turned(folder)
    assert {path.name for path in folder.iterdir() if not path.name.startswith(FILE_NAME)} == {*forms, FOLDER_NAME}
    for name in forms:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    if WRAP_NAME in forms:
        assert load_wrap(folder / WRAP_NAME).open(NEW) == new
        with pytest.raises(WrongKey):
            load_wrap(folder / WRAP_NAME).open(OLD)
    check_all_there(folder, new)
    with pytest.raises(WrongKey):
        confirm_root(folder, root_of(" ".join(words_of(old))))


def test_the_old_root_is_kept_where_one_says(folder: Path, tmp_path: Path) -> None:
    old = load_root_key(folder / KEY_NAME)
    kept = tmp_path / "safe" / "old.key"
    turned(folder, keep_old=kept)
    assert load_root_key(kept) == old
    before = (folder / KEY_NAME).read_bytes()
    with pytest.raises(VaultError, match="already"):  # another root's: not written over
        turned(folder, keep_old=kept)
    with pytest.raises(InputError, match="where the new root goes"):
        turned(folder, keep_old=folder / ".." / folder.name / KEY_NAME)
    assert (folder / KEY_NAME).read_bytes() == before
    confirm_settled(folder)


def test_a_folder_without_forks_or_store_gets_another_root(tmp_path: Path) -> None:
    write_root_key(tmp_path / KEY_NAME, RootKey(bytes(32)))
    done = rotate(tmp_path, nobody_to_ask, nobody_to_ask)
    assert (done.forks, done.handed_over) == (0, 0)
    assert load_root_key(tmp_path / KEY_NAME) != RootKey(bytes(32))
    assert [path.name for path in tmp_path.iterdir()] == [KEY_NAME]


def damaged(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as db, db:
        assert db.execute("UPDATE record SET data = substr(data, 2) WHERE seq = 1 AND fork = 2").rowcount == 1


def foreign(folder: Path) -> None:
    """One fork's history says that another root owns it."""
    with Home.open(folder) as home:
        go_on_as(histories(home)["ada"], Identity(RootKey(b"x" * 32)).public, 1)


def only_a_device(folder: Path) -> None:
    """The root here is that of the phone."""
    phone = RootKey(b"p" * 32)
    with Store.open(folder) as store:
        row = store.forks()[0]
        assert store.swap_key_check(row.fork_id, row.key_check, check_value(fork_key(phone, row.fork_id)))
    (folder / KEY_NAME).unlink()
    write_root_key(folder / KEY_NAME, phone)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (only_a_device, InputError),
        (damaged, VerificationError),
        (foreign, VerificationError),
        (lambda folder: (folder / KEY_NAME).chmod(0o644), VaultError),
        (lambda folder: (folder / KEY_NAME).write_text("x"), VaultError),
        (lambda folder: (folder / KEY_NAME).unlink(), InputError),
    ],
)
def test_what_cannot_be_rotated_is_left_as_it_is(
    folder: Path, spoil: Callable[[Path], object], error: type[IpseError]
) -> None:
    spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(error) as caught:
        turned(folder)
    assert caught.value.hint
    assert not (folder / NEXT_NAME).exists()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_passphrase_that_cannot_be_set_is_told_before_anything_is_changed(folder: Path) -> None:
    key_ring(folder).set_passphrase(load_root_key(folder / KEY_NAME), OLD, CHEAP)
    with pytest.raises(InputError, match="at least 8"):
        rotate(folder, lambda: OLD, lambda: "short", cost=CHEAP)
    confirm_settled(folder)
    assert not (folder / NEXT_NAME).exists()


def half_done(folder: Path) -> RootKey:
    """A rotation that was stopped after the next root was made, before any fork; the next root."""
    new = RootKey(b"n" * 32)
    next_ring(folder).add_file(new)
    return new


def test_while_a_rotation_waits_nothing_else_opens_the_folder(folder: Path) -> None:
    with Home.open(folder) as running:
        new = half_done(folder)
        with pytest.raises(VaultError, match="was interrupted") as caught:
            Home.open(folder)
        assert "ipse key rotate" in caught.value.hint
        with pytest.raises(VaultError, match="was interrupted"):
            running.create_fork("dora", LAYOUT, "tiny")
        done = rotate(folder, nobody_to_ask, nobody_to_ask)
        assert (done.resumed, done.identity) == (True, Identity(new).public)
        with pytest.raises(VaultError, match="rotated meanwhile"):
            running.create_fork("dora", LAYOUT, "tiny")
    check_all_there(folder, new)


def test_a_rotation_that_waits_is_finished_by_its_next_root_alone_or_says_what_is_missing(folder: Path) -> None:
    old = load_root_key(folder / KEY_NAME)
    new = half_done(folder)
    (folder / KEY_NAME).unlink()
    with pytest.raises(VaultError, match="still belongs to the old root") as caught:
        rotate(folder, nobody_to_ask, nobody_to_ask)
    assert "ipse key restore" in caught.value.hint
    assert confirm_root(folder, root_of(" ".join(words_of(old)))) == 3
    key_ring(folder).add_file(old)
    rotate(folder, nobody_to_ask, nobody_to_ask)
    check_all_there(folder, new)
    (folder / NEXT_NAME).mkdir()
    (folder / KEY_NAME).rename(folder / NEXT_NAME / KEY_NAME)  # everything is handed over, and the old root is gone
    done = rotate(folder, nobody_to_ask, nobody_to_ask)
    assert (done.old, done.handed_over, done.resumed) == (None, 0, True)
    check_all_there(folder, new)


def test_the_words_of_the_old_root_come_back_while_a_rotation_waits_half_way(folder: Path) -> None:
    """One fork belongs to the next root already: the old words still open the others, and no stranger's do."""
    old = load_root_key(folder / KEY_NAME)
    new = half_done(folder)
    with Store.open(folder) as store:
        row = store.forks()[2]
        assert store.swap_key_check(row.fork_id, row.key_check, check_value(fork_key(new, row.fork_id)))
        assert not store.swap_key_check(row.fork_id, row.key_check, bytes(16))
    assert confirm_root(folder, old) == 2
    with pytest.raises(WrongKey):
        confirm_root(folder, RootKey(bytes(32)))
    rotate(folder, nobody_to_ask, nobody_to_ask)
    check_all_there(folder, new)


def test_somebody_who_writes_meanwhile_with_the_old_root_is_refused_and_loses_nothing_that_was_there(
    folder: Path,
) -> None:
    with Home.open(folder) as home:
        chat = home.open_fork(next(info.fork_id for info in home.forks() if info.owner == "ada"), LAYOUT)
        new = turned(folder)
        with pytest.raises(IpseError):
            append(chat, turn("too late"))
        with pytest.raises(IpseError):
            let_in(histories(home)["ada"], Identity(RootKey(b"q" * 32)).public, "late", 1)
    check_all_there(folder, new)
    with Home.open(folder) as home:
        kinds = [record.kind for record, _ in histories(home)["ada"].records()]
        assert kinds.count(RecordKind.ROTATE) == 1


def test_what_somebody_records_while_the_root_is_rotated_is_there_or_was_refused(folder: Path) -> None:
    """The writer was started with the old root. What was acknowledged before the fork was handed over is kept."""
    acknowledged: list[str] = []
    started = threading.Event()

    def write(chat: OpenFork) -> None:
        for number in range(2000):
            try:
                append(chat, turn(f"said {number}"))
            except HeightConflict:
                with suppress(IpseError):
                    chat.reload()
                return
            except IpseError:
                return
            acknowledged.append(f"said {number}")
            started.set()

    with Home.open(folder) as home:
        chat = home.open_fork(histories(home)["ada"].row.fork_id, LAYOUT)
        writer = threading.Thread(target=write, args=(chat,))
        writer.start()
        started.wait()
        new = turned(folder)
        writer.join()
    check_all_there(folder, new)
    with Home.open(folder) as home:
        assert texts(histories(home)["ada"]) == [*SAID["ada"], *acknowledged]


def test_of_two_rotations_at_one_time_the_second_finds_another_root(folder: Path) -> None:
    for _ in range(5):
        start = threading.Barrier(2)
        failed: list[IpseError] = []

        def attempt(start: threading.Barrier = start, failed: list[IpseError] = failed) -> None:
            start.wait()
            try:
                rotate(folder, nobody_to_ask, nobody_to_ask)
            except IpseError as error:
                failed.append(error)

        threads = [threading.Thread(target=attempt) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) <= 1  # none, where one began after the other had ended
        confirm_settled(folder)
        check_all_there(folder, load_root_key(folder / KEY_NAME))


def test_a_snapshot_from_before_opens_under_the_new_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.forks.openfork.SNAPSHOT_EVERY", 2)
    with Home.open(folder) as home:
        fork = home.open_fork(histories(home)["ada"].row.fork_id, LAYOUT)
        append(fork, turn("d"))
        found = fork.snapshot()
    turned(folder)
    with Home.open(folder) as home:
        again = home.open_fork(fork.row.fork_id, LAYOUT)
        kept = again.snapshot()
        assert found is not None
        assert kept is not None
        assert kept[0].same_as(found[0])
        assert again.folded.z.tobytes() == fork.folded.z.tobytes()


def test_a_rotated_fork_goes_on_in_the_public_log(folder: Path) -> None:
    with Home.open(folder) as home:
        before = {head.fork_id: head.size for head in publish(home).heads}
        ada = histories(home)["ada"].row.fork_id
        assert before == {ada: 4}
    new = turned(folder)
    with Home.open(folder) as home:
        after = {head.fork_id: head.size for head in publish(home).heads}
        assert after[ada] == 5
        assert len(after) == 2  # the history of before signatures has a data key now
        head = open_head(sign_head(head_of(ada, home.store.digests(ada)), home.identity), ada, [Identity(new).public])
        assert head.size == 5
        assert publish(home).heads == ()
