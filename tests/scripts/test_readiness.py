"""Waiting for machines and draining them, against an AWS in this process and a clock of our own."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from moto import mock_aws

from scripts import watched
from scripts.await_ready import await_ready
from scripts.drain import drain
from scripts.watched import POLL, Watched

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_ec2 import EC2Client

REGION = "eu-central-1"
TABLE = "site-test-coordination"
_client: Any = cast("Any", boto3).client


class World:
    """An AWS with one machine, where things happen at given seconds."""

    def __init__(self, dynamodb: "DynamoDBClient", ec2: "EC2Client", image: str) -> None:
        self.now = 0.0
        self._events: list[tuple[float, Callable[[], None]]] = []
        self.dynamodb = dynamodb
        self.ec2 = ec2
        self.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        run = self.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
        self.instance = run["Instances"][0].get("InstanceId", "")
        self.machine = Watched(
            name="app-server-1",
            instance=self.instance,
            table=TABLE,
            dynamodb=self.dynamodb,
            connect_ec2=lambda: self.ec2,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for at, event in self._events if at <= self.now]
        self._events = [(at, event) for at, event in self._events if at > self.now]
        for event in due:
            event()

    def at(self, second: float, event: Callable[[], None]) -> None:
        """Something happens."""
        if second <= self.now:
            event()
        else:
            self._events.append((second, event))

    def says(self, state: str, detail: str = "", at: float = 0.0) -> None:
        """The machine reports, and keeps any order that it was given."""

        def report() -> None:
            self.dynamodb.update_item(
                TableName=TABLE,
                Key=self.machine.key,
                UpdateExpression="SET #s = :s, detail = :d",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={":s": {"S": state}, ":d": {"S": detail}},
            )

        self.at(at, report)

    def terminate(self, at: float = 0.0) -> None:
        """EC2 ends the instance."""
        self.at(at, lambda: self.ec2.terminate_instances(InstanceIds=[self.instance]) and None)

    @property
    def item(self) -> dict[str, Any] | None:
        """The machine's item."""
        return self.dynamodb.get_item(TableName=TABLE, Key=self.machine.key).get("Item")

    def end(self) -> None:
        """Leaves the AWS as it was."""
        self.ec2.terminate_instances(InstanceIds=[self.instance])
        if TABLE in self.dynamodb.list_tables()["TableNames"]:
            self.dynamodb.delete_table(TableName=TABLE)


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple["DynamoDBClient", "EC2Client", str]]:
    """An AWS in this process, with one machine image."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        with mock_aws():
            ec2: EC2Client = _client("ec2", region_name=REGION)
            image = ec2.register_image(Name="image")["ImageId"]
            yield _client("dynamodb", region_name=REGION), ec2, image


@pytest.fixture
def world(aws: tuple["DynamoDBClient", "EC2Client", str]) -> Iterator[World]:
    world = World(*aws)
    yield world
    world.end()


def test_a_machine_that_is_ready_is_not_waited_for(world: World) -> None:
    world.says("ready")
    assert await_ready(world.machine, 60) == 0
    assert world.now == 0


def test_a_machine_is_waited_for_until_it_is_ready(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("booting", at=3)
    world.says("ready", at=20)
    assert await_ready(world.machine, 60) == 0
    assert 20 <= world.now < 20 + POLL
    name = f"app-server-1 ({world.instance})"
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: no report yet",
        f"{name}: booting",
        f"{name}: ready after 20 s",
    ]


def test_a_machine_that_failed_ends_the_wait_with_its_own_words(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("failed", 'Traceback …\nImportError: no module named "wsgi"', at=5)
    assert await_ready(world.machine, 60) == 1
    assert world.now < 6
    assert capsys.readouterr().err == (
        f"app-server-1 ({world.instance}) failed:\n"
        'Traceback …\nImportError: no module named "wsgi"\n'
    )


def test_a_machine_that_never_comes_ends_the_wait_with_where_to_look(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await_ready(world.machine, 60) == 1
    assert 60 <= world.now < 61
    error = capsys.readouterr().err
    assert "was not ready within 60 s; it last said: no report yet." in error
    assert f"aws ec2 get-console-output --latest --instance-id {world.instance}" in error
    assert "site:machines.readyWithin" in error


def test_a_machine_that_is_still_not_well_ends_the_wait_with_what_it_waits_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("booting", "the application is starting", at=2)
    world.says("booting", "GET /healthz answers 503\nthe ink has run dry", at=9)
    assert await_ready(world.machine, 20) == 1
    error = capsys.readouterr().err
    assert "was not ready within 20 s; it last said: booting." in error
    assert error.endswith("waiting for:\nGET /healthz answers 503\nthe ink has run dry\n")


def test_a_machine_that_ec2_ended_is_not_waited_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("booting", at=1)
    world.terminate(at=10)
    assert await_ready(world.machine, 600) == 1
    assert world.now < 20
    error = capsys.readouterr().err
    # EC2's word a moment after the order may be either.
    ended = r"is (shutting-down|terminated) and was never ready; it last said: booting\."
    assert re.search(ended, error)


def test_a_machine_that_ec2_does_not_know_yet_is_waited_for(world: World) -> None:
    world.machine.instance = "i-0123456789abcdef0"
    world.says("ready", at=30)
    assert await_ready(world.machine, 60) == 0


def test_an_api_that_is_away_for_a_while_is_asked_on(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("ready")
    real = world.dynamodb.get_item

    def away(**request: Any) -> Any:
        if world.now < 10:
            raise ConnectTimeoutError(endpoint_url="https://dynamodb")
        return real(**request)

    monkeypatch.setattr(world.dynamodb, "get_item", away)
    assert await_ready(world.machine, 60) == 0
    assert capsys.readouterr().out.count("AWS does not answer") == 1


def test_an_api_that_refuses_is_an_error_at_once(world: World) -> None:
    world.dynamodb.delete_table(TableName=TABLE)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        await_ready(world.machine, 60)
    assert world.now == 0


def test_a_machine_is_ordered_to_drain_and_waited_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("ready")
    orders: list[dict[str, Any]] = []
    world.at(2, lambda: orders.append(world.item or {}))
    world.says("draining", at=2)
    world.says("drained", at=8)
    assert drain(world.machine, 60) == 0
    assert 8 <= world.now < 8 + POLL
    assert orders[0]["order"] == {"S": "drain"}
    assert world.item is None
    assert capsys.readouterr().out.splitlines()[-1].endswith(": drained")


def test_a_machine_that_does_not_drain_in_time_is_let_go_with_a_warning(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.says("ready")
    assert drain(world.machine, 60) == 0
    assert 60 <= world.now < 61
    assert "did not drain within 60 s" in capsys.readouterr().err
    assert world.item is None


def test_a_machine_that_never_reported_has_nothing_to_drain(world: World) -> None:
    assert drain(world.machine, 60) == 0
    assert world.now == 0
    assert world.item is None, "no item may be made by giving an order"


@pytest.mark.parametrize("detail", ["boot: ValueError: …", "drain: OSError: …"])
def test_a_machine_that_cannot_drain_is_not_waited_for(world: World, detail: str) -> None:
    world.says("failed", detail)
    assert drain(world.machine, 60) == 0
    assert world.now < 1
    assert world.item is None


def test_a_machine_that_failed_but_runs_may_drain(world: World) -> None:
    world.says("failed", "health path answers 500")
    world.says("drained", at=7)
    assert drain(world.machine, 60) == 0
    assert 7 <= world.now < 7 + POLL


def test_a_machine_that_ec2_ended_has_nothing_to_drain(world: World) -> None:
    world.says("ready")
    world.terminate(at=3)
    assert drain(world.machine, 600) == 0
    assert world.now < 10


def test_a_table_that_is_gone_is_no_error(world: World) -> None:
    world.dynamodb.delete_table(TableName=TABLE)
    assert drain(world.machine, 60) == 0


def test_the_machine_is_named_by_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.says("ready")
    for name, value in {
        "SITE_TABLE": TABLE,
        "SITE_REGION": REGION,
        "SITE_MACHINE": "app-server-1",
        "SITE_INSTANCE": world.instance,
        "SITE_READY_WITHIN": "5",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        watched.run(await_ready, "SITE_READY_WITHIN")
    assert ended.value.code == 0


def test_run_by_hand_it_says_what_is_not_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SITE_REGION", raising=False)
    with pytest.raises(SystemExit) as ended:
        watched.run(await_ready, "SITE_READY_WITHIN")
    assert ended.value.code == 2
    assert "SITE_REGION is not set; the Pulumi program sets it" in capsys.readouterr().err


def test_what_aws_refuses_is_one_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.dynamodb.delete_table(TableName=TABLE)
    for name, value in {
        "SITE_TABLE": TABLE,
        "SITE_REGION": REGION,
        "SITE_MACHINE": "app-server-1",
        "SITE_INSTANCE": world.instance,
        "SITE_READY_WITHIN": "5",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        watched.run(await_ready, "SITE_READY_WITHIN")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("app-server-1: AWS does not answer as it should: An error occurred")
    assert said.count("\n") == 1
