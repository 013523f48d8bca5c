"""What a database machine says that it is: to the other machines and to people."""

from dataclasses import asdict, dataclass
from typing import Any, cast

import pytest

from hosts.base import services
from hosts.base.agent import Context
from hosts.base.identity import Identity
from hosts.database.role import Database
from tests.hosts import values


@dataclass
class Agent:
    """What the role asks of its agent."""

    is_primary: bool = False
    is_replica: bool = False
    follows: bool = False

    def status(self) -> dict[str, Any]:
        return {"lag": 9.0, "action": "nothing"}

    def trouble(self) -> str:
        return "the receiving thread ended"


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def database(agent: Agent) -> Database:
    context = Context(
        values.facts("database"),
        asdict(values.database_options()),
        cast("Identity", None),
        cast("Any", None),
    )
    made = Database(context)
    made._agent = cast("Any", agent)  # pyright: ignore[reportPrivateUsage]
    return made


@pytest.fixture(autouse=True)
def _mysqld_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def running(unit: str) -> services.Unit:
        assert unit == "mysql.service"
        return services.Unit("active", "running", "success", loaded=True)

    monkeypatch.setattr(services, "show", running)


def test_a_new_replica_is_not_ready_before_it_has_caught_up(
    database: Database, agent: Agent
) -> None:
    agent.follows = True
    assert database.health().state == "booting"
    agent.is_replica = True
    assert database.health().state == "ready"


def test_one_that_was_of_use_and_only_lags_has_not_failed(database: Database, agent: Agent) -> None:
    agent.is_replica = agent.follows = True
    assert database.health().detail == "replica"
    agent.is_replica = False
    health = database.health()
    assert (health.state, health.figures) == ("ready", {"lag": 9.0})
    assert "takes no reads" in health.detail


def test_one_that_does_not_follow_any_more_is_of_no_use(database: Database, agent: Agent) -> None:
    agent.is_replica = agent.follows = True
    database.health()
    agent.is_replica = agent.follows = False
    assert database.health().state == "booting"
    assert database.health().detail == "the receiving thread ended"


def test_a_primary_that_lost_the_lead_and_follows_is_a_replica(
    database: Database, agent: Agent
) -> None:
    agent.is_primary = True
    assert database.health().detail == "primary"
    agent.is_primary, agent.follows = False, True
    assert database.health().detail.startswith("replica")
