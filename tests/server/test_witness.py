# SPDX-License-Identifier: Apache-2.0
"""The witness over HTTP: the whole table of statuses, against a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ipse.ledger.checkpoint import TreeHead, cosign, open_checkpoint, sign_checkpoint
from ipse.ledger.keys import SignatureType
from ipse.ledger.note import Note
from ipse.ledger.tree import consistency_proof
from ipse.ledger.witness import AddCheckpoint
from ipse.server.witness import MAX_BODY_BYTES
from tests.ledger.logs import KEYS, KNOWN_WITNESSES, LOG, ORIGIN, TIME_S, note_key
from tests.server.serving import Clock, History, post, served_witness

ONE = History.of(*"abcdefghij")
OTHER = History.of(*"abcXYZfghij")
TEXT = "text/plain; charset=utf-8"
CLOCK = Clock()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A witness that has cosigned four entries."""
    with served_witness(tmp_path_factory.mktemp("witness"), CLOCK) as address:
        assert post(address, AddCheckpoint(0, (), ONE.checkpoint(4)).to_bytes())[0] == 200
        yield address


def body(old: int, checkpoint: bytes, *proof: bytes) -> bytes:
    return AddCheckpoint(old, proof, checkpoint).to_bytes()


UNKNOWN = sign_checkpoint(TreeHead("other.example", 1, ONE.head(1).root), KEYS)
EMPTY = Note(f"{ORIGIN}\n0\n{'A' * 43}=\n").sign(KEYS[0]).to_bytes()


@pytest.mark.parametrize(
    ("request_body", "status", "kind"),
    [
        (b"", 400, TEXT),
        (b"old 4\n\nnothing signed\n", 400, TEXT),
        (body(9, ONE.checkpoint(8)), 400, TEXT),
        (body(0, sign_checkpoint(ONE.head(8), KEYS[:1])), 403, TEXT),
        (body(0, Note(ONE.head(8).to_text(), Note.from_bytes(ONE.checkpoint(7)).signatures).to_bytes()), 403, TEXT),
        (body(9, UNKNOWN), 404, TEXT),
        (body(3, ONE.checkpoint(8)), 409, "text/x.tlog.size"),
        (body(0, ONE.checkpoint(8)), 409, "text/x.tlog.size"),
        (body(4, ONE.checkpoint(8), bytes(32)), 422, TEXT),
        (body(4, OTHER.checkpoint(4)), 422, TEXT),
        (body(4, EMPTY), 422, TEXT),
    ],
)
def test_each_refusal_has_its_status(url: str, request_body: bytes, status: int, kind: str) -> None:
    found, answer, found_kind = post(url, request_body)
    assert (found, found_kind) == (status, kind)
    if status == 409:
        assert answer == b"4\n"
    else:
        assert answer.endswith(b".\n")


def test_a_checkpoint_that_continues_the_last_is_cosigned_and_one_asked_again_too(url: str, tmp_path: Path) -> None:
    with served_witness(tmp_path, CLOCK) as address:
        assert post(address, body(0, ONE.checkpoint(4)))[0] == 200
        for old in (4, 7):
            proof = consistency_proof(old, 7, ONE.read(7))
            status, lines, kind = post(address, body(old, ONE.checkpoint(7), *proof))
            assert (status, kind) == (200, TEXT)
            opened = open_checkpoint(ONE.checkpoint(7) + lines, LOG, KNOWN_WITNESSES)
            assert [each.key for each in opened.cosignatures] == list(KNOWN_WITNESSES)


