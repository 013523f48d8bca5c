"""How the site is, on one screen; what is wrong in words, and what to do.

python -m scripts.status [--watch] [--json] [--stack S]

What the machines report is theirs of up to half a minute ago, and said so; who leads and who has
which address is of now. Shares are of the requests of the last minute before a report. Exit
status: 0 all is well, or --watch was ended; 1 something is wrong; 2 not understood, no such stack,
or AWS does not answer.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hosts.database.backup.store import StoreError
from scripts import columns, deployed
from scripts.command import DONE, NO, SILENT, NotAskedError, attempt, teller
from scripts.facts import Facts, Seen
from scripts.findings import Finding, findings, span
from scripts.look import Looker

EVERY = 5.0
"""Seconds between two looks of --watch."""
_CLEAR = "\x1b[H\x1b[2J"
NO_MONITORING = "none of CloudWatch's; there is no monitoring, whose own there would be"
HEAD = ("MACHINE", "STATE", "DOES", "RELEASE", "ZONE", "ADDRESS", "HEARD", "ID")


def shares(facts: Facts) -> dict[str, float]:
    """The share of requests that each application server was given in the last minute, by name."""
    names = {one.report.address: one.name for one in facts.of("app-server") if one.report}
    given: Counter[str] = Counter()
    for balancer in facts.of("load-balancer"):
        figures: Mapping[str, Any] = balancer.report.figures if balancer.report else {}
        servers: Mapping[str, Any] = figures.get("servers", {})
        for address, server in servers.items():
            given[names.get(address, address)] += server["requests"]
    total = given.total()
    return {name: count / total for name, count in sorted(given.items())} if total else {}


def does(facts: Facts, one: Seen, shared: dict[str, float]) -> str:
    """What a machine is there for at this moment."""
    match one.role:
        case "load-balancer":
            has = [address.public for address in facts.addresses if address.instance == one.id]
            return f"has {', '.join(has)}" if has else "stands by"
        case "app-server":
            return f"{shared[one.name]:.0%} of requests" if one.name in shared else ""
        case "database":
            return ", ".join(_copy(facts, one))
        case _:
            return ""


def _copy(facts: Facts, one: Seen) -> list[str]:
    if one.name == facts.primary:
        return ["primary" if facts.renewed else "primary by the record"]
    said = ["replica"]
    if facts.pair and facts.pair.mode == "semi-synchronous":
        said.append("in sync" if one.name in facts.in_sync else "NOT in sync")
    lag = one.report.figures.get("lag") if one.report else None
    return said if lag is None else [*said, f"{lag:.1f} s behind"]


def row(facts: Facts, one: Seen, shared: dict[str, float]) -> tuple[str, ...]:
    """A machine in the table."""
    instance, report = one.instance, one.report
    running = instance is not None and instance.state == "running"
    state = instance.state if instance and not running else "gone" if not instance else "silent"
    return (
        one.name,
        report.state if running and report else state,
        does(facts, one, shared),
        str(report.figures.get("release", "")) if report else "",
        instance.zone if instance else "",
        instance.address if instance else "",
        f"{span(facts.ago(report))} ago" if report else "never",
        one.id,
    )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def screen(facts: Facts, wrong: Sequence[Finding]) -> str:
    """All of it, for people."""
    verdict = "all is well" if not wrong else f"{len(wrong)} wrong"
    shared = shares(facts)
    rows = [row(facts, one, shared) for one in facts.machines]
    lines = [f"{facts.site} in {facts.region}, {_utc(facts.now)}: {verdict}", ""]
    lines += columns.lines(HEAD, rows)
    lines += ["", *(f"{name:<13}{text}" for name, text in summary(facts) if text)]
    for number, finding in enumerate(wrong, 1):
        lines += ["", f"{number}. {finding.what}", f"   {finding.todo}"]
    return "\n".join(lines)


def summary(facts: Facts) -> list[tuple[str, str]]:
    """What is not of one machine, by name."""
    pair = facts.pair
    databases = (
        f"{pair.mode}, generation {pair.generation}, {facts.primary or 'nobody'} leads; in sync:"
        f" {', '.join(sorted(facts.in_sync))}"
        if pair
        else ""
    )
    days = [
        float(one.report.figures["certificate_days"])
        for one in facts.of("load-balancer")
        if one.report and one.report.figures.get("certificate_days") is not None
    ]
    alerts = ", ".join(alert.name for alert in facts.alerts)
    return [
        ("databases", databases),
        ("backups", _backups(facts)),
        ("certificate", f"{min(days):.0f} days left" if days else ""),
        ("alerts", alerts or ("none" if any(facts.of("monitoring")) else NO_MONITORING)),
    ]


def _backups(facts: Facts) -> str:
    found = facts.backups
    if found is None:
        return "not known where: --table and --region say nothing of a bucket"
    if found.newest is None:
        return "none"
    said = f"the newest {span(facts.now - found.newest.time)} ago"
    if found.good:
        same = found.good == found.newest
        said += (
            ", verified" if same else f", one of {span(facts.now - found.good.time)} ago verified"
        )
    if found.shipped:
        said += f"; the binary log up to {span(max(0.0, facts.now - found.shipped))} ago"
    return said


def content(facts: Facts, wrong: Sequence[Finding]) -> dict[str, object]:
    """All of it, for programs."""
    shared = shares(facts)
    backups = facts.backups
    return {
        "site": facts.site,
        "region": facts.region,
        "time": facts.now,
        "well": not wrong,
        "wrong": [asdict(finding) for finding in wrong],
        "machines": [
            {
                "name": one.name,
                "role": one.role,
                "id": one.id,
                "ec2": one.instance.state if one.instance else None,
                "state": one.report.state if one.report else None,
                "detail": one.report.detail if one.report else None,
                "heard": facts.ago(one.report) if one.report else None,
                "figures": dict(one.report.figures) if one.report else {},
                "address": one.instance.address if one.instance else None,
                "zone": one.instance.zone if one.instance else None,
            }
            for one in facts.machines
        ],
        "addresses": [asdict(address) for address in facts.addresses],
        "primary": facts.primary,
        "in_sync": sorted(facts.in_sync),
        "shares": shared,
        "backups": {
            "newest": backups.newest.id if backups.newest else None,
            "verified": backups.good.id if backups.good else None,
            "shipped": backups.shipped,
        }
        if backups
        else None,
        "alerts": [asdict(alert) for alert in facts.alerts],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.status", description=said[0], epilog=said[2]
    )
    deployed.add_options(parser)
    parser.add_argument("--watch", action="store_true", help=f"look again every {EVERY:.0f} s")
    parser.add_argument("--json", action="store_true", help="for programs; a line for each look")
    asked = parser.parse_args(arguments)
    tell = teller(as_json=asked.json)

    def work() -> int:
        looker = Looker(deployed.find(asked))
        facts: Facts | None = None
        while True:
            try:
                facts = looker.look()
            except (NotAskedError, StoreError, *SILENT) as error:
                if facts is None or not asked.watch:
                    raise
                tell(f"{error}; what stands above is of {_utc(facts.now)}")
                time.sleep(EVERY)
                continue
            wrong = findings(facts)
            if asked.json:
                text = json.dumps(content(facts, wrong))
            else:
                text = screen(facts, wrong)
                text = f"{_CLEAR}{text}" if asked.watch and sys.stdout.isatty() else text
            print(text, flush=True)
            if not asked.watch:
                return NO if wrong else DONE
            time.sleep(EVERY)

    def watch() -> int:
        try:
            return work()
        except KeyboardInterrupt:
            return DONE  # the way to end it

    return attempt(
        watch if asked.watch else work, tell, interrupted="interrupted", silences=(StoreError,)
    )


if __name__ == "__main__":
    sys.exit(main())
