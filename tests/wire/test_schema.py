# SPDX-License-Identifier: Apache-2.0
"""The schemas: the proposal's fields are the proposal's, and a number stays what it is."""

from __future__ import annotations

from google.protobuf.message import Message

from ipse.wire import bundle_pb2, record_pb2

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


def numbers(message: type[Message]) -> dict[str, int]:
    return {field.name: field.number for field in message.DESCRIPTOR.fields}


def test_a_bundle_is_written_as_it_was_first() -> None:
    assert numbers(bundle_pb2.BundleEnvelope) == {"suite": 1, "recipients": 2, "body": 3}
    assert numbers(bundle_pb2.BundleRecipient) == {"identity": 1, "wrapped_key": 2}
    assert numbers(bundle_pb2.BundleBody) == {"content": 1, "signature": 2}
    assert numbers(bundle_pb2.Bundle) == {
        "manifest": 1,
        "records": 2,
        "head": 3,
        "published": 4,
        "log": 5,
        "exporter": 6,
    }
    assert numbers(bundle_pb2.BundleManifest) == {
        "fork_id": 1,
        "owner": 2,
        "base_id": 3,
        "base_name": 4,
        "layout_digest": 5,
        "created_ms": 6,
        "exported_ms": 7,
    }
    assert numbers(bundle_pb2.PublishedHead) == {"size": 1, "blinding": 2, "proof": 3}
    assert numbers(bundle_pb2.PublicLogKeys) == {"origin": 1, "keys": 2}
