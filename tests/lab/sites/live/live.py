"""A site that keeps talking: a WebSocket that sends back what it gets, and events, ten a second."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from simple_websocket import ConnectionClosed, Server


def site(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    match environ["PATH_INFO"]:
        case "/websocket":
            send_back(Server.accept(environ))
            # The connection was the WebSocket's: gunicorn is to write nothing more.
            raise StopIteration
        case "/events":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return events()
        case _:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"live\n"]


def send_back(socket: Server) -> None:
    with suppress(ConnectionClosed):
        while True:
            socket.send(socket.receive())


def events() -> Iterator[bytes]:
    for number in itertools.count(1):
        yield f"data: {number}\n\n".encode()
        time.sleep(0.1)
