"""Whatever becomes of a load balancer, its address is served by the other one within seconds.

Real machines and real faults under load; every request is accounted for. The figures that are
printed are what `docs/load-balancers.md` may quote, as seen in the lab.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from hosts.load_balancer.decide import STEADY
from lab import faults
from tests.lab import traffic
from tests.lab.balancers import AGENT, HAPROXY, Balancers, Seen, watched
from tests.lab.site import SLOWNESS, Site, eventually
from tests.lab.test_failures import mixed, written

FIRST, SECOND = "load-balancer-1", "load-balancer-2"
PATIENCE = 12.0
"""Seconds after which a client gives a request up: longer than any gap that is allowed."""
HAPROXY_FAILED, MACHINE_LOST = 1.5, 4.0
"""Seconds for which an address may be answered by nobody."""
HANDED_OVER = 2.5
"""The same while an address is given away, whose connections come to their ends first."""
UNTOUCHED = 1.0
"""The same for the address that no fault concerns."""
BACK = STEADY + 30.0
"""Seconds within which an address is back, once its machine is well."""


@pytest.fixture(scope="module")
def known(running_site: Site) -> Balancers:
    return Balancers(running_site)


@pytest.fixture
def balancers(known: Balancers, site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Balancers]:
    """Each address with its own machine, whatever an earlier test left."""
    _ = site  # keeps the journals if the test fails
    monkeypatch.setattr(traffic, "TIMEOUT", PATIENCE)
    known.look()
    known.undo()
    eventually("every address is with its own machine", known.home, BACK + 60)
    try:
        yield known
    finally:
        known.look()
        known.undo()


@dataclass
class Watched:
    """What all clients saw of both addresses while something happened."""

    seen: dict[str, Seen]
    loads: dict[str, traffic.Load]

    def say(self, what: str) -> None:
        figures = {name: round(seen.gap, 2) for name, seen in self.seen.items()}
        failed = {name: len(load.failed()) for name, load in self.loads.items()}
        print(json.dumps({"fault": what, "gap": figures, "failed under load": failed}))


@contextmanager
def under_load(balancers: Balancers) -> Generator[Watched]:
    """Steady readers and writers at every address; at the end nothing is unaccounted for."""
    with ExitStack() as stack:
        urls = {name: balancers.url(name) for name in balancers.addresses}
        watching = Watched(
            seen={name: stack.enter_context(watched(url)) for name, url in urls.items()},
            loads={
                name: stack.enter_context(traffic.load(url, mixed, clients=4, pause=0.02))
                for name, url in urls.items()
            },
        )
        loads = watching.loads.values()
        eventually("answers", lambda: all(len(load.answers) > 40 for load in loads), 30)
        yield watching
    account(balancers.site, watching)


def account(site: Site, watching: Watched) -> None:
    """Each request was answered or failed; no entry is there twice, none that was told is lost."""
    for seen in watching.seen.values():
        assert len(seen.tries) == seen.sent
    entries = written(site)
    for load in watching.loads.values():
        for answer in load.sent("POST"):
            times = entries[answer.request.id]
            assert times <= 1, f"{answer} was written {times} times"
            if answer.ok:
                assert times == 1, f"{answer} was acknowledged and is not in the table"


def served_again(load: traffic.Load) -> Callable[[], bool]:
    """Whether the clients' latest requests were all answered."""
    return lambda: all(answer.ok for answer in load.answers[-20:])


def assert_gaps(watching: Watched, lost: str, most: float) -> None:
    for name, seen in watching.seen.items():
        allowed = most if name == lost else UNTOUCHED
        assert seen.gap <= allowed * SLOWNESS, f"{name}: {seen.report()}"


def taken_over(balancers: Balancers, watching: Watched) -> None:
    """The second machine has the first one's address, by EC2 and lease, and answers there."""
    eventually("the other one has the address", lambda: balancers.at(FIRST, SECOND), 15)
    eventually("it is served", served_again(watching.loads[FIRST]), 30)


