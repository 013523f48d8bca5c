"""The lab's database machines out of the hands of their agents: for what agents do not do.

The agents, and whatever watches beside them, are stopped; mysqld stays, and the benchmark says
what it is. Nothing is given back afterwards: the lab goes down.
"""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from benchmarks import times
from lab import service
from lab.stack import LAB, Stack
from tests.lab.site import Site, eventually

UNITS = (
    # The guard first: without the agent it would close the primary.
    "site-database-guard.socket",
    "site-database-guard.service",
    "site-agent.service",
    "site-backup.timer",
    "site-backup.service",
)
"""On a database machine, as far as they are there."""
CLIENT = "app-server-1"


def say(what: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"· {what}\n")
    sys.stderr.flush()


@contextmanager
def a_lab(settings: Mapping[str, Any]) -> Generator[Site]:
    """A lab with the site in it, from nothing; whatever happens, it is taken down."""
    if service.running():
        sys.exit("bench: a lab runs here, and this begins with none: `make down` first.")
    with TemporaryDirectory() as scratch:
        try:
            times.seconds([*times.LAB, "preview"])
            site = Site(Stack(LAB).environment(), service.endpoint(), Path(scratch))
            outcome = site.up(dict(settings))
            if outcome.status:
                raise RuntimeError(outcome.text[-3000:])
            yield site
        finally:
            times.seconds([*times.LAB, "down"])


def take(site: Site) -> list[str]:
    """Stops the agents, with every replica up to date. The names, the primary's first."""
    names = [machine.name for machine in site.machines("database")]
    names.sort(key=lambda name: value(site, name, "SELECT @@global.super_read_only"))
    caught_up(site, names)
    for name in names:
        for unit in UNITS:
            site.run(name, "sh", "-c", f"systemctl stop {unit} 2>/dev/null || true")
    return names


def caught_up(site: Site, names: Sequence[str], seconds: float = 60) -> None:
    """Waits until each has executed what the first of them had when this was called."""
    first, *others = names
    wanted = value(site, first, "SELECT @@global.gtid_executed")
    for name in others:
        query = f"SELECT GTID_SUBSET('{wanted}', @@global.gtid_executed)"
        eventually(
            f"{name} has caught up", lambda n=name, q=query: value(site, n, q) == "1", seconds
        )


def sql(site: Site, name: str, *statements: str) -> list[list[str]]:
    """Runs statements on a machine's own mysqld, as its administrator; the rows of all."""
    said = site.run(name, "mysql", "-N", "-B", "-r", given=";\n".join(statements) + ";\n")
    return [line.split("\t") for line in said.splitlines()]


def value(site: Site, name: str, query: str) -> str:
    """The one value that a query gives."""
    return "".join("".join(row) for row in sql(site, name, query))


def up(site: Site, name: str, seconds: float = 30) -> None:
    """Starts a machine's mysqld unless it runs, and waits until it answers."""
    site.run(name, "systemctl", "reset-failed", "mysql.service")
    site.run(name, "systemctl", "start", "--no-block", "mysql.service")

    def answers() -> bool:
        try:
            return value(site, name, "SELECT 1") == "1"
        except AssertionError:
            return False

    eventually(f"mysqld of {name} answers", answers, seconds)


def source(program: ModuleType) -> str:
    """The text of one of `benchmarks.programs`."""
    return Path(str(program.__file__)).read_text()


def run(site: Site, name: str, program: ModuleType, given: object) -> Any:
    """Runs one of `benchmarks.programs` in a machine; JSON in, JSON out."""
    said = site.run(name, "python3", "-c", source(program), given=json.dumps(given))
    return json.loads(said)
