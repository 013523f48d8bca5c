"""What an application server adds around the application."""

import io
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hosts.app_server import role
from hosts.app_server.gunicorn_conf import (
    COUNTERS,
    DRAINING,
    LAYOUT,
    TOO_LARGE,
    OnThisMachine,
    send_heads_with_bodies,
)


class Server:
    """A WSGI server of one request."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def get(self, path: str) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
            self.status, self.headers = status, headers
            return None

        return self.application({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, start)


def site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """An application that claims to be another server."""
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("broken")
    start_response("200 OK", [("X-SERVED-BY", "somebody else"), ("X-Own", "1")])
    return [b"hello"]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(OnThisMachine(site, "app-server-7", "/healthz", tmp_path))


def in_flight(folder: Path) -> int:
    return LAYOUT.unpack_from((folder / f"{COUNTERS}{os.getpid()}").read_bytes())[0]


def test_every_answer_says_which_machine_gave_it(server: Server) -> None:
    server.get("/")
    assert server.headers == [("X-Own", "1"), ("X-Served-By", "app-server-7")]


def test_the_health_path_is_the_applications_until_the_machine_drains(
    server: Server, tmp_path: Path
) -> None:
    server.get("/healthz")
    assert server.status == "200 OK"
    (tmp_path / DRAINING).touch()
    assert list(server.get("/healthz")) == [b"draining\n"]
    assert server.status == "503 Service Unavailable"
    assert ("X-Served-By", "app-server-7") in server.headers
    server.get("/")
    assert server.status == "200 OK", "requests are served to the last"


def test_a_request_is_in_flight_until_its_body_was_closed(server: Server, tmp_path: Path) -> None:
    body: Any = server.get("/")
    assert in_flight(tmp_path) == 1
    assert list(body) == [b"hello"]
    assert in_flight(tmp_path) == 1
    body.close()
    body.close()
    assert in_flight(tmp_path) == 0


def test_a_request_that_broke_is_no_longer_in_flight(server: Server, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        server.get("/broken")
    assert in_flight(tmp_path) == 0


def test_the_applications_own_close_is_called(tmp_path: Path) -> None:
    class Body(list[bytes]):
        closed = False

        def close(self) -> None:
            self.closed = True

    body = Body([b"x"])
    server = Server(OnThisMachine(lambda _e, _s: body, "a", "/healthz", tmp_path))
    answer: Any = server.get("/")
    answer.close()
    assert body.closed


def test_health_checks_are_not_counted(server: Server, tmp_path: Path) -> None:
    server.get("/healthz")
    assert in_flight(tmp_path) == 0
    assert role.quiet(began=0.0, folder=tmp_path, now=role.QUIET)


def test_a_draining_server_is_quiet_some_seconds_after_its_last_request(
    server: Server, tmp_path: Path
) -> None:
    body: Any = server.get("/")
    now = time.monotonic()
    assert not role.quiet(now - 60, tmp_path, now), "a request is in flight"
    body.close()
    assert not role.quiet(now - 60, tmp_path, now + role.QUIET - 1)
    assert role.quiet(now - 60, tmp_path, now + role.QUIET + 1)


def test_a_drain_waits_even_if_no_request_ever_came(tmp_path: Path) -> None:
    assert not role.quiet(began=100.0, folder=tmp_path, now=100.0 + role.QUIET - 0.1)
    assert role.quiet(began=100.0, folder=tmp_path, now=100.0 + role.QUIET)


def test_a_worker_that_died_with_a_request_is_not_waited_for(tmp_path: Path) -> None:
    dead = 2**22 + 1  # above any process id
    (tmp_path / f"{COUNTERS}{dead}").write_bytes(LAYOUT.pack(3, time.monotonic()))
    assert role.quiet(began=0.0, folder=tmp_path)


class Response:
    """As gunicorn's: the head and the body are two writes."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.headers_sent = False

    def write(self, data: bytes) -> None:
        if not self.headers_sent:
            self.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.headers_sent = True
        self.sock.sendall(data)


class Sock:
    """Keeps each piece that was sent."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


def measured(folder: Path, application: Any, body: bytes, **environ: str) -> tuple[str, bytes]:
    """What an application that counts a body's bytes answers: the status and the text."""
    seen = Server(OnThisMachine(application, "app-server-7", "/healthz", folder))

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        _ = headers, exc_info
        seen.status = status
        return None

    given = {"PATH_INFO": "/", "HTTP_X_BODY_LIMIT": "10", "wsgi.input": io.BytesIO(body)}
    answer = seen.application({**given, **environ}, start)
    text = b"".join(answer)
    getattr(answer, "close", lambda: None)()
    return seen.status, text


def counting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    how = environ["PATH_INFO"]
    size = sum(map(len, body.readlines())) if how == "/lines" else len(body.read())
    start_response("200 OK", [])
    return [f"{size}".encode()]


def caught(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """An application that makes an error of its own of every exception, as frameworks do."""
    try:
        return counting(environ, start_response)
    except Exception:  # noqa: BLE001
        start_response("500 Internal Server Error", [("Content-Length", "9999")])
        return [b"something went wrong"]


@pytest.mark.parametrize("application", [counting, caught])
@pytest.mark.parametrize("path", ["/", "/lines"])
def test_a_body_that_does_not_say_its_length_is_refused_when_it_is_too_long(
    application: Any, path: str, tmp_path: Path
) -> None:
    within = measured(tmp_path, application, b"12345\n7890", PATH_INFO=path)
    assert within == ("200 OK", b"10")
    status, text = measured(tmp_path, application, b"12345\n78901", PATH_INFO=path)
    assert (status, text) == ("413 Content Too Large", TOO_LARGE)
    assert in_flight(tmp_path) == 0


def test_what_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    body = io.BytesIO(b"x" * 1000)
    measured(tmp_path, counting, b"", **{"wsgi.input": body})  # type: ignore[arg-type]
    assert body.tell() == 11


def test_a_body_whose_length_the_load_balancer_knew_is_the_applications_own(
    tmp_path: Path,
) -> None:
    assert measured(tmp_path, counting, b"x" * 50, CONTENT_LENGTH="50") == ("200 OK", b"50")


def test_the_head_of_an_answer_leaves_with_its_first_bytes() -> None:
    class Patched(Response):
        pass

    send_heads_with_bodies(Patched)
    sock = Sock()
    response = Patched(sock)
    response.write(b"one")
    response.write(b"two")
    assert sock.pieces == [b"HTTP/1.1 200 OK\r\n\r\none", b"two"]
    assert response.sock is sock


def test_nothing_of_an_answer_leaves_if_its_first_write_fails() -> None:
    class Patched(Response):
        def write(self, data: bytes) -> None:
            super().write(data)
            raise TypeError

    send_heads_with_bodies(Patched)
    sock = Sock()
    with pytest.raises(TypeError):
        Patched(sock).write(b"one")
    assert sock.pieces == []
