"""Settings that running machines follow: read with care, applied once, kept through restarts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from components.new_secret import certificate_authority
from hosts.base.parameters import ParameterError
from hosts.database import tunables
from hosts.database.tunables import Tunables, TunablesError, Tuner
from tests.hosts import beside_mysqld

NAME = "/site/lab/database/settings"
MIB = 1024 * 1024
TUNABLES = Tunables(
    replication="semi-synchronous",
    lease=3.0,
    max_replica_lag=5.0,
    max_failover_lag=5.0,
    variables={"max_connections": 150, "innodb_buffer_pool_size": 64 * MIB},
)


def text(**changes: object) -> str:
    return json.dumps({**vars(TUNABLES), **changes})


class Ssm:
    """A parameter store with one parameter, or none that answers."""

    def __init__(self, value: str | None) -> None:
        self.value = value

    def get_parameter(self, **asked: object) -> dict[str, Any]:
        assert asked["Name"] == NAME
        if self.value is None:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter")
        return {"Parameter": {"Value": self.value}}


class Mysqld:
    """Variables as mysqld keeps them: rounded up to its own units."""

    def __init__(self, units: Mapping[str, int], **variables: int) -> None:
        self.units = units
        self.variables = variables
        self.sets: list[tuple[str, int]] = []
        self.refuses: str = ""
        self.gone = False

    def row(self, statement: str) -> tuple[int]:
        if self.gone:
            raise pymysql.err.OperationalError(2013, "Lost connection")
        return (self.variables[statement.removeprefix("SELECT @@global.")],)

    def run(self, statement: str) -> None:
        name, _, value = statement.removeprefix("SET GLOBAL ").partition(" = ")
        if self.gone or self.refuses == name:
            raise pymysql.err.OperationalError(1210, "Incorrect arguments")
        unit = self.units.get(name, 1)
        self.variables[name] = -(-int(value) // unit) * unit
        self.sets.append((name, int(value)))


def test_the_parameter_is_read_as_it_was_written() -> None:
    assert tunables.parse(text()) == TUNABLES


def test_what_an_older_machine_does_not_know_is_left_out() -> None:
    more = {**TUNABLES.variables, "a_later_one": 1}
    assert tunables.parse(text(variables=more, also_new=True)) == TUNABLES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replication": "group"}, "replication is 'group', not one of semi-synchronous, asyn"),
        ({"lease": 1}, "lease is 1, not a number of seconds of 2 to 60"),
        ({"lease": True}, "lease is True"),
        ({"lease": None}, "lease is None"),
        ({"max_replica_lag": "5"}, "max_replica_lag is '5'"),
        ({"max_failover_lag": -1}, "max_failover_lag is -1"),
        ({"variables": []}, r"variables is \[\], not an object"),
        ({"variables": {"max_connections": "1; DROP"}}, "max_connections is '1; DROP', not a who"),
        ({"variables": {"max_connections": 0}}, "max_connections is 0"),
        ({"variables": {"max_connections": True}}, "max_connections is True"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(TunablesError, match=said):
        tunables.parse(text(**changes))


@pytest.mark.parametrize("nonsense", ["", "{", "[]", "null", '"text"', "NaN"])
def test_what_is_no_object_is_refused(nonsense: str) -> None:
    with pytest.raises(TunablesError, match="it is no JSON"):
        tunables.parse(nonsense)


@given(st.text())
def test_no_text_does_anything_but_be_refused(nonsense: str) -> None:
    with pytest.raises(TunablesError):
        tunables.parse(nonsense)


@pytest.mark.parametrize("bad", [None, "", "{", text(lease=0)])
def test_with_the_parameter_away_or_wrong_the_last_known_stays(
    bad: str | None, tmp_path: Path
) -> None:
    ssm: Any = Ssm(text())
    assert tunables.fetch(ssm, NAME, folder=tmp_path) == TUNABLES
    ssm.value = bad
    assert tunables.fetch(ssm, NAME, TUNABLES, tmp_path) == TUNABLES
    assert tunables.fetch(ssm, NAME, None, tmp_path) == TUNABLES, "the agent was started anew"
    ssm.value = text(lease=9)
    assert tunables.fetch(ssm, NAME, TUNABLES, tmp_path).lease == 9
    ssm.value = bad
    assert tunables.fetch(ssm, NAME, None, tmp_path).lease == 9


def test_with_nothing_known_the_error_is_told(tmp_path: Path) -> None:
    away: Any = Ssm(None)
    with pytest.raises(ParameterError, match=NAME):
        tunables.fetch(away, NAME, folder=tmp_path)
    wrong: Any = Ssm("{}")
    with pytest.raises(TunablesError, match="replication is None"):
        tunables.fetch(wrong, NAME, folder=tmp_path)


def test_mysqld_starts_with_what_was_set(tmp_path: Path) -> None:
    file = tmp_path / "zzz-tunables.cnf"
    assert tunables.write(TUNABLES, file)
    assert file.read_text().splitlines()[1:] == [
        "[mysqld]",
        "max_connections = 150",
        "innodb_buffer_pool_size = 67108864",
    ]
    assert file.stat().st_mode & 0o777 == 0o644, "mysqld reads none that others may write"
    assert not tunables.write(TUNABLES, file)


def test_only_what_differs_is_set_and_what_mysqld_rounds_is_set_once(tmp_path: Path) -> None:
    mysqld: Any = Mysqld(
        {"innodb_buffer_pool_size": 128 * MIB},
        max_connections=100,
        innodb_buffer_pool_size=128 * MIB,
    )
    tuner = Tuner(tmp_path / "cnf")
    assert tuner.apply(mysqld, TUNABLES) == ["max_connections: 100 → 150"]
    mysqld.sets.clear()
    for _ in range(3):
        assert tuner.apply(mysqld, TUNABLES) == []
    assert mysqld.sets == []


def test_what_somebody_changed_by_hand_is_set_back(tmp_path: Path) -> None:
    mysqld: Any = Mysqld({}, max_connections=150, innodb_buffer_pool_size=64 * MIB)
    tuner = Tuner(tmp_path / "cnf")
    assert tuner.apply(mysqld, TUNABLES) == []
    mysqld.variables["max_connections"] = 9
    assert tuner.apply(mysqld, TUNABLES) == ["max_connections: 9 → 150"]


def test_a_wish_that_mysqld_refuses_is_repeated_and_holds_nothing_else_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mysqld: Any = Mysqld({}, max_connections=9, innodb_buffer_pool_size=32 * MIB)
    mysqld.refuses = "max_connections"
    tuner = Tuner(tmp_path / "cnf")
    assert tuner.apply(mysqld, TUNABLES) == ["innodb_buffer_pool_size: 33554432 → 67108864"]
    assert tuner.apply(mysqld, TUNABLES) == []
    assert len([r for r in caplog.records if "cannot be set" in r.message]) == 1
    mysqld.refuses = ""
    assert tuner.apply(mysqld, TUNABLES) == ["max_connections: 9 → 150"]


def test_a_mysqld_that_is_gone_is_no_refusal(tmp_path: Path) -> None:
    mysqld: Any = Mysqld({}, max_connections=9, innodb_buffer_pool_size=32 * MIB)
    mysqld.gone = True
    with pytest.raises(pymysql.err.MySQLError, match="Lost connection"):
        Tuner(tmp_path / "cnf").apply(mysqld, TUNABLES)


SCRIPT = """
from hosts.database.tunables import Tunables, Tuner, write

