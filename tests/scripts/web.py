"""A web site on loopback, by HTTPS, that can be told to fail."""

import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import certificates


class Web:
    """What it answers, and what it was asked."""

    def __init__(self, port: int, authority: str) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.authority = authority
        """What clients have to trust, in PEM."""
        self.status = 200
        self.asked: list[tuple[str, str, bytes]] = []
        self.hosts: set[str] = set()


@contextmanager
def web(folder: Path) -> Generator[Web]:
    """It serves as long as the block lasts."""
    authority = certificates.authority()
    key, made = certificates.server("127.0.0.1", "www.example.org", signer=authority)
    file = folder / "web.pem"
    file.write_text(key + certificates.pem(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            site.asked.append((self.command, self.path, body))
            site.hosts.add(self.headers["Host"])
            self.send_response(site.status)
            self.send_header("X-Served-By", f"app-server-{1 + len(site.asked) % 2}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 its name in the base
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site = Web(server.server_address[1], certificates.pem(authority[1]))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
