# SPDX-License-Identifier: Apache-2.0
"""What recording one interaction durably costs, beside a bare append and fdatasync; how fast a history is checked.

*Recording* is what a fork does after learning: seal the record, append it, and be told that it is on the disk.
Arrivals are Poisson at a fixed rate, an open loop: a slow moment delays those behind it, and their latency counts from
when they were due. In the same run, in turns, plain files get as many bytes by one write and fdatasync.

*Closed loop*: so many writers, each with a fork of its own, each waiting for its record before it makes the next.

*Checking* is done twice: the chain alone, which needs no key, and opening every record.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from _report import machine, parser, report, tell

from ipse.ledger.access import Access
from ipse.ledger.chain import check_chain
from ipse.ledger.envelope import read_envelope
from ipse.ledger.record import Metrics, Record, RecordKind, open_record, record_digest, seal_record
from ipse.store.rows import AppendRow, ForkRow
from ipse.store.store import Store
from ipse.vault.datakeys import new_data_key
from ipse.vault.identity import Identity
from ipse.vault.keys import RootKey, check_value, fork_key
from ipse.wire.digest import NO_DIGEST
from ipse.wire.ids import BaseId, ForkId, OwnerId, new_fork_id

RATES = (50, 500)
WRITERS = (1, 16, 64)
FORKS = 64
"""Arrivals go round over so many, as on a server: a fork's next record waits for its last."""
BLOCK_SECONDS = 2.0
"""Each rate takes turns with the plain file, a block of this length each."""
ROOT = RootKey(bytes(range(32)))
INPUT = "Could you help me write a short note to my sister? She has just moved to Lisbon and misses home a lot."
OUTPUT = "Of course! How about: Dear Ana, home is quieter without you, but we are so proud of you. Call us soon!"
UPDATE_BYTES, PRIOR_BYTES = 400, 115
"""Of an ordinary update and prior, coded (tests/ledger/test_record_size.py); here random, as coded ones look."""
AIMS = {
    "recording_p99_ms_50": "< 20",
    "recording_to_raw_p99_50": "<= 3",
    "recording_p99_ms_500": "< 20",
    "recording_to_raw_p99_500": "<= 3",
}


class Author:
    """One fork: makes its next record and has it stored."""

    def __init__(self, store: Store) -> None:
        fork_id = new_fork_id()
        self.sealer = Sealer(fork_id)
        self.store, self.fork_id = store, fork_id
        self.seq, self.digest = 0, NO_DIGEST
        self._turn = threading.Lock()
        store.create_fork(
            ForkRow(
                fork_id=fork_id,
                owner=OwnerId("alice"),
                base_id=BaseId("0123456789abcdef"),
                base_name="bench",
                layout_digest=bytes(32),
                key_check=check_value(fork_key(ROOT, fork_id)),
                created_ms=0,
            )
        )

    def record(self) -> None:
        """Seal and sign an ordinary interaction, append it, and return when it is on the disk."""
        with self._turn:
            data = self.sealer.seal(interaction(self.fork_id, self.seq + 1, self.digest))
            row = AppendRow(self.seq + 1, os.urandom(16), record_digest(data), data)
            self.store.append(self.fork_id, row, expected_head=self.digest)
            self.seq, self.digest = row.seq, row.digest


def interaction(fork_id: ForkId, seq: int, previous: bytes) -> Record:
    """An ordinary one, as tests/ledger/test_record_size.py has it."""
    return Record(
        fork_id=fork_id,
        owner=OwnerId("alice"),
        seq=seq,
        op_id=os.urandom(16),
        kind=RecordKind.INTERACTION,
        timestamp_ms=1_790_000_000_000 + seq,
        previous_digest=previous,
        input_text=INPUT,
        output_text=OUTPUT,
        update=os.urandom(UPDATE_BYTES),
        prior_update=os.urandom(PRIOR_BYTES),
        metrics=Metrics(
            loss_before=2.53, loss_after=2.31, update_l2_norm=0.7, trained_tokens=28, generate_ms=812, learn_ms=41
        ),
        learning_rate=0.02,
    )


class Sealer:
    """Makes a fork's records as `ipse.forks.openfork` does: a data key with the first, signed, and looked at again."""

    def __init__(self, fork_id: ForkId) -> None:
        self.identity = Identity(ROOT)
        self.access = Access()
        self.key, self.brought = new_data_key(fork_id, 1, [self.identity.public], None)

    def seal(self, record: Record) -> bytes:
        """The record's bytes."""
        first = self.access.owner is None
        record = replace(record, identity=self.identity.public) if first else record
        data = seal_record(record, self.key, self.identity, brought=self.brought if first else None)
        self.access = self.access.following(read_envelope(data))
        return data


