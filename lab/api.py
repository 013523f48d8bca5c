"""The AWS API: moto's application, one call of a service at a time, and who may call what.

moto does not lock: two conditional writes at once could both succeed. So a service's
calls wait for one another, and the reconciler reads between them.
"""

import contextlib
import io
import json
import logging
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from lab import backup_model, s3_model
from lab.errors import refusal

log = logging.getLogger(__name__)

SERVICES = ("ec2", "iam", "route53", "s3", "dynamodb", "ssm", "sts", "cloudwatch", "logs", "sns")
"""Those that the site uses: ready before the first call."""

_READ = ("Describe", "Get", "List", "Search")


class Door(Enum):
    """Where a call came in."""

    OPERATOR = "the user's machine"
    AWS = "the address of every service"
    S3 = "S3's address"
    DYNAMODB = "DynamoDB's address"


@dataclass(frozen=True)
class Call:
    """One call of the API, as far as it matters to who may make it."""

    door: Door
    caller: str
    """The source address."""
    service: str
    action: str
    environ: WSGIEnvironment
    body: bytes


class Api:
    """moto, with a lock per service."""

    def __init__(self) -> None:
        s3_model.install()
        backup_model.install()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()
        self.changed: Callable[[], None] = lambda: None
        """Called after every call that may have changed EC2 or Route 53."""
        self.permit: Callable[[Call], str | None] = lambda _: None
        """Why a machine's call is refused, if it is."""

    def prepare(self) -> None:
        """Load what the site's first calls would wait for. Takes about a second."""
        for service in SERVICES:
            create = cast("Any", create_backend_app)
            self._moto.app_instances[service] = create(service)

    @contextlib.contextmanager
    def exclusive(self, *services: str) -> Generator[None]:
        """No call of these services is under way meanwhile."""
        with contextlib.ExitStack() as held:
            for service in sorted(services):
                held.enter_context(self._lock(service))
            yield

    def _lock(self, service: str) -> threading.RLock:
        with self._guard:
            return self._locks.setdefault(service, threading.RLock())

    def at(self, door: Door) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
        """The API as a WSGI application for one door."""

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return self._answer(door, environ, start_response)

        return application

    def _answer(
        self, door: Door, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = _read_body(environ)
        if environ.get("PATH_INFO", "").startswith("/moto-api") and door is not Door.OPERATOR:
            return refusal("s3", "AccessDenied", "Not of AWS.", start_response)
        moto_app = self._moto.get_application(environ)
        service = str(cast("Any", moto_app).service)
        environ["wsgi.input"] = io.BytesIO(body)
        call = Call(door, environ.get("REMOTE_ADDR", ""), service, _action(environ, body),
                    environ, body)  # fmt: skip
        if door is not Door.OPERATOR:
            why = self.permit(call)
            if why:
                log.warning("Refused %s %s from %s: %s", service, call.action, call.caller, why)
                return refusal(service, "AccessDenied", why, start_response)
        try:
            with self._lock(service):
                answer = b"".join(moto_app(environ, start_response))
        except Exception as error:
            # A call that moto does not bear is no reason for an SDK to see HTML.
            log.exception("moto failed at %s %s.", service, call.action)
            return refusal(service, "InternalError", f"moto: {error}", start_response)
        if service in ("ec2", "route53") and not _only_reads(call):
            self.changed()
        return [answer]


def _read_body(environ: WSGIEnvironment) -> bytes:
    """The whole body, so that a slow caller holds no lock."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body: bytes = stream.read()
        environ["CONTENT_LENGTH"] = str(len(body))
        return body
    length = environ.get("CONTENT_LENGTH") or "0"
    return stream.read(int(length)) if length.isdigit() else b""


def _action(environ: WSGIEnvironment, body: bytes) -> str:
    """The call's name, as far as the protocol says it: the query's, or the JSON protocols'."""
    if wanted := environ.get("HTTP_X_AMZ_TARGET"):
        return str(wanted).rsplit(".", 1)[-1]
    kind = environ.get("CONTENT_TYPE") or ""
    form = body if "x-www-form-urlencoded" in kind else environ.get("QUERY_STRING", "").encode()
    named = parse_qs(form.decode("utf-8", "replace")).get("Action")
    return named[0] if named else ""


def _only_reads(call: Call) -> bool:
    if call.action:
        return call.action.startswith(_READ)
    return call.environ["REQUEST_METHOD"] in ("GET", "HEAD")


def json_answer(status: str, content: object, start_response: StartResponse) -> Iterable[bytes]:
    """An answer of the lab's own."""
    body = json.dumps(content, indent=2).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]
