"""Clients that account for every request: sent, answered, by whom, how long."""

import http.client
import json
import socket
import ssl
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from lab import paths
from lab.stack import LAB

TIMEOUT = 90.0
"""Seconds that a client waits for an answer before it gives up on a request."""


@dataclass(frozen=True)
class Request:
    method: str = "GET"
    path: str = "/"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    id: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of one request; `status` 0: no answer, `error` says why."""

    request: Request
    status: int
    seconds: float
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    error: str = ""

    @property
    def server(self) -> str:
        """The machine that says it served the request."""
        return self.headers.get("x-served-by", "")

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 400

    def json(self) -> dict[str, object]:
        return json.loads(self.body)

    def __str__(self) -> str:
        outcome = self.error or f"{self.status} by {self.server or 'nobody'}"
        return f"{self.request.method} {self.request.path}: {outcome} after {self.seconds:.2f} s"


def page() -> Request:
    return Request()


def entry() -> Request:
    """A guest book entry with an id of its own as its text, to be found again in the table."""
    text = uuid.uuid4().hex
    body = json.dumps({"name": "traffic", "message": text}).encode()
    return Request("POST", "/api/entries", body, {"Content-Type": "application/json"}, text)


class Client:
    """One HTTPS client: a connection kept alive, or a new one for each request.

    It trusts what `make up` wrote to be trusted, or another `authority`, and nobody else. What its
    URL names it looks for `at` an address, if there is no DNS that would say.
    """

    def __init__(
        self, url: str, *, keep_alive: bool, authority: Path | None = None, at: str = ""
    ) -> None:
        parts = urlsplit(url)
        self._name, self._port = parts.hostname or "", parts.port or 443
        self._at = at or self._name
        self._trust = ssl.create_default_context(cafile=authority or paths.authority(LAB))
        self._keep_alive = keep_alive
        self._connection: http.client.HTTPConnection | None = None
        self.connections = 0
        """How many it has made."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def send(self, request: Request) -> Answer:
        begun = time.monotonic()
        try:
            if _closed_by_peer(self._connection):
                self.close()
            answer, headers, status = self._once(request)
        except (OSError, http.client.HTTPException) as failure:
            self.close()
            return Answer(request, 0, time.monotonic() - begun, error=repr(failure))
        if not self._keep_alive or headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(request, status, time.monotonic() - begun, headers, answer)

    def _once(self, request: Request) -> tuple[bytes, dict[str, str], int]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._name, self._port, timeout=TIMEOUT, context=self._trust
            )
            self._connection.sock = self._connected()
            self.connections += 1
        self._connection.request(request.method, request.path, request.body, request.headers)
        response = self._connection.getresponse()
        body = response.read()
        return body, {k.lower(): v for k, v in response.getheaders()}, response.status

    def _connected(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self._at, self._port), TIMEOUT)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._trust.wrap_socket(plain, server_hostname=self._name)
        except OSError:
            plain.close()
            raise


def _closed_by_peer(connection: http.client.HTTPConnection | None) -> bool:
    """Whether a kept connection was closed while it was idle, so that nothing is sent into it."""
    if connection is None or connection.sock is None:
        return True
    connection.sock.setblocking(False)
    try:
        return connection.sock.recv(1) == b""
    except ssl.SSLWantReadError:  # at most the server's tickets were there
        return False
    except OSError:
        return True
    finally:
        connection.sock.settimeout(TIMEOUT)


def send(
    url: str, request: Request | None = None, *, authority: Path | None = None, at: str = ""
) -> Answer:
    with Client(url, keep_alive=False, authority=authority, at=at) as client:
        return client.send(request or page())


def shares(answers: Iterable[Answer]) -> Counter[str]:
    """How many requests each application server answered."""
    return Counter(answer.server for answer in answers if answer.ok)


@dataclass
class Load:
    """What the clients of `load` have seen so far; complete when the block has ended."""

    answers: list[Answer] = field(default_factory=list[Answer])

    def failed(self, method: str | None = None) -> list[Answer]:
        return [a for a in self.answers if not a.ok and method in (None, a.request.method)]

    def sent(self, method: str) -> list[Answer]:
        return [a for a in self.answers if a.request.method == method]

    def report(self) -> str:
        statuses = Counter((a.request.method, a.status) for a in self.answers)
        slowest = max((a.seconds for a in self.answers), default=0.0)
        failures = "\n".join(str(a) for a in self.failed()[:10])
        return f"{dict(statuses)}, slowest {slowest:.2f} s\n{failures}"


@contextmanager
def load(
    url: str,
    requests: Callable[[int], Request],
    *,
    clients: int = 8,
    keep_alive: Callable[[int], bool] = lambda client: client % 2 == 0,
    pause: float = 0.01,
    authority: Path | None = None,
    at: str = "",
) -> Generator[Load]:
    """A steady load for as long as the block lasts.

    Each of `clients` sends `requests(n)` for its n-th request, waits `pause` seconds after the
    answer, and goes on. Even clients keep their connection, odd ones open a new one each time.
    """
    seen = Load()
    stop = threading.Event()

    def work(number: int) -> None:
        count = 0
        kept = keep_alive(number)
        with Client(url, keep_alive=kept, authority=authority, at=at) as client:
            while not stop.is_set():
                seen.answers.append(client.send(requests(count)))
                count += 1
                stop.wait(pause)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
