"""HTTP/1.1 as bytes: whatever a test wants to send, and what comes back."""

import socket
from dataclasses import dataclass

from tests.hosts.edge.site import NAME, Site

END = b"\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """One answer. Status 0: the connection ended without one."""

    status: int
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes = b""


def request(
    line: str = "GET / HTTP/1.1", *headers: str, host: str | None = NAME, body: bytes = b""
) -> bytes:
    """A request; without a Host if `host` is None."""
    lines = [line, *([f"Host: {host}"] if host is not None else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def get(path: str = "/", *headers: str) -> bytes:
    return request(f"GET {path} HTTP/1.1", *headers)


class Connection:
    """A connection on which answers come one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._have = b""

    def send(self, what: bytes) -> None:
        self.socket.sendall(what)

    def _more(self) -> bool:
        try:
            got = self.socket.recv(65536)
        except (ConnectionError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                raise
            return False
        self._have += got
        return bool(got)

    def head(self) -> Answer:
        """An answer's head alone."""
        while END not in self._have:
            if not self._more():
                return Answer(0, {})
        head, _, self._have = self._have.partition(END)
        line, *rest = head.decode("latin-1").split("\r\n")
        pairs = (header.partition(":") for header in rest)
        return Answer(int(line.split()[1]), {n.lower(): v.strip() for n, _, v in pairs})

    def answer(self, *, to_head: bool = False) -> Answer:
        """An answer with its body, which has to have a length or end with the connection."""
        found = self.head()
        if not found.status or to_head or found.status in (204, 304):
            return found
        length = found.headers.get("content-length")
        while length is None or len(self._have) < int(length):
            if not self._more():
                break
        size = len(self._have) if length is None else int(length)
        body, self._have = self._have[:size], self._have[size:]
        return Answer(found.status, found.headers, body)

    def at_least(self, size: int) -> bytes:
        """Whatever came, so many bytes of it or more; less if the connection ends."""
        while len(self._have) < size and self._more():
            pass
        found, self._have = self._have, b""
        return found

    def ended(self) -> bool:
        """Whether the other side ends the connection without another word."""
        return not self._have and not self._more()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(site: Site, *, source: str = "127.0.0.1") -> Connection:
    """By HTTPS."""
    return Connection(site.tls("http/1.1", source=source))


def plain(site: Site, *, source: str = "127.0.0.1") -> Connection:
    """By HTTP."""
    return Connection(site.socket(80, source))


def ask(site: Site, what: bytes, *, source: str = "127.0.0.1") -> Answer:
    """The first answer to some bytes, by HTTPS."""
    with connect(site, source=source) as connection:
        connection.send(what)
        return connection.answer(to_head=what.startswith(b"HEAD "))


def ask_plainly(site: Site, what: bytes, *, source: str = "127.0.0.1") -> Answer:
    """The first answer to some bytes, by HTTP."""
    with plain(site, source=source) as connection:
        connection.send(what)
        return connection.answer(to_head=what.startswith(b"HEAD "))
