"""HTTP/2 at the load balancer, HTTP/1.1 behind it: nothing gets in between."""

import select
import time
from collections.abc import Generator

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame

from hosts.load_balancer import Limits
from tests.hosts.edge.http2 import Headers, Http2, head
from tests.hosts.edge.site import NAME, Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

OTHER = "127.0.1.1"
SMUGGLED = f"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {NAME}\r\n\r\n"


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    limits = Limits(requests_per_second=0, burst=1, connections=0, uploads=20, body=100_000)
    with running(tmp_path_factory.mktemp("site"), limits=limits, keep_alive_timeout=2.0) as found:
        found.up()
        yield found


@pytest.fixture
def site(whole_site: Site) -> Site:
    """With nothing yet received by any application server."""
    whole_site.forget()
    return whole_site


def test_a_request_becomes_an_ordinary_one(site: Site) -> None:
    with Http2(site) as client:
        asked = head(("accept", "text/html"), ("cookie", "a=1"), ("cookie", "b=2"), path="/a?b")
        answer = client.answer(client.ask(asked))
    assert (answer.status, answer.body) == (200, f"{site.served()[0].server}\n".encode())
    assert "strict-transport-security" in answer.headers
    (seen,) = site.served()
    assert seen.line == "GET /a?b HTTP/1.1"
    assert dict(seen.headers) == {
        "host": NAME,
        "accept": "text/html",
        "cookie": "a=1; b=2",
        "x-request-id": answer.headers["x-request-id"],
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
        "x-body-limit": "100000",
    }


def test_many_requests_at_once_are_all_answered(site: Site) -> None:
    with Http2(site) as client:
        asked = [client.ask(head(path=f"/{number}")) for number in range(90)]
        assert [client.answer(one).status for one in asked] == [200] * 90
    assert len(site.served()) == 90


def test_a_client_that_claims_to_be_another_is_not_believed(site: Site) -> None:
    claims = [
        *(("x-forwarded-for", "6.6.6.6"), ("x_forwarded_for", "6.6.6.6"), ("forwarded", "for=6")),
        *(("x-forwarded-host", "evil.example"), ("x-request-id", "forged"), ("x-real-ip", "6")),
    ]
    with Http2(site) as client:
        answer = client.answer(client.ask(head(*claims)))
    assert answer.status == 200
    (seen,) = site.served()
    assert "6.6.6.6" not in seen.head.decode()
    assert "evil.example" not in seen.head.decode()
    assert seen.header("x-request-id") == answer.headers["x-request-id"] != "forged"


