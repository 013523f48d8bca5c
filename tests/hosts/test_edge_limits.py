"""What one client may take, and what it is told when it takes more."""

import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hosts.load_balancer import Limits
from tests.hosts.edge.client import Connection, ask, ask_plainly, connect, get, plain, request
from tests.hosts.edge.site import Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

RATE, BURST, CONNECTIONS, UPLOADS, BODY = 10, 20, 6, 3, 100_000
OTHER = "127.0.1.1"


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    limits = Limits(
        requests_per_second=RATE, burst=BURST, connections=CONNECTIONS, uploads=UPLOADS, body=BODY
    )
    with running(tmp_path_factory.mktemp("site"), limits=limits, client_timeout=3.0) as found:
        found.up()
        yield found


@pytest.fixture
def site(whole_site: Site) -> Site:
    """As new: nobody has taken anything, nothing was received."""
    until(lambda: "conn_cur=1" not in whole_site.ask("show table shares"))
    whole_site.ask("clear table shares")
    whole_site.forget()
    return whole_site


def many(connection: Connection, number: int) -> Counter[int]:
    """The answers to so many requests on one connection."""
    found: Counter[int] = Counter()
    for _ in range(number):
        connection.send(get())
        found[connection.answer().status] += 1
    return found


def test_more_than_a_burst_is_answered_with_429_and_when_to_come_again(site: Site) -> None:
    with connect(site) as connection:
        found = many(connection, BURST + 10)
        connection.send(get())
        refused = connection.answer()
    assert found[200] == len(site.served())
    assert BURST <= found[200] <= BURST + 3  # some came back meanwhile
    assert found[429] == BURST + 10 - found[200]
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert b"Too much" in refused.body


def test_a_client_that_is_too_fast_is_slowed_down_to_its_rate(site: Site) -> None:
    """It is not shut out: what is refused is not counted."""
    with connect(site) as connection:
        many(connection, BURST)
        began = time.monotonic()
        found: Counter[int] = Counter()
        while (took := time.monotonic() - began) < 4:
            found += many(connection, 1)
    assert found[429] > 3 * found[200]
    assert RATE < found[200] < 1.3 * RATE * took


def test_another_client_does_not_notice(site: Site) -> None:
    with connect(site) as busy, connect(site, source=OTHER) as other:
        assert many(busy, 2 * BURST)[429]
        assert many(other, BURST) == {200: BURST}


