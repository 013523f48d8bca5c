"""What a real mysqld says of a CLONE that failed: `replica.copy` decides by it what is left."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts.database import replica, volume
from hosts.database.mysql import Account, MySQLError, Session
from hosts.database.replica import ActionError
from tests.hosts.backups import blank_database
from tests.hosts.real_mysqld import Mysqld

__all__ = ["blank_database"]

PLUGINS = "--plugin-load-add=mysql_clone.so"


class Pair:
    """A donor, and a recipient that has a table of its own."""

    def __init__(self, folder: Path, blank: Path) -> None:
        self.donor = Mysqld(folder / "1", blank, 1).start(PLUGINS)
        self.recipient = Mysqld(folder / "2", blank, 2).start(PLUGINS)
        self.donor.run(
            "CREATE USER replication IDENTIFIED BY 'secret'",
            "GRANT BACKUP_ADMIN ON *.* TO replication",
        )
        self.recipient.run(
            "CREATE DATABASE ours",
            "CREATE TABLE ours.rows_of_ours (id INT PRIMARY KEY)",
            f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{self.donor.port}'",
        )

    def clone(self, password: str) -> None:
        statement = "CLONE INSTANCE FROM replication@127.0.0.1:%s IDENTIFIED BY %s"
        with self.recipient.session() as session:
            session.run(statement, self.donor.port, password)


@pytest.fixture
def pair(blank_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setenv("PATH", str(blank_database.parent / "bin"), prepend=":")
    made = Pair(tmp_path, blank_database)

    @contextmanager
    def local(_: float = 3.0) -> Generator[Session]:
        with made.recipient.session() as session:
            yield session

    monkeypatch.setattr(replica, "local", local)
    monkeypatch.setattr(replica, "UNFINISHED", tmp_path / "unfinished")
    monkeypatch.setattr(volume, "DATA", made.recipient.data)
    yield made
    made.donor.kill()
    made.recipient.kill()


def test_a_clone_that_is_refused_leaves_the_tables_and_no_mark(pair: Pair) -> None:
    with pytest.raises(ActionError, match="CLONE failed"):
        replica.copy("127.0.0.1", Account("replication", "wrong"))
    assert not replica.UNFINISHED.exists()
    assert pair.recipient.rows("SHOW TABLES FROM ours") == [("rows_of_ours",)]


def test_one_that_dropped_the_tables_is_seen_to_have(pair: Pair) -> None:
    with pair.recipient.session() as session:
        before = replica.last_copy(session)
    with pytest.raises(MySQLError) as raised:  # nobody starts this mysqld again
        pair.clone("secret")
    assert raised.value.args[0] in replica.ENDS_WITH_MYSQLD
    pair.recipient.kill()
    pair.recipient.start(PLUGINS)
    assert not replica.untouched(before)
    assert pair.recipient.rows("SHOW DATABASES LIKE 'ours'") == []
