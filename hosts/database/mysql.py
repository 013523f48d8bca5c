"""Connections to mysqld, on this machine and on another."""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import Cursor

SOCKET = "/run/mysqld/mysqld.sock"
Row = tuple[Any, ...]
MySQLError = pymysql.err.MySQLError


@dataclass(frozen=True)
class Account:
    """A user of the database and its password."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password: this may come into a log."""
        return f"Account({self.user!r})"


class Session:
    """A connection that runs one statement after the other."""

    def __init__(self, connection: "pymysql.Connection[Cursor]") -> None:
        """With autocommit."""
        self._connection = connection

    def rows(self, statement: str, *values: object) -> list[Row]:
        """All rows of the answer."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def row(self, statement: str, *values: object) -> Row:
        """The only row of the answer."""
        (row,) = self.rows(statement, *values)
        return row

    def run(self, statement: str, *values: object) -> None:
        """For a statement without an answer."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def contains(self, whole: str, part: str) -> bool:
        """Whether a set of transactions has all of another."""
        return bool(self.row("SELECT GTID_SUBSET(%s, %s)", part, whole)[0])

    def close(self) -> None:
        """Quietly."""
        self._connection.close()


def connect(timeout: float = 3.0) -> Session:
    """As root through the socket; seconds that one statement may take. Raises `MySQLError`."""
    return Session(
        pymysql.connect(
            unix_socket=SOCKET,
            user="root",
            autocommit=True,
            connect_timeout=2,
            read_timeout=timeout,
            write_timeout=timeout,
        )
    )


@contextmanager
def local(timeout: float = 3.0) -> Generator[Session]:
    """`connect` for a few statements."""
    session = connect(timeout)
    try:
        yield session
    finally:
        session.close()


def remote(address: str, account: Account, authority: Path, timeout: float = 1.0) -> Session:
    """Over TLS, the server's certificate and address verified. Raises `MySQLError`."""
    context = ssl.create_default_context(cafile=str(authority))
    return Session(
        pymysql.connect(
            host=address,
            user=account.user,
            password=account.password,
            autocommit=True,
            connect_timeout=max(1, round(timeout)),
            read_timeout=timeout,
            write_timeout=timeout,
            ssl=context,
        )
    )
