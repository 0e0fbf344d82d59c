# SPDX-License-Identifier: Apache-2.0
"""A fork goes to another installation of its owner or of a device: whole, then what is new, never two histories."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipse.errors import InputError, StoreRolledBack, VaultError, VerificationError, WrongKey
from ipse.forks.carry import Arrival, carried_out, received, take_in
from ipse.forks.erase import erase
from ipse.forks.home import Home, now_ms
from ipse.forks.members import go_on_as, let_in, put_out
from ipse.forks.openfork import OpenFork
from ipse.forks.publish import publish
from ipse.forks.rotation import rotate
from ipse.forks.verify import verify_fork
from ipse.ledger import bundle as bundles
from ipse.ledger.bundle import Contents, read_bundle
from ipse.ledger.forkhead import sign_head
from ipse.ledger.log import LogWriter
from ipse.ledger.record import record_digest, seal_record
from ipse.store.logrows import LogRows
from ipse.store.rows import AppendRow
from ipse.store.store import Store
from ipse.vault.identity import Identity
from ipse.vault.keyring import nobody_to_ask
from ipse.vault.keys import RootKey, fork_key, load_root_key, write_root_key
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId
from tests.forks.tiny import LAYOUT, Life, append, tiny_fork, turn
from tests.ledger.samples import interaction


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "here") as opened:
        yield opened


@pytest.fixture
def there(home: Home, tmp_path: Path) -> Iterator[Home]:
    """Another installation with the same root key."""
    write_root_key(tmp_path / "there" / "root.key", load_root_key(home.keys.key_path))
    with Home.open(tmp_path / "there") as opened:
        yield opened


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Home]:
    """An installation with a root of its own."""
    with Home.open(tmp_path / "phone") as opened:
        yield opened


def life_of(home: Home, *texts: str) -> tuple[Life, ForkId]:
    life = Life(home)
    life.learn(*texts)
    return life, life.fork.row.fork_id


def arrive(home: Home, data: bytes) -> Arrival:
    return take_in(home, received(home, data))


def bytes_of(home: Home, fork_id: ForkId) -> list[bytes]:
    return [stored.data for stored in home.store.records(fork_id)]


def opened(home: Home, fork_id: ForkId) -> OpenFork:
    return home.open_fork(fork_id, LAYOUT)


def test_another_installation_has_the_same_fork_and_goes_on(home: Home, there: Home) -> None:
    life, fork_id = life_of(home, "a", "b")
    life.undo(2)
    publish(home)
    assert arrive(there, carried_out(home, fork_id)) == Arrival(new=True, added=3, ahead=0)
    assert bytes_of(there, fork_id) == bytes_of(home, fork_id)
    copy = opened(there, fork_id)
    assert copy.folded.same_as(life.fork.folded)
    assert there.store.fork(fork_id) == home.store.fork(fork_id)
    assert verify_fork(there.store, copy).records == 3
    append(copy, turn("c"))
    assert [head.size for head in publish(there).heads] == [4]
    assert LogWriter.open(there.store).log.origin != LogWriter.open(home.store).log.origin


def test_two_installations_go_on_in_turns(home: Home, there: Home) -> None:
    _, fork_id = life_of(home, "a")
    arrive(there, carried_out(home, fork_id))
    append(opened(there, fork_id), turn("b"))
    append(opened(there, fork_id), turn("c"))
    back = carried_out(there, fork_id)
    assert arrive(home, back) == Arrival(new=False, added=2, ahead=0)
    assert arrive(home, back) == Arrival(new=False, added=0, ahead=0)
    append(opened(home, fork_id), turn("d"))
    assert arrive(home, back) == Arrival(new=False, added=0, ahead=1)
    assert [record.input_text for record, _ in opened(home, fork_id).records()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("mine", "theirs"), [(1, 1), (1, 3), (3, 1)])
def test_histories_that_part_are_refused_and_the_record_is_named(
    home: Home, there: Home, mine: int, theirs: int
) -> None:
    _, fork_id = life_of(home, "a", "b")
    arrive(there, carried_out(home, fork_id))
    for number in range(mine):
        append(opened(home, fork_id), turn(f"here {number}"))
    for number in range(theirs):
        append(opened(there, fork_id), turn(f"there {number}"))
    before = bytes_of(home, fork_id)
    with pytest.raises(VerificationError, match=r"Record 3 of fork .* part there"):
        arrive(home, carried_out(there, fork_id))
    assert bytes_of(home, fork_id) == before


def test_a_device_has_it_writes_on_and_sends_it_back(home: Home, phone: Home) -> None:
    life, fork_id = life_of(home, "a", "b")
    with pytest.raises(InputError, match="not a member"):
        carried_out(home, fork_id, [phone.identity.public])
    let_in(home.sealed(fork_id), phone.identity.public, "phone", now_ms())
    assert arrive(phone, carried_out(home, fork_id, [phone.identity.public])).added == 3
    life.fork.reload()
    assert opened(phone, fork_id).folded.same_as(life.fork.folded)
    append(opened(phone, fork_id), turn("from the phone"))
    assert arrive(home, carried_out(phone, fork_id, [home.identity.public])).added == 1
    assert opened(home, fork_id).folded.same_as(opened(phone, fork_id).folded)
    assert [head.size for head in publish(phone).heads] == [4]


def test_a_device_that_was_put_out_neither_makes_nor_takes_one(home: Home, phone: Home) -> None:
    _, fork_id = life_of(home, "a")
    let_in(home.sealed(fork_id), phone.identity.public, "phone", now_ms())
    arrive(phone, carried_out(home, fork_id, [phone.identity.public]))
    before = phone.store.head(fork_id)
    put_out(home.sealed(fork_id), phone.identity.public.short_id, now_ms())
    with pytest.raises(InputError, match="not a member"):
        carried_out(home, fork_id, [phone.identity.public])
    with pytest.raises(VerificationError, match="neither the owner nor a device"):
        received(phone, sealed_to(phone, home, fork_id))
    out = home.store.record(fork_id, 3)
    row = AppendRow(out.seq, out.op_id, out.digest, out.data)
    phone.store.import_fork(phone.store.fork(fork_id), [row], expected_head=before.digest)
    with pytest.raises(VerificationError, match="not a member"):
        carried_out(phone, fork_id)


def sealed_to(recipient: Home, home: Home, fork_id: ForkId) -> bytes:
    """A bundle that the program would not make: sealed to somebody who is no member."""
    found = read_bundle(carried_out(home, fork_id), home.identity)
    records = tuple(record.data for record in found.records)
    made = bundles._content(
        Contents(found.manifest, records, sign_head(found.head, home.identity)), home.identity.public
    )
    return bundles._sealed(made.SerializeToString(), home.identity, [recipient.identity.public], secrets.token_bytes)


def test_somebody_elses_fork_is_not_taken_in(home: Home, phone: Home) -> None:
    _, fork_id = life_of(home, "a")
    with pytest.raises(WrongKey, match="sealed to i_"):
        received(phone, carried_out(home, fork_id))
    with pytest.raises(VerificationError, match="neither the owner nor a device"):
        received(phone, sealed_to(phone, home, fork_id))
    assert phone.forks() == []


def test_once_a_new_root_goes_on_the_old_one_makes_no_bundle(home: Home) -> None:
    _, fork_id = life_of(home, "a")
    go_on_as(home.sealed(fork_id), Identity(RootKey(b"n" * 32)).public, now_ms())
    with pytest.raises(VerificationError, match="not a member"):
        carried_out(home, fork_id)


def test_after_a_rotation_the_new_root_takes_it_elsewhere_and_the_old_one_does_not(
    home: Home, there: Home, tmp_path: Path
) -> None:
    _, fork_id = life_of(home, "a")
    arrive(there, carried_out(home, fork_id))
    rotate(home.root, nobody_to_ask, nobody_to_ask)
    with pytest.raises(VaultError, match="rotated meanwhile"):
        take_in(home, received(home, carried_out(there, fork_id)))
    with Home.open(home.root) as after:
        append(opened(after, fork_id), turn("b"))
        data = carried_out(after, fork_id)
        with pytest.raises(WrongKey, match="sealed to i_"):
            received(there, data)
        write_root_key(tmp_path / "new" / "root.key", load_root_key(after.keys.key_path))
    with Home.open(tmp_path / "new") as new:
        assert arrive(new, data).added == 3
        assert [record.input_text for record, _ in opened(new, fork_id).records()] == ["a", "", "b"]


def test_no_bundle_is_made_of_nothing(home: Home) -> None:
    fork = tiny_fork(home)
    with pytest.raises(InputError, match="no record yet"):
        carried_out(home, fork.row.fork_id)


def test_records_from_before_signatures_travel_once_the_fork_has_an_owner(home: Home, phone: Home) -> None:
    fork = tiny_fork(home)
    fork_id = fork.row.fork_id
    key = fork_key(load_root_key(home.keys.key_path), fork_id)
    data = seal_record(interaction(1, NO_DIGEST, key=key, owner=fork.row.owner, update=b"", prior_update=b""), key)
    row = AppendRow(1, (1).to_bytes(16, "big"), record_digest(data), data)
    home.store.append(fork_id, row, expected_head=NO_DIGEST)
    with pytest.raises(VerificationError, match="nobody owns it"):
        carried_out(home, fork_id)
    fork.reload()
    append(fork, turn("signed"))
    let_in(home.sealed(fork_id), phone.identity.public, "phone", now_ms())
    arrive(phone, carried_out(home, fork_id, [phone.identity.public]))
    fork.reload()
    assert opened(phone, fork_id).folded.same_as(fork.folded)


def test_the_newest_published_head_goes_along_and_is_shown_to_be_in_the_log(home: Home, there: Home) -> None:
    life, fork_id = life_of(home, "a")
    assert received(there, carried_out(home, fork_id)).published == ()
    publish(home)
    life.learn("b")
    publish(home)
    life.learn("c")
    found = received(there, carried_out(home, fork_id))
    assert [head.size for head in found.published] == [2]
    assert found.log == LogWriter.open(home.store).log
    assert found.head.size == 3


def test_no_head_is_signed_on_top_of_an_older_copy(home: Home, tmp_path: Path) -> None:
    life, fork_id = life_of(home, "a")
    old = [replace(stored) for stored in home.store.records(fork_id)]
    life.learn("b")
    publish(home)
    (row,) = LogRows(home.store).publications(fork_id, LogWriter.open(home.store).log.origin)
    with home.store.transaction() as db:
        db.execute("DELETE FROM record WHERE seq = 2")
        db.execute("UPDATE head SET seq = 1, digest = ?", (old[0].digest,))
    assert row.size == 2
    with pytest.raises(VerificationError, match="2 records, and 1 are here"):
        carried_out(home, fork_id)


def test_a_fork_that_was_erased_stays_erased(home: Home, there: Home) -> None:
    _, fork_id = life_of(home, "a", "b")
    data = carried_out(home, fork_id)
    arrive(there, data)
    erase(there.store, fork_id, now_ms())
    with pytest.raises(InputError, match="stays erased"):
        arrive(there, data)
    with pytest.raises(InputError):  # nor by somebody who erases at the same moment
        there.store.import_fork(home.store.fork(fork_id), rows_of(home, fork_id), expected_head=NO_DIGEST)
    assert there.forks() == []
    assert bytes_of(home, fork_id), "elsewhere it lives on"


def rows_of(home: Home, fork_id: ForkId) -> list[AppendRow]:
    return [AppendRow(each.seq, each.op_id, each.digest, each.data) for each in home.store.records(fork_id)]


def test_a_lost_store_comes_back_by_its_newest_bundle_and_by_an_older_one_only_on_demand(
    home: Home, there: Home
) -> None:
    life, fork_id = life_of(home, "a")
    old = carried_out(home, fork_id)
    life.learn("b")
    new = carried_out(home, fork_id)
    arrive(there, new)
    there.store.close()
    for file in there.root.glob("ipse.db*"):
        file.unlink()
    with Home.open(there.root) as empty:
        with pytest.raises(StoreRolledBack, match="once had more") as caught:
            arrive(empty, old)
        assert empty.forks() == []
        (there.root / "seen" / fork_id).rename(there.root / "seen-before")
        assert str(there.root / "seen" / fork_id) in caught.value.hint
        assert arrive(empty, old) == Arrival(new=True, added=1, ahead=0)
        assert arrive(empty, new) == Arrival(new=False, added=1, ahead=0)


def test_an_older_copy_of_the_store_is_made_whole_by_a_bundle(home: Home, there: Home) -> None:
    life, fork_id = life_of(home, "a")
    arrive(there, carried_out(home, fork_id))
    there.store.close()
    copy = (there.root / "ipse.db").read_bytes()
    life.learn("b")
    with Home.open(there.root) as later:
        arrive(later, carried_out(home, fork_id))
    (there.root / "ipse.db").write_bytes(copy)
    with Home.open(there.root) as put_back:
        with pytest.raises(StoreRolledBack):
            append(opened(put_back, fork_id), turn("another b"))
        assert arrive(put_back, carried_out(home, fork_id)) == Arrival(new=False, added=1, ahead=0)
        append(opened(put_back, fork_id), turn("c"))


def test_a_fork_that_is_here_keeps_its_base_and_its_owner(home: Home, there: Home) -> None:
    _, fork_id = life_of(home, "a")
    arrive(there, carried_out(home, fork_id))
    with there.store.transaction() as db:
        db.execute("UPDATE fork SET layout_digest = ?", (bytes(32),))
    with pytest.raises(VerificationError, match="another layout"):
        arrive(there, carried_out(home, fork_id))


def test_in_a_folder_of_another_root_a_fork_that_is_here_is_left_alone(home: Home, phone: Home) -> None:
    _, fork_id = life_of(home, "a")
    let_in(home.sealed(fork_id), phone.identity.public, "phone", now_ms())
    data = carried_out(home, fork_id, [phone.identity.public])
    phone.store.create_fork(home.store.fork(fork_id))
    with pytest.raises(WrongKey):
        arrive(phone, data)
    assert bytes_of(phone, fork_id) == []


def test_of_two_that_take_in_the_same_bundle_both_are_content(home: Home, there: Home) -> None:
    _, fork_id = life_of(home, "a", "b")
    bundle = received(there, carried_out(home, fork_id))
    with Store.open(there.root) as other:
        second = Home(there.root, other, there._root_key)
        forks = second.store.forks
        raced: list[Arrival] = []

        def slow() -> list[object]:
            found = forks()
            if not raced:
                raced.append(take_in(there, bundle))
            return list(found)

        second.store.forks = slow  # type: ignore[method-assign, assignment]  # the other one is faster here
        assert take_in(second, bundle) == Arrival(new=False, added=0, ahead=0)
    assert raced == [Arrival(new=True, added=2, ahead=0)]


def test_a_record_that_does_not_open_is_found_before_anything_is_written(
    home: Home, there: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    life, fork_id = life_of(home, "a")
    lying = fork_key(RootKey(bytes(32)), fork_id)
    with monkeypatch.context() as patch:  # the owner's own program seals it under a key that it wraps for nobody
        patch.setattr(
            "ipse.forks.openfork.seal_record",
            lambda record, key, signer, brought=None: seal_record(
                record, replace(lying, number=key.number), signer, brought=brought
            ),
        )
        append(life.fork, turn("b"))
    with pytest.raises(VerificationError, match=r"Record 2 .* altered, or the key"):
        received(there, carried_out(home, fork_id))
    assert there.forks() == []
