"""gunicorn's configuration, and what this machine adds around the application.

Around it, rather than in it: any WSGI application is served unchanged. The machine answers the
health path itself while it drains, counts the requests in flight so that a drain knows when the
last has gone, and says in each answer which machine gave it.

Self-contained: gunicorn reads it by its path, beside an application whose modules may have any
name.
"""

import importlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

worker_class = "gthread"
# Longer than HAProxy keeps an idle connection, so that it is never the server that closes one
# just as a request is on its way.
keepalive = 75
worker_tmp_dir = "/dev/shm"  # noqa: S108 in memory; gunicorn names the file itself
# Only load balancers can reach this port, and they set these headers themselves.
forwarded_allow_ips = "*"
# The control socket of newer versions is not used, and where it would be made is read-only.
control_socket_disable = True

FOLDER = Path("/run/site-app")
DRAINING = "draining"
COUNTERS = "worker-"
LAYOUT = struct.Struct("=qd")
"""Requests in flight; when the last one came or went, on the machine's monotonic clock."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Counter:
    """Requests in flight of one worker process, in a file that the agent reads."""

    def __init__(self, folder: Path) -> None:
        """Makes the file of this process."""
        path = folder / f"{COUNTERS}{os.getpid()}"
        path.write_bytes(LAYOUT.pack(0, 0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)
        self._lock = threading.Lock()
        self._in_flight = 0

    def add(self, change: int) -> None:
        """A request came (1) or went (-1)."""
        with self._lock:
            self._in_flight += change
            LAYOUT.pack_into(self._memory, 0, self._in_flight, time.monotonic())


class Body:
    """An answer's body; tells once when it has been sent, or given up."""

    def __init__(self, body: Iterable[bytes], done: Callable[[], None]) -> None:
        """`body` is what the application returned."""
        self._body = body
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        """The application's own chunks."""
        return iter(self._body)

    def close(self) -> None:
        """WSGI: the server calls this in the end, whatever happened."""
        try:
            close = getattr(self._body, "close", None)
            if close:
                close()
        finally:
            done, self._done = self._done, lambda: None
            done()


class OnThisMachine:
    """The application as this machine serves it."""

    def __init__(self, application: Application, name: str, health: str, folder: Path) -> None:
        """`health` is the path of the application's own health check."""
        self._application = application
        self._name = name
        self._health = health
        self._draining = folder / DRAINING
        self._counter = Counter(folder)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""

        def start(
            status: str, headers: list[tuple[str, str]], *exc_info: object
        ) -> Callable[[bytes], Any]:
            kept = [header for header in headers if header[0].lower() != "x-served-by"]
            return start_response(status, [*kept, ("X-Served-By", self._name)], *exc_info)

        if environ.get("PATH_INFO") == self._health:
            if self._draining.exists():
                start("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"draining\n"]
            return self._application(environ, start)
        self._counter.add(1)
        try:
            body = self._application(environ, start)
        except BaseException:
            self._counter.add(-1)
            raise
        return Body(body, lambda: self._counter.add(-1))


class Together:
    """A socket's place: keeps what is to be sent, and sends it in one piece."""

    def __init__(self, sock: Any) -> None:
        """Nothing is sent yet."""
        self._sock = sock
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keeps it."""
        self._parts.append(data)

    def flush(self) -> None:
        """Sends it."""
        self._sock.sendall(b"".join(self._parts))


def send_heads_with_bodies(response: Any) -> None:
    """Makes gunicorn's `Response` send the head of an answer together with its first bytes.

    It sends them one after the other, and between the two other threads run: a worker that is
    killed then leaves answers of which only the head is out, and which a load balancer can no
    longer ask for elsewhere. It is also a packet less.
    """
    write = response.write

    def together(self: Any, data: bytes) -> None:
        if self.headers_sent:
            write(self, data)
            return
        sock, self.sock = self.sock, Together(self.sock)
        try:
            write(self, data)
            self.sock.flush()
        finally:
            self.sock = sock

    response.write = together


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook: the application is loaded, no request was taken yet."""
    send_heads_with_bodies(importlib.import_module("gunicorn.http.wsgi").Response)
    worker.wsgi = OnThisMachine(
        worker.wsgi, os.environ["SITE_MACHINE"], os.environ["SITE_HEALTH_PATH"], FOLDER
    )
