"""How soon people hear of each alert, and of its end, for the README.

`python -m benchmarks.alerts`. Each fault is made once; people are a webhook on the monitoring
machine. `for:` is how long a rule waits before it is sure.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks import readme
from benchmarks.__main__ import machine, say
from tests.lab import alarming
from tests.lab.conftest import site_up
from tests.lab.site import PROJECT

RULES = PROJECT / "hosts/monitoring/rules/site.yml"


def main() -> None:
    """Measures, and writes the README's table unless asked for JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alerts", description=__doc__)
    parser.add_argument("--json", action="store_true", help="and leave the README be")
    asked = parser.parse_args()
    told: list[tuple[str, alarming.Told]] = []
    with TemporaryDirectory() as scratch, site_up(Path(scratch)) as site:
        alarming.subscribe(site)
        for fault in alarming.FAULTS:
            say(fault.what)
            told += [(fault.what, one) for one in alarming.measure(site, fault)]
        site.up()
    if asked.json:
        sys.stdout.write(json.dumps([{"fault": what, **asdict(one)} for what, one in told]) + "\n")
    else:
        content = f"Measured on {machine()}.\n\n{table(told)}"
        sys.stdout.write(content)
        readme.write("alerts", content)


def table(told: list[tuple[str, alarming.Told]]) -> str:
    waits = {
        rule["alert"]: rule.get("for", "0s")
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    return readme.columns(
        ("alert", "fault", "`for:`", "heard after", "heard of its end after"),
        [
            (one.alert, what, waits[one.alert], f"{one.firing:.0f} s", f"{one.resolved:.0f} s")
            for what, one in told
        ],
    )


if __name__ == "__main__":
    main()
