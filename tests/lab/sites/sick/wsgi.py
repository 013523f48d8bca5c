"""A release that starts, and is not well: what it needs is not there."""

from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    plain = [("Content-Type", "text/plain")]
    if environ["PATH_INFO"] == "/healthz":
        print("the guest book has lost its pen", file=environ["wsgi.errors"], flush=True)
        start_response("503 Service Unavailable", plain)
        return [b"no pen\n"]
    start_response("200 OK", plain)
    return [b"sick\n"]
