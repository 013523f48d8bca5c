"""Full backups of a real mysqld while it is written to, and what may go wrong with one."""

import gzip
import io
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from hosts.database.backup import catalog, dump, server
from hosts.database.backup.pipes import Compressed, CorruptError, ProgramError, decompressed
from hosts.database.backup.server import RoomError
from hosts.database.backup.store import StoreError
from tests.hosts.backups import LINE, World, blank_database, world

__all__ = ["blank_database", "world"]

EVERY_TYPE = """CREATE TABLE site.types (
 a FLOAT, b DOUBLE, c DECIMAL(30,10), d BIT(9), e JSON, f GEOMETRY, g VARBINARY(300), h LONGTEXT,
 i TIMESTAMP(6) NULL, j DATETIME(3), k TIME(2), l YEAR, m ENUM('x','y'), n SET('p','q'),
 `o ``dd` VARCHAR(9) COLLATE utf8mb4_bin, p VARCHAR(9) CHARACTER SET latin1,
 q INT GENERATED ALWAYS AS (LENGTH(h)) VIRTUAL, r INT GENERATED ALWAYS AS (LENGTH(h)) STORED)"""
VALUES = """INSERT INTO site.types (a,b,c,d,e,f,g,h,i,j,k,l,m,n,`o ``dd`,p) VALUES
 (1.1234567, 0.1, 12345678901234567890.5, b'101010101', '{"b": [1, null], "a": 1e100}',
  ST_GeomFromText('POINT(1.5 -2)'), UNHEX('00ff5c270a1a'), REPEAT('ü\\\\n''"', 1000),
  '2026-03-29 01:30:00.123456', '9999-12-31', '-838:59:59', 1999, 'y', 'p,q', '%s', 'é'),
 (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL),
 (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)"""


