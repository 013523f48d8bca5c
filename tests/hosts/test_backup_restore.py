"""Backups of a real mysqld, and databases that are made of them again."""

import time

import pytest

from hosts.database.backup.restore import RestoreError
from tests.hosts.backups import World, blank_database, world

__all__ = ["blank_database", "world"]

ENTRIES = "SELECT what FROM site.entries ORDER BY id"


def pause() -> float:
    """A moment that what was before and what comes after are surely on different sides of."""
    time.sleep(0.05)
    now = time.time()
    time.sleep(0.05)
    return now


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f"{seconds % 1:.6f}Z"[1:]


def test_a_database_is_restored_to_the_moment_between_two_writes(world: World) -> None:
    primary = world.primary()
    primary.run("INSERT INTO site.entries (what) VALUES ('in the backup')")
    replica = world.replica_of(primary)
    full = world.full(replica)
    primary.run("INSERT INTO site.entries (what) VALUES ('wanted')")
    wanted = primary.gtids()
    between = pause()
    primary.run("DELETE FROM site.entries")
    unwanted = primary.gtids()
    primary.run("INSERT INTO site.entries (what) VALUES ('too late')")
    replica.caught_up(primary)
    world.ship(replica)

    by_time = world.restore(utc(between))
    assert by_time.rows(ENTRIES) == [("in the backup",), ("wanted",)]
    assert by_time.gtids() == wanted
    by_transaction = world.restore(unwanted)
    assert by_transaction.rows(ENTRIES) == []
    assert by_transaction.gtids() == unwanted
    assert full.machine == "database-2"
    users = by_time.rows("SHOW GRANTS FOR application@'%'")
    assert users == primary.rows("SHOW GRANTS FOR application@'%'")
    assert by_time.rows("SELECT @@super_read_only, @@sync_binlog, @@event_scheduler") == [
        (1, 1, "ON")
    ]
    # What was after the backup is in the new one's own log, for its replicas.
    with pytest.raises(RestoreError, match="there is a database already"):
        world.restore(utc(between), by_time, name="r2")


def test_a_point_before_every_backup_is_refused(world: World) -> None:
    primary = world.primary()
    before = pause()
    full = world.full(primary)
    with pytest.raises(RestoreError, match="no full backup before .*: the oldest is of") as refusal:
        world.restore(utc(before))
    assert utc(full.time)[:19] in str(refusal.value)


def test_a_point_after_what_was_shipped_is_refused(world: World) -> None:
    primary = world.primary()
    world.full(primary)
    world.ship(primary)
    with pytest.raises(RestoreError, match="shipped reach to .*, which is before"):
        world.restore(utc(time.time() + 60))
