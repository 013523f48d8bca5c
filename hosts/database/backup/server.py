"""mysqld by its socket: the machine's own, and a scratch one that a backup is tried on."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql

from hosts.base import services
from hosts.database.mysql import MySQLError, Session

USER = "mysql"
"""Whom a scratch mysqld runs as."""
LONG = 12 * 3600
"""Seconds that one statement may take: a table is read from its beginning to its end."""
STARTED = 120.0
"""Seconds that a scratch mysqld may take to start."""
EMPTY = 450 * 1024 * 1024
"""Bytes that a mysqld takes without any data: its own tables, its redo and undo logs."""
SPARE = 0.1
"""Of the disk, stays free whatever is tried on it."""

_BUFFER_POOL = "64M"


class RoomError(Exception):
    """There is not enough room on the disk."""


class ScratchError(Exception):
    """A scratch mysqld could not be had."""


@contextmanager
def connect(socket: Path, timeout: float = LONG) -> Generator[Session]:
    """As root; seconds that one statement may take. Raises `MySQLError`."""
    connection = pymysql.connect(
        unix_socket=str(socket),
        user="root",
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=5,
        read_timeout=timeout,
        write_timeout=timeout,
    )
    session = Session(connection)
    try:
        yield session
    finally:
        session.close()


def client(socket: Path, *, logged: bool = True) -> list[str]:
    """The command that executes statements there, as root."""
    command = [
        *("mysql", "--no-defaults", f"--socket={socket}", "--user=root", "--batch"),
        *("--default-character-set=utf8mb4", "--binary-mode", "--max-allowed-packet=1G"),
    ]
    return command if logged else [*command, "--init-command=SET SESSION sql_log_bin = 0"]


@dataclass(frozen=True)
class Scratch:
    """A mysqld of its own files that listens to nobody but us."""

    socket: Path


def check_room(folder: Path, data_size: int) -> None:
    """Raises `RoomError` unless data of this many bytes can be restored on a folder's disk."""
    disk = shutil.disk_usage(folder)
    needed = EMPTY + int(data_size * 1.5)
    free = disk.free - int(disk.total * SPARE)
    if needed > free:
        mib = 1024 * 1024
        raise RoomError(
            f"restoring it takes {needed // mib} MiB and {folder} has {max(free, 0) // mib} MiB to"
            f" spare (a tenth of its {disk.total // mib} MiB stays free): grow the volume with"
            " site:database.volumeSize"
        )


@contextmanager
def scratch(folder: Path) -> Generator[Scratch]:
    """A mysqld in a folder that is made, and removed at the end with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o750)
    shutil.chown(folder, USER)
    data, socket, log = folder / "data", folder / "s", folder / "log"
    common = ["--no-defaults", f"--user={USER}", f"--datadir={data}", "--log-error-verbosity=1"]
    try:
        done = services.run("mysqld", *common, "--initialize-insecure", "--auto-generate-certs=OFF")
        if done.returncode:
            raise ScratchError(f"a scratch mysqld cannot be made: {done.stderr.strip()[-1000:]}")
        with log.open("wb") as said:
            server = subprocess.Popen(
                [
                    *("mysqld", *common, f"--socket={socket}", f"--pid-file={folder / 'pid'}"),
                    *("--skip-networking", "--mysqlx=OFF", "--skip-log-bin", "--event-scheduler=0"),
                    *("--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--log-error=stderr"),
                    *("--auto-generate-certs=OFF", "--performance-schema=OFF"),
                    # Its data is thrown away: what is written twice or at once is for nothing.
                    *("--innodb-doublewrite=OFF", "--innodb-flush-log-at-trx-commit=0"),
                    "--innodb-redo-log-capacity=64M",
                    *(f"--innodb-buffer-pool-size={_BUFFER_POOL}", "--max-allowed-packet=1G"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        try:
            _await(server, socket, log)
            yield Scratch(socket)
        finally:
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: "subprocess.Popen[bytes]", socket: Path, log: Path) -> None:
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        # It makes its socket when it can answer, or almost.
        if socket.exists():
            with contextlib.suppress(MySQLError, OSError), connect(socket, 5):
                return
        time.sleep(0.1)
    raise ScratchError(
        f"a scratch mysqld does not start: {log.read_text(errors='replace')[-1000:]}"
    )
