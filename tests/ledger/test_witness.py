# SPDX-License-Identifier: Apache-2.0
"""The witness: every row of its answers, its clock, its memory, and two requests at one time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.errors import ClockError, InputError, VerificationError
from ipse.ledger.checkpoint import Log, TreeHead, cosign, open_checkpoint, sign_checkpoint
from ipse.ledger.keys import NoteKey, SignatureType
from ipse.ledger.note import Note
from ipse.ledger.tree import EMPTY_ROOT, consistency_proof
from ipse.ledger.witness import (
    AddCheckpoint,
    Reason,
    Refusal,
    Seen,
    Witness,
    add_log,
    cosigned_checkpoint,
    cosigning_keys,
    known_logs,
    last_seen,
)
from ipse.store.store import Store
from ipse.vault.signerfile import Signer
from ipse.wire.digest import sha256
from tests.ledger.logs import KEYS, KNOWN_WITNESSES, LOG, ORIGIN, TIME_S, WITNESSES, note_key
from tests.server.serving import Clock, History

ONE = History.of(*"abcdefghij")
OTHER = History.of(*"abcXYZfghij")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        add_log(opened, LOG)
        yield opened


def request(old: int, size: int, history: History = ONE) -> bytes:
    proof = consistency_proof(old, size, history.read(size)) if old <= size else ()
    return AddCheckpoint(old, proof, history.checkpoint(size)).to_bytes()


def reason(answer: bytes | Refusal) -> tuple[Reason, int]:
    assert isinstance(answer, Refusal), answer
    assert answer.message.endswith(".")
    return answer.reason, answer.size


def test_a_growing_log_is_cosigned_by_every_key_at_the_time_of_the_clock(store: Store) -> None:
    clock = Clock()
    witness = Witness(WITNESSES, store, clock)
    old = 0
    for size in (0, 0, 1, 1, 3, 4, 9, 10, 10):
        clock.now_s += 1
        lines = witness.add_checkpoint(request(old, size))
        assert isinstance(lines, bytes)
        opened = open_checkpoint(ONE.checkpoint(size) + lines, LOG, KNOWN_WITNESSES)
        assert [(each.key, each.time_s) for each in opened.cosignatures] == [
            (key, clock.now_s) for key in KNOWN_WITNESSES
        ]
        assert opened.head == ONE.head(size)
        assert last_seen(store, ORIGIN) == Seen(size, ONE.head(size).root, clock.now_s)
        old = size


def test_a_request_is_answered_in_the_order_of_the_specification(store: Store) -> None:
    witness = Witness(WITNESSES, store, Clock())
    assert isinstance(witness.add_checkpoint(request(0, 4)), bytes)
    unknown = sign_checkpoint(TreeHead("other.example", 1, ONE.head(1).root), KEYS)
    half = sign_checkpoint(ONE.head(2), KEYS[:1])
    stranger = sign_checkpoint(ONE.head(2), [note_key(ORIGIN, SignatureType.ED25519, 99)])
    forged = Note(ONE.head(2).to_text(), Note.from_bytes(ONE.checkpoint(3)).signatures).to_bytes()
    garbage = (bytes(32),)
    for body, expected in {
        AddCheckpoint(9, garbage, unknown).to_bytes(): (Reason.UNKNOWN_LOG, 0),
        AddCheckpoint(9, garbage, half).to_bytes(): (Reason.NOT_SIGNED, 0),
        AddCheckpoint(9, garbage, stranger).to_bytes(): (Reason.NOT_SIGNED, 0),
        AddCheckpoint(9, garbage, forged).to_bytes(): (Reason.NOT_SIGNED, 0),
        AddCheckpoint(9, garbage, ONE.checkpoint(8)).to_bytes(): (Reason.MALFORMED, 0),
        AddCheckpoint(3, garbage, ONE.checkpoint(8)).to_bytes(): (Reason.OTHER_SIZE, 4),
        AddCheckpoint(0, garbage, ONE.checkpoint(8)).to_bytes(): (Reason.OTHER_SIZE, 4),
        AddCheckpoint(5, garbage, ONE.checkpoint(8)).to_bytes(): (Reason.OTHER_SIZE, 4),
        AddCheckpoint(2, (), ONE.checkpoint(2)).to_bytes(): (Reason.OTHER_SIZE, 4),
        AddCheckpoint(4, garbage, ONE.checkpoint(8)).to_bytes(): (Reason.INCONSISTENT, 0),
        AddCheckpoint(4, (), ONE.checkpoint(8)).to_bytes(): (Reason.INCONSISTENT, 0),
        AddCheckpoint(4, garbage, ONE.checkpoint(4)).to_bytes(): (Reason.INCONSISTENT, 0),
        AddCheckpoint(4, (), OTHER.checkpoint(4)).to_bytes(): (Reason.INCONSISTENT, 0),
        request(4, 8, OTHER): (Reason.INCONSISTENT, 0),
    }.items():
        assert reason(witness.add_checkpoint(body)) == expected
        assert last_seen(store, ORIGIN) == Seen(4, ONE.head(4).root, TIME_S)


def test_the_first_tree_needs_no_proof_and_takes_none(store: Store) -> None:
    witness = Witness(WITNESSES, store, Clock())
    with_proof = AddCheckpoint(0, (bytes(32),), ONE.checkpoint(3)).to_bytes()
    assert reason(witness.add_checkpoint(with_proof)) == (Reason.INCONSISTENT, 0)
    assert isinstance(witness.add_checkpoint(request(0, 3)), bytes)


def test_an_empty_tree_with_another_root_is_inconsistent(store: Store) -> None:
    text = f"{ORIGIN}\n0\n{'A' * 43}=\n"
    data = Note(text).sign(KEYS[0]).to_bytes()
    witness = Witness(WITNESSES, store, Clock())
    assert reason(witness.add_checkpoint(AddCheckpoint(0, (), data).to_bytes())) == (Reason.INCONSISTENT, 0)


GOOD = request(0, 3)
HASH = b"A" * 43 + b"="


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        GOOD[:-1],
        GOOD.replace(b"old 0", b"old  0"),
        GOOD.replace(b"old 0", b"old 00"),
        GOOD.replace(b"old 0", b"old -0"),
        GOOD.replace(b"old 0", b"old 0 "),
        GOOD.replace(b"old 0", b"OLD 0"),
        GOOD.replace(b"old 0", b"old 9223372036854775808"),
        GOOD.replace(b"old 0", "old ٠".encode()),
        GOOD.replace(b"old 0\n", b"old 0\r\n"),
        GOOD.replace(b"old 0\n", b"old 0\n%b\n" % HASH[:-1]),
        GOOD.replace(b"old 0\n", b"old 0\nAAAA\n"),
        GOOD.replace(b"old 0\n", b"old 0\n" + (HASH + b"\n") * 64),
        GOOD.replace(b"\n3\n", b"\n03\n"),
        GOOD.replace(b"\n3\n", b"\n3\n3\n"),
        GOOD.replace(b"\xe2\x80\x94", b"-"),
        b"\xff" * 100,
    ],
)
def test_what_is_no_request_is_malformed(body: bytes, store: Store) -> None:
    witness = Witness(WITNESSES, store, Clock())
    assert reason(witness.add_checkpoint(body))[0] is Reason.MALFORMED
    assert last_seen(store, ORIGIN) == Seen()
    assert AddCheckpoint.from_bytes(GOOD).to_bytes() == GOOD


def test_a_clock_that_went_back_signs_nothing_and_forgets_nothing(store: Store) -> None:
    clock = Clock()
    witness = Witness(WITNESSES, store, clock)
    assert isinstance(witness.add_checkpoint(request(0, 3)), bytes)
    for now_s in (TIME_S - 1, 0, -5, 2**63):
        clock.now_s = now_s
        with pytest.raises(ClockError):
            witness.add_checkpoint(request(3, 5))
        assert last_seen(store, ORIGIN) == Seen(3, ONE.head(3).root, TIME_S)
    clock.now_s = TIME_S
    assert isinstance(witness.add_checkpoint(request(3, 5)), bytes)


@pytest.mark.parametrize("both", [False, True])
def test_of_two_requests_at_one_time_one_is_told_the_size_of_the_other(tmp_path: Path, both: bool) -> None:
    """Both have passed every check before either is remembered; two threads, or two processes' handles."""
    barrier = threading.Barrier(2)

    def clock() -> int:
        barrier.wait(timeout=60)
        return TIME_S

    with Store.open(tmp_path) as first, Store.open(tmp_path) as second:
        add_log(first, LOG)
        answers: dict[int, bytes | Refusal] = {}
        histories = (ONE, OTHER)

        def work(number: int) -> None:
            witness = Witness(WITNESSES, second if both and number else first, clock)
            answers[number] = witness.add_checkpoint(request(0, 5 + number, histories[number]))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [number for number, answer in answers.items() if isinstance(answer, bytes)]
        assert reason(answers[1 - winner]) == (Reason.OTHER_SIZE, 5 + winner)
        assert last_seen(first, ORIGIN).root == histories[winner].head(5 + winner).root


