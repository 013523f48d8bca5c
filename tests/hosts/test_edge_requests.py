"""What a request may be, and what of it an application server sees."""

from collections.abc import Generator
from contextlib import suppress

import pytest

from tests.hosts.edge.client import Answer, ask, connect, get, request
from tests.hosts.edge.site import NAME, Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

HOST = f"Host: {NAME}\r\n"
NEXT = f"GET /smuggled HTTP/1.1\r\n{HOST}\r\n"


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    with running(tmp_path_factory.mktemp("site")) as found:
        found.up()
        yield found


@pytest.fixture
def site(whole_site: Site) -> Site:
    """With nothing yet received by any application server."""
    whole_site.forget()
    return whole_site


def post(*headers: str, body: str = "") -> str:
    return f"POST / HTTP/1.1\r\n{HOST}" + "".join(f"{h}\r\n" for h in headers) + "\r\n" + body


CHUNKED = "Transfer-Encoding: chunked"
MALFORMED = {
    # Where a body ends is not sure.
    "two lengths": post("Content-Length: 6", "Content-Length: 5", body="0\r\n\r\nX"),
    "lengths in a list": post("Content-Length: 1, 2", body="XX"),
    "a length with a sign": post("Content-Length: +1", body="X"),
    "a length below nothing": post("Content-Length: -1", body="X"),
    "a length in another base": post("Content-Length: 0x1", body="X"),
    "an empty length": post("Content-Length: ", body="X"),
    "a length without end": post(f"Content-Length: {'9' * 30}", body="X"),
    "two encodings": post(CHUNKED, "Transfer-Encoding: identity", body="0\r\n\r\n"),
    "an encoding that is none": post("Transfer-Encoding: xchunked", body="0\r\n\r\n"),
    "chunks not last": post("Transfer-Encoding: chunked, identity", body="0\r\n\r\n"),
    "chunks twice": post("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n"),
    "space before the colon": post("Transfer-Encoding : chunked", body="0\r\n\r\n"),
    "a strange space": post("Transfer-Encoding: \x0bchunked", body="0\r\n\r\n"),
    "chunks in http/1.0": f"POST / HTTP/1.0\r\n{HOST}{CHUNKED}\r\n\r\n0\r\n\r\n",
    "a chunk's size in another form": post(CHUNKED, body="0x1\r\nX\r\n0\r\n\r\n"),
    "a chunk's size below nothing": post(CHUNKED, body="-1\r\nX\r\n0\r\n\r\n"),
    "a chunk's size without end": post(CHUNKED, body="f" * 17 + "\r\nX\r\n0\r\n\r\n"),
    "a chunk's line ends early": post(CHUNKED, body="1;\nX\r\nX\r\n0\r\n\r\n"),
    "chunks with bare line feeds": post(CHUNKED, body="1\nX\n0\n\n"),
    "a chunk that is longer than it says": post(CHUNKED, body="1\r\nXYZ\r\n0\r\n\r\n"),
    # The head.
    "a bare carriage return": f"GET / HTTP/1.1\r\n{HOST}X: a\rb\r\n\r\n",
    "a null": f"GET / HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n",
    "a header without a colon": f"GET / HTTP/1.1\r\n{HOST}X\r\n\r\n",
    "a header without a name": f"GET / HTTP/1.1\r\n{HOST}: x\r\n\r\n",
    "a header's name with a space": f"GET / HTTP/1.1\r\n{HOST}X Y: z\r\n\r\n",
    "a space before the first header": f"GET / HTTP/1.1\r\n {HOST}\r\n",
    "a space in the path": f"GET /a b HTTP/1.1\r\n{HOST}\r\n",
    "a byte that is not ascii in the path": f"GET /\xe9 HTTP/1.1\r\n{HOST}\r\n",
    "a control character in the path": f"GET /\x01 HTTP/1.1\r\n{HOST}\r\n",
    "a fragment": f"GET /a#b HTTP/1.1\r\n{HOST}\r\n",
    "a method that is none": f"G@T / HTTP/1.1\r\n{HOST}\r\n",
    "http/0.9": "GET /\r\n\r\n",
    "a star for a path": f"GET * HTTP/1.1\r\n{HOST}\r\n",
    "not http": "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "too many headers": f"GET / HTTP/1.1\r\n{HOST}" + "X: y\r\n" * 120 + "\r\n",
    "a websocket without a key": f"GET / HTTP/1.1\r\n{HOST}Connection: Upgrade\r\n"
    "Upgrade: websocket\r\n\r\n",
    # Whom it asks.
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "no host in http/1.0": "GET / HTTP/1.0\r\n\r\n",
    "an empty host": "GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\n{HOST}Host: evil.example\r\n\r\n",
    "hosts in a list": f"GET / HTTP/1.1\r\nHost: {NAME}, evil.example\r\n\r\n",
    "a host with a path": f"GET / HTTP/1.1\r\nHost: {NAME}/x\r\n\r\n",
    "a host with a user": f"GET / HTTP/1.1\r\nHost: x@{NAME}\r\n\r\n",
    "a host with markup": 'GET / HTTP/1.1\r\nHost: a"><script>\r\n\r\n',
    "a host with a port that is none": f"GET / HTTP/1.1\r\nHost: {NAME}:https\r\n\r\n",
    "a host of another kind": "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "a host that is encoded": "GET / HTTP/1.1\r\nHost: a%2eexample\r\n\r\n",
    "a host that is too long": f"GET / HTTP/1.1\r\nHost: {'a' * 254}\r\n\r\n",
    "a port with more to it": f"GET / HTTP/1.1\r\nHost: {NAME}:443x\r\n\r\n",
    "two ports": f"GET / HTTP/1.1\r\nHost: {NAME}:443:443\r\n\r\n",
    "another host in the path": f"GET http://evil.example/ HTTP/1.1\r\n{HOST}\r\n",
    "a host in the path alone": f"GET http://{NAME}/ HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_refused_and_reaches_nobody(case: str, site: Site) -> None:
    """Together with a request that comes right after it, as one that is smuggled would."""
    with connect(site) as connection:
        connection.send((MALFORMED[case] + NEXT).encode("latin-1"))
        first = connection.answer()
        # Of two different lengths HAProxy says nothing: it ends the connection.
        assert first.status == 400 or (first.status, case) == (0, "two lengths")
        assert connection.ended()
    assert complete(site) == []


def complete(site: Site) -> list[str]:
    """The first lines of the requests that an application server had whole."""
    return [request.line for request in site.served() if request.whole]


def test_a_body_that_goes_wrong_on_its_way_is_cut_and_nothing_follows_it(site: Site) -> None:
    """Its beginning may be with an application server by then, which sees it end early."""
    head = post(CHUNKED, body=f"{20000:x}\r\n{'x' * 20000}\r\n")
    with connect(site) as connection:
        connection.send(head.encode())
        until(lambda: len(site.served()) == 1)
        connection.send(f"nonsense\r\n0\r\n\r\n{NEXT}".encode())
        assert connection.answer().status in (0, 400)
        assert connection.ended()
    assert complete(site) == []


def test_chunks_beside_a_length_are_one_request_and_the_connection_ends_with_it(
    site: Site,
) -> None:
    """RFC 9112, 6.3: the chunks count, the length is not passed on, nothing may follow."""
    for length, body in (("6", f"0\r\n\r\n{NEXT}"), ("1", f"5\r\nhello\r\n0\r\n\r\n{NEXT}")):
        site.forget()
        with connect(site) as connection:
            connection.send(post(f"Content-Length: {length}", CHUNKED, body=body).encode())
            assert connection.answer().status == 200
            assert connection.ended()
        assert complete(site) == ["POST / HTTP/1.1"]
        (seen,) = site.served()
        assert seen.every("Content-Length") == []


def test_what_looks_like_a_request_in_a_body_stays_a_body(site: Site) -> None:
    for asked in (
        post(f"Content-Length: {len(NEXT)}", body=NEXT),
        post(CHUNKED, body=f"{len(NEXT):x}\r\n{NEXT}\r\n0\r\n\r\n"),
        post(f"Content-Length: {len(NEXT)}", body=NEXT).replace("POST", "GET"),
    ):
        site.forget()
        assert ask(site, asked.encode()).status == 200
        (seen,) = site.served()
        assert seen.body == NEXT.encode()


def test_requests_that_come_at_once_are_answered_one_after_the_other(site: Site) -> None:
    with connect(site) as connection:
        connection.send(b"".join(get(f"/{number}") for number in range(5)))
        assert [connection.answer().status for _ in range(5)] == [200] * 5
    assert sorted(complete(site)) == [f"GET /{number} HTTP/1.1" for number in range(5)]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (f"GET /a?b HTTP/1.0\r\n{HOST}\r\n", "GET /a?b HTTP/1.0"),
        (f"GET http://{NAME}/a?b HTTP/1.1\r\n{HOST}\r\n", "GET /a?b HTTP/1.1"),
        (f"GET https://{NAME}/a HTTP/1.1\r\n{HOST}\r\n", "GET /a HTTP/1.1"),
        (f"GET http://user@{NAME} HTTP/1.1\r\n{HOST}\r\n", "GET / HTTP/1.1"),
        (f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n", "OPTIONS * HTTP/1.1"),
        (f"GET  / HTTP/1.1\nHost: {NAME}\n\n", "GET / HTTP/1.1"),
        (f"GET / HTTP/1.1\r\n{HOST}X: a\r\n b\r\n\r\n", "GET / HTTP/1.1"),
    ],
)
def test_unusual_requests_reach_an_application_server_in_the_usual_form(
    asked: str, line: str, site: Site
) -> None:
    assert ask(site, asked.encode()).status == 200
    (seen,) = site.served()
    assert seen.line == line
    assert (
        seen.head
        == "\r\n".join(
            [line, *(f"{name}: {value}" for name, value in seen.headers), "", ""]
        ).encode()
    )


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_nobody_is_led_through_or_shown_what_was_sent(method: str, site: Site) -> None:
    target = f"{NAME}:443" if method == "CONNECT" else "/"
    host = target if method == "CONNECT" else NAME
    answer = ask(site, request(f"{method} {target} HTTP/1.1", host=host))
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]
    assert site.served() == []