def test_a_backup_is_of_one_moment_and_of_everything(world: World) -> None:
    primary = world.primary()
    primary.run(
        EVERY_TYPE,
        "CREATE VIEW site.v AS SELECT 1 AS one",
        "CREATE PROCEDURE site.p() SELECT 1",
        "CREATE TRIGGER site.g BEFORE INSERT ON site.entries FOR EACH ROW SET NEW.what = NEW.what",
        "CREATE EVENT site.e ON SCHEDULE EVERY 1 DAY DO DELETE FROM site.entries",
        "CREATE DATABASE `an ``other`",
        "CREATE TABLE `an ``other`.t (id INT)",
    )
    with primary.session() as session:
        session.run(VALUES.replace("%", "%%"))
    stop = threading.Event()

    def write() -> None:
        # Both tables in one transaction: a snapshot of two moments would have them differ.
        with primary.session() as session:
            while not stop.is_set():
                session.run("BEGIN")
                session.run("INSERT INTO site.entries (what) VALUES (REPEAT('x', 90))")
                session.run("INSERT INTO `an ``other`.t VALUES (1)")
                session.run("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 30
        while primary.rows("SELECT COUNT(*) < 200 FROM site.entries")[0][0]:
            assert time.monotonic() < deadline
        full = dump.dump(primary.socket, world.store, LINE, "database-1", world.said.append)
        after = primary.rows("SELECT COUNT(*) FROM site.entries")[0][0]
    finally:
        stop.set()
        writer.join()
    rows = {name: table.rows for name, table in full.tables.items()}
    assert rows["site.entries"] == rows["an `other.t"] < after, "it was written to all the while"
    assert rows["site.types"] == 3
    assert set(full.objects) == {"site: views", "site: routines", "site: triggers", "site: events"}
    verdict = world.verify(full)
    assert verdict.good, verdict.detail
    (kept,) = catalog.fulls(world.store, LINE)
    assert kept.verified
    assert kept.verified.good


def test_what_differs_from_the_manifest_is_said(world: World) -> None:
    primary = world.primary()
    primary.run("INSERT INTO site.entries (what) VALUES ('a'), ('b')")
    full = dump.dump(primary.socket, world.store, LINE, "database-1", world.said.append)
    body, _ = world.store.open(f"{full.folder}/data.sql.gz")
    text = gzip.decompress(body.read()).replace(b"(1,'a')", b"(1,'c')")
    changed = Compressed(io.BytesIO(text))
    world.store.upload(f"{full.folder}/data.sql.gz", changed)
    verdict = world.verify(replace(full, sha256=changed.sha256))
    assert (verdict.good, verdict.detail) == (False, "site.entries has other content")
    verdict = world.verify(full)
    assert not verdict.good
    assert "is corrupt: it has not the digest that was noted" in verdict.detail
    (kept,) = catalog.fulls(world.store, LINE)
    assert kept.verified
    assert not kept.verified.good
    assert not (world.folder / "scratch").exists()


class Away:
    """S3 that goes away in the middle of an upload."""

    def __init__(self, s3: Any) -> None:
        self.parts = 0
        self.away = True
        s3.meta.events.register("before-send.s3.UploadPart", self)

    def __call__(self, **_: object) -> None:
        self.parts += 1
        if self.away and self.parts > 1:
            raise EndpointConnectionError(endpoint_url="https://s3")


def fill(world: World, mebibytes: int) -> Any:
    primary = world.primary()
    with primary.session() as session:
        session.run("INSERT INTO site.entries (what) VALUES ('x')")
        session.run("CREATE TABLE site.big (id INT AUTO_INCREMENT PRIMARY KEY, b BLOB)")
        session.run("SET cte_max_recursion_depth = 1000000")
        # Random bytes: they cannot be compressed, and so take many parts.
        session.run(
            "INSERT INTO site.big (b) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL"
            " SELECT i + 1 FROM n WHERE i < %s) SELECT RANDOM_BYTES(1024) FROM n",
            mebibytes * 64,
        )
        for _ in range(4):
            session.run("INSERT INTO site.big (b) SELECT REVERSE(b) FROM site.big")
    return primary


def test_s3_that_goes_away_leaves_no_backup_and_the_next_one_is_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hosts.database.backup.store.SMALLEST_PART", 5 * 1024 * 1024)
    primary = fill(world, 12)
    away = Away(world.s3)
    with pytest.raises(StoreError, match="could not write s3://backups/database/full/"):
        dump.dump(primary.socket, world.store, LINE, "database-1", world.said.append)
    assert away.parts >= 2
    assert world.keys() == []
    assert world.s3.list_multipart_uploads(Bucket="backups").get("Uploads", []) == []
    assert primary.rows(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'site'"
    ) == [(0,)], "mysqldump is gone, too"
    away.away = False
    full = dump.dump(primary.socket, world.store, LINE, "database-1", world.said.append)
    assert [one.id for one in catalog.fulls(world.store, LINE)] == [full.id]


def test_a_mysqld_that_dies_meanwhile_leaves_no_backup(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hosts.database.backup.store.SMALLEST_PART", 5 * 1024 * 1024)
    primary = fill(world, 12)

    def die(**_: object) -> None:
        primary.kill()

    world.s3.meta.events.register("before-send.s3.UploadPart", die)
    with pytest.raises(ProgramError, match=r"mysqldump failed: .*Lost connection"):
        dump.dump(primary.socket, world.store, LINE, "database-1", world.said.append)
    assert world.keys() == []
    assert world.s3.list_multipart_uploads(Bucket="backups").get("Uploads", []) == []


def test_a_disk_without_room_is_refused_before_anything_is_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = dump.dump(world.primary().socket, world.store, LINE, "database-1", world.said.append)
    mib = 1024 * 1024

    def disk(_: Path) -> object:
        return SimpleNamespace(total=2000 * mib, free=300 * mib)

    monkeypatch.setattr(shutil, "disk_usage", disk)
    with pytest.raises(RoomError, match=r"takes 450 MiB and .* has 100 MiB to spare .*volumeSize"):
        world.verify(full)
    (kept,) = catalog.fulls(world.store, LINE)
    assert kept.verified is None, "nothing is known of it"


def test_a_lock_whose_holder_is_frozen_is_ended_by_mysqld(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = world.primary()
    frozen = threading.Event()

    def freeze(*_: object) -> None:
        frozen.wait(30)
        raise dump.DumpError("thawed")

    monkeypatch.setattr(dump, "_await_snapshot", freeze)

    def back_up() -> None:
        with pytest.raises(dump.DumpError):
            dump.dump(primary.socket, world.store, LINE, "database-1", world.said.append)

    process = threading.Thread(target=back_up)
    process.start()
    began = time.monotonic()
    with server.connect(primary.socket, 20) as session:
        while not session.rows(
            "SELECT 1 FROM performance_schema.metadata_locks WHERE object_type = 'GLOBAL'"
            " AND lock_type = 'SHARED'"
        ):
            assert time.monotonic() - began < 10
        session.run("INSERT INTO site.entries (what) VALUES ('waits')")
    assert time.monotonic() - began < dump.SILENT + 3
    frozen.set()
    process.join()


@pytest.mark.parametrize("size", [0, 1, 100, 10_000_000])
def test_what_is_compressed_comes_back(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stream = Compressed(io.BytesIO(content))
    packed = b"".join(iter(lambda: stream.read(70_000), b""))
    assert (stream.raw_size, stream.size) == (size, len(packed))
    assert b"".join(decompressed(io.BytesIO(packed), "it", stream.sha256)) == content
    for broken in (packed[:-1], packed + b"x", packed[: len(packed) // 2] + b"\0" + packed):
        with pytest.raises(CorruptError, match="it is corrupt"):
            list(decompressed(io.BytesIO(broken), "it", stream.sha256))


def test_nothing_is_left_running(blank_database: Path) -> None:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"--datadir={blank_database.parent.parent}" not in listed.stdout
