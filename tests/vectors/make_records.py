# SPDX-License-Identifier: Apache-2.0
"""Writes ``records.json``: sealed records and coded updates of form v1, good ones and bad ones, for any implementation.

Each record says what opening it must give: ``success`` with the opened values, or the reason why it must be refused.
Salts are zero here, which a real record never has. Run by ``make vectors``: ``python make_records.py DIRECTORY``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a program, it must find tests.ledger

import numpy as np

from ipse.ledger.record import Record, record_digest, seal_record
from ipse.vault.identity import Identity
from ipse.vault.keys import ForkKey
from ipse.wire.digest import NO_DIGEST
from ipse.wire.update import encode_update
from tests.ledger.samples import KEY, ROOT, feedback, interaction

DATA_KEY = ForkKey(KEY.fork_id, bytes(range(1, 33)), 1)
SIGNER = Identity(ROOT)

UPDATES = [
    ((3, 1), 1, [300, -300, 300, 0]),
    ((3,), 2, [7, 0, -7]),
    ((3,), 4, [3, -7, 1]),
    ((2, 2), 8, [127, -126, 0, 0]),
    ((2,), 32, [2**31 - 1, -(2**31)]),
]


def values(record: Record) -> dict[str, object]:
    """A record as JSON: bytes in hex, the kind by number."""
    return {
        name: value.hex() if isinstance(value, bytes) else int(value) if name == "kind" else value
        for name, value in asdict(record).items()
        if name != "identity"
    }


def case(name: str, expect: str, data: bytes, record: Record, **changes: object) -> dict[str, object]:
    """One case: what is given, and what must come of it."""
    given: dict[str, object] = {
        "name": name,
        "expect": expect,
        "root_key": ROOT.secret.hex(),
        "fork_id": record.fork_id,
        "seq": record.seq,
        "previous_digest": record.previous_digest.hex(),
        "data": data.hex(),
    }
    if expect == "success":
        given["opened"] = values(record)
    return {**given, **changes}


def cases() -> list[dict[str, object]]:
    """All cases of records."""
    first = interaction(input_text="Hi", output_text="Ho", update=bytes.fromhex("01010005"), prior_update=b"")
    one = seal_record(first, KEY, rng=bytes)
    second = feedback(2, record_digest(one), update=b"", prior_update=b"")
    two = seal_record(second, KEY, rng=bytes)
    compressed = replace(first, input_text="again and again " * 20)
    later = interaction(2, record_digest(one), update=b"", prior_update=b"")
    signed = seal_record(later, DATA_KEY, SIGNER, rng=bytes)
    under = {"data_key": DATA_KEY.secret.hex(), "data_key_record": DATA_KEY.number}
    altered = bytearray(one)
    altered[9] ^= 1
    return [
        case("first record", "success", one, first),
        case("feedback that follows it", "success", two, second),
        case("a compressed part", "success", seal_record(compressed, KEY, rng=bytes), compressed),
        case("a byte in the clear was altered", "altered", bytes(altered), first),
        case("the MAC was altered", "altered", one[:-1] + bytes([one[-1] ^ 1]), first),
        case("cut off", "truncated", one[:-1], first),
        case("empty", "truncated", b"", first),
        case("a byte too many", "altered", one + b"\0", first),
        case("signed, under a data key", "success", signed, replace(later, signer=SIGNER.public.short_id), **under),
        case("the signature was cut off", "truncated", signed[:-1], later, **under),
        case("another data key", "wrong key", signed, later, **{**under, "data_key": bytes(32).hex()}),
        case("another root key", "wrong key", one, first, root_key=bytes(32).hex()),
        case("another number is expected", "wrong place", two, second, seq=3),
        case("another predecessor is expected", "wrong place", two, second, previous_digest=NO_DIGEST.hex()),
    ]


def main() -> None:
    """Write the file into the directory that was given."""
    updates = [
        {
            "groups": groups,
            "bits": bits,
            "values": numbers,
            "data": encode_update(np.array(numbers, np.int32), groups, bits).hex(),
        }
        for groups, bits, numbers in UPDATES
    ]
    text = json.dumps({"records": cases(), "updates": updates}, indent=1, ensure_ascii=True)
    (Path(sys.argv[1]) / "records.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
