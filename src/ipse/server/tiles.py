# SPDX-License-Identifier: Apache-2.0
"""The public log over HTTP, as any client of C2SP tlog-tiles reads it. Read-only; it holds no key and signs nothing. ::

    GET /checkpoint                        text/plain, never cached
    GET /tile/<L>/<N>[.p/<W>]              application/octet-stream, cached for good
    GET /tile/entries/<N>[.p/<W>]          the same

Whatever is not there, or not there yet, is 404 and not cached: a tile of a later size comes. Partial tiles are cut from
what is stored, so those of earlier checkpoints stay available. Entries are not compressed: they are noise.

Not protected: what listening.py says; and who fetches which entry can be seen on the way. The files of an export
(export.py) are the same, for any web server.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from ipse.errors import IpseError, VerificationError
from ipse.ledger.publiclog import PublicLog
from ipse.ledger.tiles import Tile
from ipse.server.listening import SILENCE_SECONDS, Listener

CHECKPOINT_PATH = "/checkpoint"

_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_CHANGES = "no-cache"
_STAYS = "public, max-age=31536000, immutable"

log = logging.getLogger(__name__)


class TileServer(Listener):
    """Serves one log."""

    def __init__(self, public: PublicLog, host: str, port: int) -> None:
        self.public = public
        super().__init__(host, port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: TileServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ipse", ""
    timeout = SILENCE_SECONDS
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
