"""A game day: who it happens to, when it is refused, that it is undone, and what visitors saw."""

import io
import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from hosts.base.coordination import UnreachableError
from scripts import drill, seen
from scripts.command import DONE, NO, UNASKED, NotDoneError
from scripts.commands import Commands, Ended
from scripts.course import Course, Director, Watch
from scripts.deployed import Deployed
from scripts.facts import Facts
from scripts.faults import FAULTS, by_lot, check, victim
from scripts.look import Looker
from scripts.seen import Event
from scripts.visitors import Answer, Visitors, Wish, places
from tests.scripts.aws_site import REGION, TABLE, AwsSite
from tests.scripts.sites import PAIR, WELL, report, with_report
from tests.scripts.web import Web, web

Said = pytest.CaptureFixture[str]


# ---- which machine, and whether


@pytest.mark.parametrize(
    ("fault", "machine"),
    [
        ("mysqld-killed", "database-1"),
        ("replica-stopped", "database-2"),
        ("haproxy-killed", "load-balancer-1"),
        ("app-server-cut-off", "app-server-1"),
    ],
)
def test_a_fault_happens_to_the_machine_that_tells_most(fault: str, machine: str) -> None:
    assert victim(WELL, FAULTS[fault]).name == machine


def test_a_machine_may_be_named_if_it_can_happen_to_it() -> None:
    assert victim(WELL, FAULTS["application-hangs"], "app-server-2").name == "app-server-2"
    with pytest.raises(NotDoneError, match="mysqld-killed cannot happen to database-2; it can to:"):
        victim(WELL, FAULTS["mysqld-killed"], "database-2")
    alone = replace(WELL, pair=replace(PAIR, in_sync=frozenset({"database-1/vol-1"})))
    with pytest.raises(NotDoneError, match="cannot happen to any machine; it can to: none"):
        victim(alone, FAULTS["replica-cut-off"])


def one_of(role: str) -> Facts:
    kept = tuple(one for one in WELL.instances if one.name != f"{role}-2")
    reports = tuple(one for one in WELL.reports if one.name != f"{role}-2")
    return replace(WELL, instances=kept, reports=reports)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=[*FAULTS])
def test_a_site_that_is_well_takes_every_fault_and_one_with_a_single_machine_does_not(
    fault: Any,
) -> None:
    check(WELL, [], fault)
    with pytest.raises(NotDoneError, match=f"no second {fault.role} that could take over"):
        check(one_of(fault.role), [], fault)


def test_a_site_that_is_not_well_is_left_alone() -> None:
    with pytest.raises(NotDoneError, match=r"not take it: it burns \(and 1 more"):
        check(WELL, ["it burns", "it leaks"], FAULTS["haproxy-killed"])


def test_a_database_that_may_lose_writes_is_left_alone_and_the_rest_is_not() -> None:
    facts = replace(WELL, pair=replace(PAIR, mode="asynchronous"))
    with pytest.raises(NotDoneError, match="asynchronous"):
        check(facts, [], FAULTS["primary-stopped"])
    check(facts, [], FAULTS["app-server-stopped"])


def test_what_is_drawn_by_lot_is_what_the_site_can_take() -> None:
    for _ in range(50):
        assert by_lot(one_of("load-balancer"), []).role != "load-balancer"


def test_a_machine_that_is_cut_off_is_first_told_when_to_let_itself_in_again() -> None:
    script = FAULTS["primary-cut-off"].script.format(seconds=15)
    assert "--on-active=$((2 + 15)) nft delete table inet drill" in script
    assert script.index("drill-ends") < script.index("drill-begins")
    assert "{{" not in script


# ---- the course of one


