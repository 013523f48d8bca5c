"""Two ways to the database: one for writes, one for reads, and how a reader finds its own write.

Both are ports of localhost. Behind them something else knows which database machine is which;
this module only knows that writes go to one, that reads go to the other, and that either may be
away for a while.
"""

import os
import re
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pymysql
from pymysql.cursors import DictCursor

T = TypeVar("T")
Row = dict[str, Any]
Connection: TypeAlias = "pymysql.Connection[DictCursor]"

WAIT = 0.3
"""Seconds that a reader waits for its own write to arrive at the replica."""
AGE = 60.0
"""Seconds after which a connection is not used again: reads find their way back to a replica."""
NO_SUCH_TABLE = 1146
DUPLICATE = 1062

GTID_SET = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:[a-z_][a-z0-9_]{0,31}|:\d{1,19}(-\d{1,19})?)+"
)

TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(60) NOT NULL,
    message VARCHAR(500) NOT NULL,
    created DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    server VARCHAR(64) NOT NULL DEFAULT '',
    idempotency_key VARCHAR(64) CHARACTER SET ascii NULL UNIQUE
)
"""


class UnavailableError(Exception):
    """The database that was asked cannot answer now."""


@dataclass(frozen=True)
class Settings:
    """Where the database is."""

    host: str
    port: int
    read_port: int
    name: str
    user: str
    password_file: str
    """Read at each connection: the password may change while the application runs."""
    authority: str
    """The file with the certificates of those that may have signed the database's; likewise."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """As the machine gives them to any application."""
        return cls(
            host=os.environ["DATABASE_HOST"],
            port=int(os.environ["DATABASE_PORT"]),
            read_port=int(os.environ["DATABASE_READ_PORT"]),
            name=os.environ["DATABASE_NAME"],
            user=os.environ["DATABASE_USER"],
            password_file=os.environ["DATABASE_PASSWORD_FILE"],
            authority=os.environ["DATABASE_CA_FILE"],
        )


@dataclass(frozen=True)
class Answer:
    """Rows, and where they are from."""

    rows: list[Row]
    database: str
    """The database machine."""
    seen: str = ""
    """After a write: the transactions that a reader must find to find this one."""
    created: bool = True
    """After a write: it was made now, and not by an earlier request with the same key."""


class _Pooled:
    def __init__(self, connection: Connection, machine: str) -> None:
        self.connection = connection
        self.machine = machine
        self.made_at = time.monotonic()