def test_the_limit_is_of_all_of_a_clients_connections_together(site: Site) -> None:
    with connect(site) as one, connect(site) as two, plain(site) as three:
        assert many(one, BURST // 2) == {200: BURST // 2}
        assert many(two, BURST // 2) == {200: BURST // 2}
        assert many(two, 5)[429] >= 3
        three.send(get())
        assert three.answer().status in (301, 429)
        assert many(three, 5)[429] >= 3


def test_a_client_with_too_many_connections_keeps_the_first_and_loses_the_rest(
    site: Site,
) -> None:
    with ExitStack() as open_ones:
        allowed = [open_ones.enter_context(connect(site)) for _ in range(CONNECTIONS)]
        for one in allowed:
            one.send(get())
            assert one.answer().status == 200
        with connect(site) as beyond:
            beyond.send(get())
            refused = beyond.answer()
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert beyond.ended()
        assert ask_plainly(site, get()).status == 429
        allowed[0].send(get())
        assert allowed[0].answer().status == 200
        assert ask(site, get(), source=OTHER).status == 200
    until(lambda: ask(site, get()).status == 200)


def test_a_client_with_twice_too_many_connections_gets_no_handshake(site: Site) -> None:
    with ExitStack() as open_ones:
        for _ in range(2 * CONNECTIONS):
            open_ones.enter_context(connect(site))
        with pytest.raises(OSError, match=r"reset|EOF|closed"):
            connect(site)
        assert ask(site, get(), source=OTHER).status == 200


def test_a_flood_of_connections_is_turned_away_before_the_handshake(site: Site) -> None:
    statuses: Counter[int] = Counter()
    for _ in range(4 * BURST):
        try:
            with connect(site) as connection:
                statuses.update(many(connection, 1))
        except OSError:
            statuses[0] += 1
    assert statuses[200] >= BURST
    assert statuses[429] >= BURST // 2
    assert statuses[0] >= BURST
    assert ask(site, get(), source=OTHER).status == 200


def test_the_machines_own_checks_are_not_limited(site: Site) -> None:
    with connect(site) as busy:
        many(busy, 2 * BURST)
    for _ in range(3 * BURST):
        with Connection(site.socket(8404)) as check:
            check.send(request("GET /health HTTP/1.1", "Connection: close", host="localhost"))
            assert check.answer().status == 200


# Bodies.


def test_a_body_that_is_too_large_is_refused_before_it_comes(site: Site) -> None:
    with connect(site) as connection:
        connection.send(
            request("POST / HTTP/1.1", f"Content-Length: {BODY + 1}", "Expect: 100-continue")
        )
        assert connection.answer().status == 413
    assert site.served() == []
    assert (
        ask(site, request("POST / HTTP/1.1", f"Content-Length: {BODY}", body=b"x" * BODY)).status
        == 200
    )


def test_a_client_that_sends_a_body_that_is_too_large_hears_why(site: Site) -> None:
    size = 5_000_000
    with connect(site) as connection:
        head = request("POST / HTTP/1.1", f"Content-Length: {size}")
        with suppress(OSError):
            connection.send(head + b"x" * size)
        assert connection.answer().status == 413


def test_an_application_server_is_told_the_limit_of_what_has_no_length(site: Site) -> None:
    chunked = request(
        "POST / HTTP/1.1", "Transfer-Encoding: chunked", "X-Body-Limit: 1", body=b"0\r\n\r\n"
    )
    assert ask(site, chunked).status == 200
    (seen,) = site.served()
    assert seen.header("X-Body-Limit") == str(BODY)


def test_a_client_may_have_so_many_uploads_at_a_time(site: Site) -> None:
    upload = request("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n")
    with ExitStack() as open_ones:
        under_way = [open_ones.enter_context(connect(site)) for _ in range(UPLOADS)]
        for one in under_way:
            one.send(upload)
        until(lambda: len(site.served()) == UPLOADS)
        assert ask(site, upload).status == 429
        # Short bodies and other clients are none of it.
        form = request("POST / HTTP/1.1", "Content-Length: 5", body=b"hello")
        assert ask(site, form).status == 200
        assert ask(site, upload + b"0\r\n\r\n", source=OTHER).status == 200
        for one in under_way:
            one.send(b"0\r\n\r\n")
            assert one.answer().status == 200
    assert ask(site, upload + b"0\r\n\r\n").status == 200


# Slowness.


def ended_after(connection: Connection, every: float, part: bytes) -> tuple[int, float]:
    """The answer to a client that sends a little now and then; seconds until it ended."""
    began = time.monotonic()
    connection.socket.settimeout(every)
    while time.monotonic() - began < 20:
        try:
            answer = connection.answer()
        except TimeoutError:
            try:
                connection.send(part)
            except OSError:
                return 0, time.monotonic() - began
        else:
            return answer.status, time.monotonic() - began
    raise TimeoutError


def test_what_comes_slowly_is_cut_and_keeps_no_application_server_waiting(site: Site) -> None:
    """Drop by drop: a request's head, and a body that is as short as a form's."""
    slow = {
        b"GET / HTTP/1.1\r\n": b"X: y\r\n",
        request("POST / HTTP/1.1", "Content-Length: 100"): b"x",
    }

    def drip(beginning: bytes) -> tuple[int, float]:
        with connect(site) as connection:
            connection.send(beginning)
            return ended_after(connection, 0.5, slow[beginning])

    with ThreadPoolExecutor() as both:
        for status, took in both.map(drip, slow):
            assert status == 408
            assert 9 < took < 11
    assert site.served() == []


def test_a_long_body_that_stops_coming_is_cut(site: Site) -> None:
    with connect(site) as connection:
        connection.send(request("POST / HTTP/1.1", "Content-Length: 50000", body=b"x" * 20000))
        until(lambda: len(site.served()) == 1)
        began = time.monotonic()
        assert connection.answer().status in (0, 400, 408)
        assert time.monotonic() - began < 5  # of the client's three
    assert not site.served()[0].whole


def test_a_client_that_does_not_take_its_answer_is_cut(tmp_path: Path) -> None:
    with running(tmp_path, client_timeout=1.0) as site:
        site.up()
        with connect(site) as connection:
            connection.send(get("/large"))
            until(lambda: any(line["path"] == "/large" for line in site.lines()), 15)
            (line,) = [line for line in site.lines() if line["path"] == "/large"]
            assert line["ended"].startswith("c")


def test_a_connection_that_does_nothing_is_ended(tmp_path: Path) -> None:
    with running(tmp_path, keep_alive_timeout=1.0) as site:
        site.up()
        with connect(site) as connection:
            connection.send(get())
            assert connection.answer().status == 200
            began = time.monotonic()
            assert connection.ended()
            assert 0.5 < time.monotonic() - began < 3


def test_without_limits_there_are_none(tmp_path: Path) -> None:
    limits = Limits(requests_per_second=0, burst=1, connections=0, uploads=0, body=BODY)
    with running(tmp_path, limits=limits) as site, ExitStack() as open_ones:
        site.up()
        every = [open_ones.enter_context(connect(site)) for _ in range(50)]
        for one in every:
            assert many(one, 10) == {200: 10}
