"""How long writes stop when something fails, for the README: `python -m benchmarks.failover`.

The write gap is the longest time between two acknowledged writes, from the fault until all
machines are in sync again, as an application behind 127.0.0.1:3306 sees it: four writers on one
application server, one row per transaction. Writes that were acknowledged and are gone are
counted over all runs.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import readme
from benchmarks.__main__ import machine
from benchmarks.readme import Figure
from hosts.base.lease import boottime
from tests.lab.conftest import JOURNALS, keep_journals, site_up
from tests.lab.database.load import load
from tests.lab.database.ordeal import steady, suffer
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import Target, scenario

RUNS = 10
QUIET = 20.0
"""Seconds without a fault, to compare with."""
OTHER_TYPE = "t3.large"
NO_GAP = "no gap"
LEASE = "≤ 3 s"


@dataclass
class Measured:
    """The gaps of one fault in seconds, run by run, and what went wrong."""

    gaps: list[float] = field(default_factory=list[float])
    lost: int = 0
    complaints: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    what: str
    goal: str
    run: Callable[[Pair, Measured], None]
    runs: int = RUNS


def one(name: str, target: Target = "primary") -> Callable[[Pair, Measured], None]:
    """One run of a scenario."""
    chosen = scenario(name, target)

    def run(pair: Pair, measured: Measured) -> None:
        pair.recover()
        with load(pair.site) as seen:
            begun = boottime()
            try:
                suffer(pair, seen, chosen)
            except AssertionError as failure:
                measured.complaints.append(str(failure))
                pair.undo()
                pair.recover()
            gap = seen.gap(begun)
        verdict = pair.verdict(seen)
        measured.gaps.append(gap)
        measured.lost += verdict.lost
        measured.complaints += verdict.complaints

    return run


def replaced(pair: Pair, measured: Measured) -> None:
    """`pulumi up` that replaces every database machine, and back again: two gaps."""
    for settings in ({"database.instanceType": OTHER_TYPE}, {}):
        pair.recover()
        with load(pair.site) as seen:
            begun = boottime()
            outcome = pair.site.up(settings)
            if outcome.status:
                measured.complaints.append(outcome.text)
                return
            pair.look()
            pair.recover()
            steady(seen, 10)
            gap = seen.gap(begun)
        verdict = pair.verdict(seen)
        measured.gaps.append(gap)
        measured.lost += verdict.lost
        measured.complaints += verdict.complaints


CASES = {
    "killed": Case("mysqld killed", "≤ 0.5 s", one("mysqld killed")),
    "hung": Case("mysqld hangs", LEASE, one("mysqld hung")),
    "off": Case("primary's machine powered off", LEASE, one("powered off")),
    "frozen": Case("primary's machine frozen for 7 s", LEASE, one("frozen")),
    "cut-off": Case("primary's machine cut off, silently", LEASE, one("cut off")),
    "switchover": Case("switchover", "≤ 0.2 s", one("switchover")),
    "replaced": Case("`pulumi up` that replaces both machines", "≤ 0.2 s", replaced, RUNS // 2),
    "replica-off": Case("replica's machine powered off", "≤ 1 s", one("powered off", "replica")),
    "replica-cut-off": Case("replica's machine cut off", "≤ 1 s", one("cut off", "replica")),
    "dynamodb": Case("DynamoDB away for all, 10 s", NO_GAP, one("DynamoDB away", "both")),
    "agent-restarted": Case("agent restarted", NO_GAP, one("agent restarted")),
    "agent-killed": Case("agent killed", NO_GAP, one("agent killed")),
    "agent-hung": Case("agent hangs", LEASE, one("agent hung")),
    "guard-killed": Case("guard killed", NO_GAP, one("guard killed")),
}


def without_a_fault(pair: Pair) -> float:
    """The longest time between two writes when nothing happens."""
    with load(pair.site) as seen:
        begun = boottime()
        time.sleep(QUIET)
        return seen.gap(begun)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--runs", type=int, help=f"of each fault; {RUNS} unless told otherwise")
    parser.add_argument("--fault", choices=CASES, action="append", help="only this one")
    parser.add_argument("--json", action="store_true", help="every run, and leave the README be")
    asked = parser.parse_args()
    chosen = {name: CASES[name] for name in asked.fault or CASES}
    measured = {name: Measured() for name in chosen}
    with TemporaryDirectory() as scratch, site_up(Path(scratch)) as site:
        pair = Pair(site)
        pair.recover()
        usual = without_a_fault(pair)
        for name, case in chosen.items():
            for number in range(1, 1 + min(asked.runs or case.runs, case.runs)):
                try:
                    case.run(pair, measured[name])
                except AssertionError as failure:
                    measured[name].complaints.append(str(failure))
                say(f"{case.what}, {number}: {told(measured[name])}")
                if measured[name].complaints:
                    keep_journals(site, JOURNALS / f"failover-{name}-{number}")
    if asked.json:
        sys.stdout.write(json.dumps({name: vars(found) for name, found in measured.items()}) + "\n")
    else:
        content = table(chosen, measured, usual)
        sys.stdout.write(content)
        if not asked.fault:
            readme.write("failover", content)
    if complaints := [said for found in measured.values() for said in found.complaints]:
        sys.exit("failover: not as it must be:\n" + "\n".join(complaints[:20]))


def table(chosen: dict[str, Case], measured: dict[str, Measured], usual: float) -> str:
    """For the README."""
    figures = [
        Figure(f"{case.what} ({len(measured[name].gaps)} runs)", told(measured[name]), case.goal)
        for name, case in chosen.items()
    ]
    lost = sum(found.lost for found in measured.values())
    runs = sum(len(found.gaps) for found in measured.values())
    figures.append(Figure(f"acknowledged writes lost, all {runs} runs", str(lost), "0"))
    head = (
        "The longest time without an acknowledged write, in seconds: min / median / max. "
        f"Measured on {machine()}; when nothing happens it is {usual:.2f} s.\n\n"
    )
    return head + readme.table(figures)


def told(measured: Measured) -> str:
    if not measured.gaps:
        return "-"
    found = (min(measured.gaps), statistics.median(measured.gaps), max(measured.gaps))
    return " / ".join(f"{gap:.2f}" for gap in found)


def say(what: str) -> None:
    sys.stderr.write(f"· {what}\n")


if __name__ == "__main__":
    main()
