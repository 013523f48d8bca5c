"""Machines of the database come, are replaced and go, under load and one at a time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hosts.base.lease import boottime
from lab import faults
from tests.lab.database.load import Load, load
from tests.lab.database.ordeal import steady
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import SOON
from tests.lab.site import SLOWNESS, Machine, eventually
from tests.lab.soak.__main__ import plan, soak

pytestmark = pytest.mark.timeout(600)

CRASHES = (0.5, 1.5, 3.0, 6.0)
"""Seconds after a machine's start, one time after the other: in cloud-init, before and after it
has its programs, while it copies the primary."""


def no_gap(load: Load, since: float) -> None:
    gap = load.gap(since)
    assert gap <= SOON * SLOWNESS, f"no write for {gap:.1f} s, from {load.where(since)}"


@pytest.mark.thorough
def test_a_replica_comes_whatever_interrupts_its_first_boot_and_goes_again(pair: Pair) -> None:
    site = pair.site
    with load(site) as seen:
        began = boottime()
        with ThreadPoolExecutor(1) as pool:
            up = pool.submit(site.up, {"database.replicas": 2})
            for delay in CRASHES:
                machine = eventually("the new machine runs", lambda: running(pair), 30)
                time.sleep(delay)
                faults.crash(machine.id)
            outcome = up.result()
        assert outcome.status == 0, outcome.text
        pair.look()
        assert len(pair.names) == 3
        pair.recover()
        back = site.up()
        assert back.status == 0, back.text
        pair.look()
        assert len(pair.names) == 2
        pair.recover()
        steady(seen, SOON)
        no_gap(seen, began)
    assert not pair.verdict(seen).complaints


def running(pair: Pair) -> Machine | None:
    new = [m for m in pair.site.machines("database") if m.name not in pair.names]
    return new[0] if new else None


@pytest.mark.thorough
def test_three_machines_survive_faults_one_after_the_other(pair: Pair) -> None:
    more = pair.site.up({"database.replicas": 2})
    assert more.status == 0, more.text
    pair.look()
    soak(pair, plan(seed=3, count=12))
    back = pair.site.up()
    assert back.status == 0, back.text
    pair.look()
    pair.recover()


def test_machines_are_replaced_one_at_a_time_and_keep_their_data(pair: Pair) -> None:
    """There, and back to the type that the lab's settings name.

    Each has the address of the one before: applications learn of another one only at the end.
    """
    with load(pair.site) as seen:
        began = boottime()
        for settings in ({"database.instanceType": "t3.large"}, {}):
            before = dict(pair.machines)
            outcome = pair.site.up(settings)
            assert outcome.status == 0, outcome.text
            pair.look()
            for name, machine in pair.machines.items():
                assert machine.id != before[name].id
                assert machine.address == before[name].address
            pair.recover()
        steady(seen, SOON)
        no_gap(seen, began)
    assert not pair.verdict(seen).complaints