def test_a_haproxy_that_was_killed_and_stays_dead(balancers: Balancers) -> None:
    """Masked, so that systemd does not start it again at once."""
    victim = balancers.id(FIRST)
    with under_load(balancers) as watching:
        faults.run(victim, "systemctl", "mask", "--runtime", HAPROXY)
        faults.kill(victim, HAPROXY)
        taken_over(balancers, watching)
        faults.run(victim, "systemctl", "unmask", "--runtime", HAPROXY)
        faults.run(victim, "systemctl", "start", HAPROXY)
    watching.say("HAProxy killed")
    assert_gaps(watching, FIRST, HAPROXY_FAILED)
    eventually("it is given back", balancers.home, BACK)


@pytest.mark.thorough
def test_a_haproxy_that_was_killed_and_is_started_again(balancers: Balancers) -> None:
    with under_load(balancers) as watching:
        faults.kill(balancers.id(FIRST), HAPROXY)
        eventually("it is served", served_again(watching.loads[FIRST]), 30)
        time.sleep(5)  # whatever would follow from it, follows
    watching.say("HAProxy killed, started again by systemd")
    assert_gaps(watching, FIRST, HAPROXY_FAILED)
    eventually("it is with its own machine", balancers.home, BACK)


@pytest.mark.thorough
def test_a_haproxy_that_hangs(balancers: Balancers) -> None:
    """It is killed by the machine itself after a while, and then well again."""
    with under_load(balancers) as watching:
        faults.stop_process(balancers.id(FIRST), HAPROXY)
        taken_over(balancers, watching)
    watching.say("HAProxy hung")
    assert_gaps(watching, FIRST, HAPROXY_FAILED)
    eventually("it is given back", balancers.home, BACK + 15)


def test_a_machine_without_power(balancers: Balancers) -> None:
    before = balancers.generation(FIRST)
    with under_load(balancers) as watching:
        balancers.site.power_off(FIRST)
        taken_over(balancers, watching)
    watching.say("power off")
    assert_gaps(watching, FIRST, MACHINE_LOST)
    balancers.power_on(FIRST)
    on_at = time.monotonic()
    with under_load(balancers) as watching:
        eventually("it is given back", balancers.home, BACK + 60)
    watching.say("given back")
    assert time.monotonic() - on_at >= STEADY, "not before it was well for a while"
    assert balancers.generation(FIRST) == before + 2, "there and back, once"
    assert_gaps(watching, FIRST, HANDED_OVER)


@pytest.mark.thorough
def test_a_machine_that_is_frozen_and_thawed(balancers: Balancers) -> None:
    before = balancers.generation(FIRST)
    with under_load(balancers) as watching, faults.frozen(balancers.id(FIRST)):
        taken_over(balancers, watching)
        time.sleep(5)
    watching.say("frozen")
    assert_gaps(watching, FIRST, MACHINE_LOST)
    with under_load(balancers) as watching:
        assert balancers.at(FIRST, SECOND), "it does not take it back just because it woke up"
        eventually("it is given back", balancers.home, BACK)
    assert balancers.generation(FIRST) == before + 2
    assert_gaps(watching, FIRST, HANDED_OVER)


@pytest.mark.thorough
def test_a_machine_that_is_cut_off(balancers: Balancers) -> None:
    with under_load(balancers) as watching, faults.partitioned(balancers.id(FIRST)):
        taken_over(balancers, watching)
    watching.say("cut off")
    assert_gaps(watching, FIRST, MACHINE_LOST)
    eventually("it is given back", balancers.home, BACK)


@pytest.mark.thorough
def test_a_machine_that_is_cut_off_from_aws_serves_until_another_has_its_address(
    balancers: Balancers,
) -> None:
    with under_load(balancers) as watching, faults.partitioned(balancers.id(FIRST), "aws"):
        taken_over(balancers, watching)
    watching.say("cut off from AWS")
    assert_gaps(watching, FIRST, UNTOUCHED)
    eventually("it is given back", balancers.home, BACK)


