"""How long an address is not answered when its load balancer fails, for the README.

`python -m benchmarks.edge`. A new client comes every 50 ms to each of the two addresses, none of
which waits for another; the gap is the longest time in which none was answered, from the fault
until the other machine serves the address. In mode active-active; the other address is watched as
well, and is not to notice.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import readme
from benchmarks.__main__ import machine, say
from benchmarks.readme import Figure
from hosts.load_balancer.decide import STEADY
from lab import faults
from tests.lab import traffic
from tests.lab.balancers import HAPROXY, Balancers, Seen, watched
from tests.lab.conftest import site_up
from tests.lab.site import eventually

RUNS = 5
PATIENCE = 12.0
"""Seconds after which a client gives up."""
FIRST, SECOND = "load-balancer-1", "load-balancer-2"
HOME = STEADY + 90.0
"""Seconds within which all is as before, a machine's start included."""
LOST, KILLED = "≤ 4 s", "≤ 1.5 s"

Fault = Callable[[Balancers], None]


@dataclass
class Measured:
    """Seconds, run by run, and requests that were not answered."""

    gaps: list[float] = field(default_factory=list[float])
    beside: list[float] = field(default_factory=list[float])
    """The same of the other address."""
    failed: int = 0
    sent: int = 0

    @property
    def both(self) -> list[float]:
        """Of either address."""
        return [*self.gaps, *self.beside]

    def add(self, first: Seen, second: Seen) -> None:
        self.gaps.append(first.gap)
        self.beside.append(second.gap)
        self.failed += len(first.failed()) + len(second.failed())
        self.sent += first.sent + second.sent


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    what: str
    goal: str
    do: Fault


def killed(balancers: Balancers) -> None:
    """Masked, so that systemd does not start it again."""
    faults.run(balancers.id(FIRST), "systemctl", "mask", "--runtime", HAPROXY)
    faults.kill(balancers.id(FIRST), HAPROXY)


CASES = {
    "killed": Case("HAProxy killed, and stays dead", KILLED, killed),
    "hung": Case(
        "HAProxy hangs", KILLED, lambda known: faults.stop_process(known.id(FIRST), HAPROXY)
    ),
    "off": Case("machine powered off", LOST, lambda known: known.site.power_off(FIRST)),
    "frozen": Case("machine frozen", LOST, lambda known: faults.freeze(known.id(FIRST))),
    "cut-off": Case("machine cut off", LOST, lambda known: faults.partition(known.id(FIRST))),
}


def main() -> None:
    """Measures, and writes the README's table unless only some cases are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each (%(default)s)")
    parser.add_argument("--fault", choices=CASES, action="append", help="only this one")
    parser.add_argument("--json", action="store_true", help="every run, and leave the README be")
    asked = parser.parse_args()
    traffic.TIMEOUT = PATIENCE
    chosen = {name: CASES[name] for name in asked.fault or CASES}
    measured = {name: Measured() for name in chosen}
    back = Measured()
    with TemporaryDirectory() as scratch, site_up(Path(scratch)) as site:
        balancers = Balancers(site)
        for name, case in chosen.items():
            for number in range(1, asked.runs + 1):
                once(balancers, case, measured[name], back)
                say(f"{case.what}, {number}: {told(measured[name].gaps)}")
        changed = Measured() if asked.fault else replaced(balancers)
    lines = [
        Figure(f"{case.what} ({asked.runs} runs)", told(measured[name].gaps), case.goal)
        for name, case in chosen.items()
    ]
    beside = [gap for one in [*measured.values(), back] for gap in one.beside]
    lines += [
        Figure("given back to its own machine, all runs", told(back.gaps)),
        Figure("the other address meanwhile, all runs", told(beside)),
        Figure("`pulumi up` that replaces both, either address", told(changed.both)),
        Figure(f"requests that failed in that, of {changed.sent}", str(changed.failed), "0"),
    ]
    content = (
        "The longest time without an answer at the address, in seconds: min / median / max. "
        f"Measured on {machine()}.\n\n{readme.table(lines)}"
    )
    if asked.json:
        found = {name: vars(one) for name, one in measured.items()} | {"given back": vars(back)}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write(content)
        if not asked.fault:
            readme.write("edge", content)


def once(balancers: Balancers, case: Case, measured: Measured, back: Measured) -> None:
    """A fault, and back to where it was."""
    eventually("every address is with its own machine", balancers.home, HOME)
    with watching(balancers, measured):
        case.do(balancers)
        eventually("the other one has it", lambda: balancers.at(FIRST, SECOND), 30)
        url = balancers.url(FIRST)
        eventually("it is served", lambda: traffic.send(url).ok, 30)
    with watching(balancers, back):
        balancers.undo()
        eventually("it is given back", balancers.home, HOME)


def replaced(balancers: Balancers) -> Measured:
    """`pulumi up` with another configuration, and back again."""
    found = Measured()
    for settings in ({"loadBalancers.queueTimeout": 4}, {}):
        eventually("every address is with its own machine", balancers.home, HOME)
        with watching(balancers, found):
            outcome = balancers.site.up(settings)
        if outcome.status:
            raise RuntimeError(outcome.text)
        balancers.look()
        say(f"pulumi up: {told(found.both)}, {found.failed} of {found.sent} failed")
    return found


@contextmanager
def watching(balancers: Balancers, measured: Measured) -> Generator[None]:
    with ExitStack() as stack:
        seen = [stack.enter_context(watched(balancers.url(name))) for name in (FIRST, SECOND)]
        yield
    measured.add(*seen)


def told(gaps: list[float]) -> str:
    if not gaps:
        return "-"
    return f"{min(gaps):.2f} / {statistics.median(gaps):.2f} / {max(gaps):.2f}"


if __name__ == "__main__":
    main()
