"""Journals on their way to CloudWatch Logs: whole, in order, once more rather than once too few."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from hosts.base import logs
from hosts.base.logs import Batch, Event, Shipper, Stream, parse

NOW = 1_800_000_000_000


def line(**fields: object) -> str:
    return json.dumps(
        {
            "__CURSOR": "s=1",
            "__REALTIME_TIMESTAMP": str(NOW * 1000 + 999),
            "PRIORITY": "3",
            "_SYSTEMD_UNIT": "mysql.service",
            "_PID": "42",
            "MESSAGE": "last words",
            **fields,
        }
    )


def events(count: int, size: int = 10) -> list[Event]:
    return [Event(NOW + number, "x" * size, f"c{number}") for number in range(count)]


def queued(found: list[Event]) -> "queue.Queue[Event]":
    waiting: queue.Queue[Event] = queue.Queue()
    for event in found:
        waiting.put(event)
    return waiting


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutLogEvents")


def test_an_entry_keeps_who_said_what_and_when() -> None:
    event = parse(line())
    assert event
    assert (event.time, event.cursor) == (NOW, "s=1")
    assert json.loads(event.text) == {
        "unit": "mysql.service",
        "priority": 3,
        "pid": "42",
        "message": "last words",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"MESSAGE": [104, 105, 255]}, "hi\ufffd"),
        ({"MESSAGE": "x" * (logs.LONGEST + 1)}, "x" * logs.LONGEST),
        ({"MESSAGE": "größer\nund größer"}, "größer\nund größer"),
        ({"MESSAGE": ["the first", "the second"]}, "the first"),
        ({"MESSAGE": [[104, 105, 255], "the second"]}, "hi\ufffd"),
        ({"MESSAGE": "half a pair: \ud83d"}, "half a pair: ?"),
    ],
)
def test_whatever_was_said_becomes_text_of_bounded_length(
    fields: dict[str, object], message: str
) -> None:
    event = parse(line(**fields))
    assert event
    assert json.loads(event.text)["message"] == message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"PRIORITY": "9"}, {"priority": 6}),
        ({"PRIORITY": "high"}, {"priority": 6}),
        ({"PRIORITY": ["2", "6"]}, {"priority": 2}),
        ({"_SYSTEMD_UNIT": ["a.service", "b.service"]}, {"unit": "a.service"}),
        ({"_PID": ["1", "2"]}, {"pid": "1"}),
    ],
)
def test_an_odd_field_costs_the_entry_nothing(
    fields: dict[str, object], expected: dict[str, object]
) -> None:
    event = parse(line(**fields))
    assert event
    assert expected.items() <= json.loads(event.text).items()


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", line(MESSAGE=""), line(MESSAGE=None), line(MESSAGE=[])],
)
def test_what_says_nothing_is_left_out(text: str) -> None:
    assert parse(text) is None


def test_the_kernel_has_no_unit() -> None:
    event = parse(line(_SYSTEMD_UNIT=None, SYSLOG_IDENTIFIER=None, _PID=None, PRIORITY=None))
    assert event
    assert json.loads(event.text) == {"unit": "kernel", "priority": 6, "message": "last words"}


def test_a_batch_is_never_more_than_cloudwatch_takes() -> None:
    many = Batch()
    assert sum(many.add(event) for event in events(logs.EVENTS + 5)) == logs.EVENTS
    large = Batch()
    taken = sum(large.add(event) for event in events(100, 32_000))
    assert taken == logs.BYTES // (32_000 + logs.OVERHEAD)
    apart = Batch()
    assert apart.add(Event(NOW, "a", "1"))
    assert not apart.add(Event(NOW + logs.DAY, "b", "2"))
    assert apart.add(Event(NOW + logs.DAY - 1, "c", "3"))


def test_a_batch_is_sent_in_the_order_of_time_and_remembered_in_the_journals() -> None:
    batch = Batch()
    for event in (Event(NOW + 5, "later", "c1"), Event(NOW, "earlier", "c2")):
        batch.add(event)
    assert [one["message"] for one in batch.to_send()] == ["earlier", "later"]
    assert batch.cursor == "c2"


def shipped(
    tmp_path: Path, found: list[Event], failures: list[Exception]
) -> tuple[list[str], list[float], Path]:
    """What arrives of these events, if the first puts fail; and the pauses in between."""
    arrived: list[str] = []
    pauses: list[float] = []
    cursor = tmp_path / "cursor"

    def put(batch: Batch) -> None:
        if failures:
            assert not cursor.exists(), "it was not shipped yet"
            raise failures.pop(0)
        arrived.extend(one["message"] for one in batch.to_send())

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    waiting = queued(found)
    shipper = Shipper(waiting, put, cursor, wait)
    ending: Callable[[], None] = shipper.end
    original = put

    def put_and_end(batch: Batch) -> None:
        original(batch)
        if waiting.empty():
            ending()

    shipper._put = put_and_end  # pyright: ignore[reportPrivateUsage]
    shipper.run()
    return arrived, pauses, cursor


def test_everything_arrives_however_often_cloudwatch_is_away(tmp_path: Path) -> None:
    failures: list[Exception] = [EndpointConnectionError(endpoint_url="http://x")] * 8
    failures += [refused("ThrottlingException")]
    found = events(30)
    arrived, pauses, cursor = shipped(tmp_path, found, failures)
    assert arrived == [event.text for event in found]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert cursor.read_text() == "c29"


def test_what_could_not_be_shipped_at_the_end_is_not_skipped(tmp_path: Path) -> None:
    def put(_: Batch) -> None:
        raise refused("ServiceUnavailableException")

    cursor = tmp_path / "cursor"
    Shipper(queued(events(80, 32_000)), put, cursor, lambda _: True).run()
    assert not cursor.exists(), "the next start begins before it"


def test_what_is_too_much_for_one_batch_comes_with_the_next(tmp_path: Path) -> None:
    found = events(80, 32_000)
    arrived, _, cursor = shipped(tmp_path, found, [])
    assert len(arrived) == 80
    assert cursor.read_text() == "c79"


def test_it_goes_on_where_it_was_left(tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    assert logs.command(cursor)[-1] == "--lines=all"
    cursor.write_text("s=abc;i=1\n")
    assert logs.command(cursor)[-1] == "--after-cursor=s=abc;i=1"


def test_a_full_queue_lets_the_reader_wait_and_loses_nothing() -> None:
    small: queue.Queue[Event] = queue.Queue(3)
    lines = iter([line(__CURSOR=f"c{number}") for number in range(5)])
    ended = threading.Event()
    reader = threading.Thread(target=logs.read, args=(lines, small, ended.set))
    reader.start()
    reader.join(0.2)
    assert reader.is_alive(), "it waits for room"
    assert [small.get(timeout=5).cursor for _ in range(5)] == [f"c{number}" for number in range(5)]
    assert ended.wait(5), "there are no more"


def test_a_reader_that_fails_ends_the_shipping_for_systemd_to_start_both_anew() -> None:
    ended = threading.Event()

    def lines() -> Iterator[str]:
        yield line()
        raise OSError("journalctl is gone")

    with pytest.raises(OSError, match="is gone"):
        logs.read(lines(), queue.Queue(), ended.set)
    assert ended.is_set()


@mock_aws
def test_a_machine_makes_its_own_stream_in_the_stacks_group() -> None:
    client = cast("Any", boto3).client("logs", region_name="eu-central-1")
    client.create_log_group(logGroupName="/site/lab")
    stream = Stream(client, "/site/lab", "database-1/i-1")
    batch = Batch()
    batch.add(Event(int(time.time() * 1000), "last words", "c"))
    stream.put(batch)
    stream.put(batch)
    found = client.get_log_events(logGroupName="/site/lab", logStreamName="database-1/i-1")
    assert [one["message"] for one in found["events"]] == ["last words"] * 2


def test_one_entry_that_cloudwatch_refuses_keeps_no_other_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken: list[str] = []

    class Client:
        def put_log_events(self, **given: Any) -> dict[str, Any]:
            said: list[str] = [one["message"] for one in given["logEvents"]]
            if "odd" in said:
                raise refused("InvalidParameterException")
            taken.extend(said)
            return {}

    batch = Batch()
    for number, text in enumerate(["a", "b", "odd", "c", "d"]):
        batch.add(Event(NOW + number, text, f"c{number}"))
    Stream(Client(), "/site/lab", "database-1/i-1").put(batch)
    assert taken == ["a", "b", "c", "d"]
    assert caplog.text.count("is left out") == 1


@mock_aws
def test_without_the_stacks_group_nothing_is_shipped() -> None:
    client = cast("Any", boto3).client("logs", region_name="eu-central-1")
    batch = Batch()
    batch.add(Event(NOW, "a", "c"))
    with pytest.raises(ClientError):
        Stream(client, "/site/none", "database-1/i-1").put(batch)
