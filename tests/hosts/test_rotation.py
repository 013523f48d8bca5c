"""New passwords and certificates, on a real mysqld, with clients that go on working."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
from botocore.exceptions import ClientError

from components.new_secret import certificate_authority
from hosts.base.parameters import ParameterError
from hosts.database import rotation
from hosts.database.mysql import Account
from tests.hosts import beside_mysqld

KNOWN = {"application": "old", "replication": "same"}


class Ssm:
    """Parameters by name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def get_parameter(self, **asked: Any) -> dict[str, Any]:
        if asked["Name"] not in self.values:
            raise ClientError({"Error": {"Code": "ParameterNotFound"}}, "GetParameter")
        return {"Parameter": {"Value": self.values[asked["Name"]]}}


def test_the_passwords_are_wanted_as_the_parameters_have_them() -> None:
    ssm: Any = Ssm({"/a": "new", "/r": "same"})
    names = {"application": "/a", "replication": "/r"}
    assert rotation.wanted_passwords(ssm, names) == {"application": "new", "replication": "same"}


@pytest.mark.parametrize(("accepted", "used"), [(True, "new"), (False, "old")])
def test_a_password_is_used_when_the_primary_takes_it(accepted: bool, used: str) -> None:
    asked: list[Account] = []

    def accepts(account: Account) -> bool:
        asked.append(account)
        return accepted

    wanted = {**KNOWN, "application": "new"}
    assert rotation.adopt(KNOWN, wanted, accepts)["application"] == used
    assert asked == [Account("application", "new")], "what has not changed is not asked for"


@pytest.mark.parametrize("error", [pymysql.err.OperationalError(2003, "away"), OSError("away")])
def test_with_the_primary_away_the_old_password_stays(error: Exception) -> None:
    def accepts(_: Account) -> bool:
        raise error

    assert rotation.adopt(KNOWN, {**KNOWN, "application": "new"}, accepts) == KNOWN


PASSWORDS = """
from hosts.database import accounts, rotation

old = {"application": "old-a", "replication": "old-r", "monitor": "old-m"}
new = {**old, "application": "new-a"}
at_home = rotation.accepted_at("127.0.0.1")

def valid(user, *passwords):
    return [at_home(Account(user, password)) for password in passwords]

server = start()
with local(30) as session:
    session.run("SET GLOBAL super_read_only = OFF")
    session.run("SET GLOBAL read_only = OFF")
    accounts.ensure(session, "site", old)
    answers["nothing to do"] = rotation.change_passwords(session, old)
    client = remote("127.0.0.1", Account("application", "old-a"), certificate.AUTHORITY)
    answers["changed"] = rotation.change_passwords(session, new)
    answers["again"] = rotation.change_passwords(session, new)
    answers["both"] = valid("application", "old-a", "new-a", "neither")
    answers["too early"] = rotation.discard_old_passwords(session)
    answers["still both"] = valid("application", "old-a", "new-a")
    time.sleep(1.1)
    answers["discarded"] = rotation.discard_old_passwords(session, after=1)
    answers["new only"] = valid("application", "old-a", "new-a")
    answers["discarded again"] = rotation.discard_old_passwords(session, after=0)
    answers["who is connected stays"] = client.row("SELECT 1")
    answers["others"] = valid("replication", "old-r") + valid("monitor", "old-m")
    log = Path("/tmp/mysqld.log").read_text()
    answers["in the log"] = [word for word in ("old-a", "new-a") if word in log]
stop(server)
"""


@pytest.mark.usefixtures("machine_image")
def test_both_passwords_work_until_the_old_one_is_discarded(tmp_path: Path) -> None:
    answers = beside_mysqld.run(tmp_path, PASSWORDS, certificate_authority())
    assert answers == {
        "nothing to do": [],
        "changed": ["application"],
        "again": [],
        "both": [True, True, False],
        "too early": [],
        "still both": [True, True],
        "discarded": ["application"],
        "new only": [False, True],
        "discarded again": [],
        "who is connected stays": [1],
        "others": [True, True],
        "in the log": [],
    }


CERTIFICATES = """
from hosts.database import accounts, rotation

first, second = authority.split("=====")
one, two = certificate.certificates(first), certificate.certificates(second)
names = {"names": ["database-1", "localhost"], "addresses": ["127.0.0.1"]}
asked = []

def key(text):
    def give():
        asked.append(text is second)
        return text
    return give

def reaches(trusted):
    file = Path("/tmp/trusted.pem")
    file.write_text(trusted)
    try:
        remote("127.0.0.1", Account("application", "a"), file).close()
    except MySQLError as error:
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return True

def who():
    return {"old": reaches(one), "both": reaches(one + two), "new": reaches(two)}

server = start()
with local(30) as session:
    session.run("SET GLOBAL super_read_only = OFF")
    session.run("SET GLOBAL read_only = OFF")
    accounts.ensure(session, "site", {"application": "a", "replication": "r", "monitor": "m"})
    client = remote("127.0.0.1", Account("application", "a"), certificate.AUTHORITY)
    answers["good as it is"] = rotation.renew_certificate(session, one, key(first), **names)
    answers["at first"] = who()
    try:
        rotation.renew_certificate(session, one, key(second), **names)
        certificate.make(second, ["x"], ["127.0.0.1"], trusted=one)
    except certificate.CertificateError as error:
        answers["an authority that nobody trusts"] = str(error)
    answers["trust both"] = rotation.renew_certificate(session, one + two, key(first), **names)
    answers["trusting both"] = who()
    answers["new"] = rotation.renew_certificate(session, two + one, key(second), **names)
    answers["presenting the new"] = who()
    answers["keys asked for"] = [*asked]
    answers["trust new"] = rotation.renew_certificate(session, two, key(second), **names)
    answers["at the end"] = who()
    answers["nothing left"] = rotation.renew_certificate(session, two, key(second), **names)
    answers["who is connected stays"] = client.row("SELECT 1")

    class Refusing:
        def run(self, statement):
            raise MySQLError("not now")

    certificate.RENEW = certificate.DAYS * 86400 + 1
    try:
        rotation.renew_certificate(Refusing(), two, key(second), **names)
    except MySQLError:
        certificate.RENEW = 1
        answers["tried again"] = rotation.renew_certificate(session, two, key(second), **names)
stop(server)
server = start()
answers["restarted"] = who()
stop(server)
"""


