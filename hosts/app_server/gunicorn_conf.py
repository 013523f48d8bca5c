"""gunicorn's configuration, and what this machine adds around the application.

Around it, rather than in it: any WSGI application is served unchanged. The machine answers the
health path itself while it drains, counts the requests in flight so that a drain knows when the
last has gone, counts the answers and how long they took, and says in each which machine gave it.

Self-contained: gunicorn reads it by its path, beside an application whose modules may have any
name.
"""

import bisect
import importlib
import mmap
import os
import ssl
import struct
import sys
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
# Room for what load balancers let through, with what they add: they have limits of their own.
limit_request_line = 8190
limit_request_fields = 120
limit_request_field_size = 16384
# The control socket of newer versions is not used, and where it would be made is read-only.
control_socket_disable = True

FOLDER = Path("/run/site-app")
CERTIFICATE = FOLDER / "server.pem"
"""Key and certificate. Only load balancers ask, and they verify it."""
certfile = keyfile = str(CERTIFICATE)
DRAINING = "draining"
COUNTERS = "worker-"
TURN = 0.001
"""Seconds that a thread may keep the interpreter from the others: a fifth of what Python allows. A
handshake takes several turns, and fifteen busy threads would make it, or a health check, last for
as long as if the machine were dead."""
LAYOUT = struct.Struct("=qd")
"""Requests in flight; when the last one came or went, on the machine's monotonic clock."""
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds."""
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
COUNTS = struct.Struct(f"={len(CLASSES)}Qd{len(BOUNDS) + 1}Q")
"""Behind that: answers of each class of status; seconds that all of them took; how many took longer
than the bound before and no longer than this one, the last of them longer than any."""
TOO_LARGE = b"413 The body of this request is too large.\n"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Counter:
    """Requests in flight of one worker process, in a file that the agent reads."""

    def __init__(self, folder: Path) -> None:
        """Makes the file of this process."""
        path = folder / f"{COUNTERS}{os.getpid()}"
        path.write_bytes(bytes(LAYOUT.size + COUNTS.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size + COUNTS.size)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._classes = [0] * len(CLASSES)
        self._seconds = 0.0
        self._buckets = [0] * (len(BOUNDS) + 1)

    def add(self, change: int) -> None:
        """A request came (1) or went (-1)."""
        with self._lock:
            self._in_flight += change
            LAYOUT.pack_into(self._memory, 0, self._in_flight, time.monotonic())

    def answered(self, status: str, seconds: float) -> None:
        """A request was answered, ``200 OK``, beginning so long after it came."""
        with self._lock:
            known = f"{status[:1]}xx"
            self._classes[CLASSES.index(known if known in CLASSES else "5xx")] += 1
            self._seconds += seconds
            self._buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
            # In one piece: whoever reads meanwhile reads no half of a number.
            self._memory[LAYOUT.size :] = COUNTS.pack(*self._classes, self._seconds, *self._buckets)


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


class TooLargeError(Exception):
    """What an application sees that reads more of a body than the body may have."""


class LimitedBody:
    """A body that says nothing of its length, and may have so many bytes.

    Load balancers refuse one that says too much; of the others they tell the limit.
    """

    def __init__(self, body: Any, limit: int) -> None:
        """`body` is gunicorn's."""
        self._body = body
        self._left = limit
        self.exceeded = False

    def read(self, size: int | None = None) -> bytes:
        """As a file's; raises `TooLargeError`."""
        return self._counted(self._body.read(self._at_most(size)))

    def readline(self, size: int | None = None) -> bytes:
        """As a file's; raises `TooLargeError`."""
        return self._counted(self._body.readline(self._at_most(size)))

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """As a file's; raises `TooLargeError`."""
        _ = hint
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Its lines."""
        return iter(self.readline, b"")

    def _at_most(self, size: int | None) -> int:
        most = self._left + 1
        return most if size is None or size < 0 else min(size, most)

    def _counted(self, found: bytes) -> bytes:
        self._left -= len(found)
        if self._left < 0:
            self.exceeded = True
            raise TooLargeError
        return found


def limited(environ: Environ) -> LimitedBody | None:
    """The body in its limit, if it is the application that has to find out how long it is."""
    limit = environ.pop("HTTP_X_BODY_LIMIT", "")
    if not limit or environ.get("CONTENT_LENGTH"):
        return None
    body = LimitedBody(environ["wsgi.input"], int(limit))
    environ["wsgi.input"] = body
    return body


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
        body_in = limited(environ)
        refused = False
        began, said, took = time.monotonic(), "", 0.0

        def start(
            status: str, headers: list[tuple[str, str]], *exc_info: object
        ) -> Callable[[bytes], Any]:
            nonlocal refused, said, took
            if body_in and body_in.exceeded:
                # Whatever the application makes of its error.
                refused, status = True, "413 Content Too Large"
                headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(TOO_LARGE)))]
            # Not what follows: a stream of events is no slow answer.
            said, took = status, time.monotonic() - began
            kept = [header for header in headers if header[0].lower() != "x-served-by"]
            return start_response(status, [*kept, ("X-Served-By", self._name)], *exc_info)

        if environ.get("PATH_INFO") == self._health:
            if self._draining.exists():
                start("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"draining\n"]
            return self._application(environ, start)

        def done() -> None:
            self._counter.add(-1)
            self._counter.answered(said or "500", took if said else time.monotonic() - began)

        self._counter.add(1)
        try:
            body = self._application(environ, start)
        except TooLargeError:
            start("", [], sys.exc_info())
            body = ()
        except BaseException:
            said = ""
            done()
            raise
        body = Body(body, done)
        if refused:
            body.close()
            return [TOO_LARGE]
        return body


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


class Contexts:
    """The TLS context of new connections: made anew when the certificate's file has changed.

    gunicorn would make one for each connection, which costs a read of the file and every chance
    to resume a session. So a renewed certificate needs no reload and ends no connection.
    """

    def __init__(self, file: Path) -> None:
        """`file` holds key and certificate, and is replaced as a whole."""
        self._file = file
        self._lock = threading.Lock()
        self._made: tuple[tuple[int, int], ssl.SSLContext] | None = None

    def current(self) -> ssl.SSLContext:
        """The context for a connection that is made now."""
        found = self._file.stat()
        version = found.st_ino, found.st_mtime_ns
        with self._lock:
            if self._made is None or self._made[0] != version:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.load_cert_chain(self._file)
                self._made = version, context
            return self._made[1]


_contexts = Contexts(CERTIFICATE)


def ssl_context(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """gunicorn's hook: the context of one connection."""
    _ = config, default
    return _contexts.current()


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook: the application is loaded, no request was taken yet."""
    sys.setswitchinterval(TURN)
    send_heads_with_bodies(importlib.import_module("gunicorn.http.wsgi").Response)
    worker.wsgi = OnThisMachine(
        worker.wsgi, os.environ["SITE_MACHINE"], os.environ["SITE_HEALTH_PATH"], FOLDER
    )
