"""WebSockets, server-sent events and long uploads: nothing is kept back, and a reload ends none."""

import base64
import os
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.hosts import values
from tests.hosts.edge.client import Connection, connect, get, request
from tests.hosts.edge.site import Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What RFC 6455 says is the answer to its own example's key."""
SOON = 0.5
"""Seconds that something may take that takes milliseconds."""


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    """Whose ordinary requests, however many, and silent clients have little time."""
    with running(
        tmp_path, request_timeout=2.0, client_timeout=2.0, limits=values.UNLIMITED
    ) as found:
        found.up()
        yield found


def upgraded(site: Site) -> Connection:
    """A WebSocket to an application server that sends everything back."""
    key = base64.b64encode(b"the sample nonce").decode()
    connection = connect(site)
    connection.send(
        get(
            "/websocket",
            *("Connection: keep-alive, Upgrade", "Upgrade: websocket"),
            *(f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"),
        )
    )
    answer = connection.head()
    assert answer.status == 101, answer
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["sec-websocket-accept"] == ACCEPT
    return connection


def echoed(connection: Connection, text: bytes) -> bytes:
    """What comes back of a text frame."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
    connection.send(bytes([0x81, 0x80 | len(text)]) + mask + masked)
    frame = connection.at_least(2 + len(text))
    assert frame[:2] == bytes([0x81, len(text)])
    return frame[2:]


def test_a_websocket_may_be_silent_for_longer_than_a_request_may_last(site: Site) -> None:
    with upgraded(site) as socket:
        assert echoed(socket, b"hello") == b"hello"
        socket.socket.settimeout(3)
        with pytest.raises(TimeoutError):  # nothing happens, for longer than either timeout
            socket.at_least(1)
        began = time.monotonic()
        assert echoed(socket, b"still there") == b"still there"
        assert time.monotonic() - began < SOON


def test_a_websocket_that_is_silent_for_too_long_is_ended(tmp_path: Path) -> None:
    with running(tmp_path, tunnel_timeout=1.0) as site:
        site.up()
        with upgraded(site) as socket:
            began = time.monotonic()
            assert socket.ended()
            assert 0.8 < time.monotonic() - began < 3


def test_events_arrive_as_they_are_sent_for_longer_than_a_request_may_last(site: Site) -> None:
    with connect(site) as stream:
        stream.send(get("/events", "Accept: text/event-stream"))
        assert stream.head().headers["content-type"] == "text/event-stream"
        delays: list[float] = []
        began = time.monotonic()
        while time.monotonic() - began < 3:
            text = event(stream)
            delays.append(time.monotonic() - float(text.rpartition(b"data: ")[2].split()[0]))
        assert len(delays) > 20
        assert max(delays) < SOON
        assert sorted(delays)[len(delays) // 2] < 0.1


def event(stream: Connection) -> bytes:
    """What comes until the end of an event."""
    text = b""
    while not text.endswith(b"\n\n"):
        part = stream.at_least(1)
        assert part, "the stream has ended"
        text += part
    return text


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


UPLOAD = request("POST / HTTP/1.1", "Transfer-Encoding: chunked")


def test_an_upload_reaches_the_application_server_while_it_comes(site: Site) -> None:
    with connect(site) as upload:
        upload.send(UPLOAD)
        for number in range(1, 6):
            sent = time.monotonic()
            upload.send(chunk(b"x" * 1000))
            until(
                lambda n=number: len(site.served()) == 1 and len(site.served()[0].body) == n * 1000
            )
            assert time.monotonic() - sent < SOON
        upload.send(b"0\r\n\r\n")
        assert upload.answer().status == 200


def test_an_upload_may_last_longer_than_a_request_without_a_body(site: Site) -> None:
    with connect(site) as upload:
        upload.send(UPLOAD)
        for _ in range(8):
            upload.send(chunk(b"x" * 10_000))
            time.sleep(0.5)  # it is its slowness that is tested
        upload.send(b"0\r\n\r\n")
        assert upload.answer().status == 200
    assert len(site.served()[0].body) == 80_000


def memory(site: Site) -> int:
    """KiB that HAProxy's processes have in memory."""
    found = 0
    for pid in site.workers():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            found += int(line.split()[1]) if line.startswith("VmRSS:") else 0
    return found


def test_a_large_body_is_not_kept(site: Site) -> None:
    size = 50 << 20
    with connect(site) as upload:
        upload.send(request("POST / HTTP/1.1", f"Content-Length: {size}"))
        before = memory(site)
        for _ in range(50):
            upload.send(bytes(1 << 20))
        most = memory(site)
        assert upload.answer().status == 200
    assert most - before < 8 << 10


def test_a_reload_ends_nothing_that_is_under_way(site: Site) -> None:
    with upgraded(site) as socket, connect(site) as stream, connect(site) as upload:
        stream.send(get("/events"))
        assert stream.head().status == 200
        upload.send(UPLOAD + chunk(b"before"))
        assert echoed(socket, b"before") == b"before"
        until(lambda: len(site.served()) == 3)
        old = site.workers()
        site.reload()
        assert echoed(socket, b"after") == b"after"
        upload.send(chunk(b"after") + b"0\r\n\r\n")
        assert upload.answer().status == 200
        (whole,) = [seen for seen in site.served() if seen.line.startswith("POST")]
        assert whole.body == b"beforeafter"
        assert b"data: " in stream.at_least(200)
        # Longer than an ordinary request may last.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert stream.at_least(1)
        assert echoed(socket, b"long after") == b"long after"
        assert old < site.workers()
    until(lambda: not old & site.workers(), 10, site.log)


def test_a_reload_under_load_loses_no_request(site: Site) -> None:
    """By connections that stay and by new ones; the application servers are known throughout."""
    lost: list[str] = []
    number = [0]
    stop = threading.Event()

    def client(*, keep: bool) -> None:
        connection = connect(site)
        while not stop.is_set():
            connection.send(get())
            answer = connection.answer()
            number[0] += 1
            if answer.status != 200:
                lost.append(f"{answer}")
            if not keep or answer.headers.get("connection") == "close":
                connection.close()
                connection = connect(site)
        connection.close()

    clients = [
        threading.Thread(target=client, kwargs={"keep": keep}) for keep in (True, True, False)
    ]
    for one in clients:
        one.start()
    for _ in range(3):
        site.reload()
    before = number[0]
    until(lambda: number[0] > before + 50)
    stop.set()
    for one in clients:
        one.join(15)
    assert not lost, lost[:3]
    assert number[0] > 100


def test_what_is_open_goes_with_the_longest_time_that_an_old_process_may_take(
    tmp_path: Path,
) -> None:
    with running(tmp_path, request_timeout=1.0, tunnel_timeout=2.0) as site:
        site.up()
        with connect(site) as stream:
            stream.send(get("/events"))
            assert stream.head().status == 200
            site.reload()
            began = time.monotonic()
            while stream.at_least(1):
                assert time.monotonic() - began < 12
            assert time.monotonic() - began > 4  # the longest request and five seconds


def test_a_stop_lets_requests_finish(site: Site) -> None:
    with connect(site) as slow, connect(site) as idle:
        idle.send(get())
        assert idle.answer().status == 200
        slow.send(get("/slow"))
        until(lambda: any("/slow" in seen.line for seen in site.served()))
        os.kill(site.pid, signal.SIGUSR1)
        answer = slow.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        # A connection that is only open is answered once more, and told to go.
        idle.send(get())
        last = idle.answer()
        assert (last.status, last.headers["connection"]) == (200, "close")
