"""Which backup a restore takes, what it tells the stack, when it refuses. Pulumi is pretended."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from hosts.base.coordination import Coordination
from hosts.database.backup import catalog, store
from hosts.database.backup import plan as planning
from hosts.database.backup.store import Store
from scripts import backup, deployed, restore
from scripts.restore import change
from scripts.watched import Watched
from tests.scripts.test_backup_script import REGION, SERVER, TABLE, World, full, log

OUTPUTS = {
    "region": REGION,
    "table": TABLE,
    "backups": {"bucket": "backups", "line": "database"},
}
AT = "1970-01-01T01:00:00Z"
Said = pytest.CaptureFixture[str]


class Pulumi:
    """Its CLI: what it was asked, and the stack's configuration."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.config: dict[str, Any] = {}
        self.ups = 0
        self.status = 0

    def __call__(self, *arguments: str) -> str:
        self.asked.append(arguments)
        match arguments[:2]:
            case ("stack", "output"):
                return json.dumps(OUTPUTS)
            case ("stack", "--show-name"):
                return "prod\n"
            case ("config", "--json"):
                return json.dumps(self.config)
            case _:
                return ""

    def up(self, command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        assert command[:2] == ["pulumi", "up"]
        self.ups += 1
        return subprocess.CompletedProcess(command, self.status)

    @property
    def told(self) -> list[str]:
        """What the stack was told, if anything."""
        found = [one for one in self.asked if one[:2] == ("config", "set-all")]
        return [value for value in found[0] if "=" in value] if found else []


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    made = Pulumi()
    monkeypatch.setattr(deployed, "pulumi", made)
    monkeypatch.setattr(restore.subprocess, "run", made.up)
    monkeypatch.setattr(restore, "LOOK", 0.05)
    return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(backup, "POLL", 0.1)
    with mock_aws():
        made = World()
        made.has(full(1000, 50), log(1, 0, 100, (10, 50_000)))
        yield made
        made.end()


def test_a_plan_changes_nothing(world: World, pulumi: Pulumi, capsys: Said) -> None:
    assert restore.main(["--to", AT, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "restore to  1970-01-01T01:00:00Z" in said
    assert "from        at-1000, taken 1970-01-01T00:16:40Z, 1.5 KiB, 2 tables" in said
    assert "then        1 binary logs, 100 B at most" in said
    assert (pulumi.told, pulumi.ups, world.board.read().order) == ([], 0, "")


@pytest.mark.usefixtures("world", "pulumi")
def test_a_plan_for_programs(capsys: Said) -> None:
    assert restore.main(["--to", AT, "--plan", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["restored"], said["to"], said["full"]) == (
        False,
        "1970-01-01T01:00:00Z",
        "at-1000",
    )
    assert len(said["logs"]) == 1


def test_the_stack_is_told_and_brought_up(world: World, pulumi: Pulumi, capsys: Said) -> None:
    assert restore.main(["--to", AT, "--yes", "--no-backup"]) == 0
    name, *others = pulumi.told
    assert name.startswith("site:database.restore.id=")
    assert others == [
        "site:database.restore.to=1970-01-01T01:00:00Z",
        "site:database.restore.bucket=backups",
        "site:database.restore.line=database",
        "site:database.restore.full=",
        "site:database.restore.kept[0]=first",
    ]
    assert pulumi.ups == 1
    assert "The former volumes (first) are still there." in capsys.readouterr().out
    assert world.board.read().order == ""


def test_a_backup_that_was_not_verified_is_taken_if_it_is_named(
    world: World, pulumi: Pulumi, capsys: Said
) -> None:
    world.has(full(1100, 50, good=None), full(1200, 50, good=False))
    asked = ["--to", AT, "--yes", "--no-backup", "--full"]
    assert restore.main([*asked, "at-1200"]) == 1
    assert "at-1200 cannot be restored: " in capsys.readouterr().err
    assert restore.main([*asked, "at-1300"]) == 1
    assert "'at-1300' is no full backup before" in capsys.readouterr().err
    assert pulumi.told == []
    assert restore.main([*asked, "at-1100"]) == 0
    assert "2 tables, not verified: it is compared when it is loaded" in capsys.readouterr().out
    assert "site:database.restore.full=at-1100" in pulumi.told


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("full/at-1000/accounts.sql.gz", "accounts.sql.gz is not there any more"),
        ("logs/{log}/0-100.gz", "has a hole: its piece from byte 0 on is not in"),
    ],
)
def test_what_is_not_in_the_bucket_any_more_is_said_before_anything_is_stopped(
    world: World, pulumi: Pulumi, capsys: Said, key: str, said: str
) -> None:
    folder = log(1, 0, 100, (10, 50_000)).folder.removeprefix("database/logs/")
    world.s3.delete_object(Bucket="backups", Key=f"database/{key.format(log=folder)}")
    assert restore.main(["--to", AT, "--yes", "--no-backup"]) == 1
    assert said in capsys.readouterr().err
    assert (pulumi.told, pulumi.ups) == ([], 0)


def test_the_volumes_of_every_former_restore_are_kept(world: World) -> None:
    way = planning.plan(
        planning.target(AT), catalog.fulls(world.store, "database"), [log(1, 0, 99, (10, 50_000))]
    )
    told = change(way, "", "b", {"id": "r1", "to": "x", "kept": ["first"]}, 0.0)
    assert (told.id, told.kept) == ("19700101t000000", ("r1", "first"))


def test_what_there_is_now_is_backed_up_first(
    world: World, pulumi: Pulumi, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered: list[str] = []

    def order(_: object, what: str, *__: object) -> Any:
        ordered.append(what)
        return backup.Entry(result="at-1000")

    monkeypatch.setattr(backup, "order", order)
    assert restore.main(["--to", AT, "--yes"]) == 0
    assert ordered == ["ship", "full"]
    assert "of what there was is in s3://backups/database/full/at-1000/" in capsys.readouterr().out
    assert pulumi.ups == 1
    assert world.orders == []


def test_from_another_bucket_the_stacks_own_is_backed_up_first(
    world: World, pulumi: Pulumi, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = store.client(REGION)
    s3.create_bucket(
        Bucket="former", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    world.store = Store(s3, "former")
    world.has(full(1000, 50), log(1, 0, 100, (10, 50_000)))

    def order(*_: object) -> Any:
        return backup.Entry(result="at-1000")

    monkeypatch.setattr(backup, "order", order)
    assert restore.main(["--to", AT, "--yes", "--bucket", "former"]) == 0
    assert "of what there was is in s3://backups/database/full/" in capsys.readouterr().out
    assert "site:database.restore.bucket=former" in pulumi.told


def test_without_that_backup_it_goes_on_only_if_told(
    world: World, pulumi: Pulumi, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "TAKEN", 0.3)
    assert restore.main(["--to", AT, "--yes"]) == 1
    assert "could not be backed up first: no database machine took" in capsys.readouterr().err
    assert (pulumi.told, pulumi.ups) == ([], 0)
    assert world.board.read().what == "ship"


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("typed", ["", "yes", "dev"])
def test_it_is_not_done_unless_the_stack_is_named(
    pulumi: Pulumi, typed: str, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    def ask(_: str) -> str:
        return typed

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", ask)
    assert restore.main(["--to", AT, "--no-backup"]) == 1
    assert "not confirmed; nothing was changed" in capsys.readouterr().err
    assert (pulumi.told, pulumi.ups) == ([], 0)


@pytest.mark.usefixtures("world")
def test_with_nobody_to_ask_it_is_refused(
    pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert restore.main(["--to", AT, "--no-backup"]) == 1
    assert "--yes goes on without" in capsys.readouterr().err
    assert pulumi.ups == 0


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("to", "status", "said"),
    [
        ("1970-01-01T00:00:05Z", 1, "there is no full backup before"),
        ("1971-01-01T00:00:00Z", 1, "reach to 1970-01-01T13:53:25Z"),
        (f"{SERVER}:500", 1, "are in no backup and in no binary log"),
        ("tomorrow", 2, "is neither a time such as"),
    ],
)
def test_a_point_that_cannot_be_reached_is_refused_before_anything_is_done(
    pulumi: Pulumi, to: str, status: int, said: str, capsys: Said
) -> None:
    assert restore.main(["--to", to, "--yes", "--no-backup"]) == status
    assert said in capsys.readouterr().err
    assert (pulumi.told, pulumi.ups) == ([], 0)


def test_a_point_before_the_last_restore_is_had_from_the_line_before_it(
    world: World, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.has(full(60_000, 40, line="database-r1"))
    now = {**OUTPUTS, "backups": {"bucket": "backups", "line": "database-r1"}}

    def outputs(_: object) -> dict[str, Any]:
        return now

    monkeypatch.setattr(deployed, "outputs", outputs)
    assert restore.main(["--to", AT, "--yes", "--no-backup"]) == 0
    assert "site:database.restore.line=database" in pulumi.told


def test_the_former_machines_are_stopped_before_there_are_new_ones(
    world: World, pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordination = Coordination(deployed.Deployed(REGION, TABLE).dynamodb(), TABLE)
    for number in (1, 2):
        coordination.register(f"i-{number}", f"database-{number}", "database", f"10.0.0.{number}")
    coordination.register("i-3", "app-server-1", "app-server", "10.0.0.3")
    stopped: list[tuple[str, int]] = []

    def drain(machine: Watched, _: float) -> int:
        stopped.append((machine.name, pulumi.ups))
        return 0

    monkeypatch.setattr(restore, "drain", drain)
    assert restore.main(["--to", AT, "--yes", "--no-backup"]) == 0
    assert sorted(stopped) == [("database-1", 0), ("database-2", 0)]
    assert pulumi.ups == 1
    assert world.orders == []


@pytest.mark.usefixtures("world")
def test_a_pulumi_up_that_fails_is_said(pulumi: Pulumi, capsys: Said) -> None:
    pulumi.status = 255
    assert restore.main(["--to", AT, "--yes", "--no-backup"]) == 1
    assert "`pulumi up` failed: see above." in capsys.readouterr().err
