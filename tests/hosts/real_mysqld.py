"""mysqld, mysqldump and their kin from the machine image, on this machine's files below /tmp."""

import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hosts.database.backup.server import connect
from hosts.database.mysql import MySQLError, Session
from lab import image

PROGRAMS = ("mysql", "mysqlbinlog", "mysqld", "mysqldump")
# In a mount name space of its own, which ends with the program.
_WRAPPER = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec unshare --mount sh -ec '
root=$0
mount --bind /tmp "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"' {root} {program} "$@"
"""


def programs(folder: Path) -> Path:
    """A folder for PATH, with the image's programs."""
    folder.mkdir()
    for program in PROGRAMS:
        file = folder / program
        file.write_text(_WRAPPER.format(root=image.path(), program=program))
        file.chmod(0o755)
    return folder


def free_port() -> int:
    """A TCP port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mysqld:
    """A server with what the machines' configuration says of replication."""

    def __init__(self, folder: Path, blank: Path, number: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.socket = folder / "s"
        self.number = number
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        shutil.copytree(blank, self.data)

    def start(self, *options: str) -> "Mysqld":
        """Starts it and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("mysqld", "--no-defaults", "--user=root", f"--datadir={self.data}"),
                    *(f"--socket={self.socket}", f"--pid-file={self.folder / 'pid'}"),
                    *(f"--port={self.port}", "--bind-address=127.0.0.1", "--mysqlx=OFF"),
                    *(f"--server-id={self.number}", "--log-bin=binlog", "--relay-log=relay"),
                    *("--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--skip-replica-start"),
                    *("--innodb-buffer-pool-size=48M", "--innodb-redo-log-capacity=32M"),
                    *("--log-error=stderr", *options),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            if self.socket.exists():
                with suppress(MySQLError, OSError), self.session():
                    return self
            alive = self._process.poll() is None
            assert alive, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """As a machine that loses its power."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    @contextmanager
    def session(self) -> Generator[Session]:
        with connect(self.socket, 60) as session:
            yield session

    def run(self, *statements: str) -> None:
        with self.session() as session:
            for statement in statements:
                session.run(statement)

    def rows(self, statement: str) -> list[Any]:
        with self.session() as session:
            return session.rows(statement)

    def gtids(self) -> str:
        ((found,),) = self.rows("SELECT @@GLOBAL.gtid_executed")
        return "".join(str(found).split())

    def follow(self, other: "Mysqld") -> None:
        """Replicates from another one."""
        self.run(
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={other.port},"
            " SOURCE_USER='replication', SOURCE_PASSWORD='secret', SOURCE_AUTO_POSITION=1,"
            " GET_SOURCE_PUBLIC_KEY=1",
            "START REPLICA",
        )

    def caught_up(self, other: "Mysqld") -> None:
        """Waits until it has executed what the other has."""
        ((late,),) = self.rows(f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{other.gtids()}', 30)")
        assert late == 0, self.rows("SHOW REPLICA STATUS")


def blank(folder: Path) -> Path:
    """The files of a database with nothing in it; copied for each server."""
    data = folder / "blank"
    made = subprocess.run(
        [
            *("mysqld", "--no-defaults", "--initialize-insecure", "--user=root"),
            *(f"--datadir={data}", "--log-error-verbosity=1"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (data / "auto.cnf").unlink(missing_ok=True)
    return data
