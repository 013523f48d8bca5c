"""Measure the lab's life and the load balancer for the README's first table: `make bench`.

Wants a machine on which no lab runs; takes some ten minutes.
"""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import balancers, readme, times
from benchmarks.balancers import Figures
from benchmarks.readme import Figure
from lab import service
from lab.stack import LAB, Stack
from tests.lab import traffic
from tests.lab.site import Site

REQUESTS = 1000


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    if missing := [name for name in ("h2load", "nginx", "wrk") if shutil.which(name) is None]:
        packages = "nghttp2-client nginx-light wrk"
        sys.exit(f"bench: not there: {', '.join(missing)}. Do: apt-get install {packages}")
    if service.running():
        sys.exit("bench: a lab runs here, and this begins with none: `make down` first.")
    figures = [*fast_tests(), *life_of_the_lab()]
    where = f"Measured on {machine()}; your machine will differ, ratios less so.\n\n"
    sys.stdout.write(where + readme.table(figures))
    readme.write("figures", where + readme.table(figures))


def fast_tests() -> list[Figure]:
    say("the fast tests")
    return [
        Figure("components tier", f"{times.components_tier():.1f} s", "≤ 5 s"),
        Figure(
            "the whole program under mocks, beyond importing the SDKs",
            f"{times.program_beyond_imports():.1f} s",
            "≤ 1.5 s",
        ),
    ]


def life_of_the_lab() -> list[Figure]:
    """From nothing to nothing; whatever fails, the lab is taken down."""
    with the_lab() as site:
        say("make preview, of a lab that runs and has nothing deployed")
        preview = times.median([*times.LAB, "preview"], 3)
        say("make up")
        up = times.first_page(site)
        say("make up, unchanged")
        unchanged = times.median([*times.LAB, "up"], 3)
        weights = times.memory(site)
        with traffic.Client(site.url, keep_alive=True) as client:
            shares = traffic.shares(client.send(traffic.page()) for _ in range(REQUESTS))
        say("HAProxy, a bare one, nginx, and one server alone")
        found = balancers.measure(site)
    down = times.lab_down()
    machines = ", ".join(f"{name} {mib}" for name, mib in weights.items())
    return [
        Figure("`make preview`", f"{preview:.1f} s", "≤ 6 s"),
        Figure(
            f"`make up`, from nothing to the first page ({len(weights) - 1} machines)",
            f"{up:.0f} s",
            "≤ 40 s",
        ),
        Figure("`make up`, unchanged", f"{unchanged:.1f} s", "≤ 8 s"),
        Figure("`make down`", f"{down:.1f} s", "≤ 10 s"),
        Figure(
            f"memory of the whole lab (MiB: {machines})",
            f"{sum(weights.values()) / 1024:.1f} GiB",
            "≤ 3 GB",
        ),
        Figure(
            f"share of each application server, of {REQUESTS} requests",
            ", ".join(f"{name} {count}" for name, count in sorted(shares.items())),
            "differ by ≤ 1",
        ),
        *compared(found),
    ]


def compared(found: dict[str, Figures]) -> list[Figure]:
    """Our HAProxy to the others, by what each gives in a second."""
    ours, direct = found["ours"], found["direct"]

    def line(what: str, other: str, get: Callable[[Figures], float], goal: str = "") -> Figure:
        theirs = found[other]
        ratio, pair = get(ours.over(theirs)), f"{get(ours):.0f} to {get(theirs):.0f}"
        return Figure(what, f"{ratio:.2f} ({pair})", goal)

    def requests(figures: Figures) -> float:
        return figures.requests

    https = "HTTPS requests per second, our HAProxy to"
    tls = "TLS sessions per second, our HAProxy to nginx"
    return [
        line(f"{https} one application server asked directly", "direct", requests),
        line(f"{https} the same HAProxy with a bare configuration", "bare", requests, "≥ 0.95"),
        line(f"{https} itself without a journal of requests", "unlogged", requests),
        line(f"{https} nginx with the same features", "nginx", requests, "≥ 1"),
        line(f"new {tls}", "nginx", lambda figures: figures.new_sessions, "≥ 1"),
        line(f"resumed {tls}", "nginx", lambda figures: figures.resumed_sessions, "≥ 1"),
        Figure(
            f"p99 at half load ({ours.requests / 2:.0f} requests per second), through our HAProxy"
            " to one application server asked directly",
            f"{ours.over(direct).p99:.2f} ({ours.p99:.1f} to {direct.p99:.1f} ms)",
        ),
    ]


@contextmanager
def the_lab() -> Generator[Site]:
    """A lab with nothing deployed."""
    times.seconds([*times.LAB, "down"])
    times.seconds([*times.LAB, "preview"])
    with TemporaryDirectory() as scratch:
        try:
            yield Site(Stack(LAB).environment(), service.endpoint(), Path(scratch))
        except BaseException:
            times.seconds([*times.LAB, "down"])
            raise


def machine() -> str:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {gib:.0f} GiB, Linux {platform.release().split('-')[0]}"


def say(what: str) -> None:
    sys.stderr.write(f"· {what}\n")


if __name__ == "__main__":
    main()
