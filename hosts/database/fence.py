"""The fence: takes the writes away from mysqld, so that no client can get an acknowledgement.

`super_read_only` alone is none: it waits behind every session that waits for a replica's
acknowledgement, reads as 1 meanwhile, and a replica's late acknowledgement still reaches the
client. So clients are cut first (`offline_mode`, which also refuses new ones), then mysqld is
made read-only, and the sessions that wait are released by ending semi-synchronous replication:
nobody hears them. Whatever of this is not done in time is done by SIGKILL: mysqld starts
read-only.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from hosts.base.lease import boottime
from hosts.database.published import FOLDER, Fenced, fenced, record

LOCK = "database-fence.lock"

BUSY = 0.25
"""Seconds that whoever is changing mysqld's role is waited for."""
SILENT = 0.6
"""Seconds within which every client must have been cut: it takes 20 ms, or with a thousand of
them half a second. With what a SIGKILL takes this is within the margin of a lease."""
CLOSED = 3.0
"""Seconds within which mysqld must then be read-only; nobody can write meanwhile. (With a
replica connected the end of semi-synchronous replication alone takes up to a second.)"""
PATIENCE = SILENT + CLOSED + 1.0
"""Seconds that another fence, with its clients cut, may take."""
GONE = 5.0
"""Seconds that a killed mysqld is waited for."""
LOOK = 2.0
"""Seconds that a look at mysqld may take."""

CUT = "cut the clients"
UNKNOWN_VARIABLE = 1193
NO_SUCH_THREAD = 1094
PEER = struct.Struct("3i")
MySQLError = pymysql.err.MySQLError
if TYPE_CHECKING:
    from pymysql.cursors import Cursor

    Connection = pymysql.Connection[Cursor]

NO_WAITING = "SET GLOBAL rpl_semi_sync_source_enabled = OFF"
OTHERS = """
SELECT ID FROM performance_schema.processlist
WHERE ID <> CONNECTION_ID() AND COMMAND NOT IN ('Binlog Dump', 'Binlog Dump GTID', 'Daemon')
AND USER IN (
    SELECT User FROM mysql.user WHERE Super_priv = 'Y'
    UNION SELECT USER FROM mysql.global_grants WHERE PRIV = 'CONNECTION_ADMIN'
)
"""
STATE = """
SELECT @@global.super_read_only,
(SELECT COUNT(*) FROM performance_schema.processlist WHERE STATE LIKE 'Waiting for semi-sync%')
"""


class BusyError(Exception):
    """Another process is changing mysqld's role."""


class FenceError(Exception):
    """mysqld may still be open for writes."""


@dataclass(frozen=True)
class Server:
    """Where this machine's mysqld is."""

    socket: Path = Path("/run/mysqld/mysqld.sock")
    processes: Path = Path("/sys/fs/cgroup/system.slice/mysql.service/cgroup.procs")


@contextmanager
def exclusive(seconds: float = BUSY, folder: Path = FOLDER) -> Generator[None]:
    """While mysqld is opened or closed for writes: nobody else does it. Raises `BusyError`.

    Whoever opens it must look at the deadline after it has this, and must not leave a session
    with which it goes on: a guard that cannot get it past the deadline kills mysqld.
    """
    with (folder / LOCK).open("a") as file:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    message = f"mysqld's role is being changed since more than {seconds} s"
                    raise BusyError(message) from None
                time.sleep(0.005)
            else:
                break
        yield


