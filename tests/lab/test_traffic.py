"""Requests are taken in turn, by all application servers at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import traffic
from tests.lab.site import Site

REQUESTS = 1400
AT_ONCE = 7
"""Requests that a server takes from one load balancer at a time: a full one's turn passes."""
PROCESSES = 1
"""HAProxy processes in front: each keeps its own place in the turn."""


@pytest.mark.parametrize("keep_alive", [False, True], ids=["one connection each", "kept alive"])
@pytest.mark.parametrize("clients", [1, AT_ONCE])
def test_requests_are_served_in_strict_turn(site: Site, *, keep_alive: bool, clients: int) -> None:
    url = site.url

    def work(_: int) -> list[traffic.Answer]:
        with traffic.Client(url, keep_alive=keep_alive) as client:
            return [client.send(traffic.page()) for _ in range(REQUESTS // clients)]

    with ThreadPoolExecutor(clients) as pool:
        answers = [answer for part in pool.map(work, range(clients)) for answer in part]

    assert all(answer.ok for answer in answers)
    counts = traffic.shares(answers)
    assert set(counts) == {machine.name for machine in site.machines("app-server")}
    assert max(counts.values()) - min(counts.values()) <= PROCESSES, counts


def test_every_server_works_at_the_same_time(site: Site) -> None:
    """Active-active: under load from several clients each server answers in every quarter of it."""
    with traffic.load(site.url, lambda _: traffic.page(), clients=6) as load:
        while len(load.answers) < 400:
            assert not load.failed(), load.report()
    assert not load.failed(), load.report()
    quarter = len(load.answers) // 4
    for start in range(0, 4 * quarter, quarter):
        counts = traffic.shares(load.answers[start : start + quarter])
        assert min(counts.values()) > 0.4 * quarter, counts
        assert len(counts) == 2
