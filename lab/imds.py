"""The instance metadata service itself: IMDSv2 by HTTP, version 1 where an instance allows it."""

import hashlib
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from lab.metadata import Identity, Tree, find, stamp, tree

TOKEN_TTL = "X-aws-ec2-metadata-token-ttl-seconds"  # noqa: S105 - a header's name
MAX_TTL = 21600
_VERSION = re.compile(r"latest|20\d\d-\d\d-\d\d")
_CREDENTIALS_LIFE = timedelta(hours=6)

_Answer = tuple[str, bytes, list[tuple[str, str]]]


def access_key(instance_id: str) -> str:
    """The access key of an instance: it names it."""
    digest = hashlib.sha256(instance_id.encode()).hexdigest().upper()
    return f"ASIA{digest[:16]}"


class Service:
    """The service as a WSGI application; who asks is known by the source address."""

    def __init__(self, identify: Callable[[str], Identity | None]) -> None:
        self._identify = identify
        self._tokens: dict[str, tuple[str, float]] = {}
        self._secret = secrets.token_bytes(32)
        self._guard = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        status, body, headers = self._answer(environ)
        kind = "text/plain" if status.startswith("200") else "text/html"
        length = ("Content-Length", str(len(body)))
        start_response(status, [("Content-Type", kind), length, ("Server", "EC2ws"), *headers])
        return [body]

    def _answer(self, environ: WSGIEnvironment) -> _Answer:
        identity = self._identify(environ.get("REMOTE_ADDR", ""))
        if identity is None:
            return _refused("404 Not Found")
        if not identity.enabled:
            return _refused("403 Forbidden")
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        if method == "PUT" and path.rstrip("/") == "/latest/api/token":
            _limit_hops(environ, identity.hop_limit)
            return self._issue(environ, identity)
        if method not in ("GET", "HEAD"):
            return _refused("405 Method Not Allowed")
        token = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        if not self._valid(token, identity) and (token or identity.tokens_required):
            return _refused("401 Unauthorized")
        return self._get(identity, path)

    def _issue(self, environ: WSGIEnvironment, identity: Identity) -> _Answer:
        asked = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "")
        if "HTTP_X_FORWARDED_FOR" in environ:
            return _refused("403 Forbidden")
        if not asked.isascii() or not asked.isdigit() or not 1 <= int(asked) <= MAX_TTL:
            return _refused("400 Bad Request")
        token, now = secrets.token_urlsafe(40), time.monotonic()
        with self._guard:
            self._tokens = {known: v for known, v in self._tokens.items() if v[1] > now}
            self._tokens[token] = (identity.id, now + int(asked))
        return "200 OK", token.encode(), [(TOKEN_TTL, asked)]

    def _valid(self, token: str | None, identity: Identity) -> bool:
        owner, until = self._tokens.get(token or "", ("", 0.0))
        return owner == identity.id and time.monotonic() < until

    def _get(self, identity: Identity, path: str) -> _Answer:
        version, _, rest = path.strip("/").partition("/")
        if not version:
            return "200 OK", b"latest", []
        if not _VERSION.fullmatch(version):
            return _refused("404 Not Found")
        rest = rest.rstrip("/")
        if rest == "user-data":
            data = identity.user_data
            return _refused("404 Not Found") if data is None else ("200 OK", data, [])
        if identity.profile:
            role = identity.profile[2]
            if rest == f"meta-data/iam/security-credentials/{role}":
                return "200 OK", self._credentials(identity).encode(), []
        top = tree(identity)
        listed: Tree = {**top, **({} if identity.user_data is None else {"user-data": ""})}
        found = find(listed, rest)
        return _refused("404 Not Found") if found is None else ("200 OK", found.encode(), [])

    def _credentials(self, identity: Identity) -> str:
        now = datetime.now(UTC)

        def made(purpose: str) -> str:
            key = self._secret + f"{purpose} {identity.id}".encode()
            return hashlib.sha256(key).hexdigest()

        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": stamp(now),
                "Type": "AWS-HMAC",
                "AccessKeyId": access_key(identity.id),
                "SecretAccessKey": made("key")[:40],
                "Token": made("token"),
                "Expiration": stamp(now + _CREDENTIALS_LIFE),
            },
            indent=2,
        )


def _refused(status: str) -> _Answer:
    return status, f"<html><body><h1>{status}</h1></body></html>\n".encode(), []


def _limit_hops(environ: WSGIEnvironment, hops: int) -> None:
    """A token goes no further than the instance allows: so many hops, by the packets' TTL."""
    connection: Any = environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, max(1, min(hops, 64)))
