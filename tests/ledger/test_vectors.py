# SPDX-License-Identifier: Apache-2.0
"""The frozen records of form v1 still open, and the frozen bad ones are still refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ipse.errors import VerificationError
from ipse.ledger.record import open_record
from ipse.vault.keys import ForkKey, RootKey, fork_key
from ipse.wire.ids import ForkId
from ipse.wire.update import decode_update

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "records.json").read_text()
)


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda case: case["name"])
def test_a_frozen_record_gives_what_it_says(case: dict[str, Any]) -> None:
    fork_id = ForkId(case["fork_id"])
    key = fork_key(RootKey(bytes.fromhex(case["root_key"])), fork_id)
    if "data_key" in case:
        key = ForkKey(fork_id, bytes.fromhex(case["data_key"]), case["data_key_record"])
    data, previous = bytes.fromhex(case["data"]), bytes.fromhex(case["previous_digest"])
    if case["expect"] != "success":
        with pytest.raises(VerificationError):
            open_record(data, key, expect_seq=case["seq"], expect_previous=previous)
        return
    opened = asdict(open_record(data, key, expect_seq=case["seq"], expect_previous=previous))
    assert opened.pop("identity") is None
    assert {n: v.hex() if isinstance(v, bytes) else v for n, v in opened.items()} == case["opened"]


@pytest.mark.parametrize("case", VECTORS["updates"], ids=lambda case: f"{case['bits']} bits")
def test_a_frozen_update_decodes_to_its_numbers(case: dict[str, Any]) -> None:
    assert decode_update(bytes.fromhex(case["data"]), case["groups"]).tolist() == case["values"]