@pytest.mark.usefixtures("machine_image")
def test_an_authority_is_exchanged_with_no_moment_without_a_connection(tmp_path: Path) -> None:
    both = f"{certificate_authority()}====={certificate_authority()}"
    answers = beside_mysqld.run(tmp_path, CERTIFICATES, both)
    old, new = (
        {"old": True, "both": True, "new": False},
        {"old": False, "both": True, "new": True},
    )
    assert answers == {
        "good as it is": False,
        "at first": old,
        "an authority that nobody trusts": (
            "the authority that is to sign is not among those that are trusted"
        ),
        "trust both": True,
        "trusting both": old,
        "new": True,
        "presenting the new": new,
        "keys asked for": [True],
        "trust new": True,
        "at the end": new,
        "nothing left": False,
        "who is connected stays": [1],
        "tried again": True,
        "restarted": new,
    }


class Turn:
    """One machine's rotation, with mysqld and the primary played."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, leads: bool) -> None:
        self.accepted: set[str] = {"old-a", "old-r"}
        self.statements: list[str] = []
        self.asked_at: list[str] = []
        self.ssm = Ssm({"/p/database/application-password": "old-a"})
        self.ssm.values = {**self.ssm.values, "/p/database/replication-password": "old-r"}
        self.leads = leads
        monkeypatch.setattr(rotation, "local", self._local)
        monkeypatch.setattr(rotation, "accepted_at", self._accepted_at)
        ssm: Any = self.ssm
        self.rotation = rotation.Rotation(
            client=ssm,
            parameter=lambda name: f"/p/{name}",
            passwords={"application": "old-a", "replication": "old-r"},
            file=folder / "passwords.json",
            between_turns=self._between_turns(),
            leads=lambda: self.leads,
            primary=lambda: "10.0.0.7",
            names=["database-1"],
            addresses=["127.0.0.1"],
        )

    def wish(self, user: str, password: str) -> None:
        self.ssm.values = {**self.ssm.values, f"/p/database/{user}-password": password}

    @contextmanager
    def _between_turns(self) -> Generator[None]:
        self.statements.append("the agent waits")
        yield
        self.statements.append("the agent goes on")

    @contextmanager
    def _local(self, _: float) -> Generator["Turn"]:
        yield self

    def _accepted_at(self, address: str) -> rotation.Accepts:
        self.asked_at.append(address)
        return lambda account: account.password in self.accepted

    def rows(self, statement: str, *_: object) -> list[Any]:
        return [("ON",)] if "SERVICE_STATE" in statement else []

    def run(self, statement: str, *values: object) -> None:
        self.statements.append(" ".join(statement.split()[:3]))
        if statement.startswith("ALTER USER"):
            self.accepted.add(str(values[-1]))


def test_the_primary_changes_the_password_and_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Turn(tmp_path, monkeypatch, leads=True)
    turn.rotation.turn_passwords()
    assert turn.statements == []
    turn.wish("replication", "new-r")
    turn.rotation.turn_passwords()
    assert turn.statements == ["ALTER USER %s@%s"]
    assert turn.rotation.passwords == {"application": "old-a", "replication": "new-r"}
    assert json.loads((tmp_path / "passwords.json").read_text()) == turn.rotation.passwords
    turn.rotation.turn_passwords()
    assert turn.statements == ["ALTER USER %s@%s"]


def test_whoever_leads_sees_to_it_that_mysqld_takes_the_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore brought former ones back; later a failover lost a new one."""
    turn = Turn(tmp_path, monkeypatch, leads=True)
    for _ in range(2):
        turn.accepted = {"old-r"}
        turn.rotation.turn_passwords()
        assert turn.accepted == {"old-a", "old-r"}
        asked = len(turn.asked_at)
        turn.rotation.turn_passwords()
        assert len(turn.asked_at) == asked, "once, as long as it leads"
        turn.leads = False
        turn.rotation.turn_passwords()
        turn.leads = True
    assert turn.statements == ["ALTER USER %s@%s"] * 2


def test_a_parameter_that_cannot_be_read_changes_nothing_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Turn(tmp_path, monkeypatch, leads=True)
    turn.ssm.values = {"/p/database/application-password": "new-a"}
    with pytest.raises(ParameterError, match="/p/database/replication-password cannot be read"):
        turn.rotation.turn_passwords()
    assert turn.rotation.passwords["application"] == "old-a"
    assert turn.statements == []


def test_a_replica_replicates_with_the_new_password_once_the_primary_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Turn(tmp_path, monkeypatch, leads=False)
    turn.wish("replication", "new-r")
    turn.rotation.turn_passwords()
    assert turn.rotation.passwords["replication"] == "old-r"
    assert turn.statements == []
    turn.accepted.add("new-r")
    turn.rotation.turn_passwords()
    assert turn.rotation.passwords["replication"] == "new-r"
    assert turn.statements == [
        "the agent waits",
        "STOP REPLICA IO_THREAD",
        "START REPLICA IO_THREAD",
        "the agent goes on",
    ]
    assert {*turn.asked_at} == {"10.0.0.7"}
