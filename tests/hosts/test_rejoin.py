"""What a machine keeps of data that goes: read from the logs of a real mysqld."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts.base import services
from hosts.database import process, rejoin, volume
from hosts.database.mysql import Session
from tests.hosts.backups import blank_database
from tests.hosts.real_mysqld import Mysqld

__all__ = ["blank_database"]


@pytest.fixture
def mysqld(
    blank_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mysqld]:
    """One with a table, and a row that the primary has, too. systemd is not there."""
    monkeypatch.setenv("PATH", str(blank_database.parent / "bin"), prepend=":")

    def systemctl(*_: str) -> None:
        pass

    monkeypatch.setattr(services, "systemctl", systemctl)
    monkeypatch.setattr(process, "main_pid", lambda: 0)
    monkeypatch.setattr(process, "start", lambda: None)
    monkeypatch.setattr(volume, "initialise", lambda: True)
    made = Mysqld(tmp_path / "mysqld", blank_database, 1).start()
    made.run(
        "CREATE DATABASE site",
        "CREATE TABLE site.entries (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(99))",
        "INSERT INTO site.entries (what) VALUES ('on the primary, too')",
    )

    @contextmanager
    def local(_: float) -> Generator[Session]:
        with made.session() as session:
            yield session

    monkeypatch.setattr(rejoin, "local", local)
    yield made
    made.kill()


def test_what_only_data_that_does_not_start_had_is_kept_readable(
    mysqld: Mysqld, tmp_path: Path
) -> None:
    there = mysqld.gtids()
    mysqld.run("FLUSH BINARY LOGS", "INSERT INTO site.entries (what) VALUES ('only here')")
    mysqld.kill()
    shipped = {path.name: path.read_bytes() for path in mysqld.data.glob("binlog.*")}

    rejoin.empty(there, mysqld.data, tmp_path / "aside")

    assert not mysqld.data.exists()
    (logs,) = (tmp_path / "aside").glob("*-did-not-start")
    assert {path.name: path.read_bytes() for path in logs.iterdir()} == shipped
    (dump,) = (tmp_path / "aside").glob("*-did-not-start.sql")
    text = dump.read_text()
    assert "only here" in text
    assert "on the primary, too" not in text


def test_what_was_never_acknowledged_is_kept_readable(
    mysqld: Mysqld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, _, last = mysqld.gtids().rpartition("-")
    mysqld.run("INSERT INTO site.entries (what) VALUES ('only here')")
    only_here = f"{server.rpartition(':')[0]}:{int(last) + 1}"
    path = rejoin.keep_aside(only_here, mysqld.data, tmp_path / "aside")
    text = path.read_text()
    assert "only here" in text
    assert "on the primary, too" not in text
    assert "in no binary log" not in caplog.text

    with mysqld.session() as session:
        newest = session.rows("SHOW BINARY LOGS")[-1][0]
        session.run("PURGE BINARY LOGS TO %s", newest)
    rejoin.keep_aside(only_here, mysqld.data, tmp_path / "aside")
    assert f"this is in no binary log any more: {only_here}" in caplog.text


def test_with_nothing_of_its_own_only_the_logs_are_kept(mysqld: Mysqld, tmp_path: Path) -> None:
    there = mysqld.gtids()
    mysqld.kill()
    rejoin.empty(there, mysqld.data, tmp_path / "aside")
    assert [path.name[-13:] for path in (tmp_path / "aside").iterdir()] == ["did-not-start"]


def test_logs_that_are_harmed_are_read_as_far_as_they_go(mysqld: Mysqld, tmp_path: Path) -> None:
    there = mysqld.gtids()
    mysqld.run("INSERT INTO site.entries (what) VALUES ('only here')")
    size = max(mysqld.data.glob("binlog.[0-9]*")).stat().st_size
    mysqld.run("INSERT INTO site.entries (what) VALUES ('harmed')")
    mysqld.kill()
    with max(mysqld.data.glob("binlog.[0-9]*")).open("r+b") as log:
        log.seek(size)
        log.write(b"\xff" * 60)
    rejoin.empty(there, mysqld.data, tmp_path / "aside")
    (dump,) = (tmp_path / "aside").glob("*-did-not-start.sql")
    assert "only here" in dump.read_text(errors="replace")
