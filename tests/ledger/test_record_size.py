# SPDX-License-Identifier: Apache-2.0
"""What a record costs. The proposal budgets 1 MB a month for history (R61): 1,111 bytes for each of 900 interactions.

An ordinary interaction, 102 + 102 characters of English, 4-bit update and 1-bit prior along 768 coordinates::

    user_id                  7
    fork_id                 30
    interaction_number       3
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
    data_key_record          4
    signer                  11
    signature               66
    record                1000

The first record of a day brings a data key besides, which takes 1,241 bytes for the owner alone.

The file adds indexes and page slack; ``test_the_file_costs_little_more_than_the_records`` holds that.
"""

from __future__ import annotations

from typing import Any

from ipse.ledger.record import Record, record_digest, seal_record
from ipse.vault.datakeys import new_data_key
from ipse.vault.identity import Identity
from ipse.vault.keys import ForkKey
from ipse.wire import record_pb2 as pb
from tests.ledger.samples import KEY, ROOT, interaction

SEQ = 1210
YESTERDAYS = ForkKey(KEY.fork_id, bytes(range(32)), 1180)
SIGNER = Identity(ROOT)


def ordinary(**changes: Any) -> Record:
    return interaction(SEQ, record_digest(b"the record before"), **changes)


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
    data = seal_record(ordinary(), YESTERDAYS, SIGNER)
    key, brought = new_data_key(KEY.fork_id, SEQ, [SIGNER.public], YESTERDAYS)
    first_of_day = seal_record(ordinary(), key, SIGNER, brought=brought)
    sizes = parts(data)
    for name, size in sizes.items():
        print(f"{name:20}{size:6}")
    print(f"{'record':20}{len(data):6}")
    print(f"{'first of a day':20}{len(first_of_day):6}")
    assert sum(sizes.values()) == len(data)
    assert 870 * len(data) + 30 * len(first_of_day) <= 1_000_000


def test_a_record_without_learning_takes_less_than_450_bytes() -> None:
    assert len(seal_record(ordinary(update=b"", prior_update=b""), YESTERDAYS, SIGNER)) < 450
