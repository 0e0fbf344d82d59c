# SPDX-License-Identifier: Apache-2.0
"""The fold law: a fork is the sum of its records, minus those that were undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import StateOverflow, VerificationError
from ipse.forks.history import fold, folds, read_snapshot, write_snapshot
from ipse.ledger.record import Record, RecordKind
from ipse.model.layout import StateLayout, build_layout
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import ForkId, OwnerId
from ipse.wire.update import encode_update, quantise

LAYOUT: StateLayout = build_layout(
    "00" * 8, "b", 2, (("layers.0.qkv", "attention"), ("layers.0.down", "ffn")), hidden_size=5, layers=1
)


def record(seq: int, *, update: bytes = b"", prior: bytes = b"", undoes: bytes = b"") -> Record:
    return Record(
        fork_id=ForkId("f_" + "a" * 26),
        owner=OwnerId("ada"),
        seq=seq,
        op_id=seq.to_bytes(16, "big"),
        kind=RecordKind.UNDO if undoes else RecordKind.INTERACTION,
        timestamp_ms=0,
        previous_digest=NO_DIGEST,
        target_op_id=undoes,
        update=update,
        prior_update=prior,
    )


def coded(rng: np.random.Generator, bits: int) -> tuple[bytes, np.ndarray]:
    values = quantise(rng.standard_normal(LAYOUT.size) * 1e5, LAYOUT.groups, bits)
    return encode_update(values, LAYOUT.groups, bits), values


@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), data=st.data())
def test_undoing_any_record_leaves_exactly_the_fold_of_all_the_others(
    seed: int, count: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    bits = data.draw(st.lists(st.sampled_from([1, 2, 4, 8, 32]), min_size=count, max_size=count))
    made = [coded(rng, b) for b in bits]
    records = [record(i + 1, update=c, prior=c) for i, (c, _) in enumerate(made)]
    victim = data.draw(st.integers(0, count - 1))
    after = fold([(r, b"%d" % r.seq) for r in [*records, record(count + 1, undoes=records[victim].op_id)]], LAYOUT)
    rest = fold([(r, b"%d" % r.seq) for i, r in enumerate(records) if i != victim], LAYOUT)
    assert np.array_equal(after.z, rest.z)
    assert np.array_equal(after.prior, rest.prior)
    assert after.height == rest.height == count - 1
    others = [v.astype(np.int64) for i, (_, v) in enumerate(made) if i != victim]
    assert np.array_equal(after.z, sum(others, 0 * rest.z))


@given(seed=st.integers(0, 2**32), count=st.integers(0, 6))
def test_a_snapshot_is_the_fold_it_was_made_of(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    records = [record(i + 1, update=coded(rng, 4)[0]) for i in range(count)]
    undo = [record(count + 1, undoes=records[0].op_id)] if count else []
    at = fold([(r, b"%d" % r.seq) for r in [*records, *undo]], LAYOUT)
    again = read_snapshot(write_snapshot(at), LAYOUT)
    assert again.same_as(at)


@given(data=st.binary(max_size=600))
def test_any_bytes_that_are_no_snapshot_are_refused_cleanly(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_snapshot(data, LAYOUT)


def test_a_record_cannot_be_undone_twice() -> None:
    rng = np.random.default_rng(0)
    first = record(1, update=coded(rng, 1)[0])
    history = [first, record(2, undoes=first.op_id), record(3, undoes=first.op_id)]
    with pytest.raises(VerificationError, match="not in the sum"):
        fold([(r, b"%d" % r.seq) for r in history], LAYOUT)


def test_a_sum_past_int32_is_an_error_and_not_a_wrap() -> None:
    top = encode_update(np.full(LAYOUT.size, 2**31 - 1, np.int32), LAYOUT.groups, 32)
    once, twice = list(folds([(record(n, update=top), b"") for n in (1, 2)], LAYOUT))[1:]
    assert int(once.state.z.max()) == 2**31 - 1
    with pytest.raises(StateOverflow):
        _ = twice.state
