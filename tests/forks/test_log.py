# SPDX-License-Identifier: Apache-2.0
"""The log of a fork says from outside what the fold says from inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.errors import InputError, VerificationError
from ipse.forks.home import Home, find_fork
from ipse.forks.log import read_log
from ipse.ledger.record import RecordKind
from ipse.store.store import Store
from ipse.wire.ids import new_fork_id, new_op_id
from tests.forks.tiny import Life, forged


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


def lived(home: Home) -> Life:
    life = Life(home)
    life.learn("a", "b", "c")
    life.undo(2)
    life.rollback(1)
    life.undo(5)
    life.learn("d")
    life.rollback(6)
    life.undo(1)
    return life


def test_what_counts_by_the_log_is_what_counts_in_the_fold(home: Home) -> None:
    life = lived(home)
    log = read_log(home.store, life.fork.row.fork_id)
    assert {e.record.seq: e.taken_out_by for e in log if e.taken_out_by} == life.now.out
    assert {e.taken_out_by for e in log if e.rolled_back} <= life.now.rollbacks
    entries = life.recall.entries(life.now)
    assert [(e.undone, e.rolled_back, e.target_seq, e.kind) for e in entries] == [
        (bool(e.taken_out_by), e.rolled_back, e.target_seq, e.record.kind.name.lower()) for e in log
    ]


def test_a_log_is_read_without_the_key(home: Home) -> None:
    life = lived(home)
    home.keys.key_path.unlink()
    with Store.open(home.root, create=False) as store:
        info = find_fork(store, "ada")
        assert info is not None
        assert len(read_log(store, info.fork_id)) == life.fork.folded.head.seq


@pytest.mark.parametrize("kind", [RecordKind.UNDO, RecordKind.ROLLBACK])
def test_a_record_that_takes_out_what_is_not_there_is_named(home: Home, kind: RecordKind) -> None:
    life = Life(home)
    life.learn("a")
    forged(life, kind, new_op_id())
    with pytest.raises(VerificationError, match="names an operation that is not before it") as refused:
        read_log(home.store, life.fork.row.fork_id)
    assert refused.value.message.startswith(f"Record 2 of fork {life.fork.row.fork_id}")


def test_a_fork_that_is_not_there_has_no_log(home: Home) -> None:
    with pytest.raises(InputError):
        read_log(home.store, new_fork_id())
