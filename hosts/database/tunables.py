"""Settings that change while mysqld and the agent run: no machine is replaced for them.

They are one parameter of the stack, JSON, that the agent looks at every few seconds. A machine
that cannot read it goes on with what it last read.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from hosts.base import parameters
from hosts.database.mysql import MySQLError, Session

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("database")

EVERY = 10.0
"""Seconds between two looks at the parameter."""
FILE = Path("/etc/mysql/mysql.conf.d/zzz-tunables.cnf")
"""Read after every other file: what mysqld starts with."""
LAST = "database-settings.json"
"""Beside the secrets in /run/site: an agent that starts anew need not ask."""
VARIABLES = ("max_connections", "innodb_buffer_pool_size", "innodb_redo_log_capacity")
"""The variables of mysqld that may be set this way, each a whole number."""
Mode = Literal["semi-synchronous", "asynchronous"]
MODES: tuple[Mode, ...] = get_args(Mode)
LEASE = (2.0, 60.0)
"""Seconds: the shortest and the longest lease that works."""


class TunablesError(ValueError):
    """The parameter holds something that cannot be used."""


@dataclass(frozen=True)
class Tunables:
    """What the parameter says. Times are in seconds."""

    replication: Mode
    lease: float
    max_replica_lag: float
    """A replica that is further behind takes no reads."""
    max_failover_lag: float
    """In asynchronous mode a replica that is further behind does not take over."""
    variables: Mapping[str, int]
    """Of mysqld, by name."""


def parse(text: str) -> Tunables:
    """The parameter's text. What is not known is left out: an older agent reads a newer text.

    Raises `TunablesError`.
    """
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        message = f"it is no JSON: {error}"
        raise TunablesError(message) from error
    if not isinstance(content, dict):
        message = "it is no JSON object"
        raise TunablesError(message)
    given = cast(dict[str, Any], content)
    replication = given.get("replication")
    if replication not in MODES:
        message = f"replication is {replication!r}, not one of {', '.join(MODES)}"
        raise TunablesError(message)
    variables = given.get("variables")
    if not isinstance(variables, dict):
        message = f"variables is {variables!r}, not an object"
        raise TunablesError(message)
    return Tunables(
        replication=replication,
        lease=_seconds(given, "lease", *LEASE),
        max_replica_lag=_seconds(given, "max_replica_lag", 0, float("inf")),
        max_failover_lag=_seconds(given, "max_failover_lag", 0, float("inf")),
        variables=_variables(cast(dict[str, object], variables)),
    )


def _seconds(given: Mapping[str, Any], name: str, least: float, most: float) -> float:
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        message = f"{name} is {value!r}, not a number of seconds of {least:g} to {most:g}"
        raise TunablesError(message)
    return float(value)


def _variables(given: Mapping[str, object]) -> dict[str, int]:
    wrong = [
        f"{name} is {given[name]!r}, not a whole number above 0"
        for name in VARIABLES
        if name in given and not _is_number(given[name])
    ]
    if wrong:
        raise TunablesError("; ".join(wrong))
    return {name: cast(int, given[name]) for name in VARIABLES if name in given}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def fetch(
    client: "SSMClient",
    name: str,
    known: Tunables | None = None,
    folder: Path = parameters.FOLDER,
) -> Tunables:
    """What the parameter says now; if it cannot be read or used, what was known before.

    `known` is what the caller last used; without it, what this machine last read. May take as
    long as the client is patient. Raises `ParameterError` or `TunablesError` if nothing is known.
    """
    try:
        text = parameters.value(client, name)
        found = parse(text)
    except (parameters.ParameterError, TunablesError) as error:
        known = known or last(folder)
        if known is None:
            raise
        log.warning("the settings stay as they are: %s: %s", name, error)
        return known
    if found != known:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        parameters.write(text, folder / LAST)
    return found


def last(folder: Path = parameters.FOLDER) -> Tunables | None:
    """What this machine last read since it was started."""
    try:
        return parse((folder / LAST).read_text())
    except (OSError, TunablesError):
        return None


def text(tunables: Tunables) -> str:
    """The file for mysqld."""
    lines = [f"{name} = {value}" for name, value in tunables.variables.items()]
    return "\n".join(["# Kept by the agent as the stack's settings say.", "[mysqld]", *lines, ""])


def write(tunables: Tunables, file: Path = FILE) -> bool:
    """Brings the file up to date, so that mysqld starts with these; whether it changed."""
    wanted = text(tunables)
    if file.exists() and file.read_text() == wanted:
        return False
    new = file.with_name(f".{file.name}.new")
    new.write_text(wanted)
    new.chmod(0o644)
    new.replace(file)
    return True


class Tuner:
    """Keeps a running mysqld as the settings say, and remembers what it made of them.

    mysqld rounds: a buffer pool is whole chunks. What it made of a wish counts as the wish, or
    it would be set again and again.
    """

    def __init__(self, file: Path = FILE) -> None:
        """Nothing was set yet."""
        self._file = file
        self._made: dict[str, tuple[int, int]] = {}
        self._refused: dict[str, str] = {}

    def apply(self, session: Session, tunables: Tunables) -> list[str]:
        """Sets what differs, in mysqld and in the file that it starts with; what was changed.

        A variable that mysqld refuses is logged once, and tried again at the next call. Raises
        `MySQLError` if mysqld does not answer.
        """
        write(tunables, self._file)
        said: list[str] = []
        for name in VARIABLES:
            wanted = tunables.variables.get(name)
            if wanted is None:
                continue
            now = _now(session, name)
            if not to_set(wanted, now, self._made.get(name)):
                continue
            if not self._set(session, name, wanted):
                continue
            made = _now(session, name)
            self._made[name] = wanted, made
            if made != now:
                said.append(f"{name}: {now} → {made}")
                log.info("%s", said[-1])
        return said

    def _set(self, session: Session, name: str, wanted: int) -> bool:
        try:
            session.run(f"SET GLOBAL {name} = {wanted:d}")
        except MySQLError as error:
            _now(session, name)  # a connection that is gone is no refusal
            if self._refused.get(name) != str(error):
                self._refused[name] = str(error)
                log.warning("%s cannot be set to %d now: %s", name, wanted, error)
            return False
        self._refused.pop(name, None)
        return True


def to_set(wanted: int, now: int, made: tuple[int, int] | None) -> bool:
    """Whether a variable has to be set: it is neither as wanted nor what came of that wish."""
    return now != wanted and made != (wanted, now)


def _now(session: Session, name: str) -> int:
    (value,) = session.row(f"SELECT @@global.{name}")
    return int(value)
