"""A real mysqld that is fenced in every state that makes it hard. Prints what happened, as JSON."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = ["/opt/site"]

import pymysql  # noqa: E402

from hosts.base.lease import boottime  # noqa: E402
from hosts.database import fence  # noqa: E402
from hosts.database.fence import Server  # noqa: E402
from hosts.database.published import Fenced, record  # noqa: E402

RUN = Path("/run/site")
ROOM = Path("/srv/room")
SOCKET = Path("/run/mysqld/mysqld.sock")
SERVER = Server(SOCKET, ROOM / "cgroup.procs")
REPLICA = Path("/run/mysqld/replica.sock")
OPTIONS = (
    "--no-defaults",
    "--user=mysql",
    "--mysqlx=OFF",
    "--bind-address=127.0.0.1",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--super-read-only=ON",
    "--skip-replica-start=ON",
    "--plugin-load-add=semisync_source.so",
    "--plugin-load-add=semisync_replica.so",
    "--innodb-buffer-pool-size=32M",
    "--max-connections=400",
    "--log-error-verbosity=1",
)
SEMI_SYNC = (
    "SET GLOBAL rpl_semi_sync_source_timeout = 4294967295",
    "SET GLOBAL rpl_semi_sync_source_wait_no_replica = ON",
    "SET GLOBAL rpl_semi_sync_source_enabled = ON",
)


def connect(user: str = "root", socket: Path = SOCKET) -> Any:
    return pymysql.connect(unix_socket=str(socket), user=user, database="mysql", autocommit=True)


def run(connection: Any, *statements: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


class MySQLD:
    """A mysqld with an empty database."""

    def __init__(self, name: str, socket: Path, port: int) -> None:
        self.socket = socket
        self.data = ROOM / name
        self.options = (
            *OPTIONS,
            f"--datadir={self.data}",
            f"--socket={socket}",
            f"--port={port}",
            f"--server-id={port}",
            f"--report-host={name}",
            f"--pid-file={self.data}.pid",
        )
        ROOM.mkdir(exist_ok=True)
        ROOM.chmod(0o777)
        made = subprocess.run(
            ["mysqld", *self.options, "--super-read-only=OFF", "--initialize-insecure"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process and self.process.poll() is None:
            return
        self.process = subprocess.Popen(["mysqld", *self.options], stderr=subprocess.DEVNULL)
        for _ in range(600):
            with contextlib.suppress(pymysql.err.MySQLError):
                connect(socket=self.socket).close()
                return
            time.sleep(0.05)
        raise TimeoutError("mysqld does not start")


class Writer(threading.Thread):
    """A client that writes one row; `heard` is what it was told."""

    def __init__(self, user: str = "application") -> None:
        super().__init__(daemon=True)
        self.connection = connect(user)
        self.heard = ""
        self.start()

    def run(self) -> None:
        try:
            run(self.connection, "INSERT INTO site.t () VALUES ()")
            self.heard = "OK"
        except (pymysql.err.MySQLError, OSError) as error:
            self.heard = f"{type(error).__name__} {error.args[:1]}"


def waiting(number: int) -> None:
    """Until so many sessions wait for a replica."""
    with connect() as session:
        for _ in range(400):
            found = run(
                session,
                "SELECT COUNT(*) FROM performance_schema.processlist"
                " WHERE STATE LIKE 'Waiting for semi-sync%'",
            )
            if found[0][0] >= number:
                return
            time.sleep(0.02)
    raise TimeoutError(f"fewer than {number} sessions wait")


def open_for_writes(*more: str) -> None:
    with connect() as session:
        run(session, "SET GLOBAL offline_mode = OFF", "SET GLOBAL super_read_only = OFF")
        run(session, "SET GLOBAL read_only = OFF", *more)


def state() -> dict[str, Any]:
    with connect() as session:
        names = ("super_read_only", "offline_mode", "rpl_semi_sync_source_enabled")
        values = run(session, f"SELECT {', '.join(f'@@global.{name}' for name in names)}")[0]
    return dict(zip(names, values, strict=True))


def later(connection: Any, statement: str) -> str:
    """What a client hears that goes on after the fence."""
    try:
        run(connection, statement)
    except (pymysql.err.MySQLError, OSError) as error:
        return f"{type(error).__name__} {error.args[:1]}"
    return "OK"


Case = Callable[[], dict[str, Any]]


def fenced(writers: list[Writer], other: threading.Thread | None = None) -> dict[str, Any]:
    """Fences, perhaps with another thread that does, and what came of it."""
    began = time.monotonic()
    done = fence.fence("test", server=SERVER, folder=RUN)
    took = time.monotonic() - began
    if other:
        other.join()
    for writer in writers:
        writer.join(5)
    if SOURCE.process and done.how == "killed":
        SOURCE.process.wait(10)
    return {
        "took": round(took, 3),
        "fence": asdict(done),
        "heard": sorted({writer.heard for writer in writers}),
        "a new write": "" if done.how != "read-only" else new_write(),
        "state": state() if done.how == "read-only" else {},
    }


def new_write() -> str:
    return later(connect("application"), "INSERT INTO site.t () VALUES ()")


def a_commit_waits() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    writers = [Writer()]
    waiting(1)
    return fenced(writers)


def an_administrators_commit_waits() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    writers = [Writer("root")]
    waiting(1)
    return fenced(writers)


def many_commits_wait() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    writers = [Writer() for _ in range(200)]
    waiting(1)
    time.sleep(0.5)
    return fenced(writers)


def a_transaction_is_open() -> dict[str, Any]:
    open_for_writes()
    client = connect("application")
    run(client, "BEGIN", "INSERT INTO site.t () VALUES ()")
    found = fenced([])
    return {**found, "later": later(client, "COMMIT")}


def a_table_is_locked() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    client = connect("application")
    run(client, "LOCK TABLES site.t WRITE")
    found = fenced([])
    return {**found, "later": later(client, "INSERT INTO site.t () VALUES ()")}


def everything_is_locked() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    writers = [Writer()]
    waiting(1)
    client = connect("root")
    # It waits for the commit that waits, and holds up every other one.
    locker = threading.Thread(
        target=lambda: later(client, "FLUSH TABLES WITH READ LOCK"), daemon=True
    )
    locker.start()
    time.sleep(0.3)
    return fenced([*writers, Writer()])


def mysqld_is_frozen() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    writers = [Writer()]
    waiting(1)
    assert SOURCE.process
    os.kill(SOURCE.process.pid, signal.SIGSTOP)
    return fenced(writers)


def another_process_is_changing_the_role() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    writers = [Writer()]
    waiting(1)
    with fence.exclusive(folder=RUN):
        return fenced(writers)


def another_fence_is_under_way() -> dict[str, Any]:
    """It has cut the clients, and takes its time for the rest."""
    open_for_writes(*SEMI_SYNC)
    writers = [Writer()]
    waiting(1)
    other = Fenced(why="test", began=boottime(), pid=1, steps={fence.CUT: 0.1})
    with fence.exclusive(folder=RUN):
        record(other, RUN)
        first = threading.Timer(1.0, lambda: None)
        first.start()
        result: list[dict[str, Any]] = []
        second = threading.Thread(target=lambda: result.append(fenced(writers)))
        second.start()
        first.join()
    second.join()
    return result[0]


def many_are_idle() -> dict[str, Any]:
    open_for_writes(*SEMI_SYNC)
    idle = [connect("application") for _ in range(200)]
    found = fenced([])
    return {**found, "later": later(idle[-1], "SELECT 1")}


def mysqld_is_not_there() -> dict[str, Any]:
    assert SOURCE.process
    SOURCE.process.kill()
    SOURCE.process.wait()
    return fenced([])


def a_replica_is_frozen() -> dict[str, Any]:
    """It is connected, and does not acknowledge."""
    open_for_writes(*SEMI_SYNC)
    replica = MySQLD("replica", REPLICA, 3308)
    replica.start()
    with connect(socket=REPLICA) as session:
        run(
            session,
            "SET GLOBAL rpl_semi_sync_replica_enabled = ON",
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=3306,"
            " SOURCE_USER='replication', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
            "START REPLICA",
        )
    first = Writer()
    first.join(60)
    assert first.heard == "OK", first.heard
    assert replica.process
    os.kill(replica.process.pid, signal.SIGSTOP)
    writers = [Writer() for _ in range(20)]
    waiting(1)
    others: list[str] = []

    def fence_too() -> None:
        time.sleep(0.1)
        others.append(fence.fence("test", server=SERVER, folder=RUN).how)

    other = threading.Thread(target=fence_too)
    other.start()
    found = fenced(writers, other)
    os.kill(replica.process.pid, signal.SIGCONT)
    time.sleep(0.5)
    replica.process.kill()
    found["another fence"] = others
    return {**found, "heard after its acknowledgement": sorted({w.heard for w in writers})}


def clients_are_not_cut() -> dict[str, Any]:
    """Not a fence: what it would be without its first step."""
    open_for_writes(*SEMI_SYNC)
    writer = Writer()
    waiting(1)
    with connect() as session:
        run(session, "SET GLOBAL rpl_semi_sync_source_enabled = OFF")
    writer.join(5)
    return {"heard": [writer.heard]}


CASES: tuple[Case, ...] = (
    clients_are_not_cut,
    a_commit_waits,
    an_administrators_commit_waits,
    many_commits_wait,
    a_transaction_is_open,
    a_table_is_locked,
    everything_is_locked,
    a_replica_is_frozen,
    mysqld_is_frozen,
    another_process_is_changing_the_role,
    another_fence_is_under_way,
    many_are_idle,
    mysqld_is_not_there,
)

SOURCE = MySQLD("source", SOCKET, 3306)


def main() -> None:
    RUN.mkdir(exist_ok=True)
    SOURCE.start()
    open_for_writes()
    with connect() as session:
        run(
            session,
            "CREATE DATABASE site",
            "CREATE TABLE site.t (id INT PRIMARY KEY AUTO_INCREMENT)",
            "CREATE USER application, replication",
            "GRANT ALL ON site.* TO application",
            "GRANT SELECT ON mysql.* TO application",
            "GRANT REPLICATION SLAVE, CONNECTION_ADMIN ON *.* TO replication",
        )
    wanted = sys.argv[1:]
    found: dict[str, Any] = {}
    for case in CASES:
        if wanted and case.__name__ not in wanted:
            continue
        SOURCE.start()
        try:
            found[case.__name__] = case()
        except Exception as error:  # noqa: BLE001 the test shows it
            found[case.__name__] = {"error": repr(error)}
    print(json.dumps(found, indent=1))
    for server in (SOURCE.process,):
        if server:
            server.kill()


if __name__ == "__main__":
    main()
