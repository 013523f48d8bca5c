"""Exchanging passwords and the authority: which steps, in which order, and when it stops."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hosts.base.coordination import Machine
from scripts import deployed, rotate
from scripts.rotate import Rotation, RotationError

NOW = 1_000_000.0
URN = "urn:pulumi:lab::site::site:fleet:Database$site:secrets:DatabaseSecrets"


def machine(
    name: str, role: str = "database", state: str = "ready", detail: str = "", ago: float = 5
) -> Machine:
    return Machine(f"i-{name}", name, role, "10.0.0.1", state, detail, NOW - ago, "")


class World:
    """A stack whose configuration and state are here, and machines that are well."""

    def __init__(self, authorities: object = None) -> None:
        self.authorities = authorities
        self.calls: list[str] = []
        self.said: list[str] = []
        self.now = 0.0
        self.status = 0
        self.fails_at = ""
        """The setting with which `pulumi up` fails."""
        self.times: dict[str, str] = {}
        """When resources were made and changed, as the state has it."""
        self.deployed: list[list[int]] = [[1]]
        self.trusted = 1
        """Authorities that machines are told to trust."""
        self.found = [
            machine("database-1", detail="primary"),
            machine("database-2", detail="replica"),
            machine("app-server-1", "app-server"),
        ]
        coordination: Any = self
        self.rotation = Rotation(
            "lab",
            coordination,
            self.said.append,
            pulumi=self._pulumi,
            up=self._up,
            clock=lambda: self.now,
            sleep=self._sleep,
            epoch=lambda: NOW,
        )

    def machines(self, role: str) -> list[Machine]:
        return [each for each in self.found if each.role == role]

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if seconds == rotate.SETTLE:
            self.calls.append("settle")

    def _up(self, arguments: list[str]) -> int:
        self.calls.append(" ".join(arguments[4:]))
        if self.fails_at and self.authorities == self.fails_at:
            return 1
        if not self.status:
            now: Any = self.authorities or [1]
            self.deployed.append(json.loads(now) if isinstance(now, str) else now)
            self.trusted = len(self.deployed[-1])
        return self.status

    def _pulumi(self, *arguments: str) -> str:
        match arguments[:2]:
            case ("stack", "export"):
                kinds = ("command:local/command:Command", "aws:ssm/parameter:Parameter")
                resources = [
                    {
                        "urn": f"{URN}${kind}::{name}",
                        "type": kind.replace("local/command", "local"),
                        **self.times,
                    }
                    for name in ("application-password", "certificate-authority")
                    for kind in kinds
                ]
                resources += [
                    {
                        "urn": f"{URN}${kinds[1]}::{prefix}certificate-authority-certificate",
                        "type": kinds[1],
                        "inputs": {"value": "-----BEGIN CERTIFICATE-----\n" * self.trusted},
                    }
                    for prefix in ("", "app-server-")
                ]
                return json.dumps({"deployment": {"resources": resources}})
            case ("config", "--json"):
                value = {} if self.authorities is None else {"authorities": self.authorities}
                keys = ("site:database", "site:appServers")
                return json.dumps({key: {"objectValue": value} for key in keys})
            case ("config", "set"):
                self.calls.append(f"set {arguments[-2]} {arguments[-1]}")
                self.authorities = arguments[-1]
                return ""
            case other:
                raise AssertionError(other)


UP = "--parallel=1 --stack lab --target **site:secrets:DatabaseSecrets**"


def test_a_password_is_replaced_with_its_parameter_and_nothing_else() -> None:
    world = World()
    world.rotation.password("application")
    (call,) = world.calls
    assert call.split() == [
        *("--parallel=1", "--stack", "lab"),
        *("--target-replace", f"{URN}$command:local/command:Command::application-password"),
        *("--target", f"{URN}$aws:ssm/parameter:Parameter::application-password"),
    ]
    assert "There is a new application-password" in world.said[-1]


@pytest.mark.parametrize(
    ("modified", "after", "seconds"),
    [
        (None, 1, 0),
        ("2026-11-23T10:00:00.123456789Z", 1, 0),
        ("2026-11-23T11:00:00Z", 20, 100),
        ("2026-11-23T13:00:00+02:00", 20, 100),
        ("2026-11-23T11:00:00Z", 121, 0),
    ],
    ids=["a state without times", "its first value", "a moment ago", "in another zone", "settled"],
)
def test_a_password_is_exchanged_again_only_when_nobody_uses_the_one_before_the_last(
    modified: str | None, after: float, seconds: float
) -> None:
    parameter = {"created": "2026-11-23T10:00:00.123456789Z", "modified": modified}
    changed = datetime(2026, 11, 23, 11, tzinfo=UTC).timestamp()
    assert rotate.unsettled(parameter, changed + after) == seconds


def test_a_second_exchange_waits_first() -> None:
    world = World()
    changed = datetime.fromtimestamp(NOW, UTC).isoformat()
    world.times = {"created": "2026-11-23T10:00:00Z", "modified": changed}
    world.rotation.password("application")
    assert world.calls[0] == "settle"
    assert "exchanged a moment ago" in world.said[0]


def test_a_password_that_the_stack_does_not_have_is_told() -> None:
    with pytest.raises(RotationError, match="the stack has no monitor-password"):
        World().rotation.password("monitor")


@pytest.mark.parametrize(
    ("now", "trusted", "then"),
    [
        ([1], 1, [[1, 2], [2, 1], [2]]),
        ([1, 2], 1, [[1, 2], [2, 1], [2]]),
        ([1, 2], 2, [[1, 2], [2, 1], [2]]),
        ([2, 1], 2, [[2, 1], [2]]),
        ([2], 2, [[2]]),
        ([4], 1, [[4, 5], [5, 4], [5]]),
    ],
)
def test_the_steps_lead_from_anywhere_to_one_other_authority(
    now: list[int], trusted: int, then: list[list[int]]
) -> None:
    assert rotate.steps(now, trusted) == then


def test_every_machine_trusts_an_authority_before_it_signs_and_until_it_is_gone() -> None:
    trusted, signing = {1}, 1
    for step in rotate.steps([1], 1):
        assert step[0] in trusted, "it signs: all must have trusted it before"
        assert signing in step, "its certificates are still about: it has to be trusted"
        trusted, signing = {*step}, step[0]


@pytest.mark.parametrize("authorities", [None, [1], "[1]"])
def test_an_authority_is_exchanged_in_three_steps_each_of_them_settled(authorities: object) -> None:
    world = World(authorities)
    world.rotation.authority()
    assert world.calls == [
        *("set site:database.authorities [1, 2]", UP, "settle"),
        *("set site:database.authorities [2, 1]", UP, "settle"),
        *("set site:database.authorities [2]", UP, "settle"),
    ]
    assert "commit the stack's file" in world.said[-1]


def test_the_application_servers_authority_waits_for_the_load_balancers_too() -> None:
    world = World()
    fine = "certificate: 61 days left"
    world.found.append(machine("load-balancer-1", "load-balancer", detail=f"{fine}\nwhom …: no"))
    with pytest.raises(RotationError, match=r"load-balancer-1: whom …: no"):
        world.rotation.authority("app-servers")
    world.rotation.authority()
    world.calls.clear()
    world.authorities = None
    world.found[-1] = machine("load-balancer-1", "load-balancer", detail=fine)
    world.rotation.authority("app-servers")
    up = "--parallel=1 --stack lab --target **site:secrets:AppServerSecrets**"
    assert world.calls[:3] == ["set site:appServers.authorities [1, 2]", up, "settle"]
    assert len(world.calls) == 9


@pytest.mark.parametrize("at", ["[1, 2]", "[2, 1]", "[2]"])
def test_what_was_interrupted_goes_on_where_it_was_and_skips_nothing(at: str) -> None:
    world = World([1])
    world.fails_at = at
    with pytest.raises(RotationError, match="goes on from here"):
        world.rotation.authority()
    world.fails_at = ""
    world.calls.clear()
    world.rotation.authority()
    assert world.authorities == "[2]"
    assert world.deployed == [[1], [1, 2], [2, 1], [2]]
    assert world.calls[1:3] == [UP, "settle"]


def test_what_was_interrupted_while_it_settled_settles() -> None:
    world = World([1, 2])
    world.trusted = 2
    world.rotation.authority()
    assert world.calls[:3] == ["set site:database.authorities [1, 2]", UP, "settle"]
    assert world.authorities == "[2]"


@pytest.mark.parametrize(
    ("unwell", "said"),
    [
        (
            machine("app-server-1", "app-server", detail="the secrets stay as they are: throttled"),
            "app-server-1: the secrets stay as they are: throttled",
        ),
        (machine("database-2", detail="replica\ncertificate: no"), "database-2: certificate: no"),
        (machine("database-2", state="failed"), "database-2 is failed"),
        (machine("database-2", detail="replica", ago=200), "not been heard of for 200 s"),
    ],
)
def test_nothing_goes_on_while_a_machine_may_lack_the_step_before(
    unwell: Machine, said: str
) -> None:
    world = World()
    well = world.found
    world.found = [unwell, *(each for each in well if each.name != unwell.name)]
    with pytest.raises(RotationError, match="not every machine is well") as stopped:
        world.rotation.authority()
    assert said in str(stopped.value)
    assert world.calls == []
    assert world.now >= rotate.PATIENCE
    world.found = well
    world.rotation.authority()
    assert world.authorities == "[2]"


def test_an_earlier_item_of_a_machine_that_was_replaced_does_not_matter() -> None:
    now, before = machine("database-1", detail="primary"), machine("database-1", ago=9000)
    assert rotate.troubles([now, before], NOW) == []


@pytest.mark.parametrize("arguments", [[], ["pin"], ["password"], ["password", "root"]])
def test_what_is_not_understood_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        rotate.main(arguments)
    assert ended.value.code == 2


def test_nothing_is_done_unconfirmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outputs(*_: str) -> str:
        return json.dumps({"region": "eu-central-1", "table": "t"})

    class Terminal:
        def readline(self) -> str:
            return "y\n"

    monkeypatch.setattr(deployed, "pulumi", outputs)
    monkeypatch.setattr(rotate.sys, "stdin", Terminal())
    assert rotate.main(["authority"]) == 1
    assert "Exchange the database authority? Type yes" in capsys.readouterr().err
