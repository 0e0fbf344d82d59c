# SPDX-License-Identifier: Apache-2.0
"""Laws of sealing and of records: open(seal(x)) = x, and anything else is a VerificationError."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipse.errors import VerificationError
from ipse.ledger.chain import check_chain
from ipse.ledger.record import Feedback, Metrics, Record, RecordKind, open_record, seal_record
from ipse.vault.seal import open_salted, open_sealed, open_snapshot, seal, seal_salted, seal_snapshot
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import OwnerId
from tests.ledger.samples import KEY

KEYS = st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=12, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
FLOATS = st.floats(width=32, allow_nan=False)
COUNTS = st.integers(0, 2**32 - 1)
METRICS = st.builds(
    Metrics,
    loss_before=FLOATS,
    loss_after=FLOATS,
    update_l2_norm=FLOATS,
    trained_tokens=COUNTS,
    generate_ms=COUNTS,
    learn_ms=COUNTS,
)
RECORDS = st.builds(
    Record,
    fork_id=st.just(KEY.fork_id),
    owner=st.sampled_from(["alice", "Zoë", "user:42"]).map(OwnerId),
    seq=st.integers(2, 2**63 - 1),
    op_id=st.binary(min_size=16, max_size=16),
    kind=st.sampled_from(list(RecordKind)),
    timestamp_ms=st.integers(0, 2**63 - 1),
    previous_digest=st.binary(min_size=32, max_size=32).filter(any),
    target_op_id=st.just(b"") | st.binary(min_size=16, max_size=16),
    input_text=TEXTS,
    output_text=TEXTS,
    update=st.binary(max_size=300),
    prior_update=st.binary(max_size=300),
    feedback=st.none() | st.builds(Feedback, rating=st.sampled_from([-1, 0, 1]), edited_output=TEXTS),
    metrics=METRICS,
    learning_rate=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(KEYS, NONCES, st.binary(max_size=300), st.binary(max_size=50))
def test_a_sealed_blob_opens_as_it_was(key: bytes, nonce: bytes, plaintext: bytes, context: bytes) -> None:
    assert (
        open_sealed(key, seal(key, plaintext, nonce=nonce, context=context), nonce=nonce, context=context) == plaintext
    )
    assert open_salted(key, "x", seal_salted(key, "x", plaintext, context=context), context=context) == plaintext


@given(st.binary(max_size=100), st.data())
def test_a_blob_with_any_flipped_bits_is_a_verification_error(plaintext: bytes, data: st.DataObject) -> None:
    blob = bytearray(seal(KEY.secret, plaintext, nonce=bytes(12), context=b"c"))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError):
        open_sealed(KEY.secret, bytes(blob), nonce=bytes(12), context=b"c")
    snapshot = bytearray(seal_snapshot(KEY, 3, plaintext))
    snapshot[data.draw(st.integers(0, len(snapshot) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError):
        open_snapshot(KEY, 3, bytes(snapshot))


@given(st.binary(max_size=200))
def test_opening_anything_is_a_verification_error(data: bytes) -> None:
    with pytest.raises(VerificationError):
        open_sealed(KEY.secret, data, nonce=bytes(12), context=b"")
    with pytest.raises(VerificationError):
        open_snapshot(KEY, 1, data)


@given(RECORDS)
def test_a_record_opens_as_it_was_sealed(record: Record) -> None:
    data = seal_record(record, KEY)
    assert open_record(data, KEY, expect_seq=record.seq, expect_previous=record.previous_digest) == record


@settings(max_examples=300)
@given(RECORDS, st.data())
def test_a_record_with_any_altered_byte_is_a_verification_error(record: Record, data: st.DataObject) -> None:
    bad = bytearray(seal_record(record, KEY))
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError, match=f"Record {record.seq} of fork"):
        open_record(bytes(bad), KEY, expect_seq=record.seq, expect_previous=record.previous_digest)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_record_are_a_verification_error(data: bytes) -> None:
    mac_field = b"\xd2\x06\x20" + bytes(32)
    for record in (data, data + mac_field):
        with pytest.raises(VerificationError):
            open_record(record, KEY, expect_seq=1, expect_previous=NO_DIGEST)
        with pytest.raises(VerificationError):
            check_chain([record], KEY.fork_id)
