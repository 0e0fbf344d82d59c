# SPDX-License-Identifier: Apache-2.0
"""The schema: the proposal's fields are the proposal's."""

from __future__ import annotations

from ipse.wire import record_pb2

PROPOSED = {
    "user_id": 1,
    "fork_id": 2,
    "interaction_number": 3,
    "encrypted_input": 4,
    "encrypted_output": 5,
    "encrypted_gradient": 6,
    "learning_rate": 7,
    "feedback": 8,
    "metrics": 9,
    "prior_update": 10,
    "zkp_proof": 11,
    "signature": 12,
}


def test_fields_1_to_12_are_the_proposals_and_ours_start_at_100() -> None:
    fields = {field.name: field.number for field in record_pb2.UserTrainingRecord.DESCRIPTOR.fields}
    assert {name: number for name, number in fields.items() if number < 100} == PROPOSED


def test_a_released_field_never_changes_its_number() -> None:
    fields = {field.name: field.number for field in record_pb2.UserTrainingRecord.DESCRIPTOR.fields}
    assert {name: number for name, number in fields.items() if number >= 100} == {
        "op_id": 100,
        "previous_digest": 101,
        "kind": 102,
        "timestamp_ms": 103,
        "target_op_id": 104,
        "key_salt": 105,
        "record_mac": 106,
        "data_key_record": 107,
        "data_key": 108,
        "signer": 109,
        "identity": 110,
        "certificate": 111,
        "member": 112,
    }
    assert record_pb2.RecordKind.items() == [
        ("RECORD_KIND_UNSPECIFIED", 0),
        ("RECORD_KIND_INTERACTION", 1),
        ("RECORD_KIND_FEEDBACK", 2),
        ("RECORD_KIND_UNDO", 3),
        ("RECORD_KIND_ROLLBACK", 4),
        ("RECORD_KIND_IMPORT", 5),
        ("RECORD_KIND_DEVICE", 6),
        ("RECORD_KIND_REVOKE", 7),
        ("RECORD_KIND_ROTATE", 8),
    ]
