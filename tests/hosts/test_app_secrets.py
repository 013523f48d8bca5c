"""The application's files hold what works, while passwords and authorities change."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymysql
import pytest
from botocore.exceptions import ClientError

from hosts.app_server import secrets
from hosts.base.parameters import ParameterError
from tests.hosts import values

FACTS = values.facts("app-server")
NAMES = {
    "password": "/site/lab/database/application-password",
    "authority": "/site/lab/database/certificate-authority-certificate",
}


class Ssm:
    """The two parameters."""

    def __init__(self, **texts: str) -> None:
        self.values = {NAMES[name]: text for name, text in texts.items()}

    def get_parameter(self, **asked: Any) -> Mapping[str, Any]:
        if asked["Name"] not in self.values:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter")
        return {"Parameter": {"Value": self.values[asked["Name"]]}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """/run/site, as at the machine's start."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / secrets.PASSWORD).write_text("old")
    (folder / secrets.AUTHORITY).write_text("one")
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """/run/site-app, of a user who is not root where root runs this."""
    folder = tmp_path / "app"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)
    return folder


def yes(_: str) -> bool:
    return True


def no(_: str) -> bool:
    return False


def refresh(run: Path, app: Path, accepts: secrets.Accepts = yes, **texts: str) -> list[str]:
    ssm: Any = Ssm(**texts)
    return secrets.refresh(ssm, FACTS, accepts, run, app)


def holds(folder: Path) -> tuple[str, str]:
    return (folder / secrets.PASSWORD).read_text(), (folder / secrets.AUTHORITY).read_text()


def test_the_application_gets_what_has_changed_for_itself_alone(run: Path, app: Path) -> None:
    assert refresh(run, app, password="new", authority="one two") == [
        secrets.AUTHORITY,
        secrets.PASSWORD,
    ]
    assert holds(run) == holds(app) == ("new", "one two")
    for file in app.iterdir():
        assert file.stat().st_mode & 0o777 == 0o400
        assert file.stat().st_uid == app.stat().st_uid


def test_a_password_that_does_not_work_yet_waits_and_holds_nothing_else_up(
    run: Path, app: Path
) -> None:
    assert refresh(run, app, no, password="new", authority="two") == [secrets.AUTHORITY]
    assert holds(app) == ("old", "two")
    assert refresh(run, app, yes, password="new", authority="two") == [secrets.PASSWORD]
    assert holds(app) == ("new", "two")


def test_what_has_not_changed_is_neither_tried_nor_written(run: Path, app: Path) -> None:
    tried: list[str] = []

    def accepts(password: str) -> bool:
        tried.append(password)
        return True

    assert refresh(run, app, accepts, password="old", authority="one") == []
    times = [file.stat().st_mtime_ns for file in sorted(app.iterdir())]
    assert refresh(run, app, accepts, password="old", authority="one") == []
    assert [file.stat().st_mtime_ns for file in sorted(app.iterdir())] == times
    assert tried == []


def test_with_the_parameters_away_all_stays(run: Path, app: Path) -> None:
    with pytest.raises(ParameterError, match="certificate"):
        refresh(run, app, password="new")
    assert holds(run) == ("old", "one")


def test_an_application_that_does_not_run_gets_them_at_its_start(run: Path, tmp_path: Path) -> None:
    refresh(run, tmp_path / "none", password="new", authority="one")
    assert holds(run) == ("new", "one")
    assert not (tmp_path / "none").exists()


def test_the_application_cannot_make_the_machine_write_elsewhere(run: Path, app: Path) -> None:
    victim = run / "victim"
    victim.write_text("kept")
    (app / f".{secrets.PASSWORD}.new").symlink_to(victim)
    (app / secrets.PASSWORD).symlink_to(victim)
    refresh(run, app, password="new", authority="one")
    assert victim.read_text() == "kept"
    assert not (app / secrets.PASSWORD).is_symlink()


@pytest.mark.parametrize(
    ("error", "takes"),
    [
        (None, True),
        (pymysql.err.OperationalError(1045, "Access denied"), False),
        (pymysql.err.OperationalError(2013, "Lost connection"), False),
        (OSError("refused"), False),
    ],
)
def test_a_password_is_tried_by_logging_in(
    error: Exception | None, takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Connection:
        def close(self) -> None:
            """Nothing is open."""

    def connect(**given: object) -> Connection:
        assert (given["host"], given["port"], given["user"]) == ("127.0.0.1", 3306, "application")
        assert given["password"] == "new"
        if error:
            raise error
        return Connection()

    def no_tls(**_: object) -> None:
        """There is no authority here."""

    monkeypatch.setattr(pymysql, "connect", connect)
    monkeypatch.setattr(secrets.ssl, "create_default_context", no_tls)
    assert secrets.accepted("new", Path("/ca.pem")) is takes