class Stage:
    """A site that is not well for as long as a fault lasts, and some seconds longer."""

    def __init__(self, *, heals_after: float = 3.0) -> None:
        self.now = 0.0
        self.done: list[tuple[float, str]] = []
        self.said: list[str] = []
        self.broken = False
        self.healed_at = 0.0
        self.heals_after = heals_after
        self.reports = True
        self.on_inject: Callable[[], None] = lambda: None
        self.watch = Watch(self, lambda: self.now, self.said.append, primary="database-1")

    def course(self, name: str, within: float = 60.0) -> Course:
        fault = FAULTS[name]
        return Course(
            self.watch,
            self,  # type: ignore[arg-type]
            fault,
            victim(WELL, fault),
            seconds=10,
            within=within,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def inject(self, fault: Any, instance: str) -> None:
        self.done.append((self.now, f"{fault.name} {instance}"))
        self.broken = fault.lasts
        self.on_inject()

    def undo(self, _fault: Any, instance: str) -> None:
        self.done.append((self.now, f"undo {instance}"))
        self.broken = False
        self.healed_at = self.now + self.heals_after

    def look(self) -> Facts:
        facts = replace(WELL, now=WELL.now + self.now)
        ago = 12 - self.now if self.reports else 12 + self.now
        if self.broken or self.now < self.healed_at:
            pair = replace(PAIR, holder="database-2/vol-2", in_sync=frozenset({"database-2/vol-2"}))
            return replace(facts, pair=pair)
        return with_report(report("database-1", ago=ago), facts=facts)

    def events(self) -> list[str]:
        return [event.what for event in self.watch.events]


def test_a_fault_stays_is_undone_and_the_site_is_waited_for() -> None:
    stage = Stage()
    assert stage.course("mysqld-hangs").run() == ""
    assert stage.done == [(0.0, "mysqld-hangs i-db1"), (10.0, "undo i-db1")]
    assert stage.events() == [
        "now: mysqld stands still on database-1: its port is open, and nobody answers",
        "database-2 is the primary",
        "seen: database-1 is not in sync: it may not take over",
        "it is undone",
        "database-1 is the primary",
        "all is well again",
    ]
    assert 13 <= stage.now < 16


def test_what_a_machine_mends_by_itself_is_not_undone() -> None:
    stage = Stage()
    assert stage.course("mysqld-killed").run() == ""
    assert stage.done == [(0.0, "mysqld-killed i-db1")]


def test_a_site_is_not_well_again_before_the_machine_has_spoken_again() -> None:
    stage = Stage()
    stage.reports = False
    stage.watch.facts = WELL
    course = replace(stage.course("mysqld-killed", within=20))

    def look() -> Facts:
        return WELL

    stage.look = look
    assert course.run() == "not well again within 20 s: database-1 did not report again"


def test_a_site_that_does_not_recover_is_said_with_what_is_wrong() -> None:
    stage = Stage(heals_after=1e9)
    said = stage.course("mysqld-hangs", within=30).run()
    assert said == "not well again within 30 s: database-1 is not in sync: it may not take over"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotDoneError("not delivered")])
def test_whatever_ends_a_drill_the_fault_is_undone(error: BaseException) -> None:
    stage = Stage()

    def interrupt() -> None:
        raise error

    stage.on_inject = interrupt
    with pytest.raises(type(error)):
        stage.course("mysqld-hangs").run()
    assert stage.done[-1] == (0.0, "undo i-db1")


def test_an_aws_that_is_away_meanwhile_is_said_and_asked_again() -> None:
    stage = Stage()
    look = stage.look
    away = [True, True]

    def flaky() -> Facts:
        if away and stage.now > 12:
            away.pop()
            raise UnreachableError("timed out")
        return look()

    stage.look = flaky
    assert stage.course("mysqld-hangs").run() == ""
    assert stage.said.count("AWS does not answer: timed out") == 2


# ---- visitors


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Web]:
    with web(tmp_path) as found:
        yield found


def wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_visitors_read_and_write_in_turn_and_are_counted(site: Web) -> None:
    at = places(site.url, ["127.0.0.1"], site.authority)
    with Visitors(at, [Wish("/"), Wish("/entries", '{"a": 1}')], rate=50) as visitors:
        wait(lambda: len(visitors.answers) >= 20)
        site.status = 503
        failing = visitors.now
        wait(lambda: sum(not answer.ok for answer in visitors.answers) >= 10)
    reads, writes = seen.counts(visitors.answers, visitors.ended)
    assert (reads.method, writes.method) == ("GET", "POST")
    assert abs(reads.sent - writes.sent) <= 1
    assert reads.sent + writes.sent == len(site.asked)
    assert min(reads.failed, writes.failed) >= 4
    assert reads.gap >= visitors.ended - failing - reads.slowest - 0.5
    assert seen.failures(visitors.answers) == {"status 503": reads.failed + writes.failed}
    assert set(seen.servers(visitors.answers)) == {"app-server-1", "app-server-2"}
    assert ("POST", "/entries", b'{"a": 1}') in site.asked


def test_visitors_do_not_exceed_their_rate(site: Web) -> None:
    at = places(site.url, ["127.0.0.1"], site.authority)
    with Visitors(at, [Wish("/")], rate=20) as visitors:
        wait(lambda: visitors.now > 1.5)
    assert len(visitors.answers) <= visitors.ended * 20 + 1


def test_a_site_under_another_name_than_its_certificates_is_not_trusted(site: Web) -> None:
    at = places(site.url.replace("127.0.0.1", "www.example.com"), ["127.0.0.1"], site.authority)
    with Visitors(at, [Wish("/")], rate=20) as visitors:
        wait(lambda: len(visitors.answers) >= 2)
    assert all("CERTIFICATE_VERIFY_FAILED" in answer.error for answer in visitors.answers)


