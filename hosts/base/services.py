"""systemd, from a program."""

import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OK = 200


class ServiceError(Exception):
    """A unit did not do what it was asked."""


@dataclass(frozen=True)
class Unit:
    """A unit as systemd sees it."""

    active: str
    """``active``, ``activating``, ``deactivating``, ``inactive`` or ``failed``."""
    sub: str
    result: str
    loaded: bool


def show(unit: str) -> Unit:
    """What systemd says of a unit now."""
    found = run("systemctl", "show", unit, "-p", "ActiveState,SubState,Result,LoadState").stdout
    values = dict(line.split("=", 1) for line in found.splitlines())
    return Unit(
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        result=values.get("Result", ""),
        loaded=values.get("LoadState") == "loaded",
    )


def systemctl(*arguments: str) -> None:
    """Runs systemctl; on failure `ServiceError` with what it said."""
    done = run("systemctl", *arguments)
    if done.returncode:
        command = " ".join(("systemctl", *arguments))
        message = f"`{command}` failed: {done.stderr.strip() or done.stdout.strip()}"
        raise ServiceError(message)


def start_once(unit: str, marker: Path) -> None:
    """Restarts a unit the first time after the machine's start, so that it reads our files.

    A package's own start of it may have come before them. Later calls only see that it runs.
    Raises `ServiceError` with the unit's last words.
    """
    try:
        systemctl("start" if marker.exists() else "restart", unit)
    except ServiceError as error:
        message = f"{error}\n{journal(unit)}"
        raise ServiceError(message) from error
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def wait_until(true: Callable[[], bool], seconds: float, every: float = 0.2) -> bool:
    """Waits for a condition; whether it came true in time."""
    end = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < end:
        time.sleep(every)
    return done


def journal(unit: str, lines: int = 25) -> str:
    """The last lines that a unit's own processes said."""
    command = ("journalctl", f"_SYSTEMD_UNIT={unit}", "-n", str(lines), "-o", "cat", "--no-pager")
    return run(*command).stdout.strip()


def run(*command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and keeps what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)


def http_status(url: str, timeout: float = 2.0, authorities: Path | None = None) -> int:
    """The status that a service of this machine answers with, 0 if it does not answer.

    `authorities` are those that may have signed its certificate, if it is asked by HTTPS.
    """
    context = ssl.create_default_context(cafile=authorities) if authorities else None
    request = urllib.request.Request(url, headers={"Host": "localhost"})  # noqa: S310 our own
    try:
        with urllib.request.urlopen(  # noqa: S310 our own
            request, timeout=timeout, context=context
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
