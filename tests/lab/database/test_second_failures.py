"""Another failure while the first one is still being got over; and all machines lost at once."""

import json

import pytest

from hosts.base.lease import boottime
from lab import faults
from tests.lab.database.load import Load, load
from tests.lab.database.ordeal import steady
from tests.lab.database.pair import MYSQLD, Pair
from tests.lab.site import SLOWNESS, eventually

pytestmark = pytest.mark.timeout(300)

BOOT = 60.0
"""Seconds from power on until a machine's database can work, roomy."""


def writes_elsewhere(load: Load, since: float, than: str) -> None:
    eventually(
        f"writes go to another machine than {than}",
        lambda: load.acknowledged(since, elsewhere_than=than),
        10,
    )


def test_the_last_machine_goes_on_alone_after_its_mysqld_is_killed(pair: Pair) -> None:
    """The other one is off, and so not in sync: there is nobody to take over."""
    first = pair.primary()
    with load(pair.site) as seen:
        with pair.powered_off(first):
            began = boottime()
            writes_elsewhere(seen, began, first)
            (last,) = pair.others(first)
            faults.kill(pair.id(last), MYSQLD)
            steady(seen, 15)
            assert pair.primary() == last
        pair.recover()
    assert not pair.verdict(seen).complaints


def test_the_new_primary_loses_power_while_the_old_one_comes_back(pair: Pair) -> None:
    """Whoever is in sync by then leads; if the old one is not, it waits for the other."""
    first = pair.primary()
    (second,) = pair.others(first)
    with load(pair.site) as seen:
        began = boottime()
        with pair.powered_off(first):
            writes_elsewhere(seen, began, first)
        eventually(f"{first} answers", lambda: pair.status(first), BOOT)
        with pair.powered_off(second):
            pass
        steady(seen, BOOT)
        pair.recover()
    assert not pair.verdict(seen).complaints


def test_both_machines_lose_power_and_the_primary_returns_first(pair: Pair) -> None:
    """It serves alone until the replica is back."""
    primary = pair.primary()
    (replica,) = pair.others(primary)
    with load(pair.site) as seen:
        for name in (primary, replica):
            faults.power_off(pair.id(name))
        pair.power_on(primary)
        steady(seen, BOOT)
        assert pair.primary() == primary
        pair.power_on(replica)
        pair.recover()
    assert not pair.verdict(seen).complaints


def test_both_machines_lose_power_and_the_replica_returns_first(pair: Pair) -> None:
    """What it acknowledged last may not have reached its disk: it waits for the primary."""
    primary = pair.primary()
    (replica,) = pair.others(primary)
    with load(pair.site) as seen:
        for name in (replica, primary):
            faults.power_off(pair.id(name))
        pair.power_on(replica)
        eventually("the replica says why it waits", lambda: started_anew(pair, replica), BOOT)
        assert not pair.says(replica, "primary")
        pair.power_on(primary)
        steady(seen, BOOT)
        pair.recover()
    assert not pair.verdict(seen).complaints


def started_anew(pair: Pair, name: str) -> bool:
    return "started anew since it was called in sync" in pair.status(name).get("why", "")


def test_what_is_not_in_sync_is_not_promoted_and_says_why(pair: Pair) -> None:
    primary = pair.primary()
    (replica,) = pair.others(primary)
    with load(pair.site) as seen:
        with faults.partitioned(pair.id(replica), "peer", peer=pair.id(primary)):
            eventually("the replica is dropped", lambda: pair.in_sync() == {primary}, 10)
            steady(seen, 5)

            pair.ask("switchover_to", replica)
            refused = eventually("a switchover is refused", lambda: pair.record().get("refused"), 5)
            assert replica in refused, refused
            assert "switchover_to" not in pair.record()

            generation = pair.generation()
            faults.power_off(pair.id(primary))
            eventually("the replica says that it may not lead", lambda: may_not(pair, replica), 15)
            assert "refuse: not in sync" in journal(pair, replica)
            assert pair.generation() == generation
            assert not pair.says(replica, "primary")
        pair.power_on(primary)
        steady(seen, BOOT)
        assert pair.primary() == primary
        pair.recover()
    assert not pair.verdict(seen).complaints


def may_not(pair: Pair, name: str) -> bool:
    said = json.dumps(pair.status(name))
    return "not in sync" in said


def journal(pair: Pair, name: str) -> str:
    command = ("journalctl", "-b", "--no-pager", "-u", "site-agent.service", "-S", "-60s")
    return pair.site.run(name, *command)


def test_a_machine_whose_lease_is_gone_does_not_open_again(pair: Pair) -> None:
    """Not even with a fresh mysqld, as long as it cannot know who leads."""
    first = pair.primary()
    with load(pair.site) as seen:
        began = boottime()
        pid = main_pid(pair, first)
        with faults.partitioned(pair.id(first)):
            writes_elsewhere(seen, began, first)
            assert closed(pair, first)
            faults.kill(pair.id(first), MYSQLD)
            eventually("it has another mysqld", lambda: main_pid(pair, first) not in (0, pid), 20)
            eventually("that is read-only", lambda: closed(pair, first), 20)
            assert not pair.says(first, "primary")
        pair.recover()
    assert not pair.verdict(seen).complaints


def main_pid(pair: Pair, name: str) -> int:
    shown = ("systemctl", "show", "--value", "--property=MainPID", MYSQLD)
    return int(pair.site.run(name, *shown))


def closed(pair: Pair, name: str) -> bool:
    """Whether mysqld itself refuses writes; it may be gone altogether."""
    try:
        return pair.site.rows(name, "SELECT @@global.super_read_only") == [["1"]]
    except AssertionError:
        return main_pid(pair, name) == 0


def test_no_machine_answers_as_the_primary_beside_another(pair: Pair) -> None:
    """Thawed, the old primary finds itself replaced before it says a word."""
    first = pair.primary()
    (second,) = pair.others(first)
    with load(pair.site) as seen:
        began = boottime()
        with faults.frozen(pair.id(first)):
            writes_elsewhere(seen, began, first)
        thawed = boottime()
        while boottime() < thawed + 3 * SLOWNESS:
            assert not (pair.says(first, "primary") and pair.says(second, "primary"))
        pair.recover()
    assert not pair.verdict(seen).complaints
