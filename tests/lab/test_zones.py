"""A whole zone without power: the site goes on without it, and is made whole again by `up`."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import faults
from tests.lab import traffic
from tests.lab.balancers import Balancers
from tests.lab.database.pair import Pair
from tests.lab.site import SLOWNESS, Machine, Site, eventually
from tests.lab.test_load_balancer_faults import (
    BACK,
    HANDED_OVER,
    MACHINE_LOST,
    PATIENCE,
    Watched,
    served_again,
    under_load,
)

FAILED_OVER = 10.0
"""Seconds within which all that was lost is done by what is left."""
GAP = MACHINE_LOST + 2.0
"""Seconds for which an address may be answered by nobody: for the load balancer, and for the
application server and the database of which the other load balancer learns meanwhile."""


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients give a request up in time."""
    monkeypatch.setattr(traffic, "TIMEOUT", PATIENCE)


def zones(site: Site) -> dict[str, str]:
    """Of every machine that runs, by its name."""
    names = {machine.id: machine.name for machine in site.machines()}
    answer = site.client("ec2").describe_instances(InstanceIds=list(names))
    return {
        names[one["InstanceId"]]: one["Placement"]["AvailabilityZone"]
        for reservation in answer["Reservations"]
        for one in reservation["Instances"]
    }


def power_off(machines: list[Machine]) -> None:
    """All at once."""
    with ThreadPoolExecutor(len(machines)) as pool:
        list(pool.map(faults.power_off, [machine.id for machine in machines]))


def answered_again(load: traffic.Load) -> Callable[[], bool]:
    """Whether requests that are sent from now on are answered, by the latest of them."""
    before, latest = len(load.answers), served_again(load)
    return lambda: len(load.answers) > before + 40 and latest()


def assert_every_answer(watching: Watched) -> None:
    for name in watching.seen:
        assert not watching.seen[name].failed(), watching.seen[name].report()
        assert not watching.loads[name].failed(), watching.loads[name].report()


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("patience")
def test_a_zone_is_lost_for_good_and_made_again(as_before: Site) -> None:
    site = as_before
    balancers, pair = Balancers(site), Pair(site)
    pair.recover()
    eventually("every address is with its own machine", balancers.home, BACK)
    before = zones(site)
    gone = before[pair.primary()]
    lost = [machine for machine in site.machines() if before[machine.name] == gone]
    roles = {machine.role for machine in lost}
    assert roles - {"monitoring"} == {"load-balancer", "app-server", "database"}
    left = {machine.name for machine in site.machines()} - {machine.name for machine in lost}

    with under_load(balancers) as watching:
        power_off(lost)
        lost_at = time.monotonic()
        eventually(
            "what is left has the addresses, and leads the databases",
            lambda: (
                all(balancers.place(name) in left for name in balancers.addresses)
                and pair.primary() in left
            ),
            FAILED_OVER,
        )
        print(f"failed over after {time.monotonic() - lost_at:.1f} s")
        # Those who wait for an answer of a machine that is gone have to give it up first.
        for load in watching.loads.values():
            eventually("all requests are answered", answered_again(load), PATIENCE + FAILED_OVER)
    watching.say("a zone without power")
    for seen in watching.seen.values():
        assert seen.gap <= GAP * SLOWNESS, seen.report()

    with under_load(balancers) as watching:
        loads = watching.loads.values()
        eventually("many more answers", lambda: all(len(one.answers) > 400 for one in loads), 60)
    assert_every_answer(watching)

    site.client("ec2").terminate_instances(InstanceIds=[machine.id for machine in lost])
    with under_load(balancers) as watching:
        outcome = site.up(refresh=True)
        balancers.look()
        eventually("every address is with its own machine", balancers.home, BACK)
    watching.say("made again")
    assert outcome.status == 0, outcome.text
    assert zones(site) == before, "as many as before, spread as before"
    assert not {machine.id for machine in lost} & {machine.id for machine in site.machines()}
    for seen in watching.seen.values():
        assert seen.gap <= HANDED_OVER * SLOWNESS, seen.report()
    pair.look()
    pair.recover(120)
    eventually("all databases have the same", pair.equal, 30)
