"""A failover that lost what was shipped: real servers, whose histories part."""

import time

import pytest

from hosts.database.backup import catalog
from hosts.database.backup.forks import AGAIN, SURE, Watch
from tests.hosts.backups import LINE, World, blank_database, world
from tests.hosts.fakes import Clock
from tests.hosts.real_mysqld import Mysqld
from tests.hosts.test_backup_ship import ENTRIES, write

__all__ = ["blank_database", "world"]


def watch(world: World, mysqld: Mysqld, clock: Clock, generation: int | None = 2) -> Watch:
    return Watch(
        line=LINE,
        machine="database-2",
        socket=mysqld.socket,
        generation=lambda: generation,
        open_store=lambda: world.store,
        clock=clock,
    )


def parted(world: World) -> tuple[Mysqld, Mysqld]:
    """The old primary, whose last two entries were shipped and lost, and the new one."""
    old = world.primary()
    new = world.replica_of(old)
    world.full(old)
    write(old, "of both")
    new.caught_up(old)
    new.run("STOP REPLICA", "RESET REPLICA ALL")
    write(old, "lost first")
    time.sleep(0.05)
    write(old, "lost last")
    world.ship(old)
    old.kill()
    time.sleep(0.05)
    # Its id is that of the first one that was lost: a mixture could not even be executed.
    write(new, "went on")
    world.ship(new)
    return old, new


def test_up_to_a_fork_there_is_what_was_lost_and_after_it_there_is_not(world: World) -> None:
    old, new = parted(world)
    clock = Clock()
    looking = watch(world, new, clock)
    looking.step()
    assert catalog.forks(world.store, LINE) == [], "it might be on its way to the primary"
    clock.advance(SURE)
    looking.step()
    (fork,) = catalog.forks(world.store, LINE)
    assert len(fork.lost) == 2
    (before, after) = (log for log in catalog.logs(world.store, LINE) if log.last)
    assert before.last == fork.time

    lost_too = catalog.moment(fork.time + 0.0005)
    assert world.restore(catalog.moment(after.as_of)).rows(ENTRIES) == [("of both",), ("went on",)]
    went_on = world.restore(new.gtids(), name="r2")
    assert went_on.rows(ENTRIES) == [("of both",), ("went on",)]
    assert went_on.gtids() == new.gtids()
    middle = world.restore(catalog.moment(fork.time - 0.02), name="r3")
    assert middle.rows(ENTRIES) == [("of both",), ("lost first",)]
    whole = world.restore(str(fork.lost), name="r4")
    assert whole.rows(ENTRIES) == [("of both",), ("lost first",), ("lost last",)]
    assert world.restore(lost_too, name="r5").rows(ENTRIES) == [("of both",)]
    assert old.number != new.number


def test_a_fork_is_noted_once(world: World) -> None:
    _, new = parted(world)
    clock = Clock()
    looking = watch(world, new, clock)
    for _ in range(4):
        looking.step()
        clock.advance(AGAIN)
    assert len(catalog.forks(world.store, LINE)) == 1


@pytest.mark.parametrize("generation", [None, 3])
def test_only_an_open_primary_knows_what_was_lost(world: World, generation: int | None) -> None:
    _, new = parted(world)
    if generation:
        new.run("SET GLOBAL super_read_only = ON")
    clock = Clock()
    looking = watch(world, new, clock, generation)
    for _ in range(3):
        looking.step()
        clock.advance(SURE)
    assert catalog.forks(world.store, LINE) == []


def test_what_a_replica_ships_before_the_primary_commits_it_is_not_lost(world: World) -> None:
    primary = world.primary()
    world.full(primary)
    write(primary, "shipped")
    world.ship(primary)
    behind = world.server()
    behind.follow(primary)
    behind.run("STOP REPLICA")
    clock = Clock()
    looking = watch(world, behind, clock)
    looking.step()
    behind.run("START REPLICA USER = 'replication' PASSWORD = 'secret'")
    behind.caught_up(primary)
    clock.advance(SURE)
    looking.step()
    clock.advance(SURE)
    looking.step()
    assert catalog.forks(world.store, LINE) == []
