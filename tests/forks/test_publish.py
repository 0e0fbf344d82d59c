# SPDX-License-Identifier: Apache-2.0
"""Heads of forks in the public log: what is signed, what is seen of it, and what a stranger can check."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.errors import VerificationError
from ipse.forks.home import Home, now_ms
from ipse.forks.members import let_in
from ipse.forks.publish import publish
from ipse.ledger.forkhead import blinded, blinding_value, head_of, open_head, sign_head
from ipse.ledger.log import LogWriter
from ipse.ledger.record import record_digest, seal_record
from ipse.ledger.tree import leaf_hash
from ipse.ledger.treehead import TreeHead
from ipse.store.logrows import LogRows
from ipse.store.rows import AppendRow
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, fork_key, load_root_key
from ipse.wire.digest import NO_DIGEST
from tests.forks.tiny import Life, append, tiny_fork, turn
from tests.ledger.samples import interaction


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path) as opened:
        yield opened


def test_a_published_head_is_the_owners_and_is_in_the_log_and_says_nothing_there(home: Home) -> None:
    life = Life(home)
    life.learn("a", "b", "c")
    fork_id = life.fork.row.fork_id
    done = publish(home)
    writer = LogWriter.open(home.store)
    assert [(each.fork_id, each.size, each.entry) for each in done.heads] == [(fork_id, 3, 0)]
    (row,) = LogRows(home.store).publications(fork_id, writer.log.origin)
    head = open_head(row.note, fork_id, [home.identity.public])
    assert head == head_of(fork_id, home.store.digests(fork_id))
    value = blinding_value(home.sealed(fork_id).keys.first(), 3)
    proof = writer.public.prove(row.entry)
    checkpoint = proof.verify(leaf_hash(blinded(head, value)), writer.log)
    assert checkpoint.head.size == 1
    with pytest.raises(VerificationError):
        proof.verify(leaf_hash(blinded(head, bytes(32))), writer.log)
    with pytest.raises(VerificationError, match="No known key"):
        open_head(row.note, fork_id, [Identity(RootKey(bytes(32))).public])


def test_only_a_fork_that_grew_gets_an_entry(home: Home) -> None:
    ada, ben = Life(home), tiny_fork(home, "ben")
    assert publish(home).heads == (), "no record, no head"
    ada.learn("a")
    append(ben, turn("x"))
    assert [each.size for each in publish(home).heads] == [1, 1]
    ada.learn("b", "c")
    assert [(each.size, each.entry) for each in publish(home).heads] == [(3, 2)]
    again = publish(home)
    assert again.heads == ()
    assert again.checkpoint == LogWriter.open(home.store).public.checkpoint()


def test_nothing_is_signed_over_records_that_are_not_those_of_before(home: Home, tmp_path: Path) -> None:
    life = Life(home)
    life.learn("a", "b")
    publish(home)
    life.learn("c")
    with sqlite3.connect(tmp_path / "ipse.db") as db:
        db.execute("UPDATE record SET digest = ? WHERE seq = 1", (b"x" * 32,))
    with pytest.raises(VerificationError, match="not those that the head was signed over"):
        publish(home)


def test_nothing_is_signed_over_a_new_record_that_does_not_follow(home: Home, tmp_path: Path) -> None:
    life = Life(home)
    life.learn("a", "b")
    with sqlite3.connect(tmp_path / "ipse.db") as db:
        (first,) = db.execute("SELECT data FROM record WHERE seq = 1").fetchone()
        db.execute("UPDATE record SET data = ?, digest = ? WHERE seq = 2", (first, record_digest(first)))
    with pytest.raises(VerificationError, match="Record 2"):
        publish(home)


def test_a_fork_without_data_keys_waits_for_its_first_signed_record(home: Home) -> None:
    fork = tiny_fork(home)
    key = fork_key(load_root_key(home.keys.key_path), fork.row.fork_id)
    data = seal_record(interaction(1, NO_DIGEST, key=key, owner=fork.row.owner, update=b"", prior_update=b""), key)
    row = AppendRow(1, (1).to_bytes(16, "big"), record_digest(data), data)
    home.store.append(fork.row.fork_id, row, expected_head=NO_DIGEST)
    assert publish(home).heads == ()
    fork.reload()
    append(fork, turn("now it is signed"))
    assert [each.size for each in publish(home).heads] == [2]
    assert [record.signer for record, _ in tiny_fork(home).records()] == [b"", home.identity.public.short_id]


def test_heads_say_the_same_after_a_device_was_let_in(home: Home) -> None:
    life = Life(home)
    life.learn("a")
    publish(home)
    let_in(home.sealed(life.fork.row.fork_id), Identity(RootKey(bytes(32))).public, "phone", now_ms())
    assert [each.size for each in publish(home).heads] == [2]


def test_somebody_who_publishes_at_the_same_time_is_no_trouble(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(home)
    life.learn("a")
    once = iter([True])

    def slow(head: TreeHead, member: Identity) -> bytes:
        if next(once, False):
            LogWriter.open(home.store).append([bytes(32)])
        return sign_head(head, member)

    monkeypatch.setattr("ipse.forks.publish.sign_head", slow)
    assert [(each.size, each.entry) for each in publish(home).heads] == [(1, 1)]
