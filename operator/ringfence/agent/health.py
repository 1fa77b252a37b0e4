"""Metrics and health over HTTP, in a thread of its own so that a dead loop can be seen from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

from ringfence.metrics import CONTENT_TYPE

Page = Callable[[], tuple[int, bytes]]


class HealthServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``; each page returns its status and body."""

    def __init__(self, address: str, port: int, pages: dict[str, Page]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                status, body = page() if page else (404, b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
                pass

        self._server = HTTPServer((address, port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        """Serve until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
