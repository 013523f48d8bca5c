"""One fault under load, from steady writes to all machines in sync again."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from hosts.base.lease import boottime
from tests.lab.database.load import Load
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import Scenario
from tests.lab.site import SLOWNESS, eventually

STEADY = 1.0
"""Seconds of the latest writes that show that they go."""


@dataclass(frozen=True)
class Ordeal:
    """What became of it. Seconds."""

    gap: float
    """The longest time between two acknowledged writes."""
    undo_gap: float
    """The same, from when the fault was undone."""
    recovery: float
    """Until all machines were in sync, from when it was undone."""
    moved: bool


def suffer(pair: Pair, load: Load, scenario: Scenario, *, lasts: float | None = None) -> Ordeal:
    """Do it, wait until writes go and then until all is well; fail if they do not.

    `lasts`: seconds, instead of the scenario's.
    """
    primary = eventually("there is a primary", pair.primary, 20)
    target = pair.others(primary)[0] if scenario.target == "replica" else primary
    generation = pair.generation()
    steady(load, 10)
    began = boottime()
    with ExitStack() as fault:
        fault.enter_context(scenario.fault(pair, target))
        done = boottime()
        if scenario.moves:
            eventually(
                f"writes go to another machine than {primary}",
                lambda: load.acknowledged(began, elsewhere_than=primary),
                scenario.within,
            )
        else:
            eventually("writes go", lambda: load.acknowledged(done + 0.2), scenario.within)
        left = done + (scenario.lasts if lasts is None else lasts) - boottime()
        time.sleep(max(0.0, left))
        undone = boottime()
    steady(load, scenario.within)
    pair.recover()
    recovered = boottime()
    steady(load, scenario.within)
    moved = pair.generation() != generation
    if scenario.moves is not None:
        assert moved == scenario.moves, f"{primary} led, then {pair.primary()}; {pair.record()}"
    gap = load.gap(began)
    assert gap <= scenario.within * SLOWNESS, f"no write for {gap:.1f} s, from {load.where(began)}"
    return Ordeal(
        gap=load.gap(began, undone),
        undo_gap=load.gap(undone),
        recovery=recovered - undone,
        moved=moved,
    )


def steady(load: Load, seconds: float) -> None:
    """Wait until a write that begins from now on is acknowledged."""
    now = boottime()
    eventually(f"writes go: {load.last(4)}", lambda: load.acknowledged(now), seconds)
