"""What a larger site costs: 2, 8, 32 and 64 application servers behind one load balancer.

`python -m benchmarks.scale`. For each count: how long `pulumi preview` and `pulumi up` take from
the count before, how long after the name's record lists them the last of the new servers answers
its first request, and whether each gets its turn. The site is the smallest there is, and two
processors boot all machines: the time of `up` is the lab's more than the program's.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, Self

from benchmarks import readme
from benchmarks.__main__ import machine, say
from tests.lab import traffic
from tests.lab.conftest import site_up
from tests.lab.site import Site, eventually

COUNTS = (2, 8, 32, 64)
SETTINGS: dict[str, Any] = {
    "appServers.folder": "benchmarks/site",
    "appServers.healthPath": "/",
    "appServers.threads": 2,
    "loadBalancers.mode": "single",
    "monitoring.enabled": False,
    # 64 machines share two processors while they boot.
    "machines.readyWithin": 1800,
}
ROUNDS = 10
"""Requests for each server, of which it is to answer so many."""

Row = dict[str, Any]


def main() -> None:
    """Measures, and writes the README's table unless only some counts are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="and leave the README be")
    asked = parser.parse_args()
    rows: list[Row] = []
    with TemporaryDirectory() as scratch, site_up(Path(scratch)) as site:
        begin = site.up(SETTINGS | {"appServers.count": 1})
        if begin.status:
            raise RuntimeError(begin.text)
        for count in asked.counts:
            rows.append(measured(site, count))
            say(json.dumps(rows[-1]))
    content = f"Measured on {machine()}.\n\n{table(rows)}"
    if asked.json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        sys.stdout.write(content)
        if tuple(asked.counts) == COUNTS:
            readme.write("scale", content)


def measured(site: Site, count: int) -> Row:
    settings = SETTINGS | {"appServers.count": count}
    begun = time.monotonic()
    shown = site.preview(settings)
    preview = time.monotonic() - begun
    with FirstAnswers(site, count) as watch:
        begun = time.monotonic()
        outcome = site.up(settings)
        up = time.monotonic() - begun
        for one in (shown, outcome):
            if one.status:
                raise RuntimeError(one.text)
        names = {server.name for server in site.machines("app-server")}
        eventually("every server answers", lambda: names <= {*watch.first}, 60)
    with traffic.Client(site.url, keep_alive=True) as client:
        shares = traffic.shares(client.send(traffic.page()) for _ in range(ROUNDS * count))
    return {
        "count": count,
        "preview": preview,
        "up": up,
        "answers": max(watch.first[name] for name in names) - watch.listed,
        "least": min(shares[name] for name in names),
        "most": max(shares.values()),
    }


class FirstAnswers:
    """When so many servers are listed, and when each first answered a client that never stops."""

    def __init__(self, site: Site, count: int) -> None:
        self.first: dict[str, float] = {}
        self.listed = 0.0
        self._site, self._count = site, count
        self._stop = Event()
        self._threads = [Thread(target=self._ask), Thread(target=self._look)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with traffic.Client(self._site.url, keep_alive=True) as client:
            while not self._stop.wait(0.01):
                answer = client.send(traffic.page())
                if answer.ok:
                    self.first.setdefault(answer.server, time.monotonic())

    def _look(self) -> None:
        route53 = self._site.client("route53")
        while not self._stop.wait(0.2) and not self.listed:
            (zone,) = route53.list_hosted_zones()["HostedZones"]
            records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])
            for record in records["ResourceRecordSets"]:
                if record["Name"].startswith("app-server.") and record["Type"] == "A":
                    full = len(record["ResourceRecords"]) == self._count
                    self.listed = time.monotonic() if full else 0.0


def table(rows: list[Row]) -> str:
    head = (
        *("application servers", "`pulumi preview`", "`pulumi up` from the row above"),
        *("then until the last one answers", "answered by each"),
    )
    return readme.columns(
        head,
        [
            (
                *(str(row["count"]), f"{row['preview']:.1f} s", f"{row['up']:.0f} s"),
                *(f"{row['answers']:.2f} s", f"{row['least']} to {row['most']} of {ROUNDS}"),
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
