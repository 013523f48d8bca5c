"""Everything that goes wrong with one fault, by name: for tests, soak and figures alike.

Each is done to a machine, and undone at the end of its block.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from lab import faults
from lab.partitions import Direction, Scope
from tests.lab.database.pair import AGENT, GUARD, MYSQLD, Pair

Target = Literal["primary", "replica", "both"]
Fault = Callable[[Pair, str], AbstractContextManager[None]]

SOON = 5.0
LEASE = 10.0
"""Seconds within which writes must go again: roomy, for machines that are busy with tests. What
is promised is measured by the benchmarks."""


@dataclass(frozen=True)
class Scenario:
    """One fault, and what must become of it."""

    name: str
    target: Target
    fault: Fault
    within: float
    """Seconds without a write that are too many."""
    moves: bool | None
    """Whether another machine becomes the primary; None: either will do."""
    lasts: float = 0
    """Seconds before it is undone, at least."""


def killed(unit: str) -> Fault:
    """Every process of the unit at once."""

    @contextmanager
    def fault(pair: Pair, name: str) -> Generator[None]:
        faults.kill(pair.id(name), unit)
        yield

    return fault


def restarted(unit: str) -> Fault:
    """As for a new version of its program."""

    @contextmanager
    def fault(pair: Pair, name: str) -> Generator[None]:
        faults.run(pair.id(name), "systemctl", "restart", "--no-block", unit)
        yield

    return fault


def hung(unit: str) -> Fault:
    """It is there, and does nothing."""

    def fault(pair: Pair, name: str) -> AbstractContextManager[None]:
        return faults.stopped_process(pair.id(name), unit)

    return fault


@contextmanager
def corrupt(pair: Pair, name: str) -> Generator[None]:
    """mysqld is killed and finds its system tablespace gone bad."""
    machine = pair.id(name)
    # Not one more page may be written over what is corrupt.
    faults.stop_process(machine, MYSQLD)
    faults.corrupt(machine, "/var/lib/mysql/data/ibdata1")
    faults.kill(machine, MYSQLD)
    yield


def powered_off(pair: Pair, name: str) -> AbstractContextManager[None]:
    return pair.powered_off(name)


def frozen(pair: Pair, name: str) -> AbstractContextManager[None]:
    return faults.frozen(pair.id(name))


def full(pair: Pair, name: str) -> AbstractContextManager[None]:
    return faults.full_disk(pair.id(name))


def cut_off(*sources: Scope, direction: Direction = "both") -> Fault:
    """From all, from AWS, from its peers; of these everything, or only what it sends or gets."""

    @contextmanager
    def fault(pair: Pair, name: str) -> Generator[None]:
        try:
            for source in sources:
                for peer in pair.others(name) if source == "peer" else [None]:
                    faults.partition(
                        pair.id(name), source, peer=peer and pair.id(peer), direction=direction
                    )
            yield
        finally:
            faults.heal(pair.id(name))

    return fault


@contextmanager
def dynamodb_away(pair: Pair, _: str) -> Generator[None]:
    """For every database machine."""
    with ExitStack() as stack:
        for name in pair.names:
            stack.enter_context(cut_off("aws")(pair, name))
        yield


@contextmanager
def switched_over(pair: Pair, name: str) -> Generator[None]:
    """As the operator's program asks for it: no fault."""
    pair.ask("switchover_to", pair.others(name)[0])
    yield


SCENARIOS = (
    Scenario("switchover", "primary", switched_over, SOON, moves=True),
    Scenario("mysqld killed", "primary", killed(MYSQLD), SOON, None),
    Scenario("mysqld hung", "primary", hung(MYSQLD), LEASE, moves=True),
    Scenario("powered off", "primary", powered_off, LEASE, moves=True),
    Scenario("frozen", "primary", frozen, LEASE, moves=True, lasts=7),
    Scenario("cut off", "primary", cut_off("all"), LEASE, moves=True),
    Scenario("cut off from its peer", "primary", cut_off("peer"), SOON, None, lasts=4),
    Scenario("cut off from AWS", "primary", cut_off("aws"), LEASE, None, lasts=6),
    Scenario("cut off from both", "primary", cut_off("peer", "aws"), LEASE, moves=True),
    Scenario(
        "not heard by its peer", "primary", cut_off("peer", direction="sends"), SOON, None, lasts=4
    ),
    Scenario("deaf to its peer", "primary", cut_off("peer", direction="gets"), SOON, None, lasts=4),
    Scenario(
        "not answered by AWS", "primary", cut_off("aws", direction="gets"), LEASE, None, lasts=6
    ),
    # If it takes longer to start than is left of the lease, on a busy machine, it is a failover.
    Scenario("agent killed", "primary", killed(AGENT), SOON, None, lasts=3),
    Scenario("agent restarted", "primary", restarted(AGENT), SOON, None, lasts=3),
    Scenario("agent hung", "primary", hung(AGENT), LEASE, None, lasts=6),
    Scenario("guard killed", "primary", killed(GUARD), SOON, None, lasts=3),
    Scenario("volume full", "primary", full, 3 * LEASE, None, lasts=3),
    Scenario("mysqld killed", "replica", killed(MYSQLD), SOON, moves=False, lasts=3),
    Scenario("mysqld hung", "replica", hung(MYSQLD), SOON, moves=False, lasts=4),
    Scenario("powered off", "replica", powered_off, SOON, moves=False, lasts=4),
    Scenario("frozen", "replica", frozen, SOON, moves=False, lasts=4),
    Scenario("cut off", "replica", cut_off("all"), SOON, moves=False, lasts=4),
    Scenario("agent killed", "replica", killed(AGENT), SOON, moves=False, lasts=2),
    Scenario("volume full", "replica", full, LEASE, moves=False, lasts=5),
    Scenario("DynamoDB away", "both", dynamodb_away, SOON, moves=False, lasts=10),
    Scenario("mysqld does not start", "primary", corrupt, LEASE, moves=True),
)


def scenario(name: str, target: Target = "primary") -> Scenario:
    """The one of this name."""
    (found,) = [each for each in SCENARIOS if (each.name, each.target) == (name, target)]
    return found