def test_an_older_checkpoint_never_takes_the_place_of_a_newer_one_that_monitors_see(tmp_path: Path) -> None:
    """Between the memory of one request and what monitors are shown of it, a whole later request happens."""

    class Overtaken(Store):
        def marker(self, key: str) -> bytes | None:
            if key.startswith("witness/cosigned/") and last_seen(other, ORIGIN).size == 3:
                assert isinstance(Witness(WITNESSES, other, Clock()).add_checkpoint(request(3, 5)), bytes)
            return super().marker(key)

    with Store.open(tmp_path) as other, Overtaken.open(tmp_path) as store:
        add_log(other, LOG)
        assert isinstance(Witness(WITNESSES, store, Clock()).add_checkpoint(request(0, 3)), bytes)
        found = cosigned_checkpoint(other, sha256(ORIGIN.encode()).hex())
        assert found is not None
        assert open_checkpoint(found, LOG).head == ONE.head(5)


def test_a_damaged_memory_is_our_own_fault_and_signs_nothing(store: Store) -> None:
    witness = Witness(WITNESSES, store, Clock())
    assert isinstance(witness.add_checkpoint(request(0, 3)), bytes)
    before = store.marker("witness/seen/" + ORIGIN)
    for damaged in (b"", b"3\n", b"3\nAAAA\n1\n", before[:-2] if before else b"", b"\xff"):
        store.swap_marker("witness/seen/" + ORIGIN, store.marker("witness/seen/" + ORIGIN), damaged)
        with pytest.raises(VerificationError):
            witness.add_checkpoint(request(3, 5))


