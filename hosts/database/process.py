"""mysqld as a process: whether it is there, its end the moment it comes, and its end by force."""

import os
import select
import signal
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


def kill() -> bool:
    """Ends mysqld at once and waits until it is gone; whether there was one."""
    pid = main_pid()
    if not pid:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], 5.0)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return True


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
