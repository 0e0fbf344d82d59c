# SPDX-License-Identifier: Apache-2.0
"""Real servers for the tests: a witness, and a log that may show different histories."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ipse.ledger.checkpoint import sign_checkpoint
from ipse.ledger.tiles import TILE_WIDTH, tiles_of
from ipse.ledger.tree import leaf_hash, list_reader, root_hash
from ipse.ledger.treehead import TreeHead
from ipse.ledger.witness import Witness, add_log
from ipse.server.witness import WitnessServer
from ipse.store.store import Store
from tests.ledger.logs import KEYS, LOG, ORIGIN, TIME_S, WITNESSES, tile_bytes


@dataclass
class Clock:
    """Shows what a test sets it to."""

    now_s: int = TIME_S

    def __call__(self) -> int:
        return self.now_s


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """A server that answers while the block lasts."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def served_witness(root: Path, clock: Callable[[], int]) -> Iterator[str]:
    """The address of a witness that knows the log of tests/ledger/logs.py."""
    with Store.open(root) as store:
        add_log(store, LOG)
        server = WitnessServer(Witness(WITNESSES, store, clock), "127.0.0.1", 0)
        with running(server):
            yield server.url


@dataclass
class History:
    """One history of the log of tests/ledger/logs.py: its leaves, and what follows from them."""

    leaves: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, *names: str) -> History:
        return cls([leaf_hash(name.encode()) for name in names])

    def head(self, size: int) -> TreeHead:
        return TreeHead(ORIGIN, size, root_hash(self.leaves[:size]))

    def checkpoint(self, size: int) -> bytes:
        return sign_checkpoint(self.head(size), KEYS, time_s=TIME_S)

    def read(self, size: int) -> Callable[[int, int], bytes]:
        return list_reader(self.leaves[:size])

    def files(self, size: int, *, partial: bool = True) -> dict[str, bytes]:
        """All files of the log at that size; without partial tiles, full ones stand in for them where they exist."""
        found = {"checkpoint": self.checkpoint(size)}
        for tile in (*tiles_of(size), *tiles_of(len(self.leaves))):
            if tile.width == TILE_WIDTH or partial:
                found[tile.path()] = tile_bytes(tile, self.leaves)
        return found


class FileServer(ThreadingHTTPServer):
    """Serves files from memory; ``files`` may be another dictionary at any time, a value may be an exact answer."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Files)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/log"


class _Files(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        name = self.path.removeprefix("/log/")
        self.server.asked.append(name)
        found = self.server.files.get(name)
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def post(
    url: str, body: bytes, path: str = "/add-checkpoint", method: str = "POST", **headers: str
) -> tuple[int, bytes, str]:
    """(status, body, content type) of one request."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers["Content-Type"]
    finally:
        connection.close()