def test_logs_are_added_once_with_all_of_their_keys(tmp_path: Path) -> None:
    second = Log("second.example", (note_key("second.example", SignatureType.ED25519, 60).verifier(),))
    with Store.open(tmp_path) as store:
        assert known_logs(store).logs == ()
        assert add_log(store, LOG)
        assert add_log(store, second)
        assert not add_log(store, Log(ORIGIN, LOG.keys[::-1]))
        assert known_logs(store).log(ORIGIN) == LOG
        for keys, says in (
            (LOG.keys[:1], "other keys"),
            ((note_key(ORIGIN, SignatureType.ED25519, 61).verifier(),), "other keys"),
        ):
            with pytest.raises(InputError, match=says):
                add_log(store, Log(ORIGIN, keys))
        with pytest.raises(InputError, match="name of the log"):
            add_log(store, Log("third.example", second.keys))
        with pytest.raises(InputError, match="already"):
            add_log(store, Log("third.example", (note_key("third.example", SignatureType.ED25519, 60).verifier(),)))
    with Store.open(tmp_path) as store:
        assert known_logs(store).log("second.example") == second


def test_a_log_that_is_added_while_the_witness_runs_is_witnessed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as elsewhere:
        witness = Witness(WITNESSES, store, Clock())
        assert reason(witness.add_checkpoint(request(0, 3))) == (Reason.UNKNOWN_LOG, 0)
        add_log(elsewhere, LOG)
        assert isinstance(witness.add_checkpoint(request(0, 3)), bytes)


def test_cosignatures_that_are_there_already_do_not_matter(store: Store) -> None:
    witness = Witness(WITNESSES, store, Clock())
    data = cosign(ONE.checkpoint(3), note_key("stranger.example", SignatureType.ED25519_COSIGNATURE, 50), time_s=1)
    assert isinstance(witness.add_checkpoint(AddCheckpoint(0, (), data).to_bytes()), bytes)


def test_a_witness_has_two_keys_of_one_name_and_never_an_ordinary_one(store: Store) -> None:
    keys = cosigning_keys(Signer("w.example", bytes(32), bytes([1]) * 32))
    assert [(key.name, key.kind, key.seed) for key in keys] == [
        ("w.example", SignatureType.ED25519_COSIGNATURE, bytes(32)),
        ("w.example", SignatureType.ML_DSA_44_COSIGNATURE, bytes([1]) * 32),
    ]
    assert Witness(keys, store, Clock()).verifiers() == tuple(key.verifier() for key in keys)
    none: list[NoteKey] = []
    for wrong in (none, KEYS):
        with pytest.raises(InputError):
            Witness(wrong, store, Clock())
    assert Seen.from_bytes(Seen().to_bytes()) == Seen(0, EMPTY_ROOT, 0)