class _Steps:
    """Which step took how long."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.took[name] = round(time.monotonic() - began, 4)


def fence(
    why: str = "it was asked for",
    *,
    server: Server | None = None,
    folder: Path = FOLDER,
    locked: bool = False,
) -> Fenced:
    """Closes mysqld for writes, dead or alive, and says how. Raises `FenceError`.

    When it returns no client has had or can get an acknowledgement of a commit that was waiting
    when it began, and none can begin one. `locked`: the caller has the lock of `exclusive`.
    """
    server = server or Server()
    steps = _Steps()
    begun = Fenced(why=why, began=boottime(), pid=os.getpid(), steps=steps.took)
    trouble = ""
    with contextlib.ExitStack() as stack:
        try:
            if not locked:
                with steps.step("lock"):
                    _lock(stack, folder)
            record(begun, folder)
            with steps.step(CUT):
                _Task(lambda: _cut(server)).result(SILENT)
            record(begun, folder)
            _close(server, steps)
            how = "read-only"
        except (BusyError, FenceError, MySQLError, OSError) as error:
            trouble = f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # the folder may be full
                record(begun, folder)
            how = "killed" if kill(server, steps.step) else "absent"
        done = replace(begun, ended=boottime(), how=how, trouble=trouble)
        with contextlib.suppress(OSError):  # the folder may be full
            record(done, folder)
        return done


def _lock(stack: contextlib.ExitStack, folder: Path) -> None:
    """Waits no longer than `BUSY`, unless it is a fence whose clients have been cut already."""
    try:
        stack.enter_context(exclusive(folder=folder))
    except BusyError:
        other = fenced(folder)
        if other is None or other.ended is not None or CUT not in other.steps:
            raise
        left = other.began + PATIENCE - boottime()
        if left <= 0:
            raise
        stack.enter_context(exclusive(left, folder))


def writable(server: Server | None = None) -> bool:
    """Whether mysqld answers that it is open for writes. If it does not answer: no."""
    try:
        with _connect(server or Server(), LOOK) as session:
            return not _rows(session, "SELECT @@global.super_read_only")[0][0]
    except (MySQLError, OSError):
        return False


def _close(server: Server, steps: _Steps) -> None:
    end = time.monotonic() + CLOSED
    with steps.step("read-only"):
        closing = _Task(lambda: _run(server, "SET GLOBAL super_read_only = ON"))
        with steps.step("no waiting for replicas"):
            _Task(lambda: _run(server, NO_WAITING, unless=UNKNOWN_VARIABLE)).result(CLOSED)
        closing.result(end - time.monotonic())
        with _connect(server, LOOK) as session:
            read_only, waiting = _rows(session, STATE)[0]
        if not read_only or waiting:
            message = f"super_read_only is {read_only}, and {waiting} sessions wait"
            raise FenceError(message)
    with steps.step("let clients in again"):
        _run(server, "SET GLOBAL offline_mode = OFF")


def _cut(server: Server) -> None:
    with _connect(server, SILENT) as session:
        _rows(session, "SET GLOBAL offline_mode = ON")
        # It spares accounts with CONNECTION_ADMIN.
        for (number,) in _rows(session, OTHERS):
            with _unless(NO_SUCH_THREAD):
                _rows(session, f"KILL {number}")


class _Task(threading.Thread):
    """Work in a thread of its own: mysqld may take longer than there is time."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: Exception | None = FenceError("mysqld took too long")
        self.start()

    def run(self) -> None:
        try:
            self._work()
            self._error = None
        except (MySQLError, OSError) as error:
            self._error = error

    def result(self, seconds: float) -> None:
        self.join(max(0, seconds))
        if self._error:
            raise self._error


def _connect(server: Server, seconds: float) -> "Connection":
    """As root; every answer within these seconds. Raises `MySQLError`."""
    return pymysql.connect(
        unix_socket=str(server.socket),
        user="root",
        autocommit=True,
        connect_timeout=max(1, round(seconds)),
        read_timeout=seconds,
        write_timeout=seconds,
    )


def _rows(session: "Connection", statement: str) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _run(server: Server, statement: str, unless: int = 0) -> None:
    with _connect(server, CLOSED) as session, _unless(unless):
        _rows(session, statement)


@contextmanager
def _unless(number: int) -> Generator[None]:
    """This error is none."""
    try:
        yield
    except MySQLError as error:
        if error.args[:1] != (number,):
            raise


def kill(
    server: Server | None = None,
    step: Callable[[str], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> bool:
    """Ends mysqld at once; whether there was one. Raises `FenceError` if it does not go."""
    server = server or Server()
    with step("kill"), contextlib.ExitStack() as stack:
        poll = select.poll()
        left: set[int] = set()
        for pid in processes(server):
            try:
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                # It may have been given to another process before it was opened.
                if pid in processes(server):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    poll.register(descriptor, select.POLLIN)
                    left.add(descriptor)
            except ProcessLookupError:
                continue
        found = bool(left)
        end = time.monotonic() + GONE
        while left:
            for descriptor, _ in poll.poll(max(0, end - time.monotonic()) * 1000):
                poll.unregister(descriptor)
                left.discard(descriptor)
            if left and time.monotonic() >= end:
                message = f"mysqld was killed and is still there after {GONE} s"
                raise FenceError(message)
        return found


def processes(server: Server) -> set[int]:
    """The processes of mysqld's unit, and whoever listens on its socket.

    Raises `FenceError` if somebody may listen there, and it is unknown who.
    """
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        found.update(int(pid) for pid in server.processes.read_text().split())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(str(server.socket))
            pid, _, _ = PEER.unpack(
                client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
            )
            found.add(pid)
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        except OSError as error:
            if not found:
                message = f"{server.socket} cannot be connected to: {error}"
                raise FenceError(message) from error
    return found
