"""What the agent last said of this machine's database, for the guard to answer from and act on.

A file in memory, written whole, and a datagram so that the guard hears at once. If the agent
dies or stops, what it said last stays, with the times after which it is no longer so.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FOLDER = Path("/run/site")
FILE = "database.json"
FENCE = "database-fence.json"
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


@dataclass(frozen=True, kw_only=True)
class Fenced:
    """What a fence did (`hosts.database.fence`). Times are seconds of CLOCK_BOOTTIME."""

    why: str
    """Why it was needed."""
    began: float
    pid: int
    """Who did it."""
    ended: float | None = None
    """None: it is not over, or it was interrupted."""
    how: Literal["", "read-only", "killed", "absent"] = ""
    """mysqld was made read-only, was killed, or was not there."""
    steps: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds that each step took, in their order."""
    trouble: str = ""
    """Why it was killed."""


def publish(published: Published, folder: Path = FOLDER) -> None:
    """Says it to the guard, and to the next one if there is none now. Quick, never waits."""
    _write(folder / FILE, published)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as guard:
        try:
            guard.sendto(b"new", os.fspath(folder / SOCKET))
        except OSError:
            # It is not there, and will read the file when it starts; or it has not yet read
            # the datagrams before this one, and will see the file as it is now.
            return


def read(folder: Path = FOLDER) -> Published:
    """What was said last; of a machine that has just started: nothing is open."""
    return Published(**_read(folder / FILE, Published) or {})


def fenced(folder: Path = FOLDER) -> Fenced | None:
    """The last fence since the machine started.

    Whoever opened mysqld before `began` must take it for closed, and for half-closed if it has
    not ended: `offline_mode` may still be on.
    """
    content = _read(folder / FENCE, Fenced)
    return Fenced(**content) if content else None


def record(fence: Fenced, folder: Path = FOLDER) -> None:
    """Leaves word of a fence."""
    _write(folder / FENCE, fence)


def _write(path: Path, content: Published | Fenced) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.write_text(json.dumps(asdict(content)))
    new.replace(path)


def _read(path: Path, kind: "type[DataclassInstance]") -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    # Agent and guard are for a moment of different versions while they are upgraded.
    return {known.name: content[known.name] for known in fields(kind) if known.name in content}
