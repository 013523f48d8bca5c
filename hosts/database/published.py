"""What the agent last said of this machine's database, for the guard to answer from and act on.

A file in memory, written whole, and a datagram so that the guard hears at once. If the agent
dies or stops, what it said last stays, with the times after which it is no longer so.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FOLDER = Path("/run/site")
FILE = "database.json"
SOCKET = "guard.sock"
"""Where the guard hears that the file is new."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Times are seconds of CLOCK_BOOTTIME (`hosts.base.lease.boottime`)."""

    role: Literal["primary", "replica", "none"] = "none"
    open: bool = False
    """Writes may be open here: the guard fences mysqld when the deadline passes.

    To be published before mysqld is made writable, and until it is proved read-only.
    """
    opened_at: float = float("-inf")
    """When this machine last began to open mysqld for writes: what a fence closed stays closed
    for the guard until it was opened again after that."""
    deadline: float = float("-inf")
    """The lease's: past it nothing may be written here."""
    serving: bool = False
    """The applications' writes may come here, while it is open and before the deadline."""
    readable: bool = False
    """There is a copy here to read from, however old."""
    replica: bool = False
    """The copy is close enough behind."""
    valid_until: float = float("-inf")
    """`readable` and `replica` are true until then."""
    status: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For people and for monitoring."""


def publish(published: Published, folder: Path = FOLDER) -> None:
    """Says it to the guard, and to the next one if there is none now. Quick, never waits."""
    path = folder / FILE
    new = path.with_name(f".{FILE}.new")
    new.write_text(json.dumps(asdict(published)))
    new.replace(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as guard:
        try:
            guard.sendto(b"new", os.fspath(folder / SOCKET))
        except OSError:
            # It is not there, and will read the file when it starts; or it has not yet read
            # the datagrams before this one, and will see the file as it is now.
            return


def read(folder: Path = FOLDER) -> Published:
    """What was said last; of a machine that has just started: nothing is open."""
    try:
        text = (folder / FILE).read_text()
    except FileNotFoundError:
        return Published()
    return Published(**json.loads(text))
