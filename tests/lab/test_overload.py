"""More than the servers can give: as many answers as they can, the rest refused quickly."""

import time
from contextlib import ExitStack

import pytest

from tests.lab import traffic
from tests.lab.balancers import Balancers
from tests.lab.site import Site

WORK = 2.0
"""Seconds that each request keeps a thread busy."""
THREADS = 5
"""One is for health checks; each of the two load balancers has half of the others."""
QUEUE_TIMEOUT = 5.0
"""Seconds that HAProxy lets a request wait for a server (`timeout queue`)."""


@pytest.mark.thorough
def test_under_overload_the_servers_answer_what_they_can_and_none_is_ejected(
    as_before: Site,
) -> None:
    site = as_before
    outcome = site.up(
        {
            "appServers.folder": "tests/lab/sites/slow",
            "appServers.module": "service:site",
            "appServers.healthPath": "/health",
            "appServers.threads": THREADS,
        }
    )
    assert outcome.status == 0, outcome.text
    servers = site.machines("app-server")

    def slow(_: int) -> traffic.Request:
        return traffic.Request(path=f"/sleep?seconds={WORK}")

    balancers = Balancers(site)
    begun = time.monotonic()
    with ExitStack() as stack:
        urls = map(balancers.url, balancers.addresses)
        loads = [stack.enter_context(traffic.load(u, slow, clients=24, pause=0.2)) for u in urls]
        time.sleep(20)  # the length of the overload, not a wait for anything
    length = time.monotonic() - begun

    load = traffic.Load([answer for one in loads for answer in one.answers])
    answered = [answer for answer in load.answers if answer.ok]
    refused = load.failed()
    could = len(servers) * (THREADS - 1) * int(20 / WORK)
    assert len(answered) >= 0.85 * could, load.report()
    assert {answer.status for answer in refused} == {503}, load.report()
    assert max(answer.seconds for answer in refused) < QUEUE_TIMEOUT + 2, load.report()
    assert set(traffic.shares(answered)) == {server.name for server in servers}
    since = f"-{int(length) + 1}s"
    for name in balancers.machines:
        journal = site.run(name, "journalctl", "-b", "-u", "haproxy", "--no-pager", "-S", since)
        assert "DOWN" not in journal, journal
