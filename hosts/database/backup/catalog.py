"""What is in the bucket, and what it takes to get back to a point. Reads only.

    <line>/full/<id>/data.sql.gz       a dump of every schema, consistent at one set of transactions
    <line>/full/<id>/accounts.sql.gz   who may log in, as of the same set
    <line>/full/<id>/manifest.json     written last: without it there is no backup
    <line>/full/<id>/verified.json     what came of restoring it
    <line>/logs/<server>/<begun>-<name>/<from>-<to>.gz   a piece of a binary log, by its bytes
    <line>/logs/<server>/<begun>-<name>/head.json        how far that log was shipped
    <line>/forks/<id>.json             transactions that are in logs, and that a failover lost

A line is the database's history since it was made, or restored: transactions of one that was
restored to last Tuesday must not mix with those that the former one made on Wednesday. It is named
like the lease of its machines: ``database``, ``database-<id of the restore>``.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from hosts.database.backup.gtids import Gtids
from hosts.database.backup.store import ForeignError, MissingError, Store

logger = logging.getLogger("backup")

FORMAT = 1
_Content = TypeVar("_Content")
_PIECE = re.compile(r"(\d+)-(\d+)\.gz")


class PlanError(Exception):
    """There is no way to the point, and why."""


def moment(seconds: float) -> str:
    """A time as people and manifests write it: ``2026-11-22T21:30:00.25Z``."""
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def seconds(text: str) -> float:
    """The time that a text in ISO 8601 names; UTC if it names no zone. Raises `ValueError`."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True)
class Table:
    """What a table holds, so that its copy can be compared."""

    rows: int
    checksum: str


@dataclass(frozen=True)
class Full:
    """A full backup, as its manifest has it."""

    line: str
    id: str
    gtids: Gtids
    time: float
    """Seconds since the epoch: it holds what was there then."""
    finished: float
    machine: str
    server: str
    """The UUID of the mysqld that it was taken from."""
    version: str
    """Of that mysqld."""
    sha256: str
    size: int
    """Bytes in the bucket."""
    raw_size: int
    accounts_sha256: str
    data_size: int
    """Bytes that the tables and their indexes took, about."""
    tables: dict[str, Table]
    """By ``schema.table``."""
    objects: dict[str, int]
    """How many of each kind of thing that is no table: ``site: views``."""
    verified: "Verdict | None" = None

    @property
    def folder(self) -> str:
        """Where it is."""
        return f"{self.line}/full/{self.id}"

    def to_json(self) -> dict[str, Any]:
        """The manifest."""
        return {
            "format": FORMAT,
            "line": self.line,
            "id": self.id,
            "gtids": str(self.gtids),
            "time": moment(self.time),
            "finished": moment(self.finished),
            "machine": self.machine,
            "server": self.server,
            "version": self.version,
            "sha256": self.sha256,
            "size": self.size,
            "raw_size": self.raw_size,
            "accounts_sha256": self.accounts_sha256,
            "data_size": self.data_size,
            "tables": {name: [table.rows, table.checksum] for name, table in self.tables.items()},
            "objects": self.objects,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any], verified: "Verdict | None" = None) -> "Full":
        """Of a manifest."""
        plain = ("line", "id", "machine", "server", "version", "sha256", "size", "raw_size")
        return cls(
            **{name: content[name] for name in plain},
            accounts_sha256=content["accounts_sha256"],
            data_size=content["data_size"],
            gtids=Gtids.parse(content["gtids"]),
            time=seconds(content["time"]),
            finished=seconds(content["finished"]),
            tables={name: Table(*table) for name, table in content["tables"].items()},
            objects=content["objects"],
            verified=verified,
        )


@dataclass(frozen=True)
class Verdict:
    """What came of restoring a backup."""

    good: bool
    detail: str
    time: float
    machine: str

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "good": self.good,
            "detail": self.detail,
            "time": moment(self.time),
            "machine": self.machine,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Verdict":
        """As it was kept."""
        return cls(content["good"], content["detail"], seconds(content["time"]), content["machine"])


