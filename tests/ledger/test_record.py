# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening one record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ipse.errors import InputError, VerificationError
from ipse.ledger.record import Feedback, Metrics, Record, RecordKind, open_record, record_digest, seal_record
from ipse.vault.keys import ForkKey, RootKey, fork_key
from ipse.wire import record_pb2 as pb
from ipse.wire.digest import NO_DIGEST, sha256
from ipse.wire.ids import OwnerId, new_fork_id
from tests.ledger.samples import KEY, chain, feedback, interaction


def reopen(data: bytes, seq: int = 1, previous: bytes = NO_DIGEST, key: ForkKey = KEY) -> Record:
    return open_record(data, key, expect_seq=seq, expect_previous=previous)


def test_an_ordinary_record_opens_as_it_was_sealed() -> None:
    assert reopen(seal_record(interaction(), KEY)) == interaction()


def test_every_kind_and_every_absent_part_opens_as_it_was_sealed() -> None:
    bare = interaction(input_text="", output_text="", update=b"", prior_update=b"", metrics=Metrics(), learning_rate=0)
    records = [
        bare,
        replace(bare, feedback=Feedback()),
        replace(bare, timestamp_ms=0, learning_rate=-0.5),
        replace(bare, input_text="é" * 50_000, output_text="\0"),
        *[interaction(kind=kind, target_op_id=bytes(range(16))) for kind in RecordKind],
    ]
    for record in records:
        assert reopen(seal_record(record, KEY)) == record
    later = feedback(2, bytes(range(32)))
    assert reopen(seal_record(later, KEY), 2, bytes(range(32))) == later


def test_every_flipped_bit_is_a_verification_error_that_names_fork_and_record() -> None:
    data = seal_record(interaction(prior_update=b""), KEY)
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 1 << at % 8
        with pytest.raises(VerificationError, match=f"Record 1 of fork {KEY.fork_id}"):
            reopen(bytes(bad))


def test_every_cut_and_every_addition_is_a_verification_error() -> None:
    data = seal_record(interaction(prior_update=b"", update=b""), KEY)
    for size in range(len(data)):
        with pytest.raises(VerificationError):
            reopen(data[:size])
    for more in (b"\0", b"\x0a\x00", data, data[-35:]):
        with pytest.raises(VerificationError):
            reopen(data + more)


def test_another_forks_key_and_another_roots_key_open_nothing() -> None:
    data = seal_record(interaction(), KEY)
    for key in (
        fork_key(RootKey(bytes(range(32))), new_fork_id()),
        fork_key(RootKey(bytes(32)), KEY.fork_id),
        ForkKey(new_fork_id(), KEY.secret),
    ):
        with pytest.raises(VerificationError):
            reopen(data, key=key)


def test_a_record_in_another_place_is_refused() -> None:
    first, second, third = chain(3)
    assert reopen(second, 2, record_digest(first)).seq == 2
    for data, seq, previous in (
        (second, 1, NO_DIGEST),
        (second, 3, record_digest(first)),
        (second, 2, NO_DIGEST),
        (third, 3, record_digest(first)),
    ):
        with pytest.raises(VerificationError, match=f"Record {seq} of"):
            reopen(data, seq, previous)


def test_no_two_sealings_share_a_key_not_even_of_the_same_record() -> None:
    """A retry must not use a key and nonce twice, wherever the first try's bytes have been."""
    op_id = bytes(range(16))
    records = [interaction(2, b"a" * 32, op_id=op_id)] * 2
    records += [interaction(2, b"b" * 32, op_id=op_id), interaction(3, b"a" * 32, op_id=op_id)]
    for sealed in (
        [seal_record(record, KEY) for record in records],
        [seal_record(record, KEY, rng=bytes) for record in records[1:]],  # the place alone is enough
    ):
        assert len({pb.UserTrainingRecord.FromString(data).encrypted_input for data in sealed}) == len(sealed)


def test_texts_updates_and_judgements_are_nowhere_in_the_clear() -> None:
    record = feedback(2, b"p" * 32, update=b"\x20" + b"secret" * 50)
    data = seal_record(replace(record, input_text="secret", output_text="secret"), KEY)
    assert b"secret" not in data
    assert b"Shorter" not in data


def test_proof_and_signature_are_empty_and_a_record_that_has_one_is_refused() -> None:
    message = pb.UserTrainingRecord.FromString(seal_record(interaction(), KEY))
    assert message.zkp_proof == b""
    assert message.signature == b""
    for name in ("zkp_proof", "signature"):
        with pytest.raises(VerificationError):
            reopen(_remade(**{name: b"x"}), key=KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0},
        {"kind": 99},
        {"target_op_id": b"short"},
        {"op_id": b"short"},
        {"key_salt": b"another!"},
        {"interaction_number": 2},
        {"previous_digest": b""},
        {"fork_id": "f_" + "b" * 26},
        {"encrypted_input": b"too short"},
        {"encrypted_gradient": bytes(40)},
        {"feedback": {"sealed": b""}},
        {"metrics": {"sealed": bytes(20)}},
        {"prior_update": {"sealed": b"x"}},
    ],
)
def test_an_authenticated_record_of_another_form_is_still_refused(changes: dict[str, object]) -> None:
    """The key's holder could write anything; opening must not fall over it."""
    with pytest.raises(VerificationError):
        reopen(_remade(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"fork_id": "f_" + "b" * 26},
        {"owner": OwnerId("")},
        {"seq": 0},
        {"seq": 2**63},
        {"seq": 2},
        {"op_id": b""},
        {"op_id": bytes(17)},
        {"target_op_id": bytes(15)},
        {"previous_digest": b""},
        {"previous_digest": bytes(range(32))},
        {"timestamp_ms": -1},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"input_text": "\ud800"},
        {"feedback": Feedback(edited_output="\ud800")},
        {"update": bytes(8 * 1024 * 1024 + 1)},
    ],
)
def test_what_could_not_be_opened_again_is_not_sealed(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        seal_record(interaction(**changes), KEY)


def test_a_rating_is_one_of_three() -> None:
    with pytest.raises(InputError):
        Feedback(rating=2)


def test_numbers_of_a_record_are_those_that_float32_can_hold() -> None:
    assert interaction(learning_rate=0.1).learning_rate == 0.10000000149011612
    assert Metrics(loss_before=1e300, learn_ms=2**40).learn_ms == 2**32 - 1


def test_the_form_of_a_record_never_changes() -> None:
    """Frozen: if this fails, no history made before can be opened. zstd may differ by version, so none here."""
    record = interaction(
        input_text="Hi", output_text="Ho", update=bytes.fromhex("01010005"), prior_update=b"", metrics=Metrics()
    )
    data = seal_record(record, KEY, rng=bytes)
    assert sha256(data).hex() == "3b901f6def4d98bf6ae01a1456a9bca28d51a7b0bc32ede1d8dd7135710715c7"


def _remade(**changes: object) -> bytes:
    """A record with other fields, sealed again as only the key's holder can."""
    from ipse.ledger import record as module
    from ipse.ledger.envelope import MAC_FIELD

    data = seal_record(interaction(), KEY)
    message = pb.UserTrainingRecord.FromString(data)
    message.ClearField("record_mac")
    for name, value in changes.items():
        if isinstance(value, dict):
            getattr(message, name).sealed = value["sealed"]
            getattr(message, name).SetInParent()
        else:
            setattr(message, name, value)
    body = message.SerializeToString(deterministic=True)
    return body + MAC_FIELD + module._mac(KEY, body)
