"""What HAProxy on the application servers asks about this machine, on port 8008."""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8008
Answer = tuple[bool, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A checker that went away is not worth a line."""


def serve(paths: Mapping[str, Callable[[], bool]], status: Callable[[], dict[str, Any]]) -> None:
    """Answers each path with 200 or 503, and ``/status`` with JSON. Does not return."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == "/status":
                self._answer(200, json.dumps(status(), indent=1) + "\n", "application/json")
            elif check := paths.get(self.path):
                yes = check()
                self._answer(200 if yes else 503, "yes\n" if yes else "no\n", "text/plain")
            else:
                self._answer(404, "not found\n", "text/plain")

        def _answer(self, code: int, body: str, kind: str) -> None:
            self.send_response_only(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

    _Server(("0.0.0.0", PORT), Handler).serve_forever()  # noqa: S104 others are to ask
