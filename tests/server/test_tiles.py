# SPDX-License-Identifier: Apache-2.0
"""The log over HTTP: every resource of C2SP tlog-tiles, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipse.ledger.checkpoint import open_checkpoint
from ipse.ledger.log import LogWriter
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.tiles import Tile, bundles_of, decode_bundle, tile_reader, tiles_of
from ipse.ledger.tree import inclusion_proof, leaf_hash, read_root, verify_inclusion
from ipse.server.tiles import TileServer
from ipse.store.store import Store
from tests.ledger.logs import blinded, tile_bytes
from tests.server.serving import running

ENTRIES = blinded(600)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LogWriter]:
    with Store.open(tmp_path / "home") as store:
        writer = LogWriter.open(store)
        writer.append(ENTRIES[:300])
        yield writer


@contextlib.contextmanager
def served(writer: LogWriter, host: str = "127.0.0.1") -> Iterator[TileServer]:
    server = TileServer(writer.public, host, 0)
    with running(server):
        yield server


@pytest.fixture
def server(writer: LogWriter) -> Iterator[TileServer]:
    with served(writer) as server:
        yield server


def ask(server: TileServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(str(server.server_address[0]), server.server_port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer, answer.read()


def test_the_checkpoint_is_the_newest_and_is_not_cached(server: TileServer, writer: LogWriter) -> None:
    for entries in (ENTRIES[300:301], ENTRIES[301:302]):
        writer.append(entries)
        answer, data = ask(server, "/checkpoint")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert data == writer.public.checkpoint()
        assert open_checkpoint(data, writer.log).head == writer.head


def test_every_tile_and_bundle_is_served_and_cached_for_good(server: TileServer, writer: LogWriter) -> None:
    writer.append(ENTRIES[300:])
    for size in (1, 256, 300, 600):  # of the newest checkpoint and of earlier ones
        for tile in (*tiles_of(size), *bundles_of(size)):
            answer, data = ask(server, f"/{tile.path()}")
            assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            if tile.level >= 0:
                assert data == tile_bytes(tile, LEAVES)
            else:
                start = tile.index * 256
                assert list(decode_bundle(data, tile.width)) == ENTRIES[start : start + tile.width]


def test_a_reader_with_nothing_but_the_address_proves_an_entry(server: TileServer, writer: LogWriter) -> None:
    head = open_checkpoint(ask(server, "/checkpoint")[1], writer.log).head
    read = tile_reader(head.size, lambda tile: ask(server, f"/{tile.path()}")[1])
    assert read_root(head.size, read) == head.root
    bundle = decode_bundle(ask(server, "/tile/entries/001.p/44")[1], 44)
    verify_inclusion(leaf_hash(bundle[3]), 259, head.size, inclusion_proof(259, head.size, read), head.root)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/checkpoint/",
        "/checkpoint?x=1",
        "/tile/0/001",
        "/tile/0/001.p/45",
        "/tile/0/002.p/1",
        "/tile/1/000",
        "/tile/2/000.p/1",
        "/tile/entries/001",
        "/tile/entries/001.p/45",
        "/tile/entries/x036/x028/x797/x018/x963/967",
        "/tile/0/x009/x223/x372/x036/x854/x775/807",
        "/tile/0/000.p/256",
        "/tile/0/000/",
        "/tile/0/%30%30%30",
        "/tile/0/../0/000",
        "/../log.key",
        "/log.key",
        "/" + "x" * 5000,
    ],
)
def test_what_is_not_there_is_404_and_not_cached(server: TileServer, path: str) -> None:
    answer, data = ask(server, path)
    assert (answer.status, data) == (404, b"404 there is no such thing in this log\n")
    assert (answer.headers["Cache-Control"], answer.headers["Content-Type"]) == (
        "no-store",
        "text/plain; charset=utf-8",
    )


def test_a_tile_that_was_not_there_is_there_when_the_log_has_grown(server: TileServer, writer: LogWriter) -> None:
    assert ask(server, "/tile/0/001")[0].status == 404
    writer.append(ENTRIES[300:])
    assert ask(server, "/tile/0/001")[1] == tile_bytes(Tile(0, 1), LEAVES)


def test_a_head_is_answered_without_a_body_and_writing_is_not_answered(server: TileServer) -> None:
    answer, data = ask(server, "/tile/0/000", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], data) == (200, "8192", b"")
    for method in ("POST", "PUT", "DELETE"):
        assert ask(server, "/checkpoint", method)[0].status == 501


def test_one_connection_asks_many_times(server: TileServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    with contextlib.closing(connection):
        for _ in range(5):
            connection.request("GET", "/tile/0/000")
            assert connection.getresponse().read() == tile_bytes(Tile(0, 0), LEAVES)
        local = connection.sock.getsockname()
        connection.request("GET", "/checkpoint")
        answer = connection.getresponse()
        assert (answer.headers["Cache-Control"], answer.read()[:4]) == ("no-cache", b"ipse")
        assert connection.sock.getsockname() == local
        connection.request("GET", "/tile/0/001")  # not there yet, after one that stays for good
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")


def test_no_bytes_end_the_server(server: TileServer) -> None:
    for sent in (
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET /checkpoint HTTP/9.9\r\n\r\n",
        b"GET /tile/0/\xff HTTP/1.1\r\n\r\n",
        b"",
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.makefile("rb").read()
            assert b"Traceback" not in answer
            assert b" 200 " not in answer.split(b"\r\n")[0]
    assert ask(server, "/checkpoint")[0].status == 200


def test_a_log_that_cannot_be_read_is_503(tmp_path: Path, writer: LogWriter) -> None:
    with served(writer) as server:
        folder = writer.public.folder / "seen"
        shutil.rmtree(folder)
        folder.write_text("in the way")
        answer, data = ask(server, "/checkpoint")
        assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")
        assert b"seen" not in data
        assert ask(server, "/tile/0/000")[0].status == 200


def test_it_listens_on_ipv6_too(writer: LogWriter) -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    try:
        with served(writer, "::1") as server:
            assert server.url == f"http://[::1]:{server.server_port}"
            assert ask(server, "/checkpoint")[0].status == 200
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")


def test_the_server_holds_no_key(server: TileServer) -> None:
    assert isinstance(server.public, PublicLog)
    assert not any("key" in name for name in vars(server.public))
