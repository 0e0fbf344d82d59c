# SPDX-License-Identifier: Apache-2.0
"""The public log over HTTP, as any client of C2SP tlog-tiles reads it. Read-only; it holds no key and signs nothing. ::

    GET /checkpoint                        text/plain, never cached
    GET /tile/<L>/<N>[.p/<W>]              application/octet-stream, cached for good
    GET /tile/entries/<N>[.p/<W>]          the same

Whatever is not there, or not there yet, is 404 and not cached: a tile of a later size comes. Partial tiles are cut from
what is stored, so those of earlier checkpoints stay available. Entries are not compressed: they are noise.

Not protected: who fetches what is visible to whoever sees the traffic, since there is no TLS here, and nobody is kept
from asking too often. On the open network put a web server before it, or serve the files of an export from there.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ipse.errors import IpseError, VerificationError
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.tiles import Tile

CHECKPOINT_PATH = "/checkpoint"

_IDLE_SECONDS = 30
_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_CHANGES = "no-cache"
_STAYS = "public, max-age=31536000, immutable"

log = logging.getLogger(__name__)


class TileServer(ThreadingHTTPServer):
    """Serves one log until ``shutdown``; a thread for each connection. Port 0 takes a free one, see ``address``.

    Raises OSError where the address cannot be had.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, public: PublicLog) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.public = public
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        """Where it listens, as the start of an address."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def server_bind(self) -> None:
        """As of HTTPServer, without asking the name service what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is not worth a traceback on the terminal."""
        log.info("a connection ended early: %r", sys.exception())


class _Handler(BaseHTTPRequestHandler):
    server: TileServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ipse", ""
    timeout = _IDLE_SECONDS
    error_content_type = _TEXT
    error_message_format = "%(code)d %(message)s\n"
    _caching = "no-store"  # of an error, which may be another one in a moment

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self._caching = _Handler._caching  # one handler answers all requests of a connection
        try:
            found = _resource(self.server.public, self.path)
        except IpseError as error:  # our fault, not the client's
            log.error("the log cannot be read: %s", error)
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "the log cannot be read now")
            return
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such thing in this log")
            return
        data, kind, self._caching = found
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", self._caching)
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """To our log instead of standard error; no address of who asked."""
        log.info("served: %r", format % args)


def _resource(public: PublicLog, path: str) -> tuple[bytes, str, str] | None:
    """(body, content type, caching) of a path; None if there is no such thing."""
    if path == CHECKPOINT_PATH:
        return public.checkpoint(), _TEXT, _CHANGES
    try:
        tile = Tile.from_path(path.removeprefix("/"))
    except VerificationError:
        return None
    data = public.tile(tile)
    return None if data is None else (data, _BYTES, _STAYS)
