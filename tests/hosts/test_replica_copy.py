"""What stands when a copy of the primary ends in the middle."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hosts.database import replica, volume
from hosts.database.mysql import Account, MySQLError
from hosts.database.replica import ActionError

ACCOUNT = Account("replication", "secret")


class Server:
    """mysqld as far as a CLONE goes."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark
        self.uuid = mark.with_name("auto.cnf")
        self.uuid.write_text("[auto]\n")
        self.status: tuple[Any, ...] = ("", 0, "", None)
        self.dropping = "Completed"
        self.outcome: tuple[Any, ...] = ("Completed", 0, "", 1)
        self.error: BaseException = MySQLError(2013, "the connection went with mysqld")

    @contextmanager
    def session(self, _: float = 1.0) -> Generator["Server"]:
        yield self

    def run(self, statement: str, *_: object) -> None:
        if statement.startswith("CLONE"):
            assert self.mark.exists(), "tables are dropped with nothing to say so"
            assert not self.uuid.exists(), "it would give the numbers of what is dropped again"
            self.status = self.outcome
            raise self.error

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return [(self.dropping,)] if "clone_progress" in statement else [self.status]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    made = Server(tmp_path / "unfinished")
    monkeypatch.setattr(replica, "UNFINISHED", made.mark)
    monkeypatch.setattr(volume, "DATA", tmp_path)
    monkeypatch.setattr(replica, "local", made.session)
    return made


def test_a_copy_that_is_whole_leaves_no_mark(server: Server) -> None:
    replica.copy("10.0.0.1", ACCOUNT)
    assert not server.mark.exists()


def test_a_copy_that_failed_is_not_taken_for_a_database(server: Server) -> None:
    server.outcome = ("Failed", 3862, "the donor went away", 1)
    with pytest.raises(ActionError, match="the donor went away"):
        replica.copy("10.0.0.1", ACCOUNT)
    assert server.mark.exists()


def test_nor_is_one_whose_agent_was_killed(server: Server) -> None:
    server.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        replica.copy("10.0.0.1", ACCOUNT)
    assert server.mark.exists()


def test_one_that_was_refused_is_said_at_once(server: Server) -> None:
    server.outcome = server.status
    server.error = MySQLError(3862, "Clone Donor Error: 1045")
    with pytest.raises(ActionError, match="1045"):
        replica.copy("10.0.0.1", ACCOUNT)
    assert not server.mark.exists(), "nothing was dropped: the data is a database as before"


def test_one_that_failed_before_tables_were_dropped_leaves_a_database(server: Server) -> None:
    server.outcome = ("Failed", 3862, "busy with another copy", 1)
    server.error = MySQLError(3862, "busy with another copy")
    server.dropping = "Not Started"
    with pytest.raises(ActionError, match="busy"):
        replica.copy("10.0.0.1", ACCOUNT)
    assert not server.mark.exists()
    server.outcome = ("Failed", 3862, "busy with another copy", 2)
    server.dropping = "In Progress"
    with pytest.raises(ActionError, match="busy"):
        replica.copy("10.0.0.1", ACCOUNT)
    assert server.mark.exists()


def test_a_refusal_does_not_make_an_unfinished_copy_whole(server: Server) -> None:
    server.mark.touch()
    server.outcome = server.status
    server.error = MySQLError(3862, "busy with another copy")
    with pytest.raises(ActionError, match="busy"):
        replica.copy("10.0.0.1", ACCOUNT)
    assert server.mark.exists()
