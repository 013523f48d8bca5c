"""The guest book's page and API, with a book in memory."""

import html
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.guestbook.database import Answer, UnavailableError, valid_seen
from app.guestbook.web import create_app

UUID = "9f065960-e6a4-11f1-8322-162ef541694f"


@dataclass
class Book:
    """Entries in memory; reads and writes can be away."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    readable: bool = True
    writable: bool = True
    seen: list[str] = field(default_factory=list[str])

    def entries(self, seen: str, limit: int, before: int | None) -> Answer:
        if not self.readable:
            raise UnavailableError("away")
        self.seen.append(seen)
        rows = [row for row in reversed(self.rows) if before is None or row["id"] < before]
        return Answer(
            [{k: v for k, v in row.items() if k != "key"} for row in rows][:limit], "database-2"
        )

    def add(self, name: str, message: str, server: str, key: str) -> Answer:
        if not self.writable:
            raise UnavailableError("away")
        found = [row for row in self.rows if row["key"] == key]
        if not found:
            self.rows.append(
                {
                    "id": len(self.rows) + 1,
                    "name": name,
                    "message": message,
                    "created": datetime(2026, 1, 2, 3, 4, 5, 678000),
                    "server": server,
                    "key": key,
                }
            )
        row = {k: v for k, v in (found or self.rows[-1:])[0].items() if k != "key"}
        return Answer([row], "database-1", f"{UUID}:1-{len(self.rows)}", not found)

    def check(self) -> str:
        if not self.readable:
            raise UnavailableError("away")
        return "database-2"


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def client(book: Book) -> FlaskClient:
    return create_app(book, "app-server-1").test_client()


FORM = {"name": "Ada", "message": "Hello", "key": "k1"}


def test_the_page_says_who_served_it_and_which_database(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "app-server-1" in answer.text
    assert "database-2" in answer.text
    assert answer.headers["X-Database"] == "database-2"


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "&amp;", "{{7*7}}"]
)
def test_what_people_write_is_escaped_everywhere(text: str, client: FlaskClient) -> None:
    client.post("/", data={"name": text, "message": text})
    page = client.get("/").text
    assert page.count(html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")) == 2
    assert "<script>" not in page
    assert "<img" not in page
    assert ">49<" not in page
    assert "default-src 'none'" in client.get("/").headers["Content-Security-Policy"]


def test_what_was_typed_is_escaped_when_it_is_shown_again(book: Book, client: FlaskClient) -> None:
    book.writable = False
    answer = client.post("/", data={"name": '"><b>', "message": "</textarea><b>", "key": '"><b>'})
    assert answer.status_code == 503
    assert "<b>" not in answer.text


def test_signing_the_book_leads_back_to_the_page_with_a_cookie(client: FlaskClient) -> None:
    answer = client.post("/", data=FORM)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"
    assert answer.headers["X-Database"] == "database-1"
    cookie = answer.headers["Set-Cookie"]
    assert f"{UUID}:1-1" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_writers_next_read_asks_for_what_it_wrote(book: Book, client: FlaskClient) -> None:
    client.get("/")
    client.post("/", data=FORM)
    client.get("/")
    client.get("/api/entries")
    assert book.seen == ["", f"{UUID}:1-1", f"{UUID}:1-1"]


def test_a_form_sent_twice_is_written_once(book: Book, client: FlaskClient) -> None:
    for _ in range(2):
        assert client.post("/", data=FORM).status_code == 303
    assert len(book.rows) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
    ],
)
def test_another_sites_form_is_refused(
    headers: dict[str, str], status: int, book: Book, client: FlaskClient
) -> None:
    assert client.post("/", data=FORM, headers=headers).status_code == status
    assert len(book.rows) == (status == 303)


BAD = [
    ({"message": "m"}, "The name is missing."),
    ({"name": "  ", "message": "m"}, "The name is missing."),
    ({"name": "n"}, "The message is missing."),
    ({"name": "n" * 61, "message": "m"}, "The name has 61 characters: 60 at most."),
    ({"name": "n", "message": "m" * 501}, "The message has 501 characters: 500 at most."),
    ({"name": "n\0", "message": "m"}, "The name has a control character in it."),
]


@pytest.mark.parametrize(("content", "problem"), BAD)
def test_what_is_no_entry_is_refused_in_one_sentence(
    content: dict[str, str], problem: str, book: Book, client: FlaskClient
) -> None:
    answer = client.post("/api/entries", json=content)
    assert (answer.status_code, answer.json) == (400, {"error": problem})
    page = client.post("/", data=content)
    assert page.status_code == 400
    assert problem in page.text
    assert book.rows == []


@pytest.mark.parametrize("body", ["[]", '"x"', "{", "", '{"name": 1, "message": []}'])
def test_json_of_another_shape_is_refused(body: str, client: FlaskClient) -> None:
    answer = client.post("/api/entries", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert set(answer.json or {}) == {"error"}


def test_the_api_takes_json_only_so_that_no_form_of_another_site_can_use_it(
    book: Book, client: FlaskClient
) -> None:
    assert client.post("/api/entries", data=FORM).status_code == 415
    assert client.post("/api/entries", data="{}", content_type="text/plain").status_code == 415
    assert book.rows == []


def test_the_api_writes_and_lists(client: FlaskClient) -> None:
    for number in range(3):
        answer = client.post("/api/entries", json={"name": "n", "message": f"m{number}"})
        assert answer.status_code == 201
        assert answer.headers["X-Seen"] == f"{UUID}:1-{number + 1}"
    content: Any = client.get("/api/entries?limit=2").json
    assert (content["server"], content["database"]) == ("app-server-1", "database-2")
    assert [entry["message"] for entry in content["entries"]] == ["m2", "m1"]
    assert content["entries"][0]["created"] == "2026-01-02T03:04:05.678Z"
    older: Any = client.get("/api/entries?before=2").json
    assert [entry["id"] for entry in older["entries"]] == [1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=x"])
def test_a_listing_that_makes_no_sense_is_refused(query: str, client: FlaskClient) -> None:
    assert client.get(f"/api/entries?{query}").status_code == 400


def test_an_idempotency_key_makes_a_repeated_request_safe(book: Book, client: FlaskClient) -> None:
    entry, headers = {"name": "n", "message": "m"}, {"Idempotency-Key": "abc"}
    first = client.post("/api/entries", json=entry, headers=headers)
    again = client.post("/api/entries", json=entry, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json or {})["entry"] == (again.json or {})["entry"]
    assert len(book.rows) == 1
    refused = client.post("/api/entries", json=entry, headers={"Idempotency-Key": "x" * 65})
    assert refused.status_code == 400


def test_with_the_primary_away_pages_work_and_writes_say_when_to_try_again(
    book: Book, client: FlaskClient
) -> None:
    book.writable = False
    assert client.get("/").status_code == 200
    assert client.get("/healthz").status_code == 200
    page = client.post("/", data=FORM)
    api = client.post("/api/entries", json=FORM)
    for answer in (page, api):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"
    assert 'value="Ada"' in page.text, "what was typed is not lost"
    assert 'value="k1"' in page.text, "and sent again it is the same entry"


def test_with_no_database_the_health_path_says_so(book: Book, client: FlaskClient) -> None:
    book.readable = False
    assert client.get("/healthz").status_code == 503
    for path in ("/", "/api/entries"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"{UUID}:1-5", True),
        (f"{UUID}:1", True),
        (f"{UUID}:1-5:7-9", True),
        (f"{UUID}:1-5,{UUID.replace('9', '8')}:3", True),
        (f"{UUID}:backup:1-5", True),
        (f"{UUID.upper()}: 1-5", True),
        ("", False),
        (UUID, False),
        ("1-5", False),
        (f"{UUID}:1-5'", False),
        (f"{UUID}:1-5,", False),
        (f"{UUID}:x;DROP", False),
        (",".join([f"{UUID}:1-5"] * 100), False),
    ],
)
def test_only_what_can_be_a_gtid_set_reaches_the_database(text: str, good: bool) -> None:
    assert bool(valid_seen(text)) is good


def test_a_cookie_of_nonsense_is_no_reason_to_fail(book: Book, client: FlaskClient) -> None:
    client.set_cookie("seen", "'; DROP TABLE entries; --")
    assert client.get("/").status_code == 200
    assert book.seen == [""]
