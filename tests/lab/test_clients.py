"""The deployed site by clients that somebody else wrote. (curl is in test_edge.py.)"""

import json
import re
import subprocess
import uuid
from urllib.parse import urlsplit

import pytest

from lab import paths
from lab.stack import LAB
from tests.lab import clients, traffic
from tests.lab.balancers import Balancers
from tests.lab.site import Site, eventually

AUTHORITY = paths.authority(LAB)
REQUESTS = 4000
STREAMS = 32
EVENTS = 10
"""A second."""


def test_h2load_with_many_streams_gets_every_answer(site: Site) -> None:
    how = (f"--requests={REQUESTS}", "--clients=8", f"--max-concurrent-streams={STREAMS}")
    run = subprocess.run(
        ["h2load", *how, f"{site.url}/"], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "Application protocol: h2\n" in run.stdout
    assert counted(run.stdout, "requests") == {
        "total": REQUESTS,
        "started": REQUESTS,
        "done": REQUESTS,
        "succeeded": REQUESTS,
        "failed": 0,
        "errored": 0,
        "timeout": 0,
    }
    assert counted(run.stdout, "status codes") == {"2xx": REQUESTS, "3xx": 0, "4xx": 0, "5xx": 0}


def counted(report: str, what: str) -> dict[str, int]:
    """One line of h2load's report, as `requests: 4 total, 4 started`."""
    (line,) = re.findall(rf"^{what}: (.*)$", report, re.MULTILINE)
    return {name: int(number) for number, name in (part.split() for part in line.split(", "))}


def test_sslyze_has_nothing_against_it_but_that_nobody_vouches_for_it(site: Site) -> None:
    """With a certificate that somebody vouches for it has nothing at all: see test_acme.py."""
    host = urlsplit(site.url).hostname or ""
    found = clients.judged(host, AUTHORITY, host)
    assert {*found["issues"]} == {"certificate_path_validation", "maximum_certificate_lifespan"}
    assert not found["renegotiates"]


@pytest.mark.thorough  # for what it takes to have one: 300 MB
def test_a_visitor_signs_the_guest_book_with_a_browser(site: Site) -> None:
    text = f"by hand, {uuid.uuid4().hex}"
    run = subprocess.run(
        clients.node("browser.mjs", f"{site.url}/", clients.key_digest(AUTHORITY), text),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    for page in (seen["before"], seen["after"]):
        assert page["title"] == "Guest book"
        assert page["protocol"] == "h2"
        assert page["styled"], "its own style sheet is there"
    assert text not in seen["before"]["entries"]
    assert seen["after"]["entries"].count(text) == 1


@pytest.mark.thorough
def test_websockets_and_event_streams_survive_reloads(as_before: Site) -> None:
    site = as_before
    outcome = site.up(
        {"appServers.folder": "tests/lab/sites/live", "appServers.module": "live:site"}
    )
    assert outcome.status == 0, outcome.text
    eventually("its own page", lambda: traffic.send(site.url).body == b"live\n", 30)
    host = urlsplit(site.url).netloc
    with (
        clients.talk("websocket.mjs", f"wss://{host}/websocket") as socket,
        clients.talk("events.mjs", f"https://{host}/events") as events,
    ):
        assert socket.back("before") == "before"
        assert [events.hear() for _ in range(3)] == ["1", "2", "3"]
        for number in range(2):
            for name in Balancers(site).machines:
                site.run(name, "systemctl", "reload", "haproxy.service")
            assert traffic.send(site.url).ok
            assert socket.back(f"after {number}") == f"after {number}"
        # Whatever the reloads took, every event came, in its order.
        heard = [int(events.hear()) for _ in range(5 * EVENTS)]
        assert heard == list(range(4, 4 + len(heard)))
        assert socket.back("x" * 2000) == "x" * 2000