def test_a_named_site_is_asked_by_its_name_at_each_of_its_addresses(site: Web) -> None:
    at = places(site.url.replace("127.0.0.1", "www.example.org"), ["127.0.0.1"], site.authority)
    with Visitors(at, [Wish("/")], rate=20) as visitors:
        wait(lambda: len(visitors.answers) >= 2)
    assert all(answer.ok for answer in visitors.answers)
    assert {host.partition(":")[0] for host in site.hosts} == {"www.example.org"}


def answer(at: float, seconds: float = 0.05, *, ok: bool = True, **more: Any) -> Answer:
    status = 200 if ok else 0
    return Answer(at, seconds, more.pop("method", "GET"), "203.0.113.1", status, **more)


def test_the_longest_time_without_a_good_answer_is_between_two_of_them_or_at_an_end() -> None:
    answers = [answer(at / 10) for at in range(100) if not 30 <= at < 50]
    answers += [answer(at / 10, 2.0, ok=False) for at in range(30, 50)]
    (count,) = seen.counts(answers, 10.0)
    assert count.gap == pytest.approx(2.1)
    assert (count.sent, count.failed, count.median) == (100, 20, 0.05)
    (count,) = seen.counts([answer(0.0), answer(1.0, ok=False)], 9.0)
    assert count.gap == pytest.approx(8.95)


def test_the_picture_has_a_mark_for_each_answer_and_a_line_for_each_event() -> None:
    answers = [
        answer(1.0),
        answer(2.0, 30, ok=False, error="<timed out>"),
        answer(3.0, method="POST"),
    ]
    text = seen.timeline("a & b", answers, [Event(1.5, "now"), Event(99.0, "late")], 10.0)
    root = ET.fromstring(text)  # noqa: S314 our own
    tag = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{tag}circle")) == 2
    (cross,) = root.findall(f"{tag}path")
    assert cross.findtext(f"{tag}title") == "<timed out>"
    assert len([one for one in root.iter(f"{tag}line") if one.get("class") == "event"]) == 2
    for one in root.iter():
        for name in ("x", "x1", "cx", "y", "cy"):
            assert 0 <= float(one.get(name, "0")) <= 960


# ---- the command


class Lab:
    """A site in moto whose machines do what machines do, as far as a drill sees."""

    def __init__(self, aws: AwsSite, page: Web) -> None:
        self.aws = aws
        self.page = page
        self.ran: list[tuple[str, str]] = []
        self.stopped: set[str] = set()
        self.outputs = {
            **aws.deployed().outputs,
            "url": page.url,
            "addresses": ["127.0.0.1"],
            "certificate": page.authority,
        }

    def find(self, _: object) -> Deployed:
        return Deployed(REGION, TABLE, outputs=self.outputs)

    def looker(self, found: Deployed) -> "Lab":
        self._looker = Looker(found, sleep=lambda _: self.aws.renew())
        return self

    def look(self) -> Facts:
        facts = self._looker.look()
        states = {one.name: one.state for one in facts.instances}
        for name, state in states.items():
            if state == "stopped":
                self.stopped.add(name)
            elif name in self.stopped or self.ran:
                self.stopped.discard(name)
                time.sleep(1)  # reports are told apart by whole seconds
                self.aws.report(name)
        return facts

    def commands(self, _ssm: object) -> "Lab":
        return self

    def run(self, instance: str, script: str) -> Ended:
        self.ran.append((instance, script))
        return Ended(0, "", "")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, site: Web) -> Iterator[Lab]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    monkeypatch.setattr(drill, "BEFORE", 1.0)
    with mock_aws():
        aws = AwsSite()
        aws.back_up()
        made = Lab(aws, site)
        monkeypatch.setattr(drill.sys, "stdin", io.StringIO("y\n"))
        monkeypatch.setattr(drill.deployed, "find", made.find)
        monkeypatch.setattr(drill, "Looker", made.looker)
        monkeypatch.setattr(drill, "Commands", made.commands)
        yield made


