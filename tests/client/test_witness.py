# SPDX-License-Identifier: Apache-2.0
"""Asking a witness: real ones that remember, and servers that answer whatever they like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ipse.client.web import request
from ipse.client.witness import ask
from ipse.errors import InputError, NetworkError, VerificationError
from ipse.ledger.checkpoint import cosign, open_checkpoint
from ipse.ledger.keys import SignatureType
from ipse.ledger.note import Note
from ipse.ledger.tree import consistency_proof
from tests.ledger.logs import KNOWN_WITNESSES, LOG, TIME_S, WITNESSES, note_key
from tests.server.serving import Clock, History, running, served_witness

ONE = History.of(*"abcdefghij")
OTHER = History.of(*"abcXYZfghij")


def prover(history: History, size: int) -> Callable[[int], Sequence[bytes]]:
    def prove(old: int) -> Sequence[bytes]:
        assert 0 < old <= size
        return consistency_proof(old, size, history.read(size))

    return prove


def asked(url: str, history: History, size: int, old: int = 0) -> bytes:
    data = history.checkpoint(size)
    return ask(url, KNOWN_WITNESSES, data, LOG, old_size=old, prove=prover(history, size))


def test_a_checkpoint_comes_back_cosigned_whatever_the_witness_saw_before(tmp_path: Path) -> None:
    with served_witness(tmp_path, Clock()) as url:
        for size, old in ((3, 0), (5, 3), (6, 0), (9, 4), (9, 9), (9, 2), (10, 99)):
            lines = asked(url + "/", ONE, size, old)
            opened = open_checkpoint(ONE.checkpoint(size) + lines, LOG, KNOWN_WITNESSES)
            assert opened.head == ONE.head(size)
            assert [(each.key, each.time_s) for each in opened.cosignatures] == [
                (key, TIME_S) for key in KNOWN_WITNESSES
            ]


@pytest.mark.parametrize(("size", "seen"), [(4, 6), (5, 6), (6, 6), (8, 6), (10, 6)])
def test_a_log_that_took_something_back_is_told_what_the_witness_has_seen(tmp_path: Path, size: int, seen: int) -> None:
    """A smaller tree, an equal one with another root, and larger ones that do not begin with it."""
    with served_witness(tmp_path, Clock()) as url:
        asked(url, ONE, seen)
        says = rf"the witness has seen a tree of {seen} entries that ours does not contain"
        for old in (0, size):
            with pytest.raises(VerificationError, match=says):
                asked(url, OTHER, size, old)
        assert asked(url, ONE, 9)


def test_a_witness_that_does_not_know_the_log_or_cannot_cosign_is_an_error(tmp_path: Path) -> None:
    clock = Clock()
    with served_witness(tmp_path, clock) as url:
        with pytest.raises(VerificationError, match=r"404.*nothing here"):
            asked(url + "/elsewhere", ONE, 3)
        asked(url, ONE, 3)
        clock.now_s -= 1
        with pytest.raises(NetworkError, match="503"):
            asked(url, ONE, 4)
    with pytest.raises(NetworkError):
        asked(url, ONE, 3)  # it is gone


def test_a_client_that_asks_for_nonsense_is_told_so() -> None:
    with pytest.raises(InputError, match="without keys"):
        ask("http://127.0.0.1:1", [], ONE.checkpoint(3), LOG, prove=prover(ONE, 3))
    for url in ("ftp://x", "file:///etc/passwd", "http://", "x", "http://a b", "http://x:y", "http://u@x", "http://é"):
        with pytest.raises(InputError, match="no address"):
            asked(url, ONE, 3)
    with pytest.raises(VerificationError):
        ask("http://127.0.0.1:1", KNOWN_WITNESSES, b"no checkpoint", LOG, prove=prover(ONE, 3))


# -- servers that answer whatever they like ---------------------------------------------------------------------


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that sends these very bytes, one after the other, and the last one ever after."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(left.pop(0) if len(left) > 1 else left[0])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with running(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def http(status: int, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


DATA = ONE.checkpoint(5)
TEXT = ONE.head(5).to_text()


def lines(*signers: int, text: str = TEXT, time_s: int = TIME_S) -> bytes:
    note = Note(text)
    for number in signers:
        note = note.sign(WITNESSES[number], time_s)
    return "".join(signature.to_line() for signature in note.signatures).encode()


def test_lines_of_strangers_and_doubled_ones_are_left_out() -> None:
    stranger = note_key("stranger.example", SignatureType.ED25519_COSIGNATURE, 50)
    others = cosign(DATA, stranger, time_s=1)[len(DATA) :]
    with answering(http(200, others + lines(0) + others + lines(1, 0))) as url:
        assert asked(url, ONE, 5).count(b"\xe2\x80\x94") == 2
        opened = open_checkpoint(DATA + asked(url, ONE, 5), LOG, KNOWN_WITNESSES)
        assert {each.key for each in opened.cosignatures} == set(KNOWN_WITNESSES)


LYING = {
    "nothing": http(200, b""),
    "one of two": http(200, lines(0)),
    "another tree": http(200, lines(0, 1, text=ONE.head(6).to_text())),
    "no time": http(200, lines(0, 1, time_s=0)),
    "another text": http(200, b"more\n\n" + lines(0, 1)),
    "cut off": http(200, lines(0, 1)[:-1]),
    "no lines": http(200, b"\xff" * 100),
    "forged": http(200, lines(0, 1).replace(b"A", b"B")),
    "too long": http(200, b"x" * 100_000),
    "a size that is none": http(409, b"x\n"),
    "a size without its end": http(409, b"3"),
    "a size too large": http(409, b"9" * 30 + b"\n"),
    "a size in other digits": http(409, "٣\n".encode()),
    "a larger tree": http(409, b"6\n"),
    "inconsistent": http(422, b""),
    "forbidden": http(403, b"\x1b[31m\xff"),
    "a redirect": http(302, b"", b"Location: http://127.0.0.1/\r\n"),
    "no status": b"nonsense\r\n\r\n",
    "no bytes": b"",
    "a status too long": b"HTTP/1.1 " + b"2" * 70_000,
    "headers without end": b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * 200,
    "a body cut off": b"HTTP/1.1 200 X\r\nContent-Length: 9000\r\n\r\n" + lines(0, 1),
    "chunks that are none": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a length that is none": b"HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\n",
    "a fault": http(500, b""),
    "the same size again and again": http(409, b"3\n"),
}


@pytest.mark.parametrize("name", LYING)
def test_whatever_a_server_answers_nothing_is_believed(name: str) -> None:
    with answering(LYING[name]) as url, pytest.raises((VerificationError, NetworkError)):
        asked(url, ONE, 5)


def test_an_answer_that_drips_is_ended_at_the_deadline() -> None:
    """A timeout of the socket would begin anew with each byte."""
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
            while not stop.wait(0.05):
                self.wfile.write(b"x")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client is gone

    server = Server(("127.0.0.1", 0), Handler)
    with running(server):
        with pytest.raises(NetworkError, match="to the end"):
            request(f"http://127.0.0.1:{server.server_address[1]}/", 200_000, deadline_seconds=0.5)
        stop.set()
