"""mysqld as a process: whether it is there, and its end the moment it comes."""

import os
import select
import threading
from collections.abc import Callable

from hosts.base import services
from hosts.base.lease import boottime
from hosts.database.observe import UNIT

LOOK = 0.1
"""Seconds between two looks for a process that is not there."""


def main_pid() -> int:
    """mysqld's process, 0 if there is none. The unit's other processes are not it."""
    return int(services.run("systemctl", "show", UNIT, "-P", "MainPID").stdout.strip() or 0)


def start() -> None:
    """Starts mysqld; does not wait for it."""
    services.run("systemctl", "reset-failed", UNIT)
    services.systemctl("start", "--no-block", UNIT)


class Watch:
    """Counts how often mysqld ended, and says so at once."""

    def __init__(self, ended: Callable[[], None]) -> None:
        """`ended` is called from the watch's own thread."""
        self.ends = 0
        self.began = boottime()
        """When the present process was first seen, on the clock of CLOCK_BOOTTIME."""
        self._ended = ended

    def run(self) -> None:
        """Does not return."""
        pause = threading.Event()
        while True:
            pid = main_pid()
            try:
                handle = os.pidfd_open(pid) if pid else None
            except ProcessLookupError:
                handle = None
            if handle is None:
                pause.wait(LOOK)
                continue
            self.began = boottime()
            try:
                select.select([handle], [], [])
            finally:
                os.close(handle)
            self.ends += 1
            self._ended()
