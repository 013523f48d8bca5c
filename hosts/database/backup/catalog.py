"""What is in the bucket, and what it takes to get back to a point. Reads only.

    <line>/full/<id>/data.sql.gz       a dump of every schema, consistent at one set of transactions
    <line>/full/<id>/accounts.sql.gz   who may log in, as of the same set
    <line>/full/<id>/manifest.json     written last: without it there is no backup
    <line>/full/<id>/verified.json     what came of restoring it
    <line>/logs/<server>/<begun>-<name>/<from>-<to>.gz   a piece of a binary log, by its bytes
    <line>/logs/<server>/<begun>-<name>/head.json        how far that log was shipped

A line is the database's history since it was made, or restored: transactions of one that was
restored to last Tuesday must not mix with those that the former one made on Wednesday. It is named
like the lease of its machines: ``database``, ``database-<id of the restore>``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hosts.database.backup.gtids import Gtids
from hosts.database.backup.store import MissingError, Store

FORMAT = 1
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
    def from_json(cls, content: dict[str, Any], verified: "Verdict | None") -> "Full":
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
    return sorted(found, key=lambda one: one.time)


def full(store: Store, line: str, name: str) -> Full:
    """A full backup. Raises `MissingError`."""
    manifest = store.read(f"{line}/full/{name}/manifest.json")
    try:
        kept = store.read(f"{line}/full/{name}/verified.json")
    except MissingError:
        return Full.from_json(manifest, None)
    verdict = Verdict(kept["good"], kept["detail"], seconds(kept["time"]), kept["machine"])
    return Full.from_json(manifest, verdict)


def logs(store: Store, line: str, server: str = "") -> list[Log]:
    """The binary logs of a line, or of one server of it, the first begun first."""
    found: list[Log] = []
    for one in [server] if server else store.folders(f"{line}/logs/"):
        for name in store.folders(f"{line}/logs/{one}/"):
            try:
                found.append(Log.from_json(store.read(f"{line}/logs/{one}/{name}/head.json")))
            except MissingError:
                continue
    return sorted(found, key=lambda log: (log.begun, log.server, log.name))


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


def chain(start: Gtids, known: Iterable[Log]) -> tuple[Gtids, list[Log]]:
    """How far logs lead on from a set of transactions, and which of them, in their order.

    A log leads on only if all that its server had executed before it is there already: else
    transactions would be missing in the middle.
    """
    covered, used = start, list[Log]()
    left = list(known)
    while following := [log for log in left if log.previous <= covered]:
        for log in following:
            left.remove(log)
            if not log.executed <= covered:
                used.append(log)
                covered = covered + log.executed
    return covered, used


@dataclass(frozen=True)
class Target:
    """A point to get back to: just before a time, or just after a set of transactions."""

    time: float | None = None
    """Seconds since the epoch. What was committed before is there, what was later is not."""
    gtids: Gtids | None = None

    def __str__(self) -> str:
        """For people."""
        return moment(self.time) if self.time is not None else str(self.gtids)


def target(text: str) -> Target:
    """Of what an operator gives: a time in ISO 8601, or transactions. Raises `ValueError`."""
    try:
        return Target(time=seconds(text))
    except ValueError:
        pass
    try:
        gtids = Gtids.parse(text)
    except ValueError:
        gtids = Gtids()
    if not gtids:
        raise ValueError(
            f"{text!r} is neither a time such as 2026-11-22T21:30:00Z nor a set of transactions"
            " such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"
        )
    return Target(gtids=gtids)


@dataclass(frozen=True)
class Plan:
    """The way to a point: a full backup, then logs in their order."""

    target: Target
    full: Full
    logs: tuple[Log, ...]


def plan(target: Target, fulls: Sequence[Full], known: Sequence[Log]) -> Plan:
    """The way to a point of one line. Raises `PlanError` with why there is none."""
    before = [full for full in fulls if _is_before(full, target)]
    if not before:
        oldest = f"the oldest is of {moment(fulls[0].time)}" if fulls else "there is none at all"
        raise PlanError(f"there is no full backup before {target}: {oldest}")
    good = [full for full in before if full.verified and full.verified.good]
    if not good:
        newest = before[-1]
        said = newest.verified.detail if newest.verified else "it was not verified yet"
        raise PlanError(
            f"none of the {len(before)} full backups before {target} is verified; the newest is"
            f" {newest.id}: {said}"
        )
    chosen = good[-1]
    covered, used = chain(chosen.gtids, known)
    if target.gtids is not None:
        _check_transactions(target.gtids, chosen, covered, known)
        return Plan(target, chosen, tuple(_until(target.gtids, chosen, used)))
    assert target.time is not None  # noqa: S101 one of the two is
    _check_time(target.time, chosen, covered, known)
    needed = [log for log in used if log.first is None or log.first < target.time]
    return Plan(target, chosen, tuple(needed))


def _is_before(full: Full, target: Target) -> bool:
    if target.time is not None:
        return full.time <= target.time
    assert target.gtids is not None  # noqa: S101 one of the two is
    return full.gtids <= target.gtids or not target.gtids <= full.gtids


def _until(wanted: Gtids, full: Full, used: Iterable[Log]) -> Iterable[Log]:
    covered = full.gtids
    for log in used:
        if wanted <= covered:
            return
        covered = covered + log.executed
        yield log


def _check_transactions(wanted: Gtids, full: Full, covered: Gtids, known: Iterable[Log]) -> None:
    missing = wanted - covered
    if missing:
        shipped = Gtids()
        for log in known:
            shipped = shipped + log.executed
        if wanted <= shipped + full.gtids:
            raise PlanError(_gap(full, covered, known))
        raise PlanError(f"the transactions {missing} are in no backup and in no binary log")


def _check_time(time: float, full: Full, covered: Gtids, known: Sequence[Log]) -> None:
    left = [log for log in known if not log.executed <= covered]
    if any(log.first is None or log.first < time for log in left):
        raise PlanError(_gap(full, covered, known))
    reached = max((full.time, *(log.as_of for log in known if log.executed <= covered)))
    if reached < time:
        raise PlanError(
            f"the binary logs that were shipped reach to {moment(reached)}, which is before"
            f" {moment(time)}"
        )


def _gap(full: Full, covered: Gtids, known: Iterable[Log]) -> str:
    _, used = chain(full.gtids, known)
    reached = max((log.last for log in used if log.last), default=full.time)
    lost = Gtids()
    for log in known:
        if not log.executed <= covered:
            lost = lost + (log.previous - covered)
    return (
        f"the binary logs after the backup {full.id} have a gap: the transactions {lost} are in"
        f" none of them; from that backup on one can get to {moment(reached)} at most"
    )


def reach(first: Full, known: Sequence[Log]) -> tuple[float, str]:
    """Up to when every second since a backup can be had again, and why not later if it cannot."""
    covered, used = chain(first.gtids, known)
    if all(log.executed <= covered for log in known):
        return max((first.time, *(log.as_of for log in known))), ""
    last = max((first.time, *(log.last for log in used if log.last)))
    return last, _gap(first, covered, known)