def test_monitors_are_shown_the_last_cosigned_checkpoint(tmp_path: Path) -> None:
    address = f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
    with served_witness(tmp_path, CLOCK) as url:
        assert post(url, b"", address, "GET")[0] == 404
        for old, size in ((0, 3), (3, 7), (7, 7)):
            stranger = note_key("stranger.example", SignatureType.ED25519_COSIGNATURE, 50)
            data = cosign(ONE.checkpoint(size), stranger, time_s=1)
            status, lines, _ = post(url, body(old, data, *consistency_proof(old, size, ONE.read(size))))
            assert status == 200
            status, found, kind = post(url, b"", address, "GET")
            assert (status, kind) == (200, TEXT)
            opened = open_checkpoint(found, LOG, KNOWN_WITNESSES)
            assert opened.head == ONE.head(size)
            assert [each.key for each in opened.cosignatures] == list(KNOWN_WITNESSES)
            assert found.endswith(lines)
            assert b"stranger" not in found
        assert post(url, body(7, OTHER.checkpoint(9)))[0] == 422
        assert post(url, b"", address, "GET")[1] == found
        for path in ("/checkpoint", address.upper(), address + "/", "/" + "0" * 64 + "/checkpoint"):
            assert post(url, b"", path, "GET")[0] == 404


def test_what_is_no_such_request_is_refused(url: str) -> None:
    assert post(url, b"", path="/")[0] == 404
    assert post(url, b"", path="/add-checkpoint/")[0] == 404
    assert post(url, b"", method="GET")[0] == 405
    assert post(url, b"", path="/x", method="GET")[0] == 404
    assert post(url, b"", method="DELETE")[0] == 501


def raw(url: str, head: bytes, rest: bytes = b"") -> bytes:
    """What a server answers to these very bytes."""
    host, _, port = urlsplit(url).netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + rest)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(65536):
            found += piece
        return found


@pytest.mark.parametrize(
    ("head", "rest", "status"),
    [
        (b"", b"", 411),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", 411),
        (b"Content-Length: -1\r\n", b"", 400),
        (b"Content-Length: 1e3\r\n", b"", 400),
        (b"Content-Length: \xb2\r\n", b"", 400),
        (b"Content-Length: %d\r\n" % (MAX_BODY_BYTES + 1), b"", 413),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", b"", 413),
        (b"Content-Length: 100\r\n", b"old 4\n", 400),
        (b"Content-Length: 0\r\n", b"", 400),
    ],
)
def test_a_body_without_its_length_or_too_long_is_refused_unread(
    url: str, head: bytes, rest: bytes, status: int
) -> None:
    assert raw(url, head, rest).startswith(b"HTTP/1.1 %d " % status)


def test_a_connection_is_kept_for_the_next_request(url: str) -> None:
    request = b"Content-Length: 0\r\n\r\nPOST /add-checkpoint HTTP/1.1\r\nContent-Length: 0\r\n"
    assert raw(url, request).count(b"HTTP/1.1 400 ") == 2


def test_where_the_clock_went_back_nothing_is_cosigned_until_it_is_right(tmp_path: Path) -> None:
    clock = Clock()
    with served_witness(tmp_path, clock) as url:
        assert post(url, body(0, ONE.checkpoint(4)))[0] == 200
        clock.now_s = TIME_S - 1
        assert post(url, body(4, ONE.checkpoint(4))) == (
            503,
            b"The witness cannot cosign now; try again later.\n",
            TEXT,
        )
        clock.now_s = TIME_S
        assert post(url, body(4, ONE.checkpoint(4)))[0] == 200


def test_of_many_requests_at_once_each_growth_is_cosigned_once(tmp_path: Path) -> None:
    """Two histories are pushed by eight threads; whatever wins first, only what continues it is cosigned after."""
    with served_witness(tmp_path, Clock()) as url:
        won: list[tuple[int, bytes]] = []

        def work(number: int) -> None:
            history, old = (ONE, OTHER)[number % 2], 0
            for size in range(4 + number // 2, 11, 2):
                proof = consistency_proof(old, size, history.read(size)) if old <= size else ()
                status, answer, _ = post(url, body(min(old, size), history.checkpoint(size), *proof))
                if status == 200:
                    won.append((size, history.head(size).root))
                    old = size
                elif status == 409:
                    old = int(answer)
                else:
                    assert status == 422

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert won
    assert len({root for _, root in won}) == len({size for size, _ in won})  # one root hash for each size
    roots = {history.head(size).root for size, _ in won for history in (ONE, OTHER)}
    assert len(roots & {root for _, root in won}) == len({size for size, _ in won})
