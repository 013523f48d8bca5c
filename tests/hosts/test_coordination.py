"""The items of the table, against moto's DynamoDB."""

from collections.abc import Iterator
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from hosts.base.coordination import Coordination, GoneError, UnreachableError
from hosts.base.lease import Lease, Record, Times
from hosts.base.lease import UnreachableError as LeaseUnreachableError
from hosts.base.lease_table import DynamoTable
from tests.hosts.fakes import Clock

TABLE = "coordination"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        made = cast(Any, boto3).client("dynamodb", region_name="eu-central-1")
        made.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield made


def unreachable() -> Any:
    """A client whose requests nobody answers."""
    return cast(Any, boto3).client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(connect_timeout=0.2, retries={"total_max_attempts": 1}),
    )


def test_a_machine_registers_reports_and_is_found(client: Any) -> None:
    table = Coordination(client, TABLE)
    table.register("i-1", "database-1", "database", "10.0.1.5")
    table.register("i-2", "app-server-1", "app-server", "10.0.1.6")
    table.report("i-1", "ready", "primary")
    (found,) = table.machines("database")
    assert (found.id, found.name, found.address) == ("i-1", "database-1", "10.0.1.5")
    assert (found.state, found.detail, found.order) == ("ready", "primary", "")
    assert found.updated > 1_700_000_000


def test_figures_are_of_the_last_report_that_had_any(client: Any) -> None:
    table = Coordination(client, TABLE)
    table.register("i-1", "database-1", "database", "10.0.1.5")
    assert table.read("i-1").figures == {}
    table.report("i-1", "ready", figures={"lag": 0.25, "servers": {"10.0.0.1": {"up": True}}})
    table.report("i-1", "booting", "restoring")
    figures = table.read("i-1").figures
    assert figures == {"lag": 0.25, "servers": {"10.0.0.1": {"up": True}}}


def test_a_lease_is_no_machine(client: Any) -> None:
    lease = Lease(DynamoTable(client, TABLE), "database", "i-1", Times())
    lease.refresh()
    lease.acquire({"role": "database"})
    assert Coordination(client, TABLE).machines("database") == []


def test_an_order_stays_when_its_machine_registers_again(client: Any) -> None:
    table = Coordination(client, TABLE)
    table.register("i-1", "a", "app-server", "10.0.1.5")
    client.update_item(
        TableName=TABLE,
        Key={"id": {"S": "machine/i-1"}},
        UpdateExpression="SET #o = :o",
        ExpressionAttributeNames={"#o": "order"},
        ExpressionAttributeValues={":o": {"S": "drain"}},
    )
    assert table.register("i-1", "a", "app-server", "10.0.1.5").order == "drain"
    assert table.read("i-1").order == "drain"


def test_a_machine_whose_item_was_removed_does_not_make_it_anew_by_reporting(client: Any) -> None:
    table = Coordination(client, TABLE)
    table.register("i-1", "a", "app-server", "10.0.1.5")
    client.delete_item(TableName=TABLE, Key={"id": {"S": "machine/i-1"}})
    with pytest.raises(GoneError):
        table.report("i-1", "drained")
    with pytest.raises(GoneError):
        table.read("i-1")
    assert "Item" not in client.get_item(TableName=TABLE, Key={"id": {"S": "machine/i-1"}})


def test_of_a_long_detail_the_end_is_kept(client: Any) -> None:
    table = Coordination(client, TABLE)
    table.register("i-1", "a", "app-server", "10.0.1.5")
    said = table.report("i-1", "failed", "x" * 9000 + "the error").detail
    assert len(said) == 4000
    assert said.endswith("the error")


def test_a_table_that_does_not_answer_is_an_error_of_its_own() -> None:
    with pytest.raises(UnreachableError):
        Coordination(unreachable(), TABLE).read("i-1")
    with pytest.raises(LeaseUnreachableError):
        DynamoTable(unreachable(), TABLE).read("x")
    with pytest.raises(LeaseUnreachableError):
        DynamoTable(unreachable(), TABLE).write("x", None, {"holder": "a"})


def test_a_lease_lives_in_the_table(client: Any) -> None:
    clock = Clock()
    table = DynamoTable(client, TABLE)
    one = Lease(table, "address-eipalloc-1", "i-1", Times(), clock)
    other = Lease(table, "address-eipalloc-1", "i-2", Times(), clock)
    assert one.refresh() is None
    assert one.acquire({"in_sync": frozenset({"i-1", "i-2"}), "note": "x"})
    assert not other.acquire()
    other.refresh()
    assert other.record == Record(
        "i-1",
        1,
        1,
        released=False,
        lease=3.0,
        extra={"in_sync": frozenset({"i-1", "i-2"}), "note": "x"},
    )
    one.refresh({"note": None})
    assert one.record is not None
    assert one.record.counter == 2
    assert "note" not in one.record.extra
    assert one.release()
    other.refresh()
    assert other.acquire()
    one.refresh()
    assert one.record == other.record
    item = client.get_item(TableName=TABLE, Key={"id": {"S": "lease/address-eipalloc-1"}})["Item"]
    assert item["holder"] == {"S": "i-2"}
    assert item["generation"] == {"N": "2"}
    assert item["released"] == {"BOOL": False}


def test_a_lease_that_is_there_is_not_made_anew(client: Any) -> None:
    table = DynamoTable(client, TABLE)
    new = {"holder": "i-1", "generation": 1, "counter": 1, "released": False, "lease": 3000}
    assert table.write("x", None, new) is not None
    assert table.write("x", None, {**new, "holder": "i-2"}) is None
    record = table.read("x")
    assert record is not None
    assert record.holder == "i-1"