CLAIMS = (
    *("X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 6.6.6.6", "X_Forwarded_For: 6.6.6.6"),
    *("X-Forwarded-Proto: http", "X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: on"),
    *("X-Forwarded-Host: evil.example", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil"),
    *("Forwarded: for=6.6.6.6;host=evil.example", "X-Real-IP: 6.6.6.6", "X-Client-IP: 6.6.6.6"),
    *("True-Client-IP: 6.6.6.6", "CF-Connecting-IP: 6.6.6.6", "X-Cluster-Client-IP: 6.6.6.6"),
    *("X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Host: evil.example"),
    *("X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE", "Proxy: http://6.6.6.6"),
    *("X-Request-Id: forged", "X_Request_Id: forged", "X-Body-Limit: 9999999999"),
    *("X.Forwarded.For: 6.6.6.6", "Content_Length: 5", "Transfer_Encoding: chunked"),
)


def test_what_a_client_says_of_itself_is_not_believed(site: Site) -> None:
    answer = ask(site, get("/", *CLAIMS, "Accept: text/html"))
    (seen,) = site.served()
    identity = answer.headers["x-request-id"]
    assert dict(seen.headers) == {
        "host": NAME,
        "accept": "text/html",
        "x-request-id": identity,
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
        "x-body-limit": str(100 << 20),
    }
    assert len(seen.headers) == 6
    assert len(identity) == 36
    until(lambda: identity in {line["request_id"] for line in site.lines()})


def test_a_client_cannot_have_headers_dropped_by_naming_them_in_connection(site: Site) -> None:
    names = "close, X-Forwarded-For, X-Request-Id, TE"
    ask(site, get("/", f"Connection: {names}", "TE: trailers", "Keep-Alive: 9"))
    (seen,) = site.served()
    assert seen.every("Connection") == seen.every("TE") == seen.every("Keep-Alive") == []
    assert seen.header("X-Forwarded-For") == "127.0.0.1"


def test_no_write_is_lost_on_a_connection_to_a_machine_that_lost_power_and_is_back(
    site: Site,
) -> None:
    def kept() -> int:
        counts = ("idle_conn_cur", "safe_conn_cur")
        return sum(int(row[name] or 0) for row in site.statistics() for name in counts)

    for _ in range(8):
        assert ask(site, get()).status == 200
    assert kept(), "what follows would show nothing"
    for server in site.servers:
        server.forget_connections()
    # Before HAProxy closes idle connections for another reason, each five seconds.
    until(lambda: not kept(), 4, lambda: site.ask("show servers conn"))
    for _ in range(8):
        assert ask(site, post("Content-Length: 1", body="X").encode()).status == 200


def test_no_other_protocol_is_switched_to(site: Site) -> None:
    settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    ask(site, get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", settings))
    (seen,) = site.served()
    assert not {"upgrade", "connection", "http2-settings"} & {name for name, _ in seen.headers}


def test_a_forged_trailer_does_not_become_a_header(site: Site) -> None:
    ask(site, post(CHUNKED, body="1\r\nX\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n").encode())
    (seen,) = site.served()
    assert seen.header("X-Forwarded-For") == "127.0.0.1"


def test_two_clients_are_told_apart_by_their_own_addresses(site: Site) -> None:
    for source in ("127.0.0.9", "127.0.0.10"):
        ask(site, get("/", "X-Forwarded-For: 127.0.0.1"), source=source)
    assert {seen.header("X-Forwarded-For") for seen in site.served()} == {
        "127.0.0.9",
        "127.0.0.10",
    }


def test_an_answer_does_not_say_what_serves_it(site: Site) -> None:
    assert "server" not in ask(site, get()).headers


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (get("/" + "a" * 7990), 200),
        (get("/" + "a" * 8000), 414),
        (get("/", "Cookie: " + "a" * 8190), 200),
        (get("/", "Cookie: " + "a" * 14000), 431),
        (get("/", *(f"X-{number}: {'a' * 100}" for number in range(95))), 200),
    ],
)
def test_a_head_has_its_limits(asked: bytes, status: int, site: Site) -> None:
    assert ask(site, asked).status == status
    assert len(site.served()) == (status == 200)


