"""Backups from the command line, against a bucket and a table of this process's own."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from hosts.database.backup import store
from hosts.database.backup.board import Board
from hosts.database.backup.catalog import Full, Log, Table
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.store import Store
from scripts import backup
from tests import full_backup
from tests.full_backup import SERVER

REGION = "eu-central-1"
TABLE = "site-test-coordination"
TOLD = ["--table", TABLE, "--region", REGION, "--bucket", "backups"]


def full(time: float, last: int, *, good: bool | None = True, line: str = "database") -> Full:
    return full_backup.full(
        time,
        good=good,
        detail="as they were",
        line=line,
        gtids=Gtids.parse(f"{SERVER}:1-{last}"),
        size=1536,
        tables={"site.entries": Table(last, "x"), "site.users": Table(0, "y")},
    )


def log(number: int, before: int, last: int, times: tuple[float, float]) -> Log:
    return Log(
        line="database",
        server=SERVER,
        name=f"binlog.{number:06}",
        begun=int(times[0]),
        previous=Gtids.parse(f"{SERVER}:1-{before}" if before else ""),
        executed=Gtids.parse(f"{SERVER}:1-{last}"),
        end=100,
        first=times[0],
        last=times[1],
        as_of=times[1] + 5,
        machine="database-2",
    )


class World:
    """What machines left, and a machine that takes orders."""

    def __init__(self) -> None:
        dynamodb = cast("Any", boto3).client("dynamodb", region_name=REGION)
        dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.board = Board(dynamodb, TABLE, "database")
        self.s3 = store.client(REGION)
        self.s3.create_bucket(
            Bucket="backups", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        self.store = Store(self.s3, "backups")
        self.orders: list[str] = []
        self._machine: threading.Thread | None = None

    def has(self, *content: Full | Log) -> None:
        for one in content:
            name = "manifest" if isinstance(one, Full) else "head"
            self.store.write(f"{one.folder}/{name}.json", one.to_json())
            with_it = (
                ("data.sql.gz", "accounts.sql.gz")
                if isinstance(one, Full)
                else (f"0-{one.end}.gz",)
            )
            for part in with_it:
                self.s3.put_object(Bucket=self.store.bucket, Key=f"{one.folder}/{part}")
            if isinstance(one, Full) and one.verified:
                self.store.write(f"{one.folder}/verified.json", one.verified.to_json())

    def machine(
        self, *, outcome: str, result: str, before: Callable[[], None] | None = None
    ) -> None:
        """One that takes the next order."""

        def work() -> None:
            deadline = time.monotonic() + 20
            while not (entry := self.board.read()).open:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            self.orders.append(entry.what)
            self.board.report("database-2", "dumping")
            time.sleep(0.3)
            if before:
                before()
            self.board.close(entry.order, "database-2", outcome, result)

        self._machine = threading.Thread(target=work)
        self._machine.start()

    def end(self) -> None:
        if self._machine:
            self._machine.join()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(backup, "POLL", 0.1)
    with mock_aws():
        made = World()
        yield made
        made.end()


Said = pytest.CaptureFixture[str]


def test_backups_are_listed_in_columns_with_what_can_be_restored(
    world: World, capsys: Said
) -> None:
    world.has(full(1000, 50), full(90_000, 150, good=None), full(180_000, 200, good=False))
    world.has(log(1, 0, 100, (10, 50_000)), log(2, 100, 300, (60_000, 200_000)))
    assert backup.main(["list", *TOLD]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ID         TAKEN (UTC)          FROM           SIZE  TABLES  ROWS  VERIFIED",
        "at-1000    1970-01-01 00:16:40  database-2  1.5 KiB       2    50  yes",
        "at-90000   1970-01-02 01:00:00  database-2  1.5 KiB       2   150  not yet",
        "at-180000  1970-01-03 02:00:00  database-2  1.5 KiB       2   200  NO: as they were",
        "",
        "restorable to any time from 1970-01-01T00:16:40Z to 1970-01-03T07:33:25Z",
    ]


def test_a_gap_shows_in_the_list(world: World, capsys: Said) -> None:
    world.has(full(1000, 50), log(1, 0, 100, (10, 50_000)), log(3, 200, 300, (60_000, 70_000)))
    assert backup.main(["list", *TOLD]) == 0
    said = capsys.readouterr().out
    assert "to 1970-01-01T13:53:20Z\n" in said
    assert f"have a gap: the transactions {SERVER}:101-200 are in none" in said


def test_a_list_for_programs_is_json(world: World, capsys: Said) -> None:
    world.has(full(1000, 50), log(1, 0, 100, (10, 50_000)))
    assert backup.main(["list", "--json", *TOLD]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in content["backups"]] == ["at-1000"]
    assert content["backups"][0]["verified"]["good"] is True
    assert content["restorable"] == {
        "from": "1970-01-01T00:16:40Z",
        "to": "1970-01-01T13:53:25Z",
        "gap": "",
    }


def test_with_nothing_to_restore_the_list_fails(world: World) -> None:
    assert backup.main(["list", *TOLD]) == 1
    world.has(full(1000, 50, good=None))
    assert backup.main(["list", *TOLD]) == 1


def test_a_backup_is_ordered_and_shown(world: World, capsys: Said) -> None:
    world.machine(outcome="good", result="at-2000", before=lambda: world.has(full(2000, 60)))
    assert backup.main(["now", *TOLD]) == 0
    assert world.orders == ["full"]
    assert capsys.readouterr().out.splitlines() == [
        "database-2: dumping",
        "at-2000: as they were",
    ]


def test_what_a_machine_could_not_do_is_its_own_sentence(world: World, capsys: Said) -> None:
    world.machine(outcome="failed", result="mysqldump failed: the server has gone away")
    assert backup.main(["now", "--json", *TOLD]) == 1
    said = capsys.readouterr()
    why = "database-2: mysqldump failed: the server has gone away"
    assert json.loads(said.out) == {"error": why}
    assert said.err.splitlines()[-1] == why


def test_an_order_that_nobody_takes_ends_with_where_to_look(
    world: World, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "TAKEN", 0.5)
    assert backup.main(["now", *TOLD]) == 1
    assert "no database machine took the order" in capsys.readouterr().err
    assert world.board.read().open


def test_two_orders_do_not_meet(world: World, capsys: Said) -> None:
    world.board.order("somebody's", "full")
    world.board.report("database-2", "dumped 5 MiB")
    assert backup.main(["now", *TOLD]) == 1
    assert "is at another order (full: dumped 5 MiB)" in capsys.readouterr().err
    assert world.board.read().order == "somebody's"


def test_the_newest_backup_is_verified_unless_one_is_named(world: World, capsys: Said) -> None:
    world.has(full(1000, 50), full(2000, 60))
    world.machine(outcome="good", result="as they were")
    assert backup.main(["verify", *TOLD]) == 0
    world.end()
    world.machine(outcome="good", result="as they were")
    assert backup.main(["verify", "at-1000", *TOLD]) == 0
    assert world.orders == ["verify database/at-2000", "verify database/at-1000"]
    assert backup.main(["verify", "at-1", *TOLD]) == 1
    assert "there is no backup at-1; the newest are at-1000, at-2000" in capsys.readouterr().err


def environment(final: str) -> dict[str, str]:
    return {
        "SITE_TABLE": TABLE,
        "SITE_REGION": REGION,
        "SITE_BUCKET": "backups",
        "SITE_LINE": "database",
        "SITE_FINAL_BACKUP": final,
    }


def final(monkeypatch: pytest.MonkeyPatch, wanted: str) -> int:
    for name, value in environment(wanted).items():
        monkeypatch.setenv(name, value)
    return backup.main(["final"])


def test_the_final_backup_says_where_it_is(
    world: World, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.machine(outcome="good", result="at-2000", before=lambda: world.has(full(2000, 60)))
    assert final(monkeypatch, "yes") == 0
    assert "the final backup is s3://backups/database/full/at-2000/" in capsys.readouterr().out


def test_a_final_backup_that_there_is_no_room_to_verify_is_enough(
    world: World, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.machine(
        outcome="good",
        result="at-2000 there is no room",
        before=lambda: world.has(full(2000, 60, good=None)),
    )
    assert final(monkeypatch, "yes") == 0
    said = capsys.readouterr().out
    assert "at-2000 is there, and not verified: there is no room" in said
    assert "the final backup is s3://backups/database/full/at-2000/" in said


def test_no_final_backup_is_no_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert final(monkeypatch, "no") == 0
    assert not world.board.read().order


def test_a_final_backup_that_fails_stops_the_destruction_and_says_the_way_out(
    world: World, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.machine(outcome="failed", result="there is no room")
    assert final(monkeypatch, "yes") == 1
    said = capsys.readouterr().err
    assert "nothing more is destroyed: database-2: there is no room" in said
    assert "site:backups.finalBackup false" in said


@pytest.mark.parametrize("arguments", [[], ["dance"], ["verify", "a", "b"]])
def test_what_is_not_understood_is_said(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        backup.main(arguments)
    assert ended.value.code == 2


def test_a_table_without_a_bucket_is_not_enough(world: World, capsys: Said) -> None:
    assert world.orders == []
    assert backup.main(["list", "--table", TABLE, "--region", REGION]) == 2
    assert "--table and --region need --bucket, too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert backup.size(count) == text
