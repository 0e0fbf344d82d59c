# SPDX-License-Identifier: Apache-2.0
"""A change made elsewhere is one record of a fork like any other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ipse.errors import InputError, StateOverflow
from ipse.forks.adopt import Adopted, adopt
from ipse.forks.home import Home
from ipse.forks.verify import verify_fork
from ipse.ledger.record import RecordKind
from ipse.model.layout import ONE
from tests.forks.tiny import LAYOUT, Life, blank, same_sum, tiny_fork, words

BIG = 2**31 - 1


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(tmp_path / "home") as opened:
        yield opened


def taken_in(life: Life, values: NDArray[np.int32], note: str = "LoRA x, 50.0% of it kept") -> Adopted:
    done = adopt(life.fork, life.recall, values, note, blank(RecordKind.IMPORT))
    life.was.append(life.fork.folded)
    return done


def change(seed: int, size: int = 10**6) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(-size, size, LAYOUT.size).astype(np.int32)


def test_an_import_adds_exactly_its_numbers_and_is_undone_exactly(home: Home) -> None:
    life = Life(home)
    life.learn("before")
    values = change(1)
    done = taken_in(life, values)
    assert (done.seq, done.height) == (2, 2)
    assert done.change == pytest.approx(float(np.linalg.norm(values / ONE)))
    assert (life.now.z == life.was[1].z + values).all()
    assert (life.now.prior == life.was[1].prior).all()  # nobody knows what it was trained on
    life.learn("after")
    life.undo(2)
    assert (life.now.z == life.was[3].z - values).all()
    life.undo(4)
    assert same_sum(life.now, life.was[3])


def test_a_rollback_takes_an_import_out_and_gives_it_back(home: Home) -> None:
    life = Life(home)
    life.learn("one")
    taken_in(life, change(2))
    life.learn("two")
    life.rollback(1)
    assert same_sum(life.now, life.was[1])
    life.rollback(2)
    assert same_sum(life.now, life.was[2])
    assert verify_fork(home.store, tiny_fork(home)).records == 5


def test_an_import_stands_in_the_history_and_in_no_memory(home: Home) -> None:
    life = Life(home)
    life.learn("one")
    taken_in(life, change(3), "LoRA poems, 12.0% of it kept")
    entry = life.recall.entries(life.now)[-1]
    assert (entry.kind, entry.input_text, entry.undone) == ("import", "LoRA poems, 12.0% of it kept", False)
    assert entry.change > 0
    assert words(life.recall) == ["one"]


def test_an_import_that_changes_nothing_or_too_much_is_not_recorded(home: Home) -> None:
    life = Life(home)
    with pytest.raises(InputError):
        taken_in(life, np.zeros(LAYOUT.size, np.int32))
    taken_in(life, np.full(LAYOUT.size, BIG, np.int32))
    with pytest.raises(StateOverflow):
        taken_in(life, np.ones(LAYOUT.size, np.int32))
    assert life.now.head.seq == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-BIG, BIG), min_size=LAYOUT.size, max_size=LAYOUT.size).filter(any))
def test_any_numbers_are_kept_to_the_bit(home: Home, numbers: list[int]) -> None:
    life = Life(home)
    before = life.fork.folded.z.copy()
    try:
        done = taken_in(life, np.array(numbers, np.int32))
    except StateOverflow:
        return
    assert (tiny_fork(home).folded.z - before).tolist() == numbers
    life.undo(done.seq)
    assert (life.now.z == before).all()


def test_the_operation_is_named_by_its_blank(home: Home) -> None:
    life = Life(home)
    named = replace(blank(RecordKind.INTERACTION), op_id=b"n" * 16)
    adopt(life.fork, life.recall, change(4), "x", named)
    assert life.fork.find(b"n" * 16).kind == RecordKind.IMPORT
