"""Writers and readers, as an application has them. Runs in an application server by itself.

Orders come as one line of JSON on standard input. Each attempt goes to standard output as one
line of JSON, with times of CLOCK_BOOTTIME, which all machines of the lab share. Ends when its
standard input does.

A writer writes one row per transaction, numbered in its own sequence. A number is used again
only if it was refused before it could run. A reader is one session of a visitor: it has what it
has seen as a GTID set, and asks no server that has not got that far; so no read may show less
than the one before.
"""

import json
import ssl
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import pymysql

PASSWORD = "/run/site/database-password"
AUTHORITY = "/run/site/database-ca.pem"
WRITES, READS = 3306, 3307
READ_ONLY = frozenset({1290, 1836})
"""Errors that mysqld gives before a statement has done anything."""
AGAIN = 0.02
"""Seconds until the next attempt after one that failed."""
LATE = 0.3
"""Seconds that a reader gives a server to catch up."""
SETTLED = 0.02
"""Seconds: a commit is visible a moment before it is in `gtid_executed`."""
FRESH = 20
"""Reads on one connection: a new one may lead elsewhere."""

TABLE = """
CREATE TABLE IF NOT EXISTS load_rows (
    position BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    run VARCHAR(32) CHARACTER SET ascii NOT NULL,
    writer INT NOT NULL,
    number INT NOT NULL,
    KEY (run, writer, number)
)
"""
INSERT = "INSERT INTO load_rows (run, writer, number) VALUES (%s, %s, %s)"
NEWEST = "SELECT writer, MAX(number) FROM load_rows WHERE run = %s GROUP BY writer"

Connection = Any
orders: dict[str, Any] = {}
ended = threading.Event()
output = threading.Lock()
failures = (pymysql.MySQLError, OSError)


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(*words: object) -> None:
    line = json.dumps(words) + "\n"
    with output:
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except OSError:
            ended.set()


def connect(port: int) -> tuple[Connection, str]:
    """A new connection, and the machine that it leads to."""
    with open(PASSWORD) as file:  # noqa: PTH123
        password = file.read().strip()
    connection = pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="application",
        password=password,
        database=orders["schema"],
        autocommit=True,
        connect_timeout=1,
        read_timeout=orders["timeout"],
        write_timeout=orders["timeout"],
        ssl=ssl.create_default_context(cafile=AUTHORITY),
    )
    try:
        return connection, rows(connection, "SELECT @@report_host")[0][0]
    except BaseException:
        close(connection)
        raise


def close(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(*failures):
            connection.close()


def rows(connection: Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def write(writer: int) -> None:
    """Until the end: the next row, on the same connection while it lasts."""
    connection, server, number = None, "", 1
    while not ended.is_set():
        began, outcome, detail, sent = now(), "acknowledged", "", False
        try:
            if connection is None:
                connection, server = connect(WRITES)
            sent = True
            rows(connection, INSERT, orders["run"], writer, number)
        except failures as error:
            code = error.args[0] if error.args else 0
            outcome = "denied" if not sent or code in READ_ONLY else "unknown"
            detail = str(error)
            close(connection)
            connection = None
        say("write", writer, number, began, now(), outcome, server if sent else "", detail)
        number += outcome != "denied"
        ended.wait(orders["pause"] if outcome == "acknowledged" else AGAIN)
    close(connection)


class Session:
    """What one visitor has seen."""

    def __init__(self) -> None:
        self.seen = ""
        self.newest: dict[int, int] = {}
        self.connection: Connection | None = None
        self.server = ""
        self.reads = 0

    def read(self) -> tuple[str, str, str]:
        """One read, as the guest book does it: outcome, server, detail."""
        if self.connection is None or self.reads >= FRESH:
            self.forget()
            self.connection, self.server = connect(READS)
        self.reads += 1
        if self.seen:
            wait = "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)"
            if rows(self.connection, wait, self.seen, LATE)[0][0] != 0:
                return self.from_primary()
        return self.look(self.connection, self.server)

    def from_primary(self) -> tuple[str, str, str]:
        """The replica is too far behind: the primary has everything, if there is one."""
        try:
            connection, server = connect(WRITES)
        except failures as error:
            return "late", self.server, str(error)
        try:
            return self.look(connection, server)
        finally:
            close(connection)

    def look(self, connection: Connection, server: str) -> tuple[str, str, str]:
        found = dict(rows(connection, NEWEST, orders["run"]))
        less = {w: (n, found.get(w)) for w, n in self.newest.items() if found.get(w, 0) < n}
        if less:
            return "backwards", server, f"{less} with {self.seen}"
        ended.wait(SETTLED)
        self.seen = rows(connection, "SELECT @@global.gtid_executed")[0][0].replace("\n", "")
        self.newest = found
        return "read", server, ""

    def forget(self) -> None:
        close(self.connection)
        self.connection, self.reads = None, 0


def read(reader: int) -> None:
    session = Session()
    while not ended.is_set():
        began = now()
        try:
            outcome, server, detail = session.read()
        except failures as error:
            outcome, server, detail = "failed", session.server, str(error)
            session.forget()
        say("read", reader, began, now(), outcome, server, detail)
        ended.wait(orders["read_pause"])
    session.forget()


def main() -> None:
    orders.update(json.loads(sys.stdin.readline()))
    connection, _ = connect(WRITES)
    rows(connection, TABLE)
    close(connection)
    say("begun")
    threads = [threading.Thread(target=write, args=(n,)) for n in range(orders["writers"])]
    threads += [threading.Thread(target=read, args=(n,)) for n in range(orders["readers"])]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
