# SPDX-License-Identifier: Apache-2.0
"""What a month of records takes, part by part: 900 interactions, beside the aim of 1 MB.

Interactions of real users (``--users FILE``), else of the two scripted ones, are lived through on the base, in turn
from user to user; now and then the owner rates a reply, and seldom corrects one. What is counted is what was sealed
and stored: the fields of each record's bytes, whatever fields it has. A quick run lives through fewer and scales.

The replies are those of the transcript, so none was waited for: the time of generating, two or three bytes of the
metrics, is missing.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice
from itertools import count as count_up
from pathlib import Path
from typing import Any

import torch
import zstandard
from _report import machine, parser, report, tell

from ipse.cli.heldout import SHIPPED_USERS, shipped_conversations
from ipse.forks.home import Home
from ipse.forks.interact import UserModelLifecycle
from ipse.forks.transcripts import Conversation, Interaction, read_transcripts
from ipse.model.base import Base, load_base
from ipse.wire import record_pb2 as pb
from ipse.wire.compress import compress

MONTH = 900
"""Interactions (HIP-6), spread over 30 days: each day brings a data key."""

MONTH_MS = 30 * 86_400_000

AIMS = {"record_mb_a_month": "<= 1", "file_mb_a_month": "<= 1"}

_RATED_EVERY, _EDITED_EVERY = 20, 100

_PARTS = {
    "encrypted_input": "text in",
    "encrypted_output": "text out",
    "encrypted_gradient": "update",
    "prior_update": "prior",
    "feedback": "feedback",
    "metrics": "metrics",
    "zkp_proof": "proof",
    "signature": "signature",
    "signer": "signature",
    "record_mac": "MAC",
    "key_salt": "place and ids",
    "data_key": "data key of a day",
    "identity": "owner's public keys, once",
}
"""Field -> part; a field that is not here belongs to the record's place and ids."""


def field_bytes(data: bytes) -> Counter[str]:
    """Bytes of each part of a record, tags and lengths included; what no field of the schema holds is `unknown`."""
    message = pb.UserTrainingRecord.FromString(data)
    sizes: Counter[str] = Counter()
    for descriptor, value in message.ListFields():
        alone = pb.UserTrainingRecord()
        if descriptor.message_type:
            getattr(alone, descriptor.name).CopyFrom(value)
        else:
            setattr(alone, descriptor.name, value)
        sizes[_PARTS.get(descriptor.name, "place and ids")] += alone.ByteSize()
    sizes["unknown"] = len(data) - sizes.total()
    return sizes


def conversations(path: Path | None) -> list[Conversation]:
    """Of the file, or of the scripted users."""
    if path is not None:
        return read_transcripts(path)
    return [conversation for user in SHIPPED_USERS for conversation in shipped_conversations(user)]


def in_turn(all_conversations: Sequence[Conversation]) -> Iterator[Interaction]:
    """Answered interactions, one conversation of each user in turn; from the start again when all are through."""
    of_user: dict[str, list[Conversation]] = {}
    for conversation in all_conversations:
        of_user.setdefault(conversation.user, []).append(conversation)
    rounds = [[c[i] for c in of_user.values() if i < len(c)] for i in range(max(map(len, of_user.values())))]
    ordered = [each for conversation in chain.from_iterable(rounds) for each in conversation.interactions]
    return cycle([each for each in ordered if each.reply])


def live(life: UserModelLifecycle, interactions: Sequence[Interaction]) -> None:
    """Learn from them all, with what an owner says of them now and then."""
    for count, interaction in enumerate(interactions, 1):
        life.teach(interaction.turns, reply=interaction.reply, measure=True)
        if count % _EDITED_EVERY == 0:
            life.edit(interactions[count // 2].reply)
        elif count % _RATED_EVERY == 0:
            life.rate(good=count % (2 * _RATED_EVERY) > 0)
        if count % 100 == 0:
            tell(f"{count} interactions")


def without_dictionary(data: bytes) -> int:
    """Bytes that the shorter of the data and its own zstd frame take, with the mark."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(data), format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_checksum=False
    )
    return 1 + min(len(data), len(zstandard.ZstdCompressor(compression_params=parameters).compress(data)))


def measure(base: Base, interactions: Sequence[Interaction]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows and figures."""
    with tempfile.TemporaryDirectory(prefix="ipse-bench-") as folder:
        with Home.open(Path(folder)) as home:
            ticks = count_up(1_790_000_000_000, MONTH_MS // MONTH)
            life = UserModelLifecycle(home, base, "bench", clock_ms=lambda: next(ticks))
            live(life, interactions)
            sealed = [stored.data for stored in home.store.records(life.fork.fork_id)]
            life.close()
        file_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    sizes, holders, count = Counter[str](), Counter[str](), len(interactions)
    for data in sealed:
        found = field_bytes(data)
        sizes += found
        holders += Counter(part for part, size in found.items() if size)
    total = sizes.total()
    rows: list[dict[str, Any]] = [
        {
            "part": part,
            "bytes_where_it_is": size / holders[part],
            "bytes_an_interaction": size / count,
            "share": size / total,
            "mb_a_month": size / count * MONTH / 1e6,
        }
        for part, size in sizes.most_common()
    ]
    texts = [text.encode() for each in interactions for text in (each.turns[-1].text, each.reply)]
    figures = {
        "records": float(len(sealed)),
        "bytes_an_interaction": total / count,
        "record_mb_a_month": total / count * MONTH / 1e6,
        "file_mb_a_month": file_bytes / count * MONTH / 1e6,
        "text_bytes": sum(map(len, texts)) / len(texts),
        "text_bytes_without_dictionary": sum(map(without_dictionary, texts)) / len(texts),
        "text_bytes_packed": sum(len(compress(text)) for text in texts) / len(texts),
    }
    return rows, figures


def main() -> None:
    """Measure, and report."""
    made = parser(__doc__.split("\n\n")[0])
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    made.add_argument(
        "--users", type=Path, default=None, metavar="FILE", help="transcripts; the scripted users if left out"
    )
    made.add_argument("--interactions", type=int, default=MONTH)
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    base = load_base(arguments.base, basis=arguments.basis)
    count = min(arguments.interactions, 200) if arguments.quick else arguments.interactions
    rows, figures = measure(base, list(islice(in_turn(conversations(arguments.users)), count)))
    settings = {
        "base": base.reference.base_id,
        "basis": f"{base.basis.kind} rank {base.basis.rank}",
        "users": "given" if arguments.users else "scripted",
        "interactions": count,
        "rated_every": _RATED_EVERY,
        "edited_every": _EDITED_EVERY,
    }
    report(
        arguments,
        "records",
        machine=machine(arguments.threads),
        settings=settings,
        rows=rows,
        figures=figures,
        aims=AIMS,
    )


if __name__ == "__main__":
    main()
