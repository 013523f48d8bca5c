"""Binary logs as files: what transactions are in one, and where. `mysqlbinlog` reads them."""

import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hosts.database.backup.gtids import Gtids
from hosts.database.backup.pipes import Program, ProgramError
from hosts.database.mysql import Session

MAGIC = b"\xfebin"
BEGIN = 4
"""Where the first event of a file is."""

_AT = re.compile(rb"# at (\d+)\n")
_GTID = re.compile(
    rb"#\d{6} .*\tGTID\t.*\toriginal_committed_timestamp=(\d+)\t.*\ttransaction_length=(\d+)\n"
)
_NEXT = re.compile(rb"SET @@SESSION\.GTID_NEXT= '([^']+)'")


class LogError(Exception):
    """A binary log cannot be used."""


@dataclass(frozen=True)
class Transaction:
    """Where it is in a file, in bytes, and when it was committed where it came from."""

    gtid: str
    start: int
    end: int
    committed: float
    """Seconds since the epoch, on the clock of the machine that it was first committed on."""


@dataclass(frozen=True)
class Local:
    """A log that a server has."""

    name: str
    size: int


@dataclass(frozen=True)
class Position:
    """Up to where a server's logs are written: everything before is whole transactions."""

    name: str
    end: int


def created(path: Path) -> int:
    """When the log was begun, in seconds since the epoch: it tells it from others of its name."""
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or head[:4] != MAGIC:  # noqa: PLR2004 as read
        raise LogError(f"{path} is no binary log")
    (timestamp,) = struct.unpack("<I", head[4:])
    return timestamp


def transactions(path: Path, start: int, end: int) -> Iterator[Transaction]:
    """The transactions of a file between two positions, both at a transaction's border.

    A transaction says itself how long it is, so nothing that stands in a statement is taken for
    the beginning of another. Raises `LogError`.
    """
    program = Program(
        [
            *("mysqlbinlog", "--no-defaults", "--base64-output=DECODE-ROWS"),
            *(f"--start-position={max(start, BEGIN)}", f"--stop-position={end}", str(path)),
        ]
    )
    try:
        yield from _parsed(program, start)
        program.finish()
    except ProgramError as error:
        raise LogError(f"{path.name} cannot be read: {error}") from error
    finally:
        program.end()


def _parsed(program: Program, start: int) -> Iterator[Transaction]:
    stdout = program.process.stdout
    assert stdout  # noqa: S101 it was asked for
    at = 0
    begun: tuple[int, int, float] | None = None
    for line in stdout:
        if found := _AT.fullmatch(line):
            position = int(found[1])
            # Nothing within a transaction can begin another one.
            at = position if position >= start else 0
        elif begun is None and at and (found := _GTID.fullmatch(line)):
            begun = at, at + int(found[2]), int(found[1]) / 1e6
        elif begun and (found := _NEXT.match(line)):
            first, start, committed = begun
            yield Transaction(found[1].decode(), first, start, committed)
            begun = None


def logs(session: Session) -> tuple[list[Local], Position]:
    """A server's logs in their order, and up to where the last of them is written."""
    name, end = session.row("SHOW BINARY LOG STATUS")[:2]
    listed = [Local(str(row[0]), int(row[1])) for row in session.rows("SHOW BINARY LOGS")]
    # One that was begun since is for the next look.
    known = [log.name for log in listed].index(str(name))
    return listed[: known + 1], Position(str(name), int(end))


def previous(session: Session, name: str) -> Gtids:
    """What was executed before the first transaction of a log."""
    for row in session.rows("SHOW BINLOG EVENTS IN %s LIMIT 3", name):
        if row[2] == "Previous_gtids":
            return Gtids.parse(str(row[5]))
    raise LogError(f"{name} does not say what was executed before it")


def replay(path: Path, stop: int, client: list[str], lost: Gtids) -> None:
    """Executes what is in a file before a position; what was executed already is passed over.

    So is what is `lost`. `client` is a command that executes statements. Raises `LogError`.
    """
    command = ["mysqlbinlog", "--no-defaults", f"--stop-position={stop}"]
    command += [f"--exclude-gtids={lost}"] if lost else []
    reading = Program([*command, str(path)])
    assert reading.process.stdout  # noqa: S101 it was asked for
    executing = Program(client, stdin=reading.process.stdout, stdout=subprocess.DEVNULL)
    reading.process.stdout.close()
    try:
        executing.finish()
        reading.finish()
    except ProgramError as error:
        raise LogError(f"{path.name} could not be executed: {error}") from error
    finally:
        reading.end()
        executing.end()
