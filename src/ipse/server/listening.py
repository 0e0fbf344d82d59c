# SPDX-License-Identifier: Apache-2.0
"""What the servers here have in common: a thread for each connection, and not too many of them.

Not protected: there is no TLS, and whoever opens connections and says nothing keeps others out for as long as it
takes (64 at a time, 10 seconds of silence each). Put a web server before it.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SILENCE_SECONDS = 10

_MAX_CONNECTIONS = 64

log = logging.getLogger(__name__)


class Listener(ThreadingHTTPServer):
    """Listens from the moment it is made; ``serve_forever`` answers. Close it with ``server_close``.

    Raises OSError where the address cannot be had. Port 0 takes a free one, see ``url``.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__((host, port), handler)

    @property
    def url(self) -> str:
        """Its address, with the port that it really has."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def server_bind(self) -> None:
        """As of HTTPServer, without asking the name service what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection, while there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Counted by ``process_request``."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is not worth a traceback on the terminal; a fault of ours is."""
        error = sys.exception()
        if isinstance(error, OSError):
            log.info("a connection ended early: %s", error)
        else:
            log.error("a request could not be answered", exc_info=error)
