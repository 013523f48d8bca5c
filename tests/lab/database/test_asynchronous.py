"""The pair without waiting for anybody: who takes over then, and that mode changes in service."""

from collections.abc import Iterator

import pytest

from hosts.database.backup import catalog, forks
from hosts.database.backup.gtids import Gtids, union
from hosts.database.backup.store import Store
from hosts.database.pair import NAME as LINE
from lab import faults
from tests.lab.database.load import load
from tests.lab.database.ordeal import steady
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import LEASE, MYSQLD, SOON
from tests.lab.site import eventually

# The mode is not the default, and each test waits for it to come and go.
pytestmark = [pytest.mark.thorough, pytest.mark.timeout(900)]

FOLLOWED = 30.0
"""Seconds within which running machines follow a setting."""


@pytest.fixture
def asynchronous(pair: Pair) -> Iterator[Pair]:
    """In asynchronous mode, and back again afterwards."""
    outcome = pair.site.up({"database.replication": "asynchronous"})
    assert outcome.status == 0, outcome.text
    assert set(outcome.changes) == {"database-settings"}, "no machine is touched"
    eventually("it is asynchronous", lambda: pair.record()["mode"] == "asynchronous", FOLLOWED)
    yield pair
    pair.undo()
    outcome = pair.site.up()
    assert outcome.status == 0, outcome.text
    eventually("it is not", lambda: pair.record()["mode"] == "semi-synchronous", FOLLOWED)
    pair.recover()


def test_a_replica_that_is_close_enough_takes_over(asynchronous: Pair) -> None:
    pair = asynchronous
    primary = eventually("there is a primary", pair.primary, SOON)
    assert pair.in_sync() == {primary}, "nobody is waited for"
    with load(pair.site) as seen:
        steady(seen, SOON)
        faults.power_off(pair.id(primary))
        heir = eventually("another one leads", lambda: other(pair, primary), LEASE)
        steady(seen, SOON)
        pair.power_on(primary)
        eventually("the former one follows", lambda: pair.says(primary, "replica"), 60)
    assert pair.primary() == heir
    # What was acknowledged in the last moment may be gone; nothing is there twice.
    assert not [line for line in pair.verdict(seen).complaints if "times in the table" in line]


def other(pair: Pair, than: str) -> str:
    found = pair.primary()
    return "" if found == than else found


def test_a_primary_whose_mysqld_is_killed_starts_it_again_and_loses_nothing(
    asynchronous: Pair,
) -> None:
    pair = asynchronous
    primary = eventually("there is a primary", pair.primary, SOON)
    generation = pair.generation()
    with load(pair.site) as seen:
        steady(seen, SOON)
        faults.kill(pair.id(primary), MYSQLD)
        replica = pair.others(primary)[0]
        eventually("it leads again", lambda: pair.primary() == primary, 30)
        steady(seen, SOON)
        eventually("it is followed again", lambda: pair.says(replica, "replica"), 30)
    assert (pair.primary(), pair.generation()) == (primary, generation)
    verdict = pair.verdict(seen)
    assert not verdict.lost
    assert not [line for line in verdict.complaints if line.startswith("different")]


def test_what_was_shipped_and_lost_is_noted(asynchronous: Pair) -> None:
    pair = asynchronous
    outcome = pair.site.up({"database.replication": "asynchronous", "database.maxFailoverLag": 120})
    assert outcome.status == 0, outcome.text
    primary = eventually("there is a primary", pair.primary, SOON)
    replica = pair.others(primary)[0]
    followed = ("cat", "/run/site/database-settings.json")
    eventually("it is followed", lambda: "120" in pair.site.run(replica, *followed), FOLLOWED)
    bucket = next(b for b in buckets(pair) if "backups" in b)
    store = Store(pair.site.client("s3"), bucket)
    eventually("there is a full backup", lambda: catalog.fulls(store, LINE), 120)

    faults.partition(pair.id(replica), "peer", peer=pair.id(primary))
    ((before,),) = pair.rows(primary, "SELECT @@GLOBAL.gtid_executed")
    pair.rows(primary, "CREATE TABLE site.lost (word VARCHAR(10) PRIMARY KEY)")
    ((after,),) = pair.rows(primary, "SELECT @@GLOBAL.gtid_executed")
    gone = Gtids.parse(after.replace("\\n", "")) - Gtids.parse(before.replace("\\n", ""))
    eventually("it is shipped", lambda: gone <= union(shipped(store)), 60)
    faults.power_off(pair.id(primary))
    eventually("the other one leads", lambda: pair.primary() == replica, LEASE)
    (fork,) = eventually("it is noted", lambda: catalog.forks(store, LINE), 90)
    assert gone & fork.lost == gone
    faults.heal()
    pair.power_on(primary)
    eventually("the former one follows", lambda: pair.says(primary, "replica"), 120)
    assert pair.rows(primary, "SHOW TABLES FROM site LIKE 'lost'") == []
    eventually("a full backup follows", lambda: backed_up_after(store, fork), 400)


def buckets(pair: Pair) -> list[str]:
    return [bucket["Name"] for bucket in pair.site.client("s3").list_buckets()["Buckets"]]


def shipped(store: Store) -> list[Gtids]:
    return [log.executed for log in catalog.logs(store, LINE)]


def backed_up_after(store: Store, fork: catalog.Fork) -> bool:
    fulls = [full for full in catalog.fulls(store, LINE) if full.verified]
    return not forks.due(fulls, [fork])
