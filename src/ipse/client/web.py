# SPDX-License-Identifier: Apache-2.0
"""HTTP as far as a log's client needs it: one request, one answer, limited in bytes and in seconds.

Redirects are not followed and proxies are not used: an answer comes from the host that was named. Whatever that host
sends, the outcome is an answer, NetworkError or VerificationError. Certificates of ``https`` addresses are checked by
the system's store; of ``http`` nothing is known, which is enough for what is signed.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import SHUT_RDWR, socket
from urllib.parse import urlsplit

from ipse.errors import InputError, NetworkError, VerificationError

DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``kind`` is the content type, in lower case and without parameters."""

    status: int
    body: bytes
    kind: str


def request(
    url: str, most_bytes: int, *, body: bytes | None = None, deadline_seconds: float = DEADLINE_SECONDS
) -> Answer:
    """GET an address, or POST a body to it.

    Args:
        most_bytes: of the answer's body.
        deadline_seconds: from the beginning to the last byte.

    Raises:
        InputError: it is no address of http or https.
        NetworkError: no connection, no answer in time, or none of the form.
        VerificationError: the answer is longer than any that could be right.
    """
    connection, path = _connection(url, deadline_seconds)
    headers = {"User-Agent": "ipse", "Accept-Encoding": "identity", "Connection": "close"}
    try:
        connection.connect()
        with _ended_after(deadline_seconds, connection.sock) as late:
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            data = response.read(most_bytes + 1)
            cut = len(data) <= most_bytes and bool(response.length)  # fewer bytes than were announced
        kind = response.headers.get_content_type()
    except (OSError, HTTPException, ValueError) as error:  # ValueError: headers that are no text
        raise NetworkError(f"{url} does not answer: {_reason(error)}.", _TRY_AGAIN) from error
    finally:
        connection.close()
    if late.is_set() or cut:
        raise NetworkError(f"{url} did not answer to the end.", _TRY_AGAIN)
    if len(data) > most_bytes:
        raise VerificationError(f"{url} sent more than {most_bytes} bytes.", "It is not what it should be.")
    return Answer(response.status, data, kind)


_TRY_AGAIN = "Check the address and the network, and try again."


def _connection(url: str, timeout: float) -> tuple[HTTPConnection, str]:
    wrong = InputError(f"{url[:200]!r} is no address of http or https.", "It looks like https://example.com/log.")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise wrong
    if parts.scheme == "https":
        return HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context()), parts.path or "/"
    return HTTPConnection(host, port, timeout=timeout), parts.path or "/"


@contextmanager
def _ended_after(seconds: float, sock: socket) -> Iterator[threading.Event]:
    """Shut the connection when the time is over: a timeout of the socket alone begins anew with every byte."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError):  # it is gone already
            sock.shutdown(SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