class Pool:
    """Connections to one port, kept between requests."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """Nothing is connected yet."""
        self._connect = connect
        self._idle: list[_Pooled] = []
        self._lock = threading.Lock()

    def run(self, work: Callable[[Connection, str], T]) -> T:
        """Does something on a connection, with the name of the machine that it leads to.

        If a kept connection turns out to be dead, on a new one: `work` may thus be done twice.
        Raises `UnavailableError`.
        """
        pooled = self._take()
        if pooled:
            try:
                return self._run(pooled, work)
            except UnavailableError:
                self._drop_all()
        return self._run(self._new(), work)

    def _run(self, pooled: _Pooled, work: Callable[[Connection, str], T]) -> T:
        try:
            result = work(pooled.connection, pooled.machine)
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError) as error:
            with suppress(pymysql.err.MySQLError, OSError):
                pooled.connection.close()
            raise UnavailableError(str(error)) from error
        except BaseException:
            with suppress(pymysql.err.MySQLError, OSError):
                pooled.connection.close()
            raise
        with self._lock:
            self._idle.append(pooled)
        return result

    def _take(self) -> _Pooled | None:
        young = time.monotonic() - AGE
        old: list[_Pooled] = []
        with self._lock:
            while self._idle:
                pooled = self._idle.pop()
                if pooled.made_at > young:
                    break
                old.append(pooled)
            else:
                pooled = None
        for each in old:
            with suppress(pymysql.err.MySQLError, OSError):
                each.connection.close()
        return pooled

    def _drop_all(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for each in dropped:
            with suppress(pymysql.err.MySQLError, OSError):
                each.connection.close()

    def _new(self) -> _Pooled:
        try:
            connection = self._connect()
            (row,) = _rows(connection, "SELECT @@report_host AS machine")
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError) as error:
            raise UnavailableError(str(error)) from error
        return _Pooled(connection, row["machine"] or "unknown")


class Database:
    """The guest book's table."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        self._writer = Pool(lambda: self._connect(settings.port, 5))
        self._reader = Pool(lambda: self._connect(settings.read_port, 5))
        self._check = Pool(lambda: self._connect(settings.read_port, 1))

    def entries(self, seen: str, limit: int, before: int | None) -> Answer:
        """The newest entries first, with all that the transactions `seen` made, if possible.

        From a replica that has them, or gets them within a moment; else from the primary; else,
        with the primary away, from the replica as it is. Raises `UnavailableError`.
        """

        def fresh(connection: Connection, machine: str) -> Answer | None:
            if seen:
                wait = _rows(
                    connection,
                    "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s) AS late",
                    seen,
                    WAIT,
                )
                if wait[0]["late"] != 0:
                    return None
            return _select(connection, machine, limit, before)

        def any_age(connection: Connection, machine: str) -> Answer:
            return _select(connection, machine, limit, before) or Answer([], machine)

        try:
            answer = self._reader.run(fresh)
        except UnavailableError:
            answer = None
        if answer:
            return answer
        try:
            return self._writer.run(any_age)
        except UnavailableError:
            return self._reader.run(any_age)

    def add(self, name: str, message: str, server: str, key: str) -> Answer:
        """Writes an entry, once for each key, however often it is asked for.

        Raises `UnavailableError` if there is no primary now.
        """

        def insert(connection: Connection, machine: str) -> Answer:
            statement = (
                "INSERT INTO entries (name, message, server, idempotency_key)"
                " VALUES (%s, %s, %s, %s)"
            )
            created = True
            try:
                _run(connection, statement, name, message, server, key)
            except pymysql.err.ProgrammingError as error:
                if error.args[0] != NO_SUCH_TABLE:
                    raise
                _run(connection, TABLE)
                _run(connection, statement, name, message, server, key)
            except pymysql.err.IntegrityError as error:
                if error.args[0] != DUPLICATE:
                    raise
                created = False
            rows = _rows(
                connection,
                "SELECT id, name, message, created, server, @@global.gtid_executed AS seen"
                " FROM entries WHERE idempotency_key = %s",
                key,
            )
            seen = str(rows[0].pop("seen")).replace("\n", "")
            return Answer(rows, machine, seen, created)

        return self._writer.run(insert)

    def check(self) -> str:
        """The machine that answers reads now. Raises `UnavailableError`."""

        def ask(connection: Connection, machine: str) -> str:
            _rows(connection, "SELECT 1 AS one")
            return machine

        return self._check.run(ask)

    def _connect(self, port: int, timeout: float) -> Connection:
        return pymysql.connect(
            host=self._settings.host,
            port=port,
            user=self._settings.user,
            password=Path(self._settings.password_file).read_text().strip(),
            database=self._settings.name,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=1,
            read_timeout=timeout,
            write_timeout=timeout,
            ssl=ssl.create_default_context(cafile=self._settings.authority),
            cursorclass=DictCursor,
        )


def valid_seen(text: str) -> str:
    """What a client says it has seen, if it can be a GTID set; else nothing."""
    text = text.replace(" ", "").lower()
    sets = text.split(",")
    good = len(text) <= 2000 and all(GTID_SET.fullmatch(each) for each in sets)  # noqa: PLR2004
    return text if good else ""


def _select(connection: Connection, machine: str, limit: int, before: int | None) -> Answer | None:
    """None if the table is not there yet."""
    try:
        rows = _rows(
            connection,
            "SELECT id, name, message, created, server FROM entries"
            " WHERE %s IS NULL OR id < %s ORDER BY id DESC LIMIT %s",
            before,
            before,
            limit,
        )
    except pymysql.err.ProgrammingError as error:
        if error.args[0] != NO_SUCH_TABLE:
            raise
        return None
    return Answer(rows, machine)


def _rows(connection: Connection, statement: str, *values: object) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _run(connection: Connection, statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
