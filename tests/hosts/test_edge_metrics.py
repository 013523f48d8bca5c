"""What HAProxy counts, by the names that alerts and the page ask for."""

import json
import re
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.hosts.edge.client import Connection, ask, get, request
from tests.hosts.edge.site import Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

MONITORING = Path("hosts/monitoring")
PATTERN = re.compile(r"haproxy_\w+\{[^}]*\}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    with running(tmp_path_factory.mktemp("site")) as found:
        found.up()
        yield found


def counted(site: Site) -> str:
    """As Prometheus asks."""
    with Connection(site.socket(8404)) as scrape:
        head = "GET /metrics?no-maint HTTP/1.1"
        scrape.send(request(head, "Connection: close", host="localhost"))
        answer = scrape.answer()
    assert answer.status == 200
    return answer.body.decode()


def asked_for() -> set[str]:
    """Every metric of HAProxy's in rules and page, with its labels."""
    panels = json.loads((MONITORING / "page/panels.json").read_text())
    rules = (MONITORING / "rules/site.yml").read_text()
    texts = [one["expr"] for panel in panels["charts"] for one in panel["series"]]
    texts += [panel["expr"] for panel in (*panels["tiles"], *panels["tables"])]
    found = {one for text in (rules, *texts) for one in PATTERN.findall(text)}
    assert len(found) >= 5
    return found


@pytest.mark.parametrize("metric", sorted(asked_for()))
def test_haproxy_has_what_is_asked_of_it(site: Site, metric: str) -> None:
    assert ask(site, get()).status == 200
    name, _, labels = metric.partition("{")
    wanted = re.findall(r'(\w+)="([^"]*)"', labels)
    lines = [line for line in counted(site).splitlines() if line.startswith(f"{name}{{")]
    assert [line for line in lines if all(f'{key}="{value}"' in line for key, value in wanted)], (
        lines[:5]
    )


def test_places_that_no_server_has_are_not_counted(site: Site) -> None:
    found = {
        line
        for line in counted(site).splitlines()
        if line.startswith('haproxy_server_status{proxy="app-servers"') and 'state="UP"' in line
    }
    assert len(found) == 2, "of 64"


def test_a_server_that_is_out_is_said_to_be_down(site: Site) -> None:
    def down() -> list[str]:
        return [
            line
            for line in counted(site).splitlines()
            if line.startswith("haproxy_server_status{")
            and 'state="DOWN"' in line
            and line.endswith(" 1")
        ]

    assert down() == []
    site.servers[0].close()
    until(lambda: len(down()) == 1)