@dataclass(frozen=True)
class Log:
    """A binary log, as far as it was shipped."""

    line: str
    server: str
    """The UUID of the mysqld that wrote it."""
    name: str
    begun: int
    """Seconds since the epoch."""
    previous: Gtids
    """What its server had executed before it."""
    executed: Gtids
    """That, and what is in it."""
    end: int
    """Bytes that were shipped."""
    first: float | None
    last: float | None
    """When its first and last transaction were committed; none if it has none."""
    as_of: float
    """Seconds since the epoch at which there was no more in it than this."""
    machine: str

    @property
    def folder(self) -> str:
        """Where it is."""
        return f"{self.line}/logs/{self.server}/{self.begun}-{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Its ``head.json``."""
        return {
            "format": FORMAT,
            "line": self.line,
            "server": self.server,
            "name": self.name,
            "begun": self.begun,
            "previous": str(self.previous),
            "executed": str(self.executed),
            "end": self.end,
            "first": self.first and moment(self.first),
            "last": self.last and moment(self.last),
            "as_of": moment(self.as_of),
            "machine": self.machine,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Log":
        """Of a ``head.json``."""
        plain = ("line", "server", "name", "begun", "end", "machine")
        return cls(
            **{name: content[name] for name in plain},
            previous=Gtids.parse(content["previous"]),
            executed=Gtids.parse(content["executed"]),
            first=seconds(content["first"]) if content["first"] else None,
            last=seconds(content["last"]) if content["last"] else None,
            as_of=seconds(content["as_of"]),
        )


@dataclass(frozen=True)
class Fork:
    """A failover that lost what was in the bucket already: from it on, that was never there."""

    line: str
    id: str
    lost: Gtids
    time: float
    """Seconds since the epoch: when the last of them was committed."""
    found: float
    """When it was seen."""
    machine: str
    """The primary that has them not."""

    @property
    def key(self) -> str:
        """Where it is noted."""
        return f"{self.line}/forks/{self.id}.json"

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "format": FORMAT,
            "line": self.line,
            "id": self.id,
            "lost": str(self.lost),
            "time": moment(self.time),
            "found": moment(self.found),
            "machine": self.machine,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Fork":
        """As it was kept."""
        return cls(
            line=content["line"],
            id=content["id"],
            lost=Gtids.parse(content["lost"]),
            time=seconds(content["time"]),
            found=seconds(content["found"]),
            machine=content["machine"],
        )


@dataclass(frozen=True)
class Piece:
    """Some bytes of a log."""

    key: str
    start: int
    end: int


def lines(store: Store) -> list[str]:
    """The names of the lines that there are backups of."""
    return list(store.folders(""))


def fulls(store: Store, line: str) -> list[Full]:
    """The complete full backups of a line, the oldest first."""
    found: list[Full] = []
    for name in store.folders(f"{line}/full/"):
        try:
            found.append(full(store, line, name))
        except MissingError:
            continue  # begun and not finished, or expired in between
        except ForeignError as error:
            # Whoever writes over one backup must not take the others along.
            logger.warning("left out: %s", error)
    return sorted(found, key=lambda one: one.time)


def full(store: Store, line: str, name: str) -> Full:
    """A full backup. Raises `MissingError` and `ForeignError`."""
    folder = f"{line}/full/{name}"
    found = _read(store, f"{folder}/manifest.json", Full.from_json)
    try:
        return replace(found, verified=_read(store, f"{folder}/verified.json", Verdict.from_json))
    except MissingError:
        return found
    except ForeignError as error:
        logger.warning("not taken for verified: %s", error)
        return found


def _read(store: Store, key: str, parse: Callable[[dict[str, Any]], _Content]) -> _Content:
    content = store.read(key)
    try:
        return parse(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ForeignError(
            f"s3://{store.bucket}/{key} is not what a machine of this program writes"
            f" ({type(error).__name__}: {error}); an earlier version of the object may be"
        ) from error


def logs(store: Store, line: str, server: str = "") -> list[Log]:
    """The binary logs of a line, or of one server of it, the first begun first."""
    found: list[Log] = []
    for one in [server] if server else store.folders(f"{line}/logs/"):
        for name in store.folders(f"{line}/logs/{one}/"):
            try:
                found.append(_read(store, f"{line}/logs/{one}/{name}/head.json", Log.from_json))
            except MissingError:
                continue
            except ForeignError as error:
                logger.warning("left out: %s", error)
    return sorted(found, key=lambda log: (log.begun, log.server, log.name))


def heads(store: Store, line: str) -> list[Log]:
    """Of each server of a line the log that it began last."""
    found: list[Log] = []
    for server in store.folders(f"{line}/logs/"):
        names = sorted(store.folders(f"{line}/logs/{server}/"), key=_begun)
        for name in names[-1:]:
            try:
                found.append(_read(store, f"{line}/logs/{server}/{name}/head.json", Log.from_json))
            except (MissingError, ForeignError) as error:
                logger.warning("left out: %s", error)
    return found


def _begun(name: str) -> int:
    seconds = name.partition("-")[0]
    return int(seconds) if seconds.isdecimal() else 0


def forks(store: Store, line: str) -> list[Fork]:
    """The forks of a line, the first one first. Raises `ForeignError`: without one all is wrong."""
    found = [_read(store, one.key, Fork.from_json) for one in store.list(f"{line}/forks/")]
    return sorted(found, key=lambda fork: fork.time)


def pieces(store: Store, log: Log) -> list[Piece]:
    """The pieces that make up a log, in their order. Raises `PlanError` if one is missing."""
    by_start: dict[int, Piece] = {}
    for found in store.list(f"{log.folder}/"):
        name = _PIECE.fullmatch(found.key.rpartition("/")[2])
        if name:
            piece = Piece(found.key, int(name[1]), int(name[2]))
            # After an interruption a piece may have been shipped again, and be longer now.
            if piece.start not in by_start or piece.end > by_start[piece.start].end:
                by_start[piece.start] = piece
    chosen: list[Piece] = []
    at = 0
    while at < log.end:
        if at not in by_start:
            raise PlanError(
                f"the binary log {log.name} of {log.machine} has a hole: its piece from byte {at}"
                f" on is not in s3://{store.bucket}/{log.folder}/"
            )
        chosen.append(by_start[at])
        at = by_start[at].end
    return chosen
