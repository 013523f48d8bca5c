"""Binary logs of a real mysqld on their way into the bucket, and back into another one."""

import time
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from hosts.database.backup import catalog
from hosts.database.backup.restore import RestoreError
from hosts.database.backup.ship import GapError
from hosts.database.backup.store import StoreError
from tests.hosts.backups import LINE, World, blank_database, world
from tests.hosts.real_mysqld import Mysqld

__all__ = ["blank_database", "world"]

ENTRIES = "SELECT what FROM site.entries ORDER BY id"


def write(mysqld: Mysqld, *words: str) -> None:
    for word in words:
        with mysqld.session() as session:
            session.run("INSERT INTO site.entries (what) VALUES (%s)", word)


def ends(world: World) -> list[int]:
    return [log.end for log in catalog.logs(world.store, LINE)]


def test_a_growing_log_is_shipped_piece_by_piece(world: World) -> None:
    primary = world.primary()
    world.full(primary)
    shipper = world.shipper(primary)
    with primary.session() as session:
        assert shipper.ship(session) > 0
        assert shipper.ship(session) == 0
        write(primary, "one")
        assert shipper.ship(session) > 0
        write(primary, "two")
        session.run("FLUSH BINARY LOGS")
        write(primary, "three")
        assert shipper.ship(session) > 0
        current = session.row("SHOW BINARY LOG STATUS")
    assert ends(world)[-1] == current[1]
    assert [log.name for log in catalog.logs(world.store, LINE)] == ["binlog.000001", current[0]]
    restored = world.restore(primary.gtids())
    assert restored.rows(ENTRIES) == [("one",), ("two",), ("three",)]


def test_large_transactions_are_not_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosts.database.backup.ship.PIECE", 2000)
    primary = world.primary()
    world.full(primary)
    for number in range(20):
        with primary.session() as session:
            session.run("BEGIN")
            for _ in range(number * 5 + 1):
                session.run("INSERT INTO site.entries (what) VALUES (%s)", "# at 4\n#26 GTID\t")
            session.run("COMMIT")
    world.ship(primary)
    (log,) = catalog.logs(world.store, LINE)
    pieces = catalog.pieces(world.store, log)
    assert len(pieces) > 5
    assert world.restore(primary.gtids()).rows(ENTRIES) == primary.rows(ENTRIES)


def test_what_was_not_noted_is_shipped_again(world: World) -> None:
    primary = world.primary()
    world.full(primary)
    world.ship(primary)
    write(primary, "one")

    def away(params: dict[str, Any], **_: object) -> None:
        if params["url_path"].endswith("head.json"):
            raise EndpointConnectionError(endpoint_url="https://s3")

    world.s3.meta.events.register("before-call.s3.PutObject", away, unique_id="away")
    before = ends(world)
    with pytest.raises(StoreError, match=r"head\.json"):
        world.ship(primary)
    assert ends(world) == before
    world.s3.meta.events.unregister("before-call.s3.PutObject", unique_id="away")
    write(primary, "two")
    world.ship(primary)
    assert world.restore(primary.gtids()).rows(ENTRIES) == [("one",), ("two",)]


def test_another_machine_goes_on_where_the_one_before_ended(world: World) -> None:
    primary = world.primary()
    replica = world.replica_of(primary)
    world.full(replica)
    write(primary, "one")
    replica.caught_up(primary)
    world.ship(replica)
    # The replica is gone, with what it had not shipped; then it is the primary's turn.
    write(primary, "two")
    replica.kill()
    world.ship(primary)
    primary.run("FLUSH BINARY LOGS")
    write(primary, "three")
    world.ship(primary)
    # And back: another replica, whose log begins in the middle of what was shipped.
    other = world.replica_of(primary)
    write(primary, "four")
    other.caught_up(primary)
    world.ship(other)
    servers = {log.server for log in catalog.logs(world.store, LINE)}
    assert len(servers) == 3
    restored = world.restore(primary.gtids())
    assert restored.rows(ENTRIES) == [("one",), ("two",), ("three",), ("four",)]
    assert restored.gtids() == primary.gtids()


def test_logs_that_are_gone_before_they_were_shipped_are_a_gap(world: World) -> None:
    primary = world.primary()
    full = world.full(primary)
    world.ship(primary)
    write(primary, "shipped")
    world.ship(primary)
    time.sleep(0.05)
    write(primary, "lost")
    primary.run("FLUSH BINARY LOGS")
    write(primary, "later")
    primary.run("PURGE BINARY LOGS TO 'binlog.000002'")
    with pytest.raises(GapError, match="are in no binary log any more"):
        world.ship(primary)
    # A new backup leads on from there; between the two nothing can be had.
    world.full(primary)
    world.ship(primary)
    write(primary, "after")
    world.ship(primary)
    restored = world.restore(primary.gtids())
    assert restored.rows(ENTRIES)[-1] == ("after",)
    late = catalog.logs(world.store, LINE)[-1]
    assert late.first
    with pytest.raises(RestoreError, match=f"after the backup {full.id} have a gap: the trans"):
        world.restore(catalog.moment(late.first + 0.001), name="r2")


def test_before_the_first_backup_nothing_is_shipped(world: World) -> None:
    with pytest.raises(GapError, match="there is no full backup yet"):
        world.ship(world.primary())
    assert world.keys() == []


@pytest.mark.parametrize("harm", ["corrupt", "gone", "cut"])
def test_a_piece_that_is_harmed_is_named(world: World, harm: str) -> None:
    primary = world.primary()
    world.full(primary)
    world.ship(primary)
    write(primary, "one")
    world.ship(primary)
    (log,) = catalog.logs(world.store, LINE)
    piece = catalog.pieces(world.store, log)[-1]
    body = world.s3.get_object(Bucket="backups", Key=piece.key)["Body"].read()
    if harm == "gone":
        world.s3.delete_object(Bucket="backups", Key=piece.key)
    else:
        broken = body[:-20] if harm == "cut" else body[:20] + b"harm" + body[24:]
        world.s3.put_object(Bucket="backups", Key=piece.key, Body=broken)
    expected = "has a hole" if harm == "gone" else f"{piece.key} is corrupt"
    with pytest.raises(RestoreError, match=expected):
        world.restore(primary.gtids())
