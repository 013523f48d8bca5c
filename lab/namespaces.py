"""Network name spaces: enter one on a thread of its own, make sockets there.

A socket belongs for ever to the name space in which it was made, so one process can
serve several.
"""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

PREFIX = "lab-"
ROUTER = "lab-router"
INTERNET = "lab-internet"

_RUN = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def path(name: str) -> Path:
    """Where `ip netns` keeps the name space."""
    return _RUN / name


def existing() -> list[str]:
    """Every name space of the lab, of this process or an earlier one."""
    if not _RUN.is_dir():
        return []
    return sorted(entry.name for entry in _RUN.iterdir() if entry.name.startswith(PREFIX))


def enter(file: Path) -> None:
    """Move the calling thread into the network name space behind `file`, for good."""
    with file.open() as handle:
        if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(file))


def call(name: str, function: Callable[[], T]) -> T:
    """Run `function` on a thread that has entered the name space, and give what it returns."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            enter(path(name))
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            failure.append(error)

    thread = threading.Thread(target=run, name=f"in {name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def listen(address: str, port: int, *, backlog: int = 1024) -> socket.socket:
    """A listening TCP socket; its connections send small pieces at once (no Nagle)."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((address, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def listen_in(name: str, address: str, port: int) -> socket.socket:
    """As `listen`, in the name space."""
    return call(name, lambda: listen(address, port))


def sysctl(name: str, settings: dict[str, str]) -> None:
    """Set kernel parameters of the name space, by their paths below /proc/sys/net."""

    def write() -> None:
        for key, value in settings.items():
            (Path("/proc/sys/net") / key).write_text(value)

    call(name, write)


def inside(name: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in the network name space (and only that one)."""
    return ["nsenter", f"--net={path(name)}", "--", *command]


def processes(name: str) -> list[int]:
    """The processes whose network name space this is."""
    listed = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]