BAD: dict[str, Headers] = {
    "transfer-encoding": head(("transfer-encoding", "chunked"), method="POST"),
    "connection": head(("connection", "keep-alive")),
    "upgrade": head(("upgrade", "h2c")),
    "te": head(("te", "gzip")),
    "a line break in a value": head(("x", f"y{SMUGGLED}")),
    "a line feed in a value": head(("x", "y\nTransfer-Encoding: chunked")),
    "a carriage return in a value": head(("x", "y\rz")),
    "a null in a value": head(("x", "y\0z")),
    "a line break in a name": head((f"x: y{SMUGGLED}z", "y")),
    "a colon in a name": head(("transfer-encoding: chunked", "x")),
    "a space in a name": head(("x y", "z")),
    "a capital in a name": head(("Transfer-Encoding", "chunked")),
    "no name": head(("", "x")),
    "a line break in the path": head(path=f"/ HTTP/1.1{SMUGGLED}"),
    "a space in the path": head(path="/ HTTP/1.1"),
    "no path": head(_path=""),
    "an empty path": head(path=""),
    "a path without a slash": head(path="evil"),
    "a path with a host": head(path=f"http://{NAME}/"),
    "two paths": [*head(), (":path", "/other")],
    "a line break in the method": head(method=f"GET /x HTTP/1.1{SMUGGLED}"),
    "a space in the method": head(method="GET /smuggled"),
    "no method": head(_method=""),
    "no scheme": head(_scheme=""),
    "a line break in the scheme": head(scheme=f"https{SMUGGLED}"),
    "a line break in the authority": head(authority=f"{NAME}{SMUGGLED}"),
    "a path in the authority": head(authority=f"{NAME}/x"),
    "a user in the authority": head(authority=f"x@{NAME}"),
    "no authority and no host": head(_authority=""),
    "two authorities": [*head(), (":authority", "evil.example")],
    "an unknown pseudo-header": [*head(), (":evil", "x")],
    "a pseudo-header after the others": [("x", "y"), *head()],
    "a status": [*head(), (":status", "200")],
    "two lengths": head(("content-length", "1"), ("content-length", "2"), method="POST"),
    "a length that is none": head(("content-length", "+1"), method="POST"),
    "a tunnel": [(":method", "CONNECT"), (":authority", f"{NAME}:443")],
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_malformed_is_refused_and_reaches_nobody(case: str, site: Site) -> None:
    with Http2(site) as client:
        stream = client.ask(BAD[case], b"x" if "POST" in str(BAD[case]) else b"")
        answer = client.answer(stream)
    assert answer.reset or answer.status in (400, 405), answer
    assert site.served() == []


@pytest.mark.parametrize(("length", "body"), [(5, b"too long"), (50, b"too short"), (0, b"x")])
def test_a_body_has_the_length_that_it_says(length: int, body: bytes, site: Site) -> None:
    with Http2(site) as client:
        asked = head(("content-length", str(length)), method="POST")
        answer = client.answer(client.ask(asked, body))
    assert answer.reset or answer.status == 400, answer
    assert [seen for seen in site.served() if seen.whole] == []


def test_a_host_beside_the_authority_does_not_count(site: Site) -> None:
    with Http2(site) as client:
        answer = client.answer(client.ask(head(("host", "evil.example"))))
    assert answer.reset or answer.status in (200, 400)
    assert all(seen.every("host") == [NAME] for seen in site.served())


def test_a_body_of_unknown_length_streams(site: Site) -> None:
    with Http2(site) as client:
        upload = client.ask(head(method="POST"), b"x" * 1000, end=False)
        for number in range(2, 5):
            client.more(upload, b"x" * 1000)
            until(lambda n=number: bool(site.served()) and len(site.served()[0].body) == n * 1000)
        client.more(upload, b"", end=True)
        assert client.answer(upload).status == 200
    (seen,) = site.served()
    assert (seen.header("transfer-encoding"), seen.every("content-length")) == ("chunked", [])


def test_a_body_that_is_too_large_is_refused_before_it_comes(site: Site) -> None:
    with Http2(site) as client:
        asked = head(("content-length", "100001"), method="POST")
        assert client.answer(client.ask(asked, end=False)).status == 413
    assert site.served() == []


def test_a_websocket_passes_by_http_2_as_well(site: Site) -> None:
    with Http2(site) as client:
        while client.protocol.remote_settings.enable_connect_protocol != 1:
            client.hear()
        asked = head(("sec-websocket-version", "13"), method="CONNECT", path="/websocket")
        stream = client.ask([*asked[:1], (":protocol", "websocket"), *asked[1:]], end=False)
        while not (stream.status or stream.reset or client.closed):
            client.hear()
        assert stream.status == 200
        client.more(stream, b"\x81\x82\0\0\0\0hi")
        while len(stream.body) < 4:
            client.hear()
        assert stream.body == b"\x81\x02hi"
    (seen,) = site.served()
    assert seen.line == "GET /websocket HTTP/1.1"
    assert seen.header("upgrade") == "websocket"


def test_the_limit_of_uploads_is_of_requests_not_of_connections(site: Site) -> None:
    with Http2(site) as client:
        uploads = [client.ask(head(method="POST"), b"x", end=False) for _ in range(20)]
        until(lambda: len(site.served()) == 20)
        assert client.answer(client.ask(head(method="POST"), b"x")).status == 429
        for upload in uploads:
            client.more(upload, b"", end=True)
        assert [client.answer(upload).status for upload in uploads] == [200] * 20


def test_a_client_that_gives_up_every_request_is_sent_away(site: Site) -> None:
    """Rapid reset, CVE-2023-44487: asking costs it nothing, and each is work here."""
    with Http2(site) as client:
        tries = 0
        while not (client.closed or client.terminated):
            client.reset(client.ask(head(path="/slow")))
            tries += 1
            assert tries < 5000
            if select.select([client.socket], [], [], 0)[0]:
                client.hear()
        with Http2(site, source=OTHER) as other:
            assert other.answer(other.ask(head())).status == 200


def test_a_head_without_an_end_is_cut(site: Site) -> None:
    """A flood of CONTINUATION frames, each of which might be the last."""
    with Http2(site) as client:
        block = client.protocol.encoder.encode(head())
        first = HeadersFrame(1, block)
        client.socket.sendall(first.serialize())
        more = ContinuationFrame(1, client.protocol.encoder.encode([("x", "y" * 1000)]))
        for _ in range(5000):
            try:
                client.socket.sendall(more.serialize())
            except OSError:
                break
        else:
            pytest.fail("it is still being listened to")
    assert site.served() == []


def test_headers_that_grow_when_they_are_unpacked_are_refused(site: Site) -> None:
    """Each costs the client one byte."""
    with Http2(site) as client:
        answer = client.answer(client.ask(head(*[("x", "y" * 3000)] * 60)))
    assert answer.reset or answer.status in (400, 431)
    assert site.served() == []


def test_a_connection_that_does_nothing_is_ended(site: Site) -> None:
    with Http2(site) as client:
        began = time.monotonic()
        while not (client.closed or client.terminated):
            client.hear()
        assert time.monotonic() - began < 12
