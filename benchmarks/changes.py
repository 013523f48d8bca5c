"""How many requests fail while the site is changed by plain `pulumi up`, for the README.

`python -m benchmarks.changes`. Sixteen clients, half of them with kept connections, read pages and
write entries all the time; each change is made and undone.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import readme
from benchmarks.__main__ import machine, say
from tests.lab import changes, traffic
from tests.lab.conftest import site_up
from tests.lab.site import Site
from tests.lab.test_failures import written

Row = dict[str, Any]


def main() -> None:
    """Measures, and writes the README's table unless only some changes are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changes", description=__doc__)
    parser.add_argument("--change", choices=changes.CHANGES, action="append", help="only this one")
    parser.add_argument("--json", action="store_true", help="and leave the README be")
    asked = parser.parse_args()
    rows: list[Row] = []
    with TemporaryDirectory() as scratch, site_up(Path(scratch)) as site:
        for name in asked.change or changes.CHANGES:
            change = changes.CHANGES[name]
            say(change.what)
            rows.append(row(site, change.what, changes.make(site, change, Path(scratch))))
            say(f"{change.what}, undone")
            rows.append(row(site, f"{change.what}, undone", changes.undo(site)))
    content = f"Measured on {machine()}.\n\n{table(rows)}"
    if asked.json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        sys.stdout.write(content)
        if not asked.change:
            readme.write("changes", content)


def row(site: Site, what: str, load: traffic.Load) -> Row:
    entries = written(site)
    posts = [answer.request.id for answer in load.sent("POST")]
    return {
        "change": what,
        "requests": len(load.answers),
        "failed": len(load.failed()),
        "written twice": sum(entries[one] > 1 for one in posts),
        "acknowledged and missing": sum(
            answer.ok and not entries[answer.request.id] for answer in load.sent("POST")
        ),
        "slowest": max(answer.seconds for answer in load.answers),
    }


def table(rows: list[Row]) -> str:
    head = ("change", "requests", "failed (goal: 0)", "entries written twice", "slowest answer")
    counts = ("change", "requests", "failed", "written twice")
    return readme.columns(
        head, [(*(str(row[key]) for key in counts), f"{row['slowest']:.2f} s") for row in rows]
    )


if __name__ == "__main__":
    main()
