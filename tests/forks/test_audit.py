# SPDX-License-Identifier: Apache-2.0
"""The audit of a home: it looks at what grows meanwhile, and says how far it has come. Damage: tests/cli."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ipse.errors import InputError, VerificationError
from ipse.forks.audit import audit_fork, audit_log, home_log
from ipse.forks.home import Home
from ipse.forks.prove import prove_record
from ipse.forks.publish import publish
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.record import record_digest, seal_record
from ipse.store.rows import AppendRow
from ipse.vault.keys import fork_key, load_root_key
from ipse.wire.digest import NO_DIGEST
from tests.forks.tiny import append, tiny_fork, turn
from tests.ledger.samples import interaction

ROUNDS = 12


def test_a_home_that_grows_meanwhile_is_whole_at_every_look(tmp_path: Path) -> None:
    with Home.open(tmp_path) as home:
        fork_id = tiny_fork(home).row.fork_id
        append(tiny_fork(home), turn("first"))
        publish(home)

        def grow() -> None:
            with Home.open(tmp_path) as other:
                fork = tiny_fork(other)
                for number in range(ROUNDS):
                    append(fork, turn(f"turn {number}"))
                    publish(other)

        thread = threading.Thread(target=grow)
        thread.start()
        public = PublicLog(home.store)
        log = home_log(public)
        assert log is not None
        looks = [audit_fork(home.store, fork_id, history=home.sealed(fork_id))]
        while thread.is_alive():
            audit_log(public, log)
            looks.append(audit_fork(home.store, fork_id, history=home.sealed(fork_id)))
        thread.join()
        looks.append(audit_fork(home.store, fork_id, history=home.sealed(fork_id)))
        assert prove_record(home, fork_id, 1).log_proof.index == ROUNDS
    counts = [look.records for look in looks]
    assert counts == sorted(counts)
    assert all(look.published <= look.records for look in looks)
    assert (looks[-1].records, looks[-1].published, looks[-1].heads) == (ROUNDS + 1,) * 3


def test_every_step_is_told_once_and_in_order(tmp_path: Path) -> None:
    with Home.open(tmp_path) as home:
        fork = tiny_fork(home)
        for text in "abc":
            append(fork, turn(text))
        for history, whole in ((None, 3), (home.sealed(fork.row.fork_id), 6)):
            told: list[tuple[int, int]] = []

            def tell(done: int, of: int, told: list[tuple[int, int]] = told) -> None:
                told.append((done, of))

            audit_fork(home.store, fork.row.fork_id, history=history, progress=tell)
            assert told == [(done, whole) for done in range(1, whole + 1)]


def test_records_from_before_signatures_and_an_empty_fork_are_said(tmp_path: Path) -> None:
    with Home.open(tmp_path) as home:
        fork = tiny_fork(home)
        fork_id = fork.row.fork_id
        empty = audit_fork(home.store, fork_id, history=home.sealed(fork_id))
        assert (empty.records, empty.identity, empty.opened) == (0, "", True)
        key = fork_key(load_root_key(home.keys.key_path), fork_id)
        data = seal_record(interaction(1, NO_DIGEST, key=key, owner=fork.row.owner, update=b"", prior_update=b""), key)
        row = AppendRow(1, (1).to_bytes(16, "big"), record_digest(data), data)
        home.store.append(fork_id, row, expected_head=NO_DIGEST)
        alone = audit_fork(home.store, fork_id, history=home.sealed(fork_id))
        assert (alone.records, alone.unsigned, alone.identity, alone.opened) == (1, 1, "", True)
        fork.reload()
        append(fork, turn("now it is signed"))
        publish(home)
        both = audit_fork(home.store, fork_id, history=home.sealed(fork_id))
        assert (both.records, both.unsigned, both.identity) == (2, 1, home.identity.public.name)
        assert "who wrote the first record: it is from before signatures" in both.not_checked
        assert prove_record(home, fork_id, 1).seq == 1
        with pytest.raises(InputError):
            prove_record(home, fork_id, 3)


def test_a_log_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with Home.open(tmp_path / "one") as one, Home.open(tmp_path / "two") as two:
        publish(one)
        publish(two)
        log = home_log(PublicLog(two.store))
        assert log is not None
        with pytest.raises(VerificationError):
            audit_log(PublicLog(one.store), log)
