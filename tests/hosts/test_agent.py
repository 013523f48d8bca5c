"""The agent: starts a role, says how it is, drains it, and outlives DynamoDB being away."""

import socket
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hosts.base import agent as agent_module
from hosts.base.agent import Agent, Health
from hosts.base.coordination import Coordination, GoneError, Machine, State, UnreachableError
from hosts.base.identity import Identity
from hosts.base.metrics import Histogram, Metric
from tests.hosts import values
from tests.hosts.fakes import Clock


class FakeCoordination(Coordination):
    """The machine's own item."""

    def __init__(self) -> None:
        self.item: Machine | None = None
        self.order = ""
        self.away = False
        self.said: list[tuple[str, str]] = []
        self.figures: list[Mapping[str, object]] = []

    def _answer(self, state: str, detail: str) -> Machine:
        if self.away:
            raise UnreachableError("away")
        self.item = Machine("i-1", "a", "app-server", "10.0.0.5", state, detail, 0, self.order)
        return self.item

    def register(self, instance: str, name: str, role: str, address: str) -> Machine:
        assert (instance, name, role) == ("i-1", "app-server-1", "app-server")
        answer = self._answer("booting", "")
        self.said.append(("registered", address))
        return answer

    def report(
        self,
        instance: str,
        state: State,
        detail: str = "",
        figures: Mapping[str, object] | None = None,
    ) -> Machine:
        if self.item is None and not self.away:
            raise GoneError(instance)
        answer = self._answer(state, detail)
        self.said.append((state, detail))
        self.figures.append(figures or {})
        return answer

    def read(self, instance: str) -> Machine:
        if self.away:
            raise UnreachableError("away")
        if self.item is None:
            raise GoneError(instance)
        return Machine("i-1", "a", "app-server", "10.0.0.5", "", "", 0, self.order)


@dataclass
class FakeRole:
    """Does as the test says."""

    healths: list[Health] = field(default_factory=lambda: [Health("ready")])
    start_errors: list[Exception] = field(default_factory=list[Exception])
    drain_error: Exception | None = None
    starts: int = 0
    drains: int = 0

    def start(self) -> None:
        self.starts += 1
        if self.start_errors:
            raise self.start_errors.pop(0)

    def health(self) -> Health:
        return self.healths[0] if len(self.healths) == 1 else self.healths.pop(0)

    def metrics(self) -> Iterable[Metric | Histogram]:
        return ()

    def drain(self) -> None:
        self.drains += 1
        if self.drain_error:
            raise self.drain_error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> FakeCoordination:
    return FakeCoordination()


def make(table: FakeCoordination, role: FakeRole, clock: Clock) -> Agent:
    return Agent(values.facts("app-server"), Identity("i-1", "10.0.0.5"), table, role, clock)


def test_a_machine_registers_before_its_role_starts_and_is_ready_when_the_role_is(
    table: FakeCoordination, clock: Clock
) -> None:
    role = FakeRole([Health("booting", "loading"), Health("ready")])
    agent = make(table, role, clock)
    assert agent.booting
    for _ in range(3):
        assert agent.step()
    assert table.said == [("registered", "10.0.0.5"), ("booting", "loading"), ("ready", "")]
    assert not agent.booting
    assert role.starts == 1


def test_an_unchanged_state_is_repeated_only_as_a_heartbeat(
    table: FakeCoordination, clock: Clock
) -> None:
    agent = make(table, FakeRole(), clock)
    for _ in range(29):
        agent.step()
        clock.advance(1)
    assert table.said.count(("ready", "")) == 1
    for _ in range(31):
        agent.step()
        clock.advance(1)
    assert table.said.count(("ready", "")) == 2


def test_figures_go_with_a_report_and_are_no_reason_for_one(
    table: FakeCoordination, clock: Clock
) -> None:
    role = FakeRole([Health("ready", "", {"lag": number / 100}) for number in range(100)])
    agent = make(table, role, clock)
    for _ in range(31):
        agent.step()
        clock.advance(1)
    release = values.facts("app-server").bundles[-1].sha256[:8]
    assert table.figures == [{"release": release, "lag": 0.0}, {"release": release, "lag": 0.3}]


def test_a_role_that_does_not_start_is_failed_with_its_error_and_tried_again(
    table: FakeCoordination, clock: Clock
) -> None:
    role = FakeRole(start_errors=[RuntimeError("no such volume")])
    agent = make(table, role, clock)
    agent.step()
    assert table.said[-1] == ("failed", "RuntimeError: no such volume")
    clock.advance(agent_module.AGAIN - 1)
    agent.step()
    assert role.starts == 1
    clock.advance(2)
    agent.step()
    assert table.said[-1] == ("ready", "")


def test_a_ready_machine_may_be_unwell_for_a_moment(table: FakeCoordination, clock: Clock) -> None:
    role = FakeRole([Health("ready"), Health("booting", "hiccup"), Health("ready")])
    agent = make(table, role, clock)
    for _ in range(3):
        agent.step()
        clock.advance(1)
    assert [state for state, _ in table.said] == ["registered", "ready"]


def test_a_ready_machine_that_stays_unwell_says_so_and_recovers(
    table: FakeCoordination, clock: Clock
) -> None:
    role = FakeRole([Health("ready"), *[Health("booting", "gone")] * 7, Health("ready")])
    agent = make(table, role, clock)
    for _ in range(10):
        agent.step()
        clock.advance(1)
    assert table.said[1:] == [("ready", ""), ("failed", "gone"), ("ready", "")]


