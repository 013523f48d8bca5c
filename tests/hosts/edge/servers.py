"""Small application servers that record what reaches them."""

import base64
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TCP_REPAIR = 19
"""Of linux/tcp.h: the socket's end is between it and this kernel."""
_END = b"\r\n\r\n"

_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Request:
    """A request as it arrived."""

    server: str
    head: bytes
    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    received: list[float] = field(default_factory=list[float])
    """When each part of the body came, by the monotonic clock."""
    whole: bool = False
    """Whether all of it came."""

    def every(self, name: str) -> list[str]:
        """The values of all headers of a name."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The one value of a header."""
        (value,) = self.every(name)
        return value


class AppServer:
    """A thread for each connection. What it answers depends on the path."""

    def __init__(
        self,
        listener: socket.socket,
        certificate: Path | None,
        most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Plain HTTP without a certificate (key and certificate in one file)."""
        self.name = listener.getsockname()[0]
        self.requests: list[Request] = []
        self.connections = 0
        self.full_handshakes = 0
        self._open: set[socket.socket] = set()
        self._listener = listener
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.maximum_version = most
            self._context.load_cert_chain(certificate)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def forget_connections(self) -> None:
        """As a machine that lost power and is back: whoever uses one is told that there is none."""
        for sock in list(self._open):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)  # its end is not said to the peer
            sock.shutdown(socket.SHUT_RD)  # and this wakes its thread, which ends it

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, EOFError):
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
                self.full_handshakes += not sock.session_reused  # type: ignore[attr-defined]
            self.connections += 1
            self._open.add(sock)
            try:
                with sock:
                    stream = Stream(sock)
                    while self._one(sock, stream):
                        pass
            finally:
                self._open.discard(sock)

    def _one(self, sock: socket.socket, stream: "Stream") -> bool:
        head = stream.until(_END)
        line, *rest = head.decode("latin-1").strip().split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (h.partition(":") for h in rest)]
        request = Request(self.name, head, line, headers)
        path = line.split()[1]
        if path != "/healthz":
            self.requests.append(request)
        for part in stream.body(request):
            request.body += part if len(request.body) < 1 << 20 else b""
            request.received.append(time.monotonic())
        request.whole = True
        behaviour = _BEHAVIOURS.get(path.partition("?")[0], _ordinary)
        return behaviour(sock, stream, request)


class Stream:
    """What comes by a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._have = b""

    def more(self) -> None:
        got = self._sock.recv(65536)
        if not got:
            raise EOFError
        self._have += got

    def until(self, mark: bytes) -> bytes:
        while mark not in self._have:
            self.more()
        found, _, self._have = self._have.partition(mark)
        return found + mark

    def exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._have:
                self.more()
            part, self._have = self._have[:size], self._have[size:]
            size -= len(part)
            yield part

    def body(self, request: Request) -> Iterator[bytes]:
        if request.every("Transfer-Encoding"):
            while size := int(self.until(b"\r\n"), 16):
                yield from self.exactly(size)
                self.until(b"\r\n")
            while self.until(b"\r\n") != b"\r\n":
                pass
        elif length := request.every("Content-Length"):
            yield from self.exactly(int(length[0]))


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def _ordinary(sock: socket.socket, stream: Stream, request: Request) -> bool:
    _ = stream
    body = request.server.encode() + b"\n"
    if request.line.startswith("HEAD "):
        sock.sendall(_answer("200 OK", b"", f"X-Served-By: {request.server}", "Server: secret/1"))
    else:
        sock.sendall(_answer("200 OK", body, f"X-Served-By: {request.server}", "Server: secret/1"))
    return True


def _slow(sock: socket.socket, stream: Stream, request: Request) -> bool:
    time.sleep(1)
    return _ordinary(sock, stream, request)


def _large(sock: socket.socket, stream: Stream, request: Request) -> bool:
    """More than the buffers between a server and a client hold."""
    _ = stream, request
    sock.sendall(_answer("200 OK", bytes(64 << 20)))
    return True


def _events(sock: socket.socket, stream: Stream, request: Request) -> bool:
    """Server-sent events: ten a second, each with the time it was sent at."""
    _ = stream, request
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    while True:
        sock.sendall(f"data: {time.monotonic()}\n\n".encode())
        time.sleep(0.1)


def _websocket(sock: socket.socket, stream: Stream, request: Request) -> bool:
    """Sends back every frame, unmasked."""
    key = request.header("Sec-WebSocket-Key") + _WEBSOCKET
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 RFC 6455
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, size = b"".join(stream.exactly(2))
        mask = b"".join(stream.exactly(4))
        text = bytes(b ^ mask[i % 4] for i, b in enumerate(b"".join(stream.exactly(size & 0x7F))))
        sock.sendall(bytes([first, len(text)]) + text)


_BEHAVIOURS: dict[str, Callable[[socket.socket, Stream, Request], bool]] = {
    "/slow": _slow,
    "/large": _large,
    "/events": _events,
    "/websocket": _websocket,
}
