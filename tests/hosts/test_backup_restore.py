"""Backups of a real mysqld, and databases that are made of them again."""

import time
from dataclasses import replace

import pytest

from hosts.database.backup import binlog
from hosts.database.backup.binlog import LogError
from hosts.database.backup.catalog import Table
from hosts.database.backup.dump import dump
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
    with pytest.raises(
        RestoreError, match=r"no full backup before .*: the oldest is of"
    ) as refusal:
        world.restore(utc(before))
    assert utc(full.time)[:19] in str(refusal.value)


def test_a_point_after_what_was_shipped_is_refused(world: World) -> None:
    primary = world.primary()
    world.full(primary)
    world.ship(primary)
    with pytest.raises(RestoreError, match=r"shipped reach to .*, which is before"):
        world.restore(utc(time.time() + 60))


def test_a_backup_that_was_not_verified_is_compared_when_it_is_loaded(world: World) -> None:
    primary = world.primary()
    primary.run("INSERT INTO site.entries (what) VALUES ('one')")
    full = dump(primary.socket, world.store, "database", "database-1", world.said.append)
    primary.run("INSERT INTO site.entries (what) VALUES ('two')")
    world.ship(primary)

    with pytest.raises(RestoreError, match=f"{full.id}: it was not verified; --full names it"):
        world.restore(primary.gtids())
    assert world.restore(primary.gtids(), full=full.id).rows(ENTRIES) == [("one",), ("two",)]

    noted = {**full.tables, "site.entries": Table(2, full.tables["site.entries"].checksum)}
    world.store.write(f"{full.folder}/manifest.json", replace(full, tables=noted).to_json())
    with pytest.raises(RestoreError, match=r"site\.entries has 1 rows and had 2"):
        world.restore(primary.gtids(), full=full.id)


def test_an_interrupted_restore_is_begun_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = world.primary()
    primary.run("INSERT INTO site.entries (what) VALUES ('one')")
    world.full(primary)
    primary.run("INSERT INTO site.entries (what) VALUES ('two')")
    world.ship(primary)
    target = world.server()

    def fail(*_: object) -> None:
        raise LogError("the machine lost its power")

    with monkeypatch.context() as patch:
        patch.setattr(binlog, "replay", fail)
        with pytest.raises(RestoreError, match="the machine lost its power"):
            world.restore(primary.gtids(), target)
    assert target.rows(ENTRIES) == [("one",)], "it was in the middle of it"
    assert target.rows("SELECT @@super_read_only") == [(1,)]
    with pytest.raises(RestoreError, match="there is a database already"):
        world.restore(primary.gtids(), target, name="another")
    world.restore(primary.gtids(), target)
    assert target.rows(ENTRIES) == [("one",), ("two",)]
    assert target.gtids() == primary.gtids()
    # Once it was done it is not done again, whatever was written since.
    target.run("SET GLOBAL super_read_only = OFF", "DELETE FROM site.entries")
    world.restore(primary.gtids(), target)
    assert target.rows(ENTRIES) == []


def test_a_replica_of_what_was_restored_gets_what_came_after_the_backup(world: World) -> None:
    primary = world.primary()
    world.full(primary)
    primary.run("INSERT INTO site.entries (what) VALUES ('after it')")
    world.ship(primary)
    restored = world.restore(primary.gtids())
    assert restored.rows("SELECT @@GLOBAL.gtid_purged")[0][0] != restored.gtids()


def test_events_run_again(world: World) -> None:
    primary = world.primary()
    primary.run("CREATE EVENT site.e ON SCHEDULE EVERY 1 DAY DO DELETE FROM site.entries")
    replica = world.replica_of(primary)
    world.full(replica)
    world.ship(replica)
    restored = world.restore(primary.gtids())
    listed = "SELECT event_name, status FROM information_schema.events"
    assert restored.rows(listed) == primary.rows(listed) == [("e", "ENABLED")]
    assert restored.gtids() == primary.gtids()