@pytest.mark.parametrize("size", [16_500, 100_000])
def test_a_head_that_is_larger_than_any_buffer_is_refused(size: int, site: Site) -> None:
    with connect(site) as connection:
        with suppress(OSError):  # it does not wait for the rest
            connection.send(get("/", "Cookie: " + "a" * size))
        assert connection.answer().status in (0, 400, 431)
    assert site.served() == []


# The names that the site answers to.


def answers(site: Site, *hosts: str) -> list[int]:
    found: list[Answer] = [ask(site, request(host=host)) for host in hosts]
    return [answer.status for answer in found]


def test_any_host_is_answered_where_the_sites_own_is_not_known(site: Site) -> None:
    assert answers(site, "127.0.0.1", "a.example:443", "a_b-c.example") == [200] * 3


def test_only_the_sites_own_hosts_are_answered_where_they_are_known(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    hosts = [NAME, "*.example.com"]
    with running(tmp_path_factory.mktemp("hosts"), hosts=hosts) as site:
        site.up()
        ours = (NAME, NAME.upper(), f"{NAME}:443", "a.example.com")
        assert answers(site, *ours) == [200] * 4
        site.forget()
        others = (
            *("evil.example", f"evil.{NAME}", f"{NAME}.evil.example", "wwwxexample.org"),
            *(f"{NAME}:8443", f"{NAME}:80", "aexample.com", "example.com", "127.0.0.1"),
        )
        assert answers(site, *others) == [421] * len(others)
        assert site.served() == []
        assert ask(site, request(f"GET https://{NAME}/ HTTP/1.1")).status == 200
