# SPDX-License-Identifier: Apache-2.0
"""The auditor: what continues is remembered, what takes back is refused and kept as evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipse.client.auditor import Auditor
from ipse.client.logs import log_at
from ipse.client.witness import ask
from ipse.errors import InputError, NetworkError, StoreError, VerificationError
from ipse.ledger.checkpoint import open_checkpoint, sign_checkpoint
from ipse.ledger.tree import consistency_proof
from tests.ledger.logs import KEYS, KNOWN_WITNESSES, LOG
from tests.server.serving import Clock, FileServer, History, running, served_witness

NAMES = [f"entry {number}" for number in range(600)]
ONE = History.of(*NAMES)
OTHER = History.of(*NAMES[:400], "put in", *NAMES[400:])


@pytest.fixture
def auditor(tmp_path: Path) -> Auditor:
    return Auditor(tmp_path / "audit" / "log", LOG)


def accept(auditor: Auditor, history: History, size: int) -> None:
    accepted = auditor.accept(history.checkpoint(size), history.read(size))
    assert accepted.head == history.head(size)


def size_of(auditor: Auditor) -> int:
    last = auditor.last()
    assert last is not None
    return last.head.size


def test_a_log_that_only_grows_is_followed_by_this_auditor_and_the_next(auditor: Auditor, tmp_path: Path) -> None:
    assert auditor.last() is None
    for size in (0, 3, 3, 256, 300, 599):
        accept(auditor, ONE, size)
        assert size_of(Auditor(tmp_path / "audit" / "log", LOG)) == size
    assert not auditor.evidence.exists()


@pytest.mark.parametrize("size", [399, 449, 450, 500])
def test_a_shrunk_log_and_a_split_view_are_refused_and_kept_as_evidence(auditor: Auditor, size: int) -> None:
    accept(auditor, ONE, 450)
    for _ in range(2):
        with pytest.raises(VerificationError) as raised:
            accept(auditor, OTHER, size)
        assert ("has shown 450 before" in raised.value.message) == (size < 450)
        assert str(auditor.evidence) in raised.value.hint
    kept = {open_checkpoint(path.read_bytes(), LOG).head for path in auditor.evidence.iterdir()}
    assert kept == {ONE.head(450), OTHER.head(size)}
    assert size_of(auditor) == 450
    accept(auditor, ONE, 451)  # the log that tells the truth again is followed


def test_hashes_of_another_tree_or_of_another_length_show_nothing(auditor: Auditor) -> None:
    accept(auditor, ONE, 450)

    def short(level: int, index: int) -> bytes:
        return b"short"

    def gone(level: int, index: int) -> bytes:
        raise NetworkError("gone")

    def not_there(level: int, index: int) -> bytes:
        raise InputError("no such hash")

    for read in (OTHER.read(500), short, not_there):
        with pytest.raises(VerificationError):
            auditor.accept(ONE.checkpoint(500), read)
    assert len(list(auditor.evidence.iterdir())) == 2
    for path in auditor.evidence.iterdir():
        path.unlink()
    with pytest.raises(NetworkError):
        auditor.accept(ONE.checkpoint(500), gone)
    assert list(auditor.evidence.iterdir()) == []  # a network that is down proves nothing
    assert size_of(auditor) == 450


def test_what_is_no_checkpoint_of_the_log_changes_nothing_and_is_no_evidence(auditor: Auditor) -> None:
    accept(auditor, ONE, 450)
    for data in (b"", ONE.checkpoint(451)[:-2], sign_checkpoint(ONE.head(451), KEYS[:1])):
        with pytest.raises(VerificationError):
            auditor.accept(data, ONE.read(451))
    assert not auditor.evidence.exists()
    assert size_of(auditor) == 450


def test_a_damaged_state_is_never_taken_for_a_first_visit(auditor: Auditor, tmp_path: Path) -> None:
    accept(auditor, ONE, 450)
    path = tmp_path / "audit" / "log"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b"450", b"451")):
        path.write_bytes(damaged)
        with pytest.raises(VerificationError):
            auditor.last()
        with pytest.raises(VerificationError):
            accept(auditor, ONE, 500)
        assert path.read_bytes() == damaged
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError):
        accept(auditor, ONE, 500)
    with pytest.raises(StoreError):
        Auditor(tmp_path / "audit" / "log" / ("x" * 300), LOG).accept(ONE.checkpoint(1), ONE.read(1))


def test_a_log_that_shows_two_histories_is_caught_by_auditor_and_witness(auditor: Auditor, tmp_path: Path) -> None:
    """A real server shows one history to the first who asks, and another one, longer, to the next."""
    server = FileServer(ONE.files(450))
    with running(server), served_witness(tmp_path / "witness", Clock()) as witness:

        def visit(size: int) -> bytes:
            log = log_at(server.url)
            data = log.checkpoint()
            auditor.accept(data, log.hashes(size))
            return data

        def cosigned(data: bytes, size: int) -> bytes:
            read = log_at(server.url).hashes(size)
            return ask(witness, KNOWN_WITNESSES, data, LOG, prove=lambda old: consistency_proof(old, size, read))

        assert cosigned(visit(450), 450)
        server.files = OTHER.files(520)
        with pytest.raises(VerificationError):
            visit(520)
        with pytest.raises(VerificationError, match="a tree of 450 entries that ours does not contain"):
            cosigned(log_at(server.url).checkpoint(), 520)
        server.files = OTHER.files(520) | {name: data for name, data in ONE.files(520).items() if name != "checkpoint"}
        with pytest.raises(VerificationError):
            visit(520)  # nor do the tiles of the first history help
        server.files = ONE.files(520)
        assert cosigned(visit(520), 520)
        assert size_of(auditor) == 520
