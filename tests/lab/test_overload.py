"""More than the servers can give: as many answers as they can, the rest refused quickly."""

import time

from tests.lab import traffic
from tests.lab.site import Site

WORK = 2.0
"""Seconds that each request keeps a thread busy."""
THREADS = 4
QUEUE_TIMEOUT = 5.0
"""Seconds that HAProxy lets a request wait for a server (`timeout queue`)."""


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

    begun = time.monotonic()
    with traffic.load(site.url, slow, clients=48, pause=0.2) as load:
        time.sleep(20)  # the length of the overload, not a wait for anything
    length = time.monotonic() - begun

    answered = [answer for answer in load.answers if answer.ok]
    refused = load.failed()
    could = len(servers) * (THREADS - 1) * int(20 / WORK)
    assert len(answered) >= 0.85 * could, load.report()
    assert {answer.status for answer in refused} == {503}, load.report()
    assert max(answer.seconds for answer in refused) < QUEUE_TIMEOUT + 2, load.report()
    assert set(traffic.shares(answered)) == {server.name for server in servers}
    journal = site.run(
        "load-balancer-1",
        "journalctl",
        "-b",
        "-u",
        "haproxy",
        "--no-pager",
        "-S",
        f"-{int(length) + 1}s",
    )
    assert "DOWN" not in journal, journal
