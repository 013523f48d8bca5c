"""A planned change of primary: what is checked, asked, written, shown; with databases played."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from hosts.base.coordination import Coordination
from hosts.base.lease import UnreachableError
from hosts.base.lease_table import DynamoTable
from hosts.database.decide import NOT_COPIED, STARTED_ANEW
from scripts import deployed, switchover
from scripts.switchover import Operator, RefusedError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

REGION = "eu-central-1"
TABLE = "site-test-coordination"
NOW = 1_000_000.0
_client: Any = cast("Any", boto3).client


class World:
    """A table with a pair of databases in it, whose lease is renewed as the clock is moved."""

    def __init__(self, client: "DynamoDBClient") -> None:
        self.client = client
        self.table = DynamoTable(client, TABLE)
        self.now = 0.0
        self.alive = True
        self.said: list[str] = []
        self.asked: list[str] = []
        self.answer = "yes"
        self.on_request: Callable[[str], None] = self.hand_over
        self.operator = Operator(
            self.table,
            Coordination(client, TABLE),
            self.said.append,
            self._answer,
            clock=lambda: self.now,
            sleep=self._sleep,
            epoch=lambda: NOW,
        )
        self.write(
            holder="database-1/vol-1",
            generation=7,
            counter=1,
            released=False,
            lease=3000,
            in_sync=frozenset({"database-1/vol-1", "database-2/vol-2"}),
            mode="semi-synchronous",
        )
        for ordinal in (1, 2, 3):
            self.report(ordinal, "ready", "primary" if ordinal == 1 else "replica")

    def write(self, **values: Any) -> None:
        """The databases change the record, or make it."""
        record = self.table.read("database")
        assert self.table.write("database", record and {"holder": record.holder}, values)

    def report(self, ordinal: int, state: str, detail: str = "", ago: float = 5) -> None:
        """A machine says how it is."""
        item = {
            "id": {"S": f"machine/i-{ordinal}"},
            "name": {"S": f"database-{ordinal}"},
            "role": {"S": "database"},
            "state": {"S": state},
            "detail": {"S": detail},
            "updated": {"N": str(int(NOW - ago))},
        }
        self.client.put_item(TableName=TABLE, Item=cast("Any", item))

    def _answer(self, question: str) -> str:
        self.asked.append(question)
        return self.answer + "\n"

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        record = self.table.read("database")
        assert record
        if self.alive:
            self.write(counter=record.counter + 1)
        for request in ("switchover_to", "force"):
            if request in record.extra:
                self.on_request(str(record.extra[request]))

    def hand_over(self, name: str) -> None:
        """The databases do as they are asked."""
        holder = f"{name}/vol-{name[-1]}"
        self.write(holder=holder, generation=8, switchover_to=None, force=None)

    @property
    def record(self) -> dict[str, Any]:
        """All that the record holds."""
        found = self.table.read("database")
        assert found
        return {**vars(found), **found.extra}


class Flaky:
    """A table of which one side does not always answer."""

    def __init__(self, table: DynamoTable, read: Any = None, write: Any = None) -> None:
        self.read = read or table.read
        self.write = write or table.write


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client: DynamoDBClient = _client("dynamodb", region_name=REGION)
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield World(client)


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as refused:
        work()
    return str(refused.value)


def test_the_primary_changes_to_the_machine_that_was_named(world: World) -> None:
    outcome = world.operator.switch_over("database-2", confirmed=False)
    assert (outcome.changed, outcome.before, outcome.primary) == (True, "database-1", "database-2")
    assert "Make database-2 the primary in place of database-1?" in world.asked[0]
    assert world.said[:4] == [
        "semi-synchronous replication, generation 7",
        "  database-1    primary  in sync      ready: primary",
        "  database-2    replica  in sync      ready: replica",
        "  database-3    replica  not in sync  ready: replica",
    ]
    assert "database-2 is the primary after" in world.said[-1]


def test_without_a_name_it_is_one_that_is_in_sync(world: World) -> None:
    assert world.operator.switch_over("", confirmed=True).primary == "database-2"
    assert world.asked == []


def test_the_request_says_nothing_but_the_machines_name(world: World) -> None:
    before = world.record
    written: list[dict[str, Any]] = []

    def note(name: str) -> None:
        written.append(world.record)
        world.hand_over(name)

    world.on_request = note
    world.operator.switch_over("database-2", confirmed=True)
    changed = {k for k, v in written[0].items() if before.get(k) != v}
    assert changed - {"extra", "counter"} == {"switchover_to"}
    assert written[0]["switchover_to"] == "database-2"


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("database-1", "database-1 is the primary already"),
        ("database-3", "database-3 is not in sync"),
        ("database-9", "no database machine database-9; there are database-1, database-2, data"),
    ],
)
def test_a_target_that_could_not_lead_is_refused_unasked(world: World, to: str, why: str) -> None:
    before = world.record
    assert why in refusal(lambda: world.operator.switch_over(to, confirmed=True))
    assert (world.asked, world.record) == ([], before)


def test_one_that_is_not_well_is_refused(world: World) -> None:
    world.report(2, "failed", "mysqld does not start")
    said = refusal(lambda: world.operator.switch_over("database-2", confirmed=True))
    assert "not ready to lead, it last said: failed mysqld does not start" in said
    assert "no machine to change to" in refusal(
        lambda: world.operator.switch_over("", confirmed=True)
    )
    world.report(2, "ready", "replica", ago=500)
    assert "not ready" in refusal(lambda: world.operator.switch_over("database-2", confirmed=True))
    assert "not heard of for 500 s" in world.said[-2]


def test_in_asynchronous_mode_nobody_is_in_sync_and_any_ready_one_will_do(world: World) -> None:
    world.write(mode="asynchronous", in_sync=frozenset({"database-1/vol-1"}))
    assert world.operator.switch_over("database-3", confirmed=True).primary == "database-3"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"released": True}, "has handed over, and nobody leads yet"),
        ({"switchover_to": "database-2"}, "a change to database-2 is under way already"),
    ],
)
def test_a_change_that_is_under_way_is_not_disturbed(
    world: World, values: dict[str, Any], why: str
) -> None:
    world.write(**values)
    assert why in refusal(lambda: world.operator.switch_over("database-2", confirmed=True))


def test_a_primary_that_does_not_renew_cannot_hand_over(world: World) -> None:
    world.alive = False
    said = refusal(lambda: world.operator.switch_over("database-2", confirmed=True))
    assert "database-1 does not renew its lease" in said
    assert "switchover_to" not in world.record


@pytest.mark.parametrize("answer", ["", "y", "no", "database-2"])
def test_anything_but_yes_is_no(world: World, answer: str) -> None:
    world.answer = answer
    said = refusal(lambda: world.operator.switch_over("database-2", confirmed=False))
    assert "nothing was changed" in said
    assert "switchover_to" not in world.record


def test_with_no_pair_yet_there_is_nothing_to_change(world: World) -> None:
    world.client.delete_item(TableName=TABLE, Key={"id": {"S": "lease/database"}})
    assert "not agreed on a primary yet" in refusal(
        lambda: world.operator.switch_over("", confirmed=True)
    )


def test_why_the_primary_declined_is_told(world: World) -> None:
    world.on_request = lambda _: world.write(switchover_to=None, refused="it fell behind")
    outcome = world.operator.switch_over("database-2", confirmed=True)
    assert (outcome.changed, outcome.reason) == (False, "it fell behind")
    assert outcome.primary == "database-1"


def test_another_that_took_over_first_is_told(world: World) -> None:
    world.on_request = lambda _: world.hand_over("database-3")
    outcome = world.operator.switch_over("database-2", confirmed=True)
    assert (outcome.changed, outcome.primary) == (False, "database-3")
    assert "database-3 took over first" in outcome.reason


def test_what_does_not_happen_in_time_is_withdrawn(world: World) -> None:
    world.on_request = lambda _: None
    outcome = world.operator.switch_over("database-2", confirmed=True)
    assert not outcome.changed
    assert outcome.reason == "it did not happen within 30 s: the request was withdrawn"
    assert "switchover_to" not in world.record


def test_an_interrupted_operator_withdraws_the_request(world: World) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    world.on_request = interrupt
    outcome = world.operator.switch_over("database-2", confirmed=True)
    assert outcome.reason == "interrupted: the request was withdrawn"
    assert "switchover_to" not in world.record


def both_lost(world: World) -> None:
    world.alive = False
    world.report(1, "ready", "primary", ago=600)
    world.report(2, "ready", "replica", ago=600)
    world.answer = "database-3"


def test_with_all_that_were_in_sync_lost_another_is_forced_by_typing_its_name(
    world: World,
) -> None:
    both_lost(world)
    outcome = world.operator.force("database-3")
    assert (outcome.changed, outcome.primary) == (True, "database-3")
    assert "Only database-1, database-2 has every acknowledged write" in world.asked[0]
    assert "is lost to the site for good" in world.asked[0]


def test_force_is_refused_while_anyone_could_take_over_by_itself(world: World) -> None:
    assert "alive: nothing has to be forced" in refusal(lambda: world.operator.force("database-3"))
    both_lost(world)
    for answer in ("yes", "", "database-1"):
        world.answer = answer
        assert "nothing was changed" in refusal(lambda: world.operator.force("database-3"))
    assert "is in sync: it takes over by itself" in refusal(
        lambda: world.operator.force("database-2")
    )
    assert "no database machine x" in refusal(lambda: world.operator.force("x"))
    world.report(3, "failed", "mysqld does not start\n...")
    assert "database-3 could not lead; of it is known: failed: mysqld" in refusal(
        lambda: world.operator.force("database-3")
    )
    world.report(2, "booting")
    said = refusal(lambda: world.operator.force("database-3"))
    assert "database-2 is in sync and reports" in said
    assert "force" not in world.record


def test_one_that_was_well_before_is_forced_although_it_is_failed_now(world: World) -> None:
    both_lost(world)
    world.report(3, "failed", "not in sync: only database-1, database-2 has every ...")
    assert world.operator.force("database-3").changed


def test_one_whose_data_was_not_copied_whole_is_not_forced(world: World) -> None:
    both_lost(world)
    world.report(3, "failed", NOT_COPIED)
    assert "was not finished here" in refusal(lambda: world.operator.force("database-3"))
    world.report(3, "ready", "replica", ago=600)
    assert "not heard of for 600 s" in refusal(lambda: world.operator.force("database-3"))


def test_one_in_sync_that_lost_power_is_forced_when_the_primary_is_gone_for_good(
    world: World,
) -> None:
    both_lost(world)
    world.report(2, "booting", f"{STARTED_ANEW}: the last that it acknowledged ...")
    world.answer = "database-2"
    outcome = world.operator.force("database-2")
    assert (outcome.changed, outcome.primary) == (True, "database-2")
    assert "what it acknowledged last and had not on its disk yet" in world.asked[0]
    assert "Should database-1 come back" in world.asked[0]


def test_one_that_refuses_to_take_over_is_no_reason_to_refuse_another(world: World) -> None:
    both_lost(world)
    world.report(2, "booting", f"{STARTED_ANEW}: the last that it acknowledged ...")
    assert world.operator.force("database-3").primary == "database-3"


def test_a_table_that_is_away_for_a_moment_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.on_request = world.hand_over
    away = [1, 2, 3]

    def flaky(name: str) -> Any:
        if away and "switchover_to" in world.record:
            away.pop()
            raise UnreachableError("no answer")
        return world.table.read(name)

    monkeypatch.setattr(world.operator, "table", Flaky(world.table, flaky))
    assert world.operator.switch_over("database-2", confirmed=True).primary == "database-2"
    assert "the table does not answer" in "\n".join(world.said)


def test_a_request_that_could_not_be_withdrawn_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.on_request = lambda _: None
    write = world.table.write

    def flaky(name: str, expected: Any, changes: Any) -> Any:
        if expected == {"switchover_to": "database-2"}:
            raise UnreachableError("no answer")
        return write(name, expected, changes)

    monkeypatch.setattr(world.operator, "table", Flaky(world.table, write=flaky))
    said = refusal(lambda: world.operator.switch_over("database-2", confirmed=True))
    assert "could not be withdrawn" in said
    assert "may still become the primary" in said


def test_force_gives_way_to_a_primary_that_comes_back_meanwhile(world: World) -> None:
    both_lost(world)

    def back(_: str) -> str:
        world.write(counter=99)
        return "database-3"

    world.operator.ask = back
    assert "has just come back: nothing was forced" in refusal(
        lambda: world.operator.force("database-3")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--force"], "--force needs --to NAME"),
        (["--json"], "give --yes as well"),
        (["--table", "t"], "--table and --region belong together"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_what_is_not_understood_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = switchover.main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert said in capsys.readouterr().err


def test_a_stack_that_is_not_there_is_told_in_pulumis_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(*arguments: str) -> str:
        msg = f"`pulumi {' '.join(arguments)}` failed: no stack named 'x' found"
        raise deployed.DeployedError(msg)

    monkeypatch.setattr(deployed, "pulumi", nowhere)
    assert switchover.main(["--stack", "x", "--yes", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["changed"] is False
    assert "no stack named 'x' found" in told.err


def test_a_stack_that_was_never_deployed_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*_: str) -> str:
        return "{}"

    monkeypatch.setattr(deployed, "pulumi", empty)
    with pytest.raises(deployed.DeployedError, match="no output region and no table: `pulumi up`"):
        deployed.find(switchover.parser().parse_args([]))


def test_the_command_does_it_and_says_it_as_json(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def operator(*_: object) -> Operator:
        return world.operator

    monkeypatch.setattr(switchover, "Operator", operator)
    where = ["--table", TABLE, "--region", REGION]
    assert switchover.main(["--to", "database-2", "--yes", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["primary"] == "database-2"
    assert switchover.main(["--to", "database-2", "--yes", *where]) == 1
    assert capsys.readouterr().err == "not done: database-2 is the primary already\n"
