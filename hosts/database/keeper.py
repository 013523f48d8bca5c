"""site-database-guard.service: keeps the guard running, so that nobody notices when it ends.

To start a process takes longer than HAProxy waits for an answer before it cuts the applications'
sessions. So what systemd starts only forks the guard, and forks it again, with everything loaded,
when it has ended or stands still. If this process is the one that ends, the guard goes on until
the next one is there and replaces it (KillMode=process).
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hosts.base.notify import tell_systemd
from hosts.database import fence
from hosts.database.guard import Guard
from hosts.database.published import FOLDER

LOCK = "guard.lock"
"""Held by the guard of now, and its process id is in there."""
STILL = 0.3
"""Seconds without a sign of life after which the guard is replaced."""
ALIVE = 0.5
"""Seconds between two signs of life to systemd."""
AGAIN = 0.1
"""Seconds after which a guard that did not even start is started again."""
FIRST_FD = 3

Work = Callable[[Callable[[], None]], object]


class Keeper:
    """Has one child, which does the work and gives signs of life."""

    def __init__(self, work: Work, folder: Path = FOLDER) -> None:
        """`work` does not return; it calls what it is given, more often than `STILL`."""
        self._work = work
        self._folder = folder
        self._child = 0
        self._told = float("-inf")

    def run(self) -> None:
        """Until it is told to end (SIGTERM)."""
        signal.signal(signal.SIGTERM, self._end)
        self._end_former()
        while True:
            began = time.monotonic()
            self._watch(self._start())
            if time.monotonic() - began < STILL:
                time.sleep(AGAIN)

    def _start(self) -> int:
        signs, mine = os.pipe()
        os.set_blocking(mine, False)
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(signs)
                self._be_the_child(mine)
            finally:
                os._exit(1)
        os.close(mine)
        return signs

    def _be_the_child(self, signs: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

        def alive() -> None:
            # Nobody hears it while the other process is being replaced.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(signs, b".")

        with (self._folder / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(str(os.getpid()))
            file.flush()
            self._work(alive)

    def _watch(self, signs: int) -> None:
        """Returns when the child has ended."""
        limit = STILL + AGAIN
        while select.select([signs], [], [], limit)[0] and os.read(signs, 4096):
            limit = STILL
            if time.monotonic() - self._told >= ALIVE:
                first, self._told = self._told < 0, time.monotonic()
                tell_systemd("READY=1" if first else "WATCHDOG=1")
        os.close(signs)
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)

    def _end(self, _signal: int, _frame: object) -> None:
        # Before there is a child its number is 0, which would be this program's own group.
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
        os._exit(0)

    def _end_former(self) -> None:
        """What a keeper that was killed has left."""
        with (self._folder / LOCK).open("a+") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    with contextlib.suppress(ProcessLookupError, ValueError):
                        os.kill(int(file.read()), signal.SIGKILL)
                    time.sleep(0.001)
                else:
                    return


def sockets() -> tuple[socket.socket, socket.socket]:
    """The two that systemd opened for this process: askers, agent."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("guard: it is started by systemd, with its sockets")
    found = [socket.socket(fileno=FIRST_FD + number) for number in range(2)]
    (listener,) = (sock for sock in found if sock.type == socket.SOCK_STREAM)
    (hearing,) = (sock for sock in found if sock.type == socket.SOCK_DGRAM)
    return listener, hearing


def main() -> None:
    """Runs until it is ended."""
    listener, hearing = sockets()
    Keeper(lambda alive: Guard(listener, hearing, fence, alive).run()).run()


if __name__ == "__main__":
    main()
