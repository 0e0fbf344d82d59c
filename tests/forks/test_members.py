# SPDX-License-Identifier: Apache-2.0
"""Devices and new roots on real forks: what each can read and write, and that nothing is rewritten for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipse.errors import InputError, VerificationError, WrongKey
from ipse.forks.home import Home, now_ms
from ipse.forks.members import Device, access_of, devices_of, go_on_as, let_in, put_out
from ipse.forks.openfork import OpenFork, SealedHistory
from ipse.ledger.access import DAY_MS
from ipse.ledger.chain import check_chain
from ipse.ledger.record import RecordKind
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, check_value, fork_key
from tests.forks.tiny import LAYOUT, Life, append, tiny_fork, turn, unsigned

PHONE, NEXT = RootKey(b"p" * 32), RootKey(b"n" * 32)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path) as opened:
        yield opened


def seen_by(home: Home, life: Life, root: RootKey) -> SealedHistory:
    """The same fork, opened with another root than this home's."""
    key = fork_key(root, life.fork.row.fork_id)
    return SealedHistory(home.store, replace(life.fork.row, key_check=check_value(key)), Identity(root), key)


def texts(history: SealedHistory) -> list[str]:
    return [record.input_text for record, _ in history.records()]


def bytes_of(home: Home, life: Life) -> list[bytes]:
    return [stored.data for stored in home.store.records(life.fork.row.fork_id)]


def test_a_device_reads_all_that_was_before_it_and_writes_on(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    before = bytes_of(home, life)
    with pytest.raises(WrongKey, match="not wrapped for"):
        texts(seen_by(home, life, PHONE))
    let_in(home.sealed(life.fork.row.fork_id), Identity(PHONE).public, "my phone", 5)
    assert bytes_of(home, life)[:2] == before
    phone = OpenFork(seen_by(home, life, PHONE), LAYOUT)
    append(phone, turn("c"))
    assert texts(home.sealed(life.fork.row.fork_id)) == ["a", "b", "my phone", "c"]
    assert tiny_fork(home).folded.same_as(phone.folded)
    assert devices_of(home.sealed(life.fork.row.fork_id)) == [Device(Identity(PHONE).public, "my phone", 3, 5)]


def test_a_device_that_was_put_out_neither_writes_nor_reads_what_comes_later(home: Home) -> None:
    life = Life(home)
    life.learn("a")
    owners = home.sealed(life.fork.row.fork_id)
    let_in(owners, Identity(PHONE).public, "phone", now_ms())
    phone = OpenFork(seen_by(home, life, PHONE), LAYOUT)
    put_out(owners, Identity(PHONE).public.short_id, now_ms())
    append(tiny_fork(home), turn("secret"))
    with pytest.raises(WrongKey):
        texts(seen_by(home, life, PHONE))
    with pytest.raises(WrongKey):
        phone.reload()
    assert devices_of(owners) == []
    with pytest.raises(InputError, match="No device"):
        put_out(owners, Identity(PHONE).public.short_id, now_ms())


def test_a_new_root_goes_on_and_the_old_one_is_done(home: Home) -> None:
    life = Life(home)
    life.learn("a")
    before = bytes_of(home, life)
    old = home.sealed(life.fork.row.fork_id)
    go_on_as(old, Identity(NEXT).public, now_ms())
    new = OpenFork(seen_by(home, life, NEXT), LAYOUT)
    append(new, turn("b"))
    assert bytes_of(home, life)[:1] == before
    assert [record.input_text for record, _ in new.records()] == ["a", "", "b"]
    with pytest.raises(WrongKey):
        append(OpenFork(home.sealed(life.fork.row.fork_id), LAYOUT), turn("c"))
    records = bytes_of(home, life)
    assert check_chain(records, life.fork.row.fork_id)[1].owner == Identity(NEXT).public


def test_only_the_owner_lets_in(home: Home) -> None:
    life = Life(home)
    with pytest.raises(InputError, match="nobody owns it"):
        let_in(home.sealed(life.fork.row.fork_id), Identity(PHONE).public, "", now_ms())
    life.learn("a")
    let_in(home.sealed(life.fork.row.fork_id), Identity(PHONE).public, "", now_ms())
    with pytest.raises(VerificationError, match="not signed by the owner"):
        let_in(seen_by(home, life, PHONE), Identity(NEXT).public, "", now_ms())


def test_a_rollback_and_undo_do_not_touch_who_is_a_member(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b")
    let_in(home.sealed(life.fork.row.fork_id), Identity(PHONE).public, "phone", now_ms())
    life.fork.reload()
    life.recall.refresh()
    with pytest.raises(InputError, match="nothing to undo"):
        life.undo(3)
    life.rollback(1)
    assert Identity(PHONE).public in life.fork.access.members
    assert [r.input_text for r, _ in OpenFork(seen_by(home, life, PHONE), LAYOUT).records()] == ["a", "b", "phone", ""]


def test_each_day_has_its_data_key_and_a_snapshot_opens_under_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipse.forks.openfork.SNAPSHOT_EVERY", 2)
    life = Life(home)
    for day in range(5):
        append(life.fork, replace(turn(str(day)), timestamp_ms=day * DAY_MS))
    assert life.fork.access.key_number == 5
    again = tiny_fork(home)
    assert again.folded.same_as(life.fork.folded)
    assert again.access == life.fork.access == access_of(home.sealed(life.fork.row.fork_id))[1]
    found = again.snapshot()
    assert found is not None
    assert found[0].head.seq == 4


def test_the_record_that_lets_in_says_so_in_the_history(home: Home) -> None:
    life = Life(home)
    life.learn("a")
    record = let_in(home.sealed(life.fork.row.fork_id), Identity(PHONE).public, "phone", now_ms())
    assert (record.kind, record.seq, record.signer) == (RecordKind.DEVICE, 2, home.identity.public.short_id)


def test_a_history_of_before_signatures_is_signed_first_and_goes_on_as_it_was(home: Home) -> None:
    life = Life(home)
    unsigned(life, "a", "b")
    was = tiny_fork(home).folded
    let_in(home.sealed(life.fork.row.fork_id), Identity(PHONE).public, "phone", now_ms())
    now = tiny_fork(home)
    assert (now.folded.z.tobytes(), now.folded.height, list(now.folded.out)) == (was.z.tobytes(), was.height, [])
    assert now.access.members == (home.identity.public, Identity(PHONE).public)
    assert texts(seen_by(home, life, PHONE)) == ["a", "b", "", "phone"]
