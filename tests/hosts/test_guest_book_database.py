"""Where the guest book reads and writes when databases come and go."""

from pathlib import Path
from typing import Any

import pymysql
import pytest

from app.guestbook import database
from app.guestbook.database import Database, Settings, UnavailableError

ENTRY = {"id": 1, "name": "n", "message": "m", "created": None, "server": "s"}
Rows = list[dict[str, Any]]


class Server:
    """One port: a database machine, or nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = True
        self.connections = 0
        self.statements: list[str] = []
        self.late = 0
        self.rows: Rows = []
        self.errors: list[Exception] = []
        self.epoch = 0
        self.passwords: list[str] = []

    def restart(self) -> None:
        """Every open connection is dead from now on."""
        self.epoch += 1

    def answer(self, statement: str) -> Rows:
        self.statements.append(statement)
        if statement.startswith("SELECT @@report_host"):
            return [{"machine": self.name}]
        if "WAIT_FOR_EXECUTED" in statement:
            return [{"late": self.late}]
        if self.errors:
            raise self.errors.pop(0)
        if "gtid_executed" in statement:
            return [{**ENTRY, "seen": "uuid:1-5,\nuuid2:1"}]
        return list(self.rows)


class Connection:
    """As much of PyMySQL's as is used."""

    def __init__(self, server: Server) -> None:
        self.server, self.epoch, self.result = server, server.epoch, list[Any]()

    def cursor(self) -> "Connection":
        return self

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: str, _values: object) -> None:
        if not self.server.up or self.epoch != self.server.epoch:
            raise pymysql.err.OperationalError(2013, "Lost connection")
        self.result = self.server.answer(statement)

    def fetchall(self) -> list[Any]:
        return self.result

    def close(self) -> None:
        pass


@pytest.fixture
def primary() -> Server:
    return Server("database-1")


@pytest.fixture
def replica() -> Server:
    return Server("database-2")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """The file that the machine keeps."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    return file


@pytest.fixture
def book(
    primary: Server, replica: Server, password: Path, monkeypatch: pytest.MonkeyPatch
) -> Database:
    def connect(port: int, password: str, **_: object) -> Connection:
        server = {3306: primary, 3307: replica}[port]
        server.passwords.append(password)
        if not server.up:
            raise pymysql.err.OperationalError(2003, "Can't connect")
        server.connections += 1
        return Connection(server)

    monkeypatch.setattr(pymysql, "connect", connect)

    def no_tls(**_: object) -> None:
        """There is no authority here."""

    monkeypatch.setattr(database.ssl, "create_default_context", no_tls)
    file = str(password)
    return Database(Settings("127.0.0.1", 3306, 3307, "site", "application", file, "/ca.pem"))


def test_reads_go_to_the_replica_and_keep_their_connection(
    book: Database, primary: Server, replica: Server
) -> None:
    replica.rows = [ENTRY]
    for _ in range(3):
        answer = book.entries("", 50, None)
        assert (answer.rows, answer.database) == ([ENTRY], "database-2")
    assert replica.connections == 1
    assert primary.connections == 0


def test_a_reader_waits_for_its_own_write_only_if_it_made_one(
    book: Database, replica: Server
) -> None:
    book.entries("", 50, None)
    assert not any("WAIT_FOR" in statement for statement in replica.statements)
    book.entries("uuid:1-5", 50, None)
    assert any("WAIT_FOR" in statement for statement in replica.statements)


def test_a_write_that_is_not_at_the_replica_in_time_is_read_from_the_primary(
    book: Database, primary: Server, replica: Server
) -> None:
    replica.late, primary.rows = 1, [ENTRY]
    answer = book.entries("uuid:1-5", 50, None)
    assert (answer.rows, answer.database) == ([ENTRY], "database-1")


def test_with_the_primary_away_too_a_late_replica_is_better_than_nothing(
    book: Database, primary: Server, replica: Server
) -> None:
    replica.late, replica.rows, primary.up = 1, [ENTRY], False
    assert book.entries("uuid:1-5", 50, None).database == "database-2"


def test_with_no_database_there_is_no_answer(
    book: Database, primary: Server, replica: Server
) -> None:
    primary.up = replica.up = False
    for ask in (
        lambda: book.entries("", 50, None),
        lambda: book.add("n", "m", "s", "k"),
        book.check,
    ):
        with pytest.raises(UnavailableError):
            ask()


def test_a_new_password_is_used_by_the_next_connection(
    book: Database, replica: Server, password: Path
) -> None:
    book.entries("", 50, None)
    password.write_text("another")
    book.entries("", 50, None)
    replica.restart()
    book.entries("", 50, None)
    assert replica.passwords == ["secret", "another"]


def test_kept_connections_that_died_are_replaced_without_anyone_noticing(
    book: Database, replica: Server
) -> None:
    book.entries("", 50, None)
    replica.restart()
    assert book.entries("", 50, None).database == "database-2"
    assert replica.connections == 2


def test_before_the_first_entry_there_is_no_table_and_the_book_is_empty(
    book: Database, primary: Server, replica: Server
) -> None:
    for server in (primary, replica):
        server.errors = [pymysql.err.ProgrammingError(1146, "no such table")]
    assert book.entries("", 50, None).rows == []


def test_the_first_entry_makes_the_table(book: Database, primary: Server) -> None:
    primary.errors = [pymysql.err.ProgrammingError(1146, "no such table")]
    answer = book.add("n", "m", "s", "k")
    assert answer.created
    made = [statement.split()[0] for statement in primary.statements]
    assert made == ["SELECT", "INSERT", "CREATE", "INSERT", "SELECT"]


def test_a_write_says_what_a_reader_must_have_seen(book: Database) -> None:
    answer = book.add("n", "m", "s", "k")
    assert answer.seen == "uuid:1-5,uuid2:1"
    assert answer.rows == [ENTRY]
    assert answer.database == "database-1"


def test_a_key_that_was_used_before_writes_nothing(book: Database, primary: Server) -> None:
    primary.errors = [pymysql.err.IntegrityError(1062, "duplicate")]
    answer = book.add("n", "m", "s", "k")
    assert not answer.created
    assert answer.rows == [ENTRY]


def test_a_write_whose_connection_died_is_repeated_with_the_same_key(
    book: Database, primary: Server
) -> None:
    book.add("n", "m", "s", "k1")
    primary.restart()
    assert book.add("n", "m", "s", "k2").created


def test_a_server_that_became_read_only_is_no_primary(book: Database, primary: Server) -> None:
    refusal = pymysql.err.OperationalError(1290, "--super-read-only")
    primary.errors = [refusal]
    with pytest.raises(UnavailableError):
        book.add("n", "m", "s", "k")
    assert book.add("n", "m", "s", "k").created


def test_a_mistake_of_the_program_is_not_taken_for_an_absence(
    book: Database, replica: Server
) -> None:
    replica.errors = [pymysql.err.ProgrammingError(1064, "syntax")]
    with pytest.raises(pymysql.err.ProgrammingError):
        book.entries("", 50, None)


def test_connections_grow_old_so_that_reads_find_their_way_back(
    book: Database, replica: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.entries("", 50, None)
    monkeypatch.setattr(database, "AGE", -1.0)
    book.entries("", 50, None)
    assert replica.connections == 2
