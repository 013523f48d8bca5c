"""Visitors of the site: so many requests in each second, and what became of each.

Each comes on a connection of its own and waits for no other one, so that a slow answer makes no
pause in what is measured. Nobody sends more than the rate, nor has more than `MOST` under way.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT = 15.0
"""Seconds after which a visitor has gone away."""
MOST = 200
"""Requests under way at a time; one more is not sent, and counted as held back."""
WRITE = "POST"


@dataclass(frozen=True)
class Wish:
    """What a visitor asks for."""

    path: str
    body: str | None = None
    """JSON that is posted; None: the page is fetched."""

    @property
    def method(self) -> str:
        """GET or POST."""
        return "GET" if self.body is None else WRITE


@dataclass(frozen=True)
class Answer:
    """What became of one request. Times are in seconds; `at` counts from the first visitor."""

    at: float
    seconds: float
    method: str
    address: str
    """Which of the site's it was sent to."""
    status: int
    """0: there was no answer, and `error` says why."""
    server: str = ""
    """Who served it, by its own word."""
    error: str = ""

    @property
    def ok(self) -> bool:
        """As it should be."""
        return 200 <= self.status < 400  # noqa: PLR2004 HTTP's


@dataclass(frozen=True)
class Place:
    """The site, at one of its addresses."""

    url: str
    address: str
    trust: ssl.SSLContext | None
    """None: it is asked by plain HTTP."""

    def ask(self, wish: Wish) -> tuple[int, str]:
        """One request on a connection of its own: status, and who served it.

        Raises `OSError` or `HTTPException`.
        """
        parts = urlsplit(self.url)
        port = parts.port or (443 if self.trust else 80)
        name = parts.hostname or self.address
        sock = socket.create_connection((self.address, port), timeout=TIMEOUT)
        try:
            if self.trust:
                # At an address of its own the certificate is that address's.
                shown = self.address if _is_address(name) else name
                sock = self.trust.wrap_socket(sock, server_hostname=shown)
            connection = http.client.HTTPConnection(name, port)
            connection.sock = sock
            headers = {"Host": self.address if _is_address(name) else parts.netloc}
            if wish.body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(wish.method, wish.path, wish.body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("X-Served-By", "")
        finally:
            sock.close()


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdecimal() or ":" in name


def places(url: str, addresses: Sequence[str], certificate: str | None) -> list[Place]:
    """The site at each of its addresses; `certificate` is what visitors have to trust, in PEM."""
    trust = None
    if urlsplit(url).scheme == "https":
        trust = ssl.create_default_context(cadata=certificate)
    return [Place(url, address, trust) for address in addresses]


class Visitors:
    """They come while the block lasts: `with Visitors(…) as seen`."""

    def __init__(self, places: Sequence[Place], wishes: Sequence[Wish], rate: float) -> None:
        """`rate` is how many come in a second, to the places and with the wishes in turn."""
        self._turns = [(place, wish) for wish in wishes for place in places]
        self._pause = 1 / rate
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._free = threading.Semaphore(MOST)
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="visitor")
        self._thread = threading.Thread(target=self._come, daemon=True)
        self.began = self.ended = 0.0
        """When the first one came, in seconds since the epoch; when the last one, after that."""
        self.held_back = 0
        """Requests that were not sent, since so many were under way."""

    def __enter__(self) -> "Visitors":
        self._began, self.began = time.monotonic(), time.time()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.ended = self.now
        self._pool.shutdown(wait=True)

    @property
    def now(self) -> float:
        """Seconds since the first one."""
        return time.monotonic() - self._began

    @property
    def answers(self) -> list[Answer]:
        """Those that have ended, by when they began."""
        with self._lock:
            return sorted(self._answers, key=lambda answer: answer.at)

    def _come(self) -> None:
        number = 0
        while not self._stop.wait(max(0.0, number * self._pause - self.now)):
            place, wish = self._turns[number % len(self._turns)]
            number += 1
            if self._free.acquire(blocking=False):
                self._pool.submit(self._visit, place, wish)
            else:
                self.held_back += 1

    def _visit(self, place: Place, wish: Wish) -> None:
        at, status, server, error = self.now, 0, "", ""
        try:
            status, server = place.ask(wish)
        except (OSError, http.client.HTTPException) as failure:
            error = f"{type(failure).__name__}: {failure}"
        finally:
            self._free.release()
        seconds = self.now - at
        answer = Answer(at, seconds, wish.method, place.address, status, server, error)
        with self._lock:
            self._answers.append(answer)
