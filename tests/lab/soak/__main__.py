"""Random faults in a row, under a load that never stops: `make soak`.

SEED=... repeats a sequence, COUNT=... is how many faults. After each, all machines must be in
sync again and every acknowledged write there.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.conftest import JOURNALS, keep_journals, site_up
from tests.lab.database.judge import judge, summary
from tests.lab.database.load import Load, load, rows
from tests.lab.database.ordeal import Ordeal, suffer
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import SCENARIOS, Scenario
from tests.lab.site import Site

COUNT = 30
LONGEST = 6.0
"""Seconds that a fault lasts beyond what its scenario asks for, at most."""
BREATH = 4.0
"""Seconds between two faults, at most."""


@dataclass(frozen=True)
class Step:
    """One fault of the sequence."""

    scenario: Scenario
    lasts: float
    pause: float
    """Seconds before it."""

    def __str__(self) -> str:
        return f"{self.scenario.target}: {self.scenario.name}"


def plan(seed: int, count: int) -> list[Step]:
    """The same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - it decides what breaks, not what is secret
    steps: list[Step] = []
    for _ in range(count):
        scenario = chance.choice(SCENARIOS)
        lasts = scenario.lasts + chance.uniform(0, LONGEST)
        steps.append(Step(scenario, lasts, chance.uniform(0, BREATH)))
    return steps


def number(name: str, otherwise: int) -> int:
    """A whole number from the environment."""
    text = os.environ.get(name) or str(otherwise)
    if not text.isdecimal():
        sys.exit(f"{name} is {text!r}: a whole number, as in `make soak SEED=7 COUNT=30`.")
    return int(text)


def main() -> None:
    argparse.ArgumentParser(prog="python -m tests.lab.soak", description=__doc__).parse_args()
    seed = number("SEED", random.SystemRandom().randrange(10**6))
    count = number("COUNT", COUNT)
    say(f"{count} faults; `make soak SEED={seed} COUNT={count}` repeats them")
    with TemporaryDirectory() as scratch, site_up(Path(scratch)) as site:
        pair = Pair(site)
        with journals(site, JOURNALS / f"soak-{seed}"):
            outcomes = soak(pair, plan(seed, count))
    table(outcomes)


def soak(pair: Pair, steps: list[Step]) -> list[tuple[Step, Ordeal]]:
    """All of them; an `AssertionError` says what did not hold."""
    outcomes: list[tuple[Step, Ordeal]] = []
    pair.recover()
    with load(pair.site) as seen:
        for number, step in enumerate(steps, 1):
            time.sleep(step.pause)
            ordeal = suffer(pair, seen, step.scenario, lasts=step.lasts)
            outcomes.append((step, ordeal))
            say(f"{number:3} {step}, {step.lasts:.1f} s: {told(ordeal)}")
            so_far(pair, seen)
    verdict = pair.verdict(seen)
    assert not verdict.complaints, "\n".join(verdict.complaints[:20])
    say(f"nothing lost, nothing doubled: {summary(seen.writes, seen.reads)}")
    return outcomes


def so_far(pair: Pair, load: Load) -> None:
    """What is wrong already, with the load still running."""
    writes, reads = list(load.writes), list(load.reads)
    known = {write.id for write in writes}
    table = rows(pair.site, pair.primary(), load.run)
    verdict = judge(writes, reads, {id_: n for id_, n in table.items() if id_ in known})
    assert not verdict.complaints, "\n".join(verdict.complaints[:20])


def told(ordeal: Ordeal) -> str:
    moved = ", another primary" if ordeal.moved else ""
    return f"no write for {ordeal.gap:.2f} s, in sync after {ordeal.recovery:.1f} s{moved}"


def table(outcomes: list[tuple[Step, Ordeal]]) -> None:
    """The gaps by fault."""
    gaps: dict[str, list[float]] = {}
    for step, ordeal in outcomes:
        gaps.setdefault(f"{step}", []).append(ordeal.gap)
    width = max(len(name) for name in gaps)
    say(f"\n{'':{width}}  write gaps (s)")
    for name, found in sorted(gaps.items()):
        say(f"{name:{width}}  {'  '.join(f'{gap:.2f}' for gap in found)}")


@contextmanager
def journals(site: Site, folder: Path) -> Generator[None]:
    """Keep every machine's if it fails."""
    try:
        yield
    except BaseException:
        keep_journals(site, folder)
        say(f"the machines' journals: {folder}")
        raise


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as failure:
        sys.exit(f"soak: {failure}")
