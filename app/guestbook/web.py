"""The guest book's page and its API."""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from flask import Flask, Request, Response, jsonify, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from .database import Answer, UnavailableError, valid_seen

NAME, MESSAGE = 60, 500
SHOWN = 50
MOST = 100
COOKIE = "seen"
HEADER = "X-Seen"
REMEMBERED = 60
"""Seconds: by then any replica that may be read from has the write."""
RETRY = "2"


class Book(Protocol):
    """What the pages need of the database: `database.Database`."""

    def entries(self, seen: str, limit: int, before: int | None) -> Answer:
        """The newest entries."""
        ...

    def add(self, name: str, message: str, server: str, key: str) -> Answer:
        """One more entry."""
        ...

    def check(self) -> str:
        """Whether there is a database to read from, and which."""
        ...


class BadEntryError(ValueError):
    """What was sent cannot be an entry; the message is for whoever sent it."""


@dataclass(frozen=True)
class Draft:
    """An entry that is to be written."""

    name: str
    message: str
    key: str


def create_app(book: Book, server: str = "") -> Flask:
    """The application; `server` is the machine that it runs on."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    server = server or os.environ.get("SITE_MACHINE") or socket.gethostname()

    @app.get("/")
    def page() -> AnyResponse | tuple[str, int, dict[str, str]]:
        return _page(book, server)

    @app.post("/")
    def sign() -> AnyResponse | tuple[str, int, dict[str, str]]:
        if not _from_this_site(request):
            return _page(book, server, 403, "This form was sent by another site.", request.form)
        try:
            draft = read_draft(request.form, request.form.get("key", ""))
            answer = book.add(draft.name, draft.message, server, draft.key)
        except BadEntryError as error:
            return _page(book, server, 400, str(error), request.form)
        except UnavailableError:
            text = "The book cannot be written in just now. Please try again in a moment."
            return _page(book, server, 503, text, request.form)
        response = redirect("/", 303)
        _remember(response, answer)
        return response

    @app.get("/api/entries")
    def listing() -> Response:
        try:
            limit = int(request.args.get("limit", SHOWN))
            before = int(request.args["before"]) if "before" in request.args else None
        except ValueError:
            return _error(400, "limit and before must be numbers")
        if not 1 <= limit <= MOST:
            return _error(400, f"limit must be within 1 and {MOST}")
        try:
            answer = book.entries(_seen(request), limit, before)
        except UnavailableError:
            return _unavailable()
        entries = [_entry(row) for row in answer.rows]
        response = jsonify(entries=entries, server=server, database=answer.database)
        response.headers["X-Database"] = answer.database
        return response

    @app.post("/api/entries")
    def add() -> Response:
        if not request.is_json:
            return _error(415, "send an entry as application/json")
        content: Any = request.get_json(silent=True)
        if not isinstance(content, dict):
            return _error(400, "send one JSON object with name and message")
        try:
            draft = read_draft(content, request.headers.get("Idempotency-Key", ""))  # type: ignore[reportUnknownArgumentType]
            answer = book.add(draft.name, draft.message, server, draft.key)
        except BadEntryError as error:
            return _error(400, str(error))
        except UnavailableError:
            return _unavailable()
        response = jsonify(
            entry=_entry(answer.rows[0]),
            server=server,
            database=answer.database,
            seen=answer.seen,
        )
        response.status_code = 201 if answer.created else 200
        _remember(response, answer)
        return response

    @app.get("/healthz")
    def health() -> tuple[str, int, dict[str, str]]:
        try:
            database = book.check()
        except UnavailableError:
            return "no database to read from\n", 503, {"Content-Type": "text/plain"}
        return "ok\n", 200, {"Content-Type": "text/plain", "X-Database": database}

    app.after_request(_protect)
    _ = (page, sign, listing, add, health)
    return app


def _protect(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def read_draft(content: Any, key: str) -> Draft:
    """An entry from a form or from JSON. Raises `BadEntryError`."""
    name, message = content.get("name"), content.get("message")
    for label, value, longest in (("name", name, NAME), ("message", message, MESSAGE)):
        if not isinstance(value, str) or not value.strip():
            raise BadEntryError(f"The {label} is missing.")
        if len(value.strip()) > longest:
            raise BadEntryError(
                f"The {label} has {len(value.strip())} characters: {longest} at most."
            )
        if any(ord(character) < ord(" ") and character not in "\r\n\t" for character in value):
            raise BadEntryError(f"The {label} has a control character in it.")
    if key and not (len(key) <= 64 and key.isascii() and key.isprintable()):  # noqa: PLR2004
        raise BadEntryError("The idempotency key must be at most 64 printable ASCII characters.")
    return Draft(name.strip(), message.strip(), key or str(uuid.uuid4()))


def _page(
    book: Book, server: str, status: int = 200, problem: str = "", form: Any = None
) -> tuple[str, int, dict[str, str]]:
    headers: dict[str, str] = {}
    try:
        answer = book.entries(_seen(request), SHOWN, None)
        headers["X-Database"] = answer.database
    except UnavailableError:
        answer = None
        status = 503
        problem = problem or "The book cannot be read just now. Please try again in a moment."
    if status == 503:  # noqa: PLR2004
        headers["Retry-After"] = RETRY
    text = render_template(
        "page.html",
        entries=answer.rows if answer else [],
        database=answer.database if answer else None,
        server=server,
        problem=problem,
        name=form.get("name", "") if form else "",
        message=form.get("message", "") if form else "",
        # The same key with the same words: sent twice, it is written once.
        key=(form.get("key") if form else None) or str(uuid.uuid4()),
        longest={"name": NAME, "message": MESSAGE},
    )
    return text, status, headers


def _seen(request: Request) -> str:
    return valid_seen(request.headers.get(HEADER) or request.cookies.get(COOKIE, ""))


def _remember(response: AnyResponse, answer: Answer) -> None:
    """Lets the writer's next reads find what it wrote, whichever server they come to."""
    response.headers["X-Database"] = answer.database
    response.headers[HEADER] = answer.seen
    response.set_cookie(
        COOKIE,
        answer.seen,
        max_age=REMEMBERED,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )


def _from_this_site(request: Request) -> bool:
    """Whether a form comes from our own page, as the browser says."""
    site = request.headers.get("Sec-Fetch-Site")
    if site:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return not origin or urlsplit(origin).netloc == request.host


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    created: datetime = row["created"]
    when = created.replace(tzinfo=UTC).isoformat(timespec="milliseconds")
    return {**row, "created": when.replace("+00:00", "Z")}


def _error(status: int, text: str) -> Response:
    response = jsonify(error=text)
    response.status_code = status
    return response


def _unavailable() -> Response:
    response = _error(503, "the database cannot answer this now")
    response.headers["Retry-After"] = RETRY
    return response