def test_the_agent_outlives_a_table_that_is_away_and_says_later_what_it_could_not(
    table: FakeCoordination, clock: Clock
) -> None:
    table.away = True
    role = FakeRole()
    agent = make(table, role, clock)
    for _ in range(3):
        assert agent.step()
        clock.advance(1)
    assert role.starts == 1, "the site starts without the table"
    assert table.said == []
    table.away = False
    agent.step()
    assert table.said == [("registered", "10.0.0.5"), ("ready", "")]


def test_an_order_drains_the_role_and_ends_the_agent(table: FakeCoordination, clock: Clock) -> None:
    role = FakeRole()
    agent = make(table, role, clock)
    agent.step()
    table.order = "drain"
    assert not agent.step()
    assert table.said[-2:] == [("draining", ""), ("drained", "")]
    assert role.drains == 1


def test_that_a_machine_is_drained_is_said_until_it_was_heard(
    table: FakeCoordination, clock: Clock
) -> None:
    role = FakeRole()
    agent = make(table, role, clock)
    agent.step()
    table.order = "drain"

    def drain() -> None:
        table.away = True

    role.drain = drain  # type: ignore[method-assign]
    assert agent.step()
    table.away = False
    assert not agent.step()
    assert table.said[-1] == ("drained", "")


def test_a_drain_that_fails_says_why_and_is_tried_again(
    table: FakeCoordination, clock: Clock
) -> None:
    role = FakeRole(drain_error=RuntimeError("still mounted"))
    agent = make(table, role, clock)
    agent.step()
    table.order = "drain"
    assert agent.step()
    assert table.said[-1] == ("failed", "drain: RuntimeError: still mounted")
    role.drain_error = None
    assert not agent.step()
    assert table.said[-1] == ("drained", "")


def test_a_machine_that_was_ordered_to_drain_never_starts_its_role(
    table: FakeCoordination, clock: Clock
) -> None:
    table.order = "drain"
    role = FakeRole()
    assert not make(table, role, clock).step()
    assert role.starts == 0
    assert table.said[-1] == ("drained", "")


def test_a_machine_whose_item_is_gone_says_nothing_more(
    table: FakeCoordination, clock: Clock
) -> None:
    agent = make(table, FakeRole(), clock)
    agent.step()
    table.item = None
    before = list(table.said)
    assert not agent.step()
    assert table.said == before


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[], list[str]]]:
    """What systemd was told since this was last asked."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
        systemd.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "8000000")

        def ask() -> list[str]:
            heard: list[str] = []
            while True:
                try:
                    heard += systemd.recv(4096).decode().split()
                except BlockingIOError:
                    return heard

        yield ask


def test_systemds_watchdog_is_patient_while_a_role_starts_or_drains_and_only_then(
    table: FakeCoordination, clock: Clock, told: Callable[[], list[str]]
) -> None:
    role = FakeRole(start_errors=[RuntimeError("no")], drain_error=RuntimeError("no"))
    agent = make(table, role, clock)
    agent.step()
    patient = f"WATCHDOG_USEC={agent_module.LENGTH * 1e6:.0f}"
    assert told() == [patient, "WATCHDOG_USEC=8000000", "WATCHDOG=1"]
    agent.step()
    assert told() == []
    table.order = "drain"
    agent.step()
    assert told() == [patient, "WATCHDOG_USEC=8000000", "WATCHDOG=1"]


def test_the_agent_lives_as_long_as_its_loop_and_drained_it_waits(
    monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    class Ended(BaseException):
        pass

    class Steps(Agent):
        left = 3

        def step(self) -> bool:
            self.left -= 1
            return self.left > 0

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 5:
            raise Ended

    monkeypatch.setattr(agent_module, "Agent", Steps)
    monkeypatch.setattr(agent_module.time, "sleep", sleep)
    options: dict[str, str] = {}
    monkeypatch.setattr(agent_module, "load", lambda: (values.facts("app-server"), options))
    monkeypatch.setattr(agent_module, "identity", lambda: Identity("i-1", "10.0.0.5"))
    monkeypatch.setattr(agent_module.aws, "dynamodb", lambda _region: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(agent_module, "create", lambda _context: FakeRole())  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(Ended):
        agent_module.main()
    assert told() == ["READY=1", *["WATCHDOG=1"] * 5]


def test_the_firewall_comes_before_whatever_listens(clock: Clock) -> None:
    order: list[str] = []

    class Role(FakeRole):
        def start(self) -> None:
            order.append("role")

    agent = Agent(
        values.facts("app-server"),
        Identity("i-1", "10.0.0.5"),
        FakeCoordination(),
        Role(),
        clock,
        before=lambda: order.append("firewall"),
    )
    agent.step()
    agent.step()
    assert order == ["firewall", "role"]


def test_without_its_firewall_a_machine_starts_no_role_and_has_failed(clock: Clock) -> None:
    def refuse() -> None:
        raise OSError("nft does not take the machine's rules")

    coordination, role = FakeCoordination(), FakeRole()
    agent = Agent(
        values.facts("app-server"),
        Identity("i-1", "10.0.0.5"),
        coordination,
        role,
        clock,
        before=refuse,
    )
    agent.step()
    assert role.starts == 0
    state, detail = coordination.said[-1]
    assert state == "failed"
    assert "nft does not take" in detail


def test_what_the_machine_could_not_follow_is_said_beside_what_its_role_says(clock: Clock) -> None:
    coordination, trouble = FakeCoordination(), "the firewall stays as it is"
    agent = Agent(
        values.facts("app-server"),
        Identity("i-1", "10.0.0.5"),
        coordination,
        FakeRole([Health("ready", "primary")]),
        clock,
        trouble=lambda: trouble,
    )
    agent.step()
    assert coordination.said[-1] == ("ready", "primary\nthe firewall stays as it is")
    trouble = ""
    agent.step()
    assert coordination.said[-1] == ("ready", "primary")
