"""Journals, as CloudWatch Logs keeps them, of machines that are there and that are gone."""

import json
import time
from collections.abc import Iterator
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from scripts import logs
from scripts.command import DONE, NO, UNASKED
from scripts.logs import Journals

REGION = "eu-central-1"
TABLE = "site-prod-coordination"
TOLD = ["--table", TABLE, "--region", REGION]
GROUP = "/site/prod"
OLD, NEW = "app-server-1/i-old", "app-server-1/i-new"

Said = pytest.CaptureFixture[str]


class World:
    """A stack's table, whose tags say whose it is, and a group of logs."""

    def __init__(self) -> None:
        aws: Any = cast("Any", boto3)
        self.logs = aws.client("logs", region_name=REGION)
        aws.client("dynamodb", region_name=REGION).create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            Tags=[{"Key": "Project", "Value": "site"}, {"Key": "Stack", "Value": "prod"}],
        )
        self.logs.create_log_group(logGroupName=GROUP)
        self.streams: set[str] = set()
        self.now = round(time.time() * 1000)

    def said(self, stream: str, message: str, ago: float, **more: Any) -> None:
        """A machine's journal got an entry so many seconds ago."""
        if stream not in self.streams:
            self.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
            self.streams.add(stream)
        entry = {"unit": "site-agent.service", "priority": 6, "message": message, **more}
        self.raw(stream, json.dumps(entry), ago)

    def raw(self, stream: str, text: str, ago: float) -> None:
        self.logs.put_log_events(
            logGroupName=GROUP,
            logStreamName=stream,
            logEvents=[{"timestamp": self.now - round(ago * 1000), "message": text}],
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        made = World()
        made.said(OLD, "the last words", 1200)
        made.said(NEW, "started", 600)
        made.said(NEW, "denied", 300, priority=3, unit="mysql.service")
        made.said("database-1/i-db", "primary", 400)
        yield made


def messages(said: str) -> list[str]:
    return [line.rpartition(" ")[2] for line in said.splitlines()]


@pytest.mark.usefixtures("world")
def test_every_machine_of_the_name_is_read_in_order_also_one_that_is_gone(capsys: Said) -> None:
    assert logs.main(["app-server-1", *TOLD]) == DONE
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(" app-server-1 site-agent: the last words")
    assert second.endswith(" app-server-1 site-agent: started")
    assert third.endswith(" app-server-1 mysql: ! denied")


@pytest.mark.usefixtures("world")
def test_one_machine_is_named_by_its_instance_and_one_unit_by_its_name(capsys: Said) -> None:
    assert logs.main(["i-old", *TOLD]) == DONE
    assert messages(capsys.readouterr().out) == ["words"]
    assert logs.main(["app-server-1", "--unit", "mysql", *TOLD]) == DONE
    assert messages(capsys.readouterr().out) == ["denied"]


@pytest.mark.usefixtures("world")
def test_only_what_was_said_since(capsys: Said) -> None:
    assert logs.main(["app-server-1", "--since", "15m", *TOLD]) == DONE
    assert messages(capsys.readouterr().out) == ["started", "denied"]
    assert logs.main(["app-server-1", "--since", "30s", *TOLD]) == NO
    assert "app-server-1 logged nothing of that kind" in capsys.readouterr().err


@pytest.mark.usefixtures("world")
def test_for_programs_each_line_is_an_object(capsys: Said) -> None:
    assert logs.main(["app-server-1", "--json", "--since", "400s", *TOLD]) == DONE
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["machine"], line["instance"], line["unit"]) == (
        "app-server-1",
        "i-new",
        "mysql.service",
    )
    assert (line["priority"], line["message"]) == (3, "denied")
    assert abs(line["time"] - time.time() + 300) < 60


def test_what_is_no_json_is_shown_as_it_is(world: World, capsys: Said) -> None:
    world.raw(NEW, "[    0.0] Linux version 7.0", 10)
    world.raw(NEW, "[1, 2]", 5)
    assert logs.main(["app-server-1", "--since", "1m", *TOLD]) == DONE
    assert [
        line.partition("app-server-1 ")[2] for line in capsys.readouterr().out.splitlines()
    ] == [
        "[    0.0] Linux version 7.0",
        "[1, 2]",
    ]


def test_following_shows_each_line_once_however_late_it_comes(world: World) -> None:
    events = [
        lambda: world.said(NEW, "newer", 1),
        lambda: world.said(NEW, "late", 20),
        lambda: world.said("app-server-1/i-next", "another machine", 0),
    ]

    def sleep(_: float) -> None:
        if not events:
            raise KeyboardInterrupt
        events.pop(0)()

    journals = Journals(world.logs, GROUP)
    lines = journals.follow("app-server-1", world.now - 400_000, sleep)
    seen = [next(lines).message for _ in range(4)]
    assert seen == ["denied", "newer", "late", "another machine"]


def test_ctrl_c_is_how_following_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    assert world.streams

    def follow(*_: object) -> Iterator[Any]:
        yield logs.Line("1", world.now, "app-server-1", "i-new", "", 6, "a line")
        raise KeyboardInterrupt

    monkeypatch.setattr(Journals, "follow", follow)
    assert logs.main(["app-server-1", "--follow", *TOLD]) == DONE
    assert "a line" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ["app-server-9"],
            NO,
            "no machine app-server-9 has logged anything; there are app-server-1",
        ),
        (["app-server-1", "--since", "yesterday"], UNASKED, "--since 'yesterday': 90s, 15m, 2h"),
    ],
)
@pytest.mark.usefixtures("world")
def test_what_cannot_be_had_is_said_in_a_line(
    arguments: list[str], status: int, said: str, capsys: Said
) -> None:
    assert logs.main([*arguments, *TOLD]) == status
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_stack_without_a_group_is_told_how_to_get_one(world: World, capsys: Said) -> None:
    world.logs.delete_log_group(logGroupName=GROUP)
    assert logs.main(["app-server-1", *TOLD]) == UNASKED
    assert f"there is no group {GROUP} in CloudWatch Logs" in capsys.readouterr().err


def test_a_time_may_be_given_in_two_ways() -> None:
    assert logs.since("2h", 10_000) == 2_800_000
    assert logs.since("1970-01-01T00:00:10Z", 0) == logs.since("1970-01-01T00:00:10", 0) == 10_000
