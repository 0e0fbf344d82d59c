# SPDX-License-Identifier: Apache-2.0
"""What is in the clear in a record is read without a key, and what does not fit is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.ledger.chain import check_chain
from ipse.ledger.outline import clear_fields, outline
from ipse.ledger.record import RecordKind, open_record, record_digest, seal_record
from ipse.vault.keys import fork_key
from ipse.wire import record_pb2 as pb
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import new_fork_id
from tests.ledger.samples import KEY, ROOT, chain, feedback, interaction

FORK = KEY.fork_id
SEALED = seal_record(interaction(), KEY)


def test_what_is_in_the_clear_is_what_the_opened_record_says() -> None:
    first = seal_record(interaction(), KEY)
    second = seal_record(feedback(2, record_digest(first)), KEY)
    for data, seq, previous in ((first, 1, NO_DIGEST), (second, 2, record_digest(first))):
        clear = clear_fields(data)
        opened = open_record(data, KEY, expect_seq=seq, expect_previous=previous)
        for name in ("fork_id", "owner", "seq", "op_id", "kind", "timestamp_ms", "previous_digest", "target_op_id"):
            assert getattr(clear, name) == getattr(opened, name), name
        assert clear.learning_rate == opened.learning_rate
        assert (clear.digest, clear.size) == (record_digest(data), len(data))
    assert list(clear_fields(first).sealed) == ["input", "output", "update", "metrics", "prior"]
    assert clear_fields(second).kind == RecordKind.FEEDBACK
    assert sum(clear_fields(first).sealed.values()) < len(first)


def test_the_outline_of_a_chain_ends_at_its_head() -> None:
    records = chain(5)
    seen = list(outline(records, FORK))
    assert [r.seq for r in seen] == [1, 2, 3, 4, 5]
    assert (seen[-1].seq, seen[-1].digest) == (check_chain(records, FORK)[0].seq, check_chain(records, FORK)[0].digest)


def test_the_outline_names_the_record_that_the_check_of_a_chain_names() -> None:
    a, b, c, d = chain(4)
    foreign = chain(1, fork_key(ROOT, new_fork_id()))[0]
    altered = bytearray(b)
    altered[-1] ^= 1  # its MAC: without a key only the chain can tell
    for records in (
        [b, c, d],
        [a, c, d],
        [a, b, b, c],
        [a, c, b, d],
        [a, b, a],
        [foreign, b],
        [a, b, b""],
        [a, b, b"nonsense" * 10],
        [a, bytes(altered), c],
        [a, b[:-1], c],
    ):
        with pytest.raises(VerificationError) as ours:
            list(outline(records, FORK))
        with pytest.raises(VerificationError) as theirs:
            check_chain(records, FORK)
        assert ours.value.message.split(":")[0] == theirs.value.message.split(":")[0]


@pytest.mark.parametrize(
    "changes", [{"kind": 99}, {"kind": 0}, {"op_id": b"short"}, {"target_op_id": b"short"}, {"record_mac": b""}]
)
def test_a_record_of_another_form_is_refused(changes: dict[str, object]) -> None:
    message = pb.UserTrainingRecord.FromString(SEALED)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(VerificationError, match="Record 1 of fork"):
        list(outline([message.SerializeToString(deterministic=True)], FORK))


@given(where=st.integers(0, len(SEALED) - 1), flip=st.integers(1, 255), cut=st.integers(0, 40))
def test_damaged_bytes_are_refused_or_read_and_nothing_else(where: int, flip: int, cut: int) -> None:
    data = bytearray(SEALED)
    data[where] ^= flip
    try:
        clear = clear_fields(bytes(data[: len(data) - cut]))
    except VerificationError:
        return
    assert clear.digest != record_digest(SEALED)