def open_loop(actions: Sequence[Callable[[], None]], rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds from when each call was due to its return. Calls are due by a Poisson process, whatever came before."""
    rng = random.Random(seed)
    due, at = [], 0.0
    while (at := at + rng.expovariate(rate)) < seconds:
        due.append(at)
    taken = [0.0] * len(due)
    with ThreadPoolExecutor(len(actions)) as pool:
        list(pool.map(lambda _: time.sleep(0.01), range(len(actions))))  # its threads are there before the first call
        start = time.perf_counter() + 0.01

        def call(place: int) -> None:
            actions[place % len(actions)]()
            taken[place] = time.perf_counter() - start - due[place]

        waiting = []
        for place, moment in enumerate(due):
            while (left := start + moment - time.perf_counter()) > 0:
                time.sleep(left)
            waiting.append(pool.submit(call, place))
        for future in waiting:
            future.result()
    return taken


def raw_appender(path: Path, size: int) -> Callable[[], None]:
    """Append so many bytes to a plain file and sync it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    data = os.urandom(size)

    def append() -> None:
        os.write(descriptor, data)
        os.fdatasync(descriptor)

    return append


def recording(folder: Path, rate: int, seconds: float) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Latency at this rate, in turns with the plain file."""
    with Store.open(folder) as store:
        authors = [Author(store) for _ in range(FORKS)]
        for author in authors:
            author.record()  # the first brings the owner's keys and a data key: larger than those that follow
        size = len(authors[0].sealer.seal(interaction(authors[0].fork_id, 2, authors[0].digest)))
        record = [author.record for author in authors]
        lock = threading.Lock()
        append = raw_appender(folder / "plain", size)

        def raw() -> None:
            with lock:  # one write and sync for each, as a program without a store would do it
                append()

        taken: dict[str, list[float]] = {"recording": [], "raw": []}
        open_loop(record, rate, 0.5, seed=0)
        for block in range(max(2, round(seconds / BLOCK_SECONDS))):
            taken["recording"] += open_loop(record, rate, BLOCK_SECONDS, seed=2 * block + 1)
            taken["raw"] += open_loop([raw] * FORKS, rate, BLOCK_SECONDS, seed=2 * block + 2)
    rows: list[dict[str, Any]] = [
        {
            "what": f"{what}, {rate}/s",
            "count": len(values),
            "bytes": size,
            **{f"{name}_ms": percentile(values, share) * 1000 for name, share in SHARES.items()},
        }
        for what, values in taken.items()
    ]
    figures = {f"recording_{name}_ms_{rate}": rows[0][f"{name}_ms"] for name in SHARES}
    figures[f"raw_p99_ms_{rate}"] = rows[1]["p99_ms"]
    figures[f"recording_to_raw_p50_{rate}"] = rows[0]["p50_ms"] / rows[1]["p50_ms"]
    figures[f"recording_to_raw_p99_{rate}"] = rows[0]["p99_ms"] / rows[1]["p99_ms"]
    tell(f"{rate}/s: p99 {rows[0]['p99_ms']:.2f} ms, raw {rows[1]['p99_ms']:.2f} ms")
    return rows, figures


SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def closed_loop(folder: Path, writers: int, seconds: float) -> dict[str, Any]:
    """Records a second by so many writers at once."""
    with Store.open(folder) as store:
        authors = [Author(store) for _ in range(writers)]
        taken: list[float] = []

        def work(author: Author) -> None:
            while (start := time.perf_counter()) < end:
                author.record()
                taken.append(time.perf_counter() - start)

        threads = [threading.Thread(target=work, args=(author,)) for author in authors]
        begin = time.perf_counter()
        end = begin + seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rate = len(taken) / (time.perf_counter() - begin)
    tell(f"{writers} writers: {rate:,.0f} records/s")
    return {
        "what": f"closed loop, {writers} writers",
        "count": len(taken),
        "records_per_s": rate,
        **{f"{name}_ms": percentile(taken, share) * 1000 for name, share in SHARES.items()},
    }


def checking(count: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Records a second of both ways to check a history of this length, in memory."""
    fork_id = new_fork_id()
    sealer = Sealer(fork_id)
    chain: list[bytes] = []
    digest = NO_DIGEST
    pattern = interaction(fork_id, 1, digest)
    for seq in range(1, count + 1):
        chain.append(sealer.seal(replace(pattern, seq=seq, op_id=os.urandom(16), previous_digest=digest)))
        digest = record_digest(chain[-1])
    tell(f"sealed {count:,} records")

    def open_all() -> None:
        previous = NO_DIGEST
        for seq, data in enumerate(chain, start=1):
            open_record(data, sealer.key, expect_seq=seq, expect_previous=previous)
            previous = record_digest(data)

    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    for name, call in (("check_chain", lambda: check_chain(chain, fork_id)), ("open_all", open_all)):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        rate = count / statistics.median(times)
        figures[f"{name}_records_per_s"] = rate
        rows.append({"what": f"{name}, {count:,} records", "count": count, "records_per_s": rate})
        tell(f"{name}: {rate:,.0f} records/s")
    return rows, figures


def main() -> None:
    """Measure, and report."""
    made = parser(__doc__.split("\n\n")[0])
    made.add_argument("--seconds", type=float, default=40.0, help="of recording at each rate")
    made.add_argument("--records", type=int, default=100_000, help="of the history that is checked")
    made.add_argument("--folder", type=Path, default=None, help="on the disk to measure; the temporary one if left out")
    arguments = made.parse_args()
    seconds, count = (6.0, 5_000) if arguments.quick else (arguments.seconds, arguments.records)
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for rate in RATES:
            more, measured = recording(Path(folder) / f"open{rate}", rate, seconds)
            rows += more
            figures |= measured
        for writers in WRITERS:
            rows.append(closed_loop(Path(folder) / f"closed{writers}", writers, min(seconds / 3, 5.0)))
            figures[f"records_per_s_{writers}"] = rows[-1]["records_per_s"]
    more, measured = checking(count)
    rows += more
    figures |= measured
    settings = {"forks": FORKS, "seconds": seconds, "records": count, "block_seconds": BLOCK_SECONDS}
    report(arguments, "ledger", machine=machine(1), settings=settings, rows=rows, figures=figures, aims=AIMS)


if __name__ == "__main__":
    main()