@pytest.mark.thorough
def test_both_lost_and_returned(balancers: Balancers) -> None:
    for name in (FIRST, SECOND):
        balancers.site.power_off(name)
    assert not traffic.send(balancers.url(FIRST)).ok
    balancers.power_on(SECOND)
    eventually(
        "the one that is back serves both",
        lambda: all(traffic.send(balancers.url(name)).ok for name in (FIRST, SECOND)),
        60,
    )
    balancers.power_on(FIRST)
    eventually("each serves its own", balancers.home, BACK + 60)


@pytest.mark.thorough
def test_a_haproxy_that_fails_again_and_again_moves_its_address_once(balancers: Balancers) -> None:
    before = balancers.generation(FIRST), balancers.generation(SECOND)
    victim = balancers.id(FIRST)
    with under_load(balancers) as watching:
        for _ in range(6):
            faults.run(victim, "systemctl", "stop", HAPROXY)
            time.sleep(3)
            faults.run(victim, "systemctl", "start", HAPROXY)
            time.sleep(5)
        eventually("it is served", served_again(watching.loads[FIRST]), 30)
    watching.say("HAProxy fails six times")
    assert_gaps(watching, FIRST, HAPROXY_FAILED)
    assert balancers.at(FIRST, SECOND)
    eventually("it is given back", balancers.home, BACK)
    after = balancers.generation(FIRST), balancers.generation(SECOND)
    assert after == (before[0] + 2, before[1])


@pytest.mark.thorough
def test_healthy_ones_keep_their_addresses(balancers: Balancers) -> None:
    """Under load, with agents that are started anew, and with reloads."""
    before = {name: balancers.generation(name) for name in balancers.addresses}
    with under_load(balancers) as watching:
        for _ in range(3):
            for name in (FIRST, SECOND):
                faults.run(balancers.id(name), "systemctl", "restart", AGENT)
                time.sleep(4)
                faults.run(balancers.id(name), "systemctl", "reload", HAPROXY)
                time.sleep(4)
    watching.say("nothing")
    assert {name: balancers.generation(name) for name in balancers.addresses} == before
    for load in watching.loads.values():
        assert not load.failed(), load.report()
    for seen in watching.seen.values():
        assert not seen.failed(), seen.report()


def test_replaced_load_balancers_lose_no_request(balancers: Balancers, as_before: Site) -> None:
    """`pulumi up` makes the new ones first; the old ones empty their addresses and hand them on."""
    former = {machine.id for machine in balancers.machines.values()}
    with under_load(balancers) as watching:
        outcome = as_before.up({"loadBalancers.queueTimeout": 4})
    balancers.look()
    watching.say("replaced")
    assert outcome.status == 0, outcome.text
    assert outcome.touched("delete-replaced") >= {FIRST, SECOND}
    assert not former & {machine.id for machine in balancers.machines.values()}
    for name in balancers.addresses:
        assert balancers.at(name, name)
        assert not watching.loads[name].failed(), watching.loads[name].report()
        assert not watching.seen[name].failed(), watching.seen[name].report()


@pytest.mark.thorough
def test_of_two_with_one_address_one_stands_by(balancers: Balancers, as_before: Site) -> None:
    outcome = as_before.up({"loadBalancers.mode": "active-passive"})
    assert outcome.status == 0, outcome.text
    balancers.look()
    pair = Balancers(as_before)
    assert list(pair.addresses) == [FIRST]
    holder = pair.holder(FIRST)
    with under_load(pair) as watching:
        pair.site.power_off(holder)
        eventually("the other has it", lambda: pair.at(FIRST, pair.other(holder)), 15)
        eventually("it is served", served_again(watching.loads[FIRST]), 30)
    watching.say("active-passive, power off")
    assert_gaps(watching, FIRST, MACHINE_LOST)
    pair.power_on(holder)
    generation = pair.generation(FIRST)
    time.sleep(STEADY + 10)
    assert pair.at(FIRST, pair.other(holder)), "nobody's own: it stays where it is"
    assert pair.generation(FIRST) == generation
