"""What each application server was given lately, as its load balancer reports it."""

from pathlib import Path
from typing import Any

import pytest

from hosts.load_balancer.shares import EVERY, Shares
from tests.hosts.edge.client import ask, get
from tests.hosts.edge.site import SERVERS, running
from tests.hosts.fakes import Clock

ONE, TWO = SERVERS


class HAProxy:
    """Its admin socket, as far as it is asked here."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, str]] = []
        self.away = False

    def __call__(self, command: str) -> str:
        assert command == "show stat app-servers 4 -1"
        if self.away:
            raise ConnectionRefusedError
        rows = [
            f"app-servers,slot-{number},{stot},{status},{address}:8443,"
            for number, (address, stot, status) in enumerate(self.rows, 1)
        ]
        return "\n".join(["# pxname,svname,stot,status,addr,", *rows, "", ""])


def counted(shares: Shares) -> dict[str, int]:
    servers: dict[str, Any] = shares.figures()["servers"]
    return {address: server["requests"] for address, server in servers.items()}


def test_requests_are_counted_over_a_minute_and_not_since_ever() -> None:
    clock, haproxy = Clock(), HAProxy()
    shares = Shares(clock, haproxy)
    for look in range(13):
        clock.advance(EVERY)
        haproxy.rows = [(ONE, 1000 + 30 * look, "UP"), (TWO, 500 + 10 * look, "UP")]
        counted(shares)
    assert counted(shares) == {ONE: 210, TWO: 70}


def test_between_two_looks_haproxy_is_not_asked() -> None:
    clock, haproxy = Clock(), HAProxy()
    shares = Shares(clock, haproxy)
    haproxy.rows = [(ONE, 5, "UP")]
    assert counted(shares) == {ONE: 0}
    haproxy.rows = [(ONE, 9, "UP")]
    clock.advance(EVERY / 2)
    assert counted(shares) == {ONE: 0}
    clock.advance(EVERY / 2)
    assert counted(shares) == {ONE: 4}


def test_after_a_reload_haproxy_counts_from_nothing_and_nobody_has_less_than_none() -> None:
    clock, haproxy = Clock(), HAProxy()
    shares = Shares(clock, haproxy)
    haproxy.rows = [(ONE, 5000, "UP")]
    counted(shares)
    clock.advance(EVERY)
    haproxy.rows = [(ONE, 7, "UP"), (TWO, 3, "UP")]
    assert counted(shares) == {ONE: 7, TWO: 3}


def test_a_server_that_is_down_is_said_and_a_free_slot_is_none() -> None:
    haproxy = HAProxy()
    haproxy.rows = [(ONE, 5, "DOWN 1/2"), (TWO, 5, "UP 1/2"), ("", 0, "MAINT (resolution)")]
    assert Shares(Clock(), haproxy).figures() == {
        "servers": {ONE: {"requests": 0, "up": False}, TWO: {"requests": 0, "up": True}}
    }


def test_while_haproxy_does_not_answer_there_are_no_figures() -> None:
    clock, haproxy = Clock(), HAProxy()
    shares = Shares(clock, haproxy)
    haproxy.rows = [(ONE, 5, "UP")]
    assert shares.figures()
    clock.advance(EVERY)
    haproxy.away = True
    assert shares.figures() == {}
    haproxy.away = False
    haproxy.rows = [(ONE, 8, "UP")]
    assert counted(shares) == {ONE: 0}


@pytest.mark.usefixtures("machine_image")
def test_the_real_haproxy_says_it_so(tmp_path: Path) -> None:
    clock = Clock()
    with running(tmp_path) as site:
        site.up()
        shares = Shares(clock, site.ask)
        before = counted(shares)
        assert before == {ONE: 0, TWO: 0}
        for _ in range(10):
            assert ask(site, get()).status == 200
        clock.advance(EVERY)
        assert counted(shares) == {ONE: 5, TWO: 5}
