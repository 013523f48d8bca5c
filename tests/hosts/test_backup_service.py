"""The process that backs up: whose turn it is, orders, failures. The work itself is pretended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from hosts.base.coordination import UnreachableError
from hosts.base.lease import Record
from hosts.database.backup import catalog, service, store
from hosts.database.backup.board import Board
from hosts.database.backup.catalog import Verdict
from hosts.database.backup.dump import DumpError
from hosts.database.backup.schedule import Settings
from hosts.database.backup.server import RoomError
from hosts.database.backup.service import Duty, Here, Shipping, Work
from hosts.database.backup.ship import GapError
from hosts.database.backup.store import Store
from tests.hosts.fakes import Clock, MemoryTable
from tests.hosts.test_backup_plan import full

REGION = "eu-central-1"
ME, OTHER = "database-2/vol-2", "database-1/vol-1"
DAY = 86400


class World:
    """One machine's process, with a bucket and a table of this process's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.table = MemoryTable()
        self.leads(OTHER, {OTHER, ME})
        dynamodb = cast("Any", boto3).client("dynamodb", region_name=REGION)
        dynamodb.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.board = Board(dynamodb, "t", "database")
        s3 = store.client(REGION)
        s3.create_bucket(
            Bucket="backups", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        self.store = Store(s3, "backups")
        self.clock = Clock(10 * DAY + 4 * 3600)
        self.settings: Settings | None = Settings(
            bucket="backups", at="03:00", every=24, ship_every=10, verify=True
        )
        self.done: list[str] = []
        self.fails: list[Exception] = []
        self.verdict = True
        here = Here(
            machine="database-2",
            member=ME,
            line="database",
            socket=folder / "s",
            data=folder,
            scratch=folder / "scratch",
        )
        duty = Duty(here, cast("Any", self.table))

        def open_store(_: str) -> Store:
            return self.store

        self.shipping = Shipping(
            here=here, duty=duty, settings=lambda: self.settings, open_store=open_store
        )
        self.work = Work(
            here=here,
            duty=duty,
            settings=lambda: self.settings,
            open_store=open_store,
            board=self.board,
            shipping=self.shipping,
            clock=self.clock,
        )
        monkeypatch.setattr(service, "dump", self._dump)
        monkeypatch.setattr(service, "verify", self._verify)
        monkeypatch.setattr(service, "connect", self._connect)
        monkeypatch.setattr(service, "Shipper", self._shipper)
        monkeypatch.setattr(service, "LOOP", 20.0)  # fewer turns

    def leads(self, holder: str, in_sync: set[str]) -> None:
        extra = {"in_sync": frozenset(in_sync)}
        record = Record(holder, 1, 1, released=False, lease=3.0, extra=extra)
        self.table.records["database"] = record

    def _dump(self, *_: object) -> Any:
        self.done.append("dump")
        if self.fails:
            raise self.fails.pop(0)
        made = full(self.clock.now, "", good=None)
        self.store.write(f"{made.folder}/manifest.json", made.to_json())
        return made

    def _verify(self, _store: Store, what: Any, *_: object) -> Verdict:
        self.done.append(f"verify {what.id}")
        verdict = Verdict(self.verdict, "tried", self.clock.now, "database-2")
        self.store.write(f"{what.folder}/verified.json", verdict.to_json())
        return verdict

    def _connect(self, *_: object) -> "_Session":
        return _Session(self.done)

    def _shipper(self, *_: object) -> "_Shipper":
        return _Shipper(self)

    def turns(self, seconds: float) -> None:
        """The loop for a while."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            try:
                self.work.step()
            except service.Failed as error:
                self.done.append(f"failed: {error}")
            self.clock.advance(service.LOOP)


class _Session:
    def __init__(self, done: list[str]) -> None:
        self._done = done

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, statement: str) -> None:
        self._done.append(statement)


class _Shipper:
    bucket = "backups"

    def __init__(self, world: World) -> None:
        self._world = world

    def ship(self, _: object) -> int:
        self._world.done.append("ship")
        if self._world.fails:
            raise self._world.fails.pop(0)
        return 0


ONE = ["dump", "FLUSH LOCAL BINARY LOGS", f"verify at-{10 * DAY + 4 * 3600}"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield World(monkeypatch, tmp_path)


def test_a_new_database_is_backed_up_at_once_and_then_by_schedule(world: World) -> None:
    world.turns(3600)
    assert world.done == ONE
    world.clock.now = 11 * DAY + 3 * 3600 - 600
    world.turns(300)
    assert world.done == ONE
    world.turns(1200)
    assert world.done.count("dump") == 2


def test_only_one_machine_backs_up(world: World) -> None:
    world.leads(ME, {OTHER, ME})
    world.turns(600)
    for _ in range(3):
        assert world.shipping.step() == service.LOOP
    # Should it be its turn again, what it ships is in a log of its own.
    assert world.done == ["FLUSH LOCAL BINARY LOGS"]
    world.leads(ME, {ME})
    world.turns(600)
    assert world.done[1:3] == ONE[:2]


def test_a_log_ends_when_another_machine_ships(world: World) -> None:
    world.shipping.step()
    world.leads(ME, {OTHER, ME})
    for _ in range(3):
        world.shipping.step()
    world.leads(ME, {ME})
    world.shipping.step()
    assert world.done == ["ship", "FLUSH LOCAL BINARY LOGS", "ship"]


def test_while_the_table_is_away_the_logs_go_on_and_nothing_new_is_begun(world: World) -> None:
    assert world.shipping.step() == 10
    world.table.unreachable = True
    assert world.shipping.step() == 10
    assert world.done == ["ship", "ship"]


def test_without_settings_nothing_is_done(world: World) -> None:
    world.settings = None
    world.turns(600)
    world.shipping.step()
    assert world.done == []


def test_a_backup_that_failed_is_tried_again_after_a_while(world: World) -> None:
    world.fails = [DumpError("mysqld is away")]
    world.turns(service.AGAIN - 10)
    assert world.done == ["dump", "failed: mysqld is away"]
    world.turns(60)
    assert world.done.count("dump") == 2
    assert not world.fails


def test_a_backup_that_cannot_be_restored_does_not_count(world: World) -> None:
    world.verdict = False
    world.turns(service.AGAIN + 60)
    assert world.done.count("dump") == 2


def test_a_gap_in_the_logs_asks_for_a_full_backup(world: World) -> None:
    world.turns(600)
    world.fails = [GapError("the transactions x:5 are in no binary log any more")]
    world.shipping.step()
    world.turns(service.AGAIN + 60)
    assert world.done.count("dump") == 2
    assert not world.shipping.gap.is_set()


def test_a_gap_stays_open_until_a_backup_after_it_is_good(world: World) -> None:
    world.turns(600)
    world.fails = [GapError("the transactions x:5 are in no binary log any more")]
    world.shipping.step()
    world.verdict = False
    world.turns(service.AGAIN + 60)
    assert world.shipping.gap.is_set()
    world.verdict = True
    world.turns(service.AGAIN + 60)
    assert not world.shipping.gap.is_set()


def test_an_order_is_carried_out_and_answered(world: World) -> None:
    world.turns(60)
    world.done.clear()
    world.board.order("o1", "full")
    world.turns(60)
    assert [one.split()[0] for one in world.done] == ["dump", "FLUSH", "verify", "ship"]
    entry = world.board.read()
    assert (entry.done, entry.outcome, entry.open) == ("o1", "good", False)
    assert entry.result.startswith("at-")
    assert entry.machine == "database-2"


def test_an_order_of_a_machine_that_is_gone_is_carried_out_by_the_next_one(world: World) -> None:
    world.turns(60)
    world.board.order("o1", "full")
    world.board.report("database-3", "dumped 5 MiB")
    world.turns(10)
    assert world.board.read().done == "o1"


def test_an_order_that_fails_is_tried_again_and_then_given_up(world: World) -> None:
    world.turns(60)
    world.fails = [DumpError("one"), DumpError("two"), DumpError("three"), DumpError("four")]
    world.board.order("o1", "full")
    world.turns(60)
    entry = world.board.read()
    assert (entry.done, entry.outcome, entry.result) == ("o1", "failed", "three")


@pytest.mark.parametrize(
    ("what", "reason"),
    [("verify database/none", "none/manifest.json"), ("dance", "nothing that can be ordered")],
)
def test_an_order_that_cannot_be_carried_out_is_refused(
    world: World, what: str, reason: str
) -> None:
    world.turns(60)
    world.board.order("o1", what)
    world.turns(60)
    entry = world.board.read()
    assert entry.outcome == "failed"
    assert reason in entry.result


def test_a_backup_that_there_is_no_room_to_verify_is_a_backup_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.turns(60)
    tried: list[int] = []

    def full_disk(*_: object) -> None:
        tried.append(1)
        raise RoomError("there is no room")

    monkeypatch.setattr(service, "verify", full_disk)
    world.board.order("o1", "full")
    world.turns(60)
    entry = world.board.read()
    assert (entry.outcome, len(tried)) == ("good", 1)
    name, _, why = entry.result.partition(" ")
    assert why == "there is no room"
    assert catalog.full(world.store, "database", name).verified is None


def test_reports_that_cannot_be_made_stop_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise UnreachableError("away")

    monkeypatch.setattr(world.board, "report", away)
    world.board.order("o1", "full")
    world.turns(10)
    assert world.board.read().outcome == "good"
