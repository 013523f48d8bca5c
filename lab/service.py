"""The lab's daemon, from outside: is it there, start it, ask it, end it."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from lab import machines, network, paths, volumes
from lab.usererror import UserError

DEFAULT_PORT = 5555
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
KEPT = ("cache", "failures")
"""What `down` leaves: what is dear to make again, and what failed tests want to show."""

_CLAIM = "\0site-lab"
"""The daemon's abstract socket: name spaces and addresses are the whole machine's, so one
lab is all that it takes."""

_ENGINE = (b"lab.engine.", b"lab/engine/")
"""In the command line of every part of an engine that Python runs."""

_local = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Running:
    """A daemon of this project that is alive."""

    pid: int
    port: int


def wanted_port() -> int:
    """The port for the AWS API that LAB_PORT asks for."""
    text = os.environ.get("LAB_PORT", str(DEFAULT_PORT))
    if not text.isdigit() or not 1024 <= int(text) <= 65535:  # noqa: PLR2004 - TCP's
        msg = f"LAB_PORT is {text!r}; it must be a port number from 1024 to 65535."
        raise UserError(msg)
    return int(text)


def running() -> Running | None:
    """This project's daemon, if it is alive."""
    try:
        pid = int(paths.daemon_pid().read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (OSError, ValueError):
        return None
    # Another process may have got the id of a daemon that died.
    if "lab.cloud" not in command or str(paths.state()) not in command:
        return None
    return Running(pid, int(command[command.index("--port") + 1]))


def endpoint() -> str:
    """The URL of the lab's AWS API."""
    here = running()
    return f"http://127.0.0.1:{here.port if here else wanted_port()}"


def get(what: str) -> dict[str, Any]:
    """The daemon's answer to GET /lab/..."""
    return _ask(Request(f"{endpoint()}/lab/{what}"))  # noqa: S310 - http to ourselves


def post(what: str, content: dict[str, object]) -> dict[str, Any]:
    """The daemon's answer to POST /lab/..."""
    body = json.dumps(content).encode()
    return _ask(Request(f"{endpoint()}/lab/{what}", data=body))  # noqa: S310


def _ask(request: Request) -> dict[str, Any]:
    try:
        with _local.open(request, timeout=10) as answer:
            return cast("dict[str, Any]", json.load(answer))
    except HTTPError as error:
        with contextlib.suppress(ValueError, KeyError):
            raise UserError(str(json.load(error)["error"])) from error
        raise
    except URLError as error:
        msg = "The lab is not running: `make up` starts it."
        raise UserError(msg) from error


def start() -> Running:
    """Start the daemon, which clears what an earlier one left, and wait until it serves."""
    port = wanted_port()
    remove_files()
    paths.logs().mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lab.cloud", "--state", str(paths.state())]
    with paths.daemon_log().open("wb") as log:
        daemon = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=paths.PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    paths.daemon_pid().write_text(f"{daemon.pid}\n")
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(UserError, OSError):
            # Another lab may have come first, and answers at the same port.
            if get("ready").get("pid") == daemon.pid:
                return Running(daemon.pid, port)
        if daemon.poll() is not None or time.monotonic() > deadline:
            _end(daemon.pid)
            said = paths.daemon_log().read_text(errors="replace").strip().splitlines()
            msg = f"{said[-1] if said else 'It said nothing.'} (all of it: {paths.daemon_log()})"
            raise UserError(msg)
        time.sleep(0.05)


def stop() -> None:
    """End the daemon and with it everything of the lab but its caches."""
    here = running()
    if here:
        with contextlib.suppress(ProcessLookupError):
            os.kill(here.pid, signal.SIGTERM)
        _await_end(here.pid, STOP_TIMEOUT)
        _end(here.pid)
    elif other_lab():
        remove_files()
        return
    # The kernel lets go of a process's sockets a little after it is seen to have ended.
    with _claimed(patience=5 if here else 0):
        sweep()


def sweep() -> None:
    """Remove what a lab left: its processes, mounts, devices, name spaces and files."""
    for pid in engines():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    machines.clear()
    volumes.clear()
    network.clear()
    remove_files()


def engines() -> list[int]:
    """Pulumi's processes on this lab: the engine, or what one that was killed left behind.

    Not a shell that has the lab's environment, nor what the user runs in it.
    """
    ours = f"PULUMI_HOME={paths.home()}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program = (process / "exe").readlink()
            words = (process / "cmdline").read_bytes()
            part = program.is_relative_to(paths.home()) or any(name in words for name in _ENGINE)
            if part and ours in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def remove_files() -> None:
    """Remove every file of the lab but what is dear."""
    if not paths.state().exists():
        return
    for entry in paths.state().iterdir():
        if entry.name in KEPT:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextlib.contextmanager
def exclusively() -> Generator[None]:
    """One command at a time may change this lab."""
    paths.state().mkdir(parents=True, exist_ok=True)
    directory = os.open(paths.state(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = "Another command is at work on this lab: wait until it is done, or end it."
            raise UserError(msg) from None
        yield
    finally:
        os.close(directory)


def other_lab() -> str | None:
    """The directory of another project's lab that runs on this machine."""
    if running():
        return None
    try:
        # One that is just going down is not in the way.
        with _claimed(patience=1):
            return None
    except UserError:
        return _claimant()


@contextlib.contextmanager
def _claimed(patience: float = 0) -> Generator[None]:
    """Be the only lab of this machine, or `UserError`."""
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX) as claim:
        while True:
            try:
                claim.bind(_CLAIM)
                break
            except OSError:
                if time.monotonic() > deadline:
                    msg = f"Another lab runs on this machine, that of {_claimant()}."
                    raise UserError(msg) from None
                time.sleep(0.02)
        yield


def _claimant() -> str:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, UnicodeDecodeError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if "lab.cloud" in words:
                return words[words.index("--state") + 1]
    return "a process that does not show"


def _await_end(pid: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while Path(f"/proc/{pid}").exists():
        status = Path(f"/proc/{pid}/stat")
        with contextlib.suppress(OSError):
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _await_end(pid, 5)
    paths.daemon_pid().unlink(missing_ok=True)
