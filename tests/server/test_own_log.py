# SPDX-License-Identifier: Apache-2.0
"""Our log among the others' programs here: witnesses cosign it, an auditor follows it, over HTTP and from files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.client.auditor import Auditor
from ipse.client.logs import log_at
from ipse.client.witness import ask
from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter
from ipse.ledger.tree import consistency_proof
from ipse.ledger.witness import Witness, add_log
from ipse.server.export import export_log
from ipse.server.tiles import TileServer
from ipse.server.witness import WitnessServer
from ipse.store.store import Store
from tests.ledger.logs import KNOWN_WITNESSES, TIME_S, WITNESSES, blinded
from tests.server.serving import running

ENTRIES = blinded(600)
STEPS = (1, 2, 300, 600)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LogWriter]:
    with Store.open(tmp_path / "home") as store:
        yield LogWriter.open(store)


def test_a_witness_cosigns_it_as_it_grows_and_its_cosignature_is_served(writer: LogWriter, tmp_path: Path) -> None:
    with Store.open(tmp_path / "witness") as memory:
        add_log(memory, writer.log)
        witness = WitnessServer(Witness(WITNESSES, memory, lambda: TIME_S), "127.0.0.1", 0)
        tiles = TileServer(writer.public, "127.0.0.1", 0)
        with running(witness), running(tiles):
            for before, size in zip((0, *STEPS), STEPS, strict=False):
                data = writer.append(ENTRIES[before:size]).checkpoint
                read = writer.public.reader(size)
                lines = ask(
                    witness.url,
                    KNOWN_WITNESSES,
                    data,
                    writer.log,
                    prove=lambda old, size=size, read=read: consistency_proof(old, size, read),  # type: ignore[misc]
                )
                writer.replace_checkpoint(data + lines)
                served = open_checkpoint(log_at(tiles.url).checkpoint(), writer.log, KNOWN_WITNESSES)
                assert served.head == writer.head
                assert {each.key for each in served.cosignatures} == set(KNOWN_WITNESSES)


def test_what_the_log_proves_is_what_a_witness_is_sent(writer: LogWriter, tmp_path: Path) -> None:
    with Store.open(tmp_path / "witness") as memory:
        add_log(memory, writer.log)
        witness = Witness(WITNESSES, memory, lambda: TIME_S)
        for before, size in zip((0, *STEPS), STEPS, strict=False):
            writer.append(ENTRIES[before:size])
            lines = witness.add_checkpoint(writer.public.consistency(before).to_bytes())
            assert isinstance(lines, bytes)
            writer.replace_checkpoint(writer.public.checkpoint() + lines)


def test_an_auditor_follows_it_over_http_and_in_an_export(writer: LogWriter, tmp_path: Path) -> None:
    server = TileServer(writer.public, "127.0.0.1", 0)
    with running(server):
        for before, size in zip((0, *STEPS), STEPS, strict=False):
            writer.append(ENTRIES[before:size])
            export_log(writer.public, writer.log, tmp_path / "public")
            for name, place in (("http", server.url), ("files", str(tmp_path / "public"))):
                files = log_at(place)
                accepted = Auditor(tmp_path / name, writer.log).accept(files.checkpoint(), files.hashes(size))
                assert accepted.head == writer.head
                assert list(files.entries(0, min(size, 256))) == ENTRIES[: min(size, 256)]
