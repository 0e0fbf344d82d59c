# SPDX-License-Identifier: Apache-2.0
"""What a record costs. The proposal budgets 1 MB a month for history (R61): 1,111 bytes for each of 900 interactions.

An ordinary interaction, 102 + 102 characters of English, 4-bit update and 1-bit prior along 768 coordinates::

    user_id                  7
    fork_id                 30
    interaction_number       2
    encrypted_input         67
    encrypted_output        80
    encrypted_gradient     429
    learning_rate            5
    metrics                 43
    prior_update           144
    op_id                   19
    previous_digest         35
    kind                     3
    timestamp_ms             8
    key_salt                11
    record_mac              35
    record                 918

The file adds indexes and page slack; ``test_the_file_costs_little_more_than_the_records`` holds that.
"""

from __future__ import annotations

from ipse.ledger.record import seal_record
from ipse.wire import record_pb2 as pb
from tests.ledger.samples import KEY, interaction

BUDGET_BYTES = 1_000_000 // 900


def parts(data: bytes) -> dict[str, int]:
    """Bytes of each field of a record, with its tag and length."""
    message = pb.UserTrainingRecord.FromString(data)
    sizes = {}
    for descriptor, value in message.ListFields():
        alone = pb.UserTrainingRecord()
        if descriptor.message_type:
            getattr(alone, descriptor.name).CopyFrom(value)
        else:
            setattr(alone, descriptor.name, value)
        sizes[descriptor.name] = alone.ByteSize()
    return sizes


def test_an_ordinary_record_fits_the_budget_of_a_megabyte_a_month() -> None:
    data = seal_record(interaction(), KEY)
    sizes = parts(data)
    for name, size in sizes.items():
        print(f"{name:20}{size:6}")
    print(f"{'record':20}{len(data):6}")
    assert sum(sizes.values()) == len(data)
    assert len(data) <= 950
    assert len(data) <= BUDGET_BYTES


def test_a_record_without_learning_takes_less_than_350_bytes() -> None:
    assert len(seal_record(interaction(update=b"", prior_update=b""), KEY)) < 350