def wish(connections, pool, redo):
    return Tunables("semi-synchronous", 3.0, 5, 5, {
        "max_connections": connections,
        "innodb_buffer_pool_size": pool << 20,
        "innodb_redo_log_capacity": redo << 20,
    })

def looks():
    with local() as session:
        return list(session.row(
            "SELECT @@max_connections, @@innodb_buffer_pool_size >> 20,"
            " @@innodb_redo_log_capacity >> 20"
        ))

write(wish(150, 64, 100))
server, tuner = start(), Tuner()
answers["first start"] = looks()
wishes = {"odd": (120, 65, 101), "more": (120, 300, 300), "less": (130, 64, 100)}
for name, wanted in wishes.items():
    with local(30) as session:
        said = [tuner.apply(session, wish(*wanted)) for _ in range(3)]
    answers[name] = [looks(), said[1:]]
stop(server)
start()
answers["restarted"] = looks()
with local() as session:
    answers["after"] = Tuner().apply(session, wish(130, 64, 100))
"""


@pytest.mark.usefixtures("machine_image")
def test_a_beside_mysqld_takes_them_running_and_at_its_start(tmp_path: Path) -> None:
    answers = beside_mysqld.run(tmp_path, SCRIPT, certificate_authority())
    assert answers["first start"] == [150, 64, 100]
    assert answers["odd"] == [[120, 128, 101], [[], []]], "whole chunks, and not set again"
    (connections, pool, redo), again = answers["more"]
    assert (connections, redo, again) == (120, 300, [[], []])
    assert 300 <= pool < 300 + 128
    assert answers["less"] == [[130, 64, 100], [[], []]]
    assert (answers["restarted"], answers["after"]) == ([130, 64, 100], [])


def test_every_field_of_the_parameter_matters() -> None:
    for name, other in (("lease", 4.0), ("max_replica_lag", 1.0), ("max_failover_lag", 1.0)):
        assert tunables.parse(text(**{name: other})) == replace(TUNABLES, **{name: other})
