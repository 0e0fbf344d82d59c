# SPDX-License-Identifier: Apache-2.0
"""A witness over HTTP (C2SP tlog-witness). What it answers is decided in ledger/witness.py.

``POST /add-checkpoint`` is for logs. ``GET /<SHA-256 of the origin, in hex>/checkpoint`` is for monitors: a recent
checkpoint of that log with its cosignatures.

| status | when |
|---|---|
| 200 | cosigned: the signature lines |
| 400 | the request is not of the form, or its old size is larger than the checkpoint |
| 403 | the log has not signed it |
| 404 | the log is not known here or was never cosigned, or there is nothing at this address |
| 405 | a checkpoint was sent with something else than POST |
| 409 | the last cosigned tree has another size: that size, as ``text/x.tlog.size`` |
| 411, 413 | the length of the body is not said, or larger than 256 KiB |
| 422 | not shown to be consistent with the last cosigned tree |
| 500 | the store, or this program |
| 503 | the clock stands before the last cosignature, or another process holds the store |

Not protected: what listening.py says.
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from ipse.errors import ClockError, IpseError, StoreBusy
from ipse.ledger.witness import Reason, Refusal, Witness, cosigned_checkpoint
from ipse.server.listening import SILENCE_SECONDS, Listener

PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
MAX_BODY_BYTES = 256 * 1024

_MONITORING = re.compile(r"/(?P<hash>[0-9a-f]{64})/checkpoint", re.ASCII)
_NOTHING = b"There is nothing here; logs post to /add-checkpoint.\n"
_FAULT = b"The witness has a fault of its own.\n"

_STATUS = {
    Reason.MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.UNKNOWN_LOG: HTTPStatus.NOT_FOUND,
    Reason.NOT_SIGNED: HTTPStatus.FORBIDDEN,
    Reason.OTHER_SIZE: HTTPStatus.CONFLICT,
    Reason.INCONSISTENT: HTTPStatus.UNPROCESSABLE_ENTITY,
}

log = logging.getLogger(__name__)


class WitnessServer(Listener):
    """Answers for one witness."""

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        self.witness = witness
        super().__init__(host, port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # so that a log may keep its connection
    server_version = "ipse"
    sys_version = ""
    timeout = SILENCE_SECONDS
    server: WitnessServer

    def do_POST(self) -> None:
        """Cosign, or say why not."""
        body = self._body()
        if body is None:
            return
        if self.path != PATH:
            self._send(HTTPStatus.NOT_FOUND, _NOTHING, TEXT_TYPE)
            return
        status, answer, kind = answer_to(self.server.witness, body)
        self._send(status, answer, kind)

    def do_GET(self) -> None:
        """Show the last cosigned checkpoint of a log."""
        self.close_connection = True  # there may be a body that is not read
        if self.path == PATH:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "Send a checkpoint with POST.", Allow="POST")
            return
        match = _MONITORING.fullmatch(self.path)
        status, answer = shown(self.server.witness, match["hash"]) if match else (HTTPStatus.NOT_FOUND, _NOTHING)
        self._send(status, answer, TEXT_TYPE)

    def log_message(self, format: str, *args: Any) -> None:
        """One line for each request, with ``--verbose``."""
        log.info("%s %s", self.address_string(), format % args)

    def _body(self) -> bytes | None:
        """The body; None if an answer was sent instead, after which the connection ends: the body was not read."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length:
            return self._unread(HTTPStatus.LENGTH_REQUIRED, "Say the length of the body, and send it whole.")
        if not (length.isascii() and length.isdigit()):
            return self._unread(HTTPStatus.BAD_REQUEST, "The length of the body is no number.")
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            return self._unread(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is over {MAX_BODY_BYTES} bytes.")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            return self._unread(HTTPStatus.BAD_REQUEST, "The body ended early.")
        return body

    def _unread(self, status: HTTPStatus, message: str) -> bytes | None:
        self.close_connection = True
        self._answer(status, message)
        return None

    def _answer(self, status: HTTPStatus, message: str, **headers: str) -> None:
        self._send(status, f"{message}\n".encode(), TEXT_TYPE, **headers)

    def _send(self, status: HTTPStatus, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def shown(witness: Witness, origin_hash: str) -> tuple[HTTPStatus, bytes]:
    """(status, body) of the answer to a monitor."""
    try:
        found = cosigned_checkpoint(witness.store, origin_hash)
    except IpseError as error:
        log.error("not shown: %s %s", error.message, error.hint)
        return HTTPStatus.INTERNAL_SERVER_ERROR, _FAULT
    return (HTTPStatus.NOT_FOUND, _NOTHING) if found is None else (HTTPStatus.OK, found)


def answer_to(witness: Witness, body: bytes) -> tuple[HTTPStatus, bytes, str]:
    """(status, body, content type) of the answer to a request: the one place where outcomes become statuses."""
    try:
        outcome = witness.add_checkpoint(body)
    except (ClockError, StoreBusy) as error:
        log.error("not cosigned: %s %s", error.message, error.hint)
        return HTTPStatus.SERVICE_UNAVAILABLE, b"The witness cannot cosign now; try again later.\n", TEXT_TYPE
    except IpseError as error:
        log.error("not cosigned: %s %s", error.message, error.hint)
        return HTTPStatus.INTERNAL_SERVER_ERROR, _FAULT, TEXT_TYPE
    if not isinstance(outcome, Refusal):
        return HTTPStatus.OK, outcome, TEXT_TYPE
    if outcome.reason is Reason.OTHER_SIZE:
        return HTTPStatus.CONFLICT, f"{outcome.size}\n".encode(), SIZE_TYPE
    return _STATUS[outcome.reason], f"{outcome.message}\n".encode(), TEXT_TYPE
