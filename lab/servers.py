"""WSGI on a socket that was made elsewhere: in a name space of the lab."""

import logging
import socket
import threading
from wsgiref.types import WSGIApplication

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

log = logging.getLogger(__name__)

_IDLE = 30.0
"""Seconds that an answer may take to be taken by its client."""


class _Handler(MotoRequestHandler):
    """Says nothing of what went well, and does not wait for ever for a machine that was cut off."""

    timeout = _IDLE

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        if type == "error":
            log.warning("%s: " + message, self.client_address, *args)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def serve(listener: socket.socket, application: WSGIApplication) -> BaseWSGIServer:
    """Answer on the socket from now on, one thread per connection."""
    host, port = listener.getsockname()
    server = make_server(
        host, port, application, threaded=True, request_handler=_Handler, fd=listener.fileno()
    )
    listener.close()
    threading.Thread(
        target=server.serve_forever, args=(3600,), name=f"serving {host}:{port}", daemon=True
    ).start()
    return server
