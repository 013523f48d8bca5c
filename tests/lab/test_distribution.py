"""The three ways to distribute requests, as they show from outside."""

from collections import Counter

import pytest

from tests.lab import traffic
from tests.lab.site import Site, eventually


@pytest.mark.thorough
def test_least_connections_sends_new_requests_past_a_busy_server(as_before: Site) -> None:
    site = as_before
    outcome = site.up(
        {
            "loadBalancers.distribution": "least-connections",
            "appServers.folder": "tests/lab/sites/slow",
            "appServers.module": "service:site",
            "appServers.healthPath": "/health",
        }
    )
    assert outcome.status == 0, outcome.text
    eventually("both servers answer", lambda: len(site.in_turn()) == 2, 30)

    def long(_: int) -> traffic.Request:
        return traffic.Request(path="/sleep?seconds=8")

    with traffic.load(site.url, long, clients=1, pause=8) as busy:
        shares = traffic.shares(one_beside(site) for _ in range(20))
    (taken,) = {answer.server for answer in busy.answers}
    assert shares[taken] == 0, shares
    assert shares.total() == 20, shares


def one_beside(site: Site) -> traffic.Answer:
    """A request while one other is under way.

    Its answer arrives before HAProxy has counted it as done: the next one must not come sooner.
    """
    eventually("only the long request is under way", lambda: in_flight(site) == 1, 10)
    return traffic.send(site.url)


def in_flight(site: Site) -> int:
    """Requests that the load balancer has with application servers now."""
    lines = [li for li in metrics(site) if li.startswith("haproxy_backend_current_sessions")]
    return sum(int(float(li.rsplit(" ", 1)[1])) for li in lines if "app" in li)


def test_active_passive_keeps_to_one_server_until_it_fails_and_does_not_go_back(
    as_before: Site,
) -> None:
    site = as_before
    outcome = site.up({"loadBalancers.distribution": "active-passive"})
    assert outcome.status == 0, outcome.text

    (active,) = eventually("one server answers all", lambda: only(site), 30)
    (passive,) = {m.name for m in site.machines("app-server")} - {active}
    with traffic.load(site.url, lambda _: traffic.page(), clients=4) as load:
        eventually("a first round", lambda: len(load.answers) > 100, 30)
        site.run(active, "systemctl", "mask", "--runtime", "--now", "site-app.service")
        eventually("the other takes all", lambda: set(tail(load)) == {passive}, 10)
        site.run(active, "systemctl", "unmask", "--runtime", "site-app.service")
        site.run(active, "systemctl", "start", "site-app.service")
        eventually("the first is up again", lambda: servers_up(site) == 2, 30)
        seen = len(load.answers)
        eventually("many more answers", lambda: len(load.answers) > seen + 200, 30)
    assert not load.failed("GET"), load.report()
    assert set(traffic.shares(load.answers[seen:])) == {passive}


def only(site: Site) -> set[str] | None:
    servers = site.in_turn()
    return servers if len(servers) == 1 else None


def tail(load: traffic.Load) -> Counter[str]:
    return traffic.shares(load.answers[-40:])


def servers_up(site: Site) -> int:
    lines = [
        line
        for line in metrics(site)
        if line.startswith("haproxy_server_status{") and 'state="UP"' in line
    ]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


def metrics(site: Site) -> list[str]:
    """What the load balancer's Prometheus endpoint says, by line."""
    url = "http://127.0.0.1:8404/metrics"
    return site.run("load-balancer-1", "curl", "-s", url).splitlines()
