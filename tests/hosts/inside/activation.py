"""Stands in for systemd: opens the guard's sockets, and starts it again whenever it ends."""

import os
import socket
import threading
import time
from pathlib import Path

AGAIN = 0.05
"""Seconds, as in site-database-guard.service."""


class Activation:
    """The guard of this machine, always running."""

    def __init__(
        self, folder: Path, port: int = 8008, module: str = "hosts.database.keeper"
    ) -> None:
        self._folder = folder
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", port))  # noqa: S104 in a name space of its own
        self.listener.listen(4096)
        self.hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        folder.mkdir(exist_ok=True)
        (folder / "guard.sock").unlink(missing_ok=True)
        self.hearing.bind(str(folder / "guard.sock"))
        self._command = ("/usr/bin/python3", "-m", module)
        self.pid = 0
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self) -> None:
        while True:
            self.pid = os.fork()
            if self.pid == 0:
                for number, sock in enumerate((self.listener, self.hearing)):
                    os.dup2(sock.fileno(), 3 + number)
                    os.set_inheritable(3 + number, True)
                # What the test prints is read by a program.
                os.dup2(2, 1)
                os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
                os.execv(self._command[0], self._command)  # noqa: S606
            os.waitpid(self.pid, 0)
            time.sleep(AGAIN)

    @property
    def child(self) -> int:
        """The process that answers; `pid` keeps it."""
        return int((self._folder / "guard.lock").read_text())

    def seconds(self) -> float:
        """Processor time that the child has taken."""
        words = Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