def test_a_machine_is_stopped_and_started_and_a_report_is_left(
    stage: Lab, tmp_path: Path, capsys: Said
) -> None:
    folder = tmp_path / "drills"
    told = ["app-server-stopped", "--yes", "--json", "--seconds", "3", "--folder", str(folder)]
    assert drill.main([*told, "--post", "/api/entries", "{}"]) == DONE
    said = json.loads(capsys.readouterr().out)
    assert (said["well"], said["fault"]) == (True, "app-server-stopped")
    events = [event["what"] for event in said["events"]]
    assert events[:2] == [
        "now: EC2 stops app-server-1, and starts it again",
        "seen: app-server-1 is stopped",
    ]
    assert events[-1] == "all is well again"
    assert [one["failed"] for one in said["visitors"]] == [0, 0]
    text = Path(said["report"]).read_text()
    assert "# app-server-stopped on site-prod" in text
    assert "| POST at 127.0.0.1 |" in text
    picture = Path(said["report"]).with_suffix(".svg")
    assert f"]({picture.name})" in text
    assert ET.fromstring(picture.read_text()) is not None  # noqa: S314 our own
    state = stage.aws.ec2.describe_instances(InstanceIds=[stage.aws.ids["app-server-1"]])
    assert state["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


def test_a_program_is_killed_by_run_command(stage: Lab, tmp_path: Path, capsys: Said) -> None:
    assert drill.main(["haproxy-killed", "--yes", "--folder", str(tmp_path)]) == DONE
    assert stage.ran == [
        (stage.aws.ids["load-balancer-1"], "systemctl kill --signal=KILL haproxy.service")
    ]
    said = capsys.readouterr().out
    assert "GET at 127.0.0.1: 0 of " in said
    assert "report: " in said


def untouched(stage: Lab) -> bool:
    return not stage.ran and not stage.stopped


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["mysqld-killed"], NO, "it was not confirmed: nothing was done"),
        (["mysqld-killed", "--machine", "database-2", "--yes"], NO, "cannot happen to database-2"),
        (["mysqld-killed", "--yes", "--post", "/", "no"], UNASKED, "--post: 'no' is no JSON"),
    ],
)
def test_what_is_refused_changes_nothing(
    stage: Lab, arguments: list[str], status: int, why: str, capsys: Said
) -> None:
    assert drill.main(arguments) == status
    assert why in capsys.readouterr().err
    assert untouched(stage)


def test_a_site_that_is_not_well_or_does_not_serve_is_left_alone(stage: Lab, capsys: Said) -> None:
    stage.aws.report("database-2", "failed", "no room")
    assert drill.main(["haproxy-killed", "--yes"]) == NO
    assert "the site is not well, and would not take it: database-2 is failed" in (
        capsys.readouterr().err
    )
    stage.aws.report("database-2")
    stage.page.status = 404
    assert drill.main(["haproxy-killed", "--yes"]) == NO
    assert "not served even before anything happens (status 404)" in capsys.readouterr().err
    assert untouched(stage)


def test_without_the_stacks_outputs_nobody_knows_where_the_site_is(
    stage: Lab, capsys: Said
) -> None:
    stage.outputs.pop("url")
    assert drill.main(["haproxy-killed", "--yes"]) == UNASKED
    assert "a drill needs --stack" in capsys.readouterr().err


def test_what_can_happen_is_listed_without_a_stack(capsys: Said) -> None:
    assert drill.main(["--list"]) == DONE
    said = capsys.readouterr().out
    assert len(said.splitlines()) == len(FAULTS)
    assert "mysqld-killed           mysqld is killed on a machine" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["earthquake"], "invalid choice: 'earthquake'"),
        (["--rate", "101"], "'101' is not 0.1 to 100 visitors a second"),
        (["--seconds", "soon"], "'soon' is not 1 to 3600 seconds"),
        (["mysqld-killed", "--json"], "--json asks nothing: give --yes as well"),
    ],
)
def test_what_is_not_understood_is_status_2(arguments: list[str], why: str, capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        drill.main(arguments)
    assert ended.value.code == UNASKED
    assert why in capsys.readouterr().err


def test_a_machine_that_is_stopping_is_started_when_it_has_stopped() -> None:
    class Ec2:
        def __init__(self) -> None:
            self.states = ["stopping", "stopping", "stopped"]
            self.started: list[str] = []

        def describe_instances(self, **_: object) -> dict[str, Any]:
            state = {"State": {"Name": self.states.pop(0)}}
            return {"Reservations": [{"Instances": [state]}]}

        def start_instances(self, InstanceIds: list[str]) -> None:  # noqa: N803 AWS's name
            self.started += InstanceIds

    ec2 = Ec2()
    pauses: list[float] = []
    director = Director(ec2, Commands(None), 5, sleep=pauses.append)
    director.undo(FAULTS["primary-stopped"], "i-1")
    assert (ec2.started, len(pauses)) == (["i-1"], 2)
    ec2.states = ["terminated"]
    with pytest.raises(NotDoneError, match="i-1 is terminated, and cannot be started"):
        director.undo(FAULTS["primary-stopped"], "i-1")
