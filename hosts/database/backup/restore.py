"""Back to a point: a full backup, then the binary logs after it up to exactly there.

On a database in which there is nothing yet. What was interrupted is begun anew, and is told by a
note beside the data from a database that somebody uses.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts.base import services
from hosts.database import mysql, volume
from hosts.database.backup import binlog, catalog, checksum, dump
from hosts.database.backup import plan as planning
from hosts.database.backup.binlog import LogError
from hosts.database.backup.catalog import Log, PlanError
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.pipes import CorruptError, ProgramError, decompressed, feed
from hosts.database.backup.plan import Plan
from hosts.database.backup.server import client, connect
from hosts.database.backup.store import Store, StoreError
from hosts.database.backup.store import client as s3
from hosts.database.backup.verify import differences, load
from hosts.database.mysql import MySQLError, Session

NOTE = "restore.json"
RELAXED = {
    # Should the machine go down meanwhile, it is all begun anew.
    "sync_binlog": "0",
    "innodb_flush_log_at_trx_commit": "2",
    # Nothing but the log makes changes.
    "event_scheduler": "OFF",
    # As the clients have it: a row takes twice its room in a dump.
    "max_allowed_packet": "1073741824",
}
MIB = 1024 * 1024
MINUTE = 60.0
STARTED = 300.0
"""Seconds that mysqld may take to answer."""

Report = Callable[[str], None]


class RestoreError(Exception):
    """The point was not reached, and why: one sentence."""


@dataclass(frozen=True, kw_only=True)
class Restore:
    """What is to be restored, as the machine's options have it."""

    id: str
    """Of this restore: it names the line that begins with it."""
    to: str
    """A time, or transactions."""
    bucket: str
    line: str
    """The line that is restored."""
    full: str = ""
    """The id of the full backup to begin with; else it is the newest verified one."""


def restore(store: Store, wanted: Restore, socket: Path, folder: Path, report: Report) -> Gtids:
    """Brings the empty mysqld behind a socket to a point; what it has executed then.

    Called again after it was interrupted, it begins anew; after it was done, it does nothing.
    mysqld is read-only before and after. `folder` is on the volume, beside the data; `report` is
    told how it goes. Raises `RestoreError`.
    """
    try:
        return _restore(store, wanted, socket, folder, report)
    except (
        *(CorruptError, LogError, PlanError, ProgramError, StoreError),
        *(MySQLError, OSError, ValueError),
    ) as error:
        raise RestoreError(f"{wanted.line} cannot be restored to {wanted.to}: {error}") from error


def bootstrap(region: str, options: Mapping[str, str], report: Report) -> Gtids:
    """`restore` on a database machine whose mysqld has nothing in it; waits until that answers.

    Raises `RestoreError`.
    """
    if done := restored(options):
        return done
    wanted = Restore(**options)
    if not services.wait_until(_answers, STARTED):
        raise RestoreError(f"mysqld did not answer within {STARTED:.0f} s")
    store = Store(s3(region), wanted.bucket)
    return restore(store, wanted, Path(mysql.SOCKET), volume.MOUNT, report)


def restored(options: Mapping[str, str] | None) -> Gtids:
    """What the restore of these options ended with on this machine; nothing if it has not."""
    note = _Note(volume.MOUNT / NOTE)
    if options and note.says(Restore(**options), "done"):
        return Gtids.parse(note.content["gtids"])
    return Gtids()


def _answers() -> bool:
    try:
        with connect(Path(mysql.SOCKET), 5):
            return True
    except (MySQLError, OSError):
        return False


def _restore(store: Store, wanted: Restore, socket: Path, folder: Path, report: Report) -> Gtids:
    note = _Note(folder / NOTE)
    if note.says(wanted, "done"):
        return Gtids.parse(note.content["gtids"])
    known = catalog.logs(store, wanted.line)
    fulls, forks = catalog.fulls(store, wanted.line), catalog.forks(store, wanted.line)
    plan = planning.plan(planning.target(wanted.to), fulls, known, wanted.full, forks)
    with connect(socket) as session, ExitStack() as after:
        _refuse_a_used_one(session, note.says(wanted, "begun"))
        note.write(wanted, "begun", "")
        session.run("SET GLOBAL super_read_only = OFF")
        after.callback(session.run, "SET GLOBAL super_read_only = ON")
        _clear(session)
        for name, value in RELAXED.items():
            (before,) = session.row(f"SELECT @@GLOBAL.{name}")
            session.run(f"SET GLOBAL {name} = {value}")
            after.callback(session.run, f"SET GLOBAL {name} = %s", before)
        report(f"restoring {plan.full.id} ({plan.full.raw_size // MIB} MiB)")
        _load_accounts(store, plan, socket)
        load(store, plan.full, socket, report)
        if plan.full.verified is None:
            with _still(report, f"comparing {plan.full.id}"):
                found = list(differences(plan.full, socket, report))
            if found:
                raise RestoreError(f"{plan.full.id} is not what was backed up: {'; '.join(found)}")
        executed = _roll_forward(store, plan, socket, folder / "restore", report)
        reached = Gtids.parse(str(session.row("SELECT @@GLOBAL.gtid_executed")[0]))
        if reached != executed:
            raise RestoreError(f"it has executed {reached} and should have executed {executed}")
        _enable_events(session)
        session.run("FLUSH LOCAL BINARY LOGS")
        session.run("FLUSH LOCAL ENGINE LOGS")
    note.write(wanted, "done", str(executed))
    report(f"restored to {plan.target}")
    return executed


def _refuse_a_used_one(session: Session, ours: bool) -> None:
    (executed,) = session.row("SELECT @@GLOBAL.gtid_executed")
    if (executed or checksum.schemas(session)) and not ours:
        raise RestoreError("there is a database already, and a restore overwrites none")


def _clear(session: Session) -> None:
    """Takes away what an interrupted restore left."""
    session.run("SET SESSION sql_log_bin = 0")
    for schema in checksum.schemas(session):
        session.run(f"DROP DATABASE {checksum.quoted(schema)}")
    for user, host in session.rows("SELECT user, host FROM mysql.user"):
        if user not in dump.ACCOUNTS_OF_MYSQL:
            session.run("DROP USER %s@%s", user, host)
    session.run("RESET BINARY LOGS AND GTIDS")


def _load_accounts(store: Store, plan: Plan, socket: Path) -> None:
    key = f"{plan.full.folder}/accounts.sql.gz"
    stream, _ = store.open(key)
    name = f"s3://{store.bucket}/{key}"
    feed(client(socket, logged=False), decompressed(stream, name, plan.full.accounts_sha256))


def _roll_forward(store: Store, plan: Plan, socket: Path, folder: Path, report: Report) -> Gtids:
    """Executes the logs of a plan up to its target; what is executed then."""
    executed = plan.full.gtids
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        for number, log in enumerate(plan.logs, 1):
            report(f"log {number} of {len(plan.logs)}: {log.name} of {log.machine}")
            file = folder / log.name
            _fetch(store, log, file)
            stop, executed, reached = _stop(file, log, plan, executed)
            with _still(report, f"log {number} of {len(plan.logs)}"):
                binlog.replay(file, stop, client(socket), plan.lost)
            file.unlink()
            if reached:
                break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return executed


@contextmanager
def _still(report: Report, what: str) -> Generator[None]:
    """Says every minute that it still goes on: an agent that says nothing is taken for stuck."""
    began, done = time.monotonic(), threading.Event()

    def say() -> None:
        while not done.wait(MINUTE):
            report(f"{what}, for {(time.monotonic() - began) / 60:.0f} min")

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _fetch(store: Store, log: Log, file: Path) -> None:
    with file.open("wb") as whole:
        for piece in catalog.pieces(store, log):
            stream, _ = store.open(piece.key)
            name = f"s3://{store.bucket}/{piece.key}"
            for content in decompressed(stream, name):
                whole.write(content)
            if whole.tell() != piece.end:
                raise CorruptError(f"{name} is corrupt: it has not the bytes that its name says")


def _stop(file: Path, log: Log, plan: Plan, executed: Gtids) -> tuple[int, Gtids, bool]:
    """Up to which byte a log is executed, what is executed then, and whether that is the point.

    A time ends each log by itself: before a fork another one may have more from before it.
    """
    target = plan.target
    if target.time is not None and log.last is not None and log.last < target.time:
        return log.end, executed + log.executed, False
    added: list[str] = []
    left = (target.gtids or Gtids()) - executed
    passed_over = executed + plan.lost
    for one in binlog.transactions(file, 0, log.end):
        gtid = Gtids.parse(one.gtid)
        if gtid <= passed_over:
            continue
        if one.committed > plan.until or (target.time is not None and one.committed >= target.time):
            return one.start, executed + Gtids.parse(",".join(added)), False
        added.append(one.gtid)
        if target.gtids is not None and not (left := left - gtid):
            return one.end, executed + Gtids.parse(",".join(added)), True
    return log.end, executed + Gtids.parse(",".join(added)), False


def _enable_events(session: Session) -> None:
    """A dump of a replica has its events disabled: they ran on the primary."""
    listed = session.rows(
        "SELECT event_schema, event_name FROM information_schema.events"
        " WHERE status IN ('SLAVESIDE_DISABLED', 'REPLICA_SIDE_DISABLED')"
    )
    for schema, name in listed:
        where = f"{checksum.quoted(str(schema))}.{checksum.quoted(str(name))}"
        session.run(f"ALTER EVENT {where} ENABLE")


class _Note:
    """What is known of a restore on this volume, if there was one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content: Mapping[str, Any] = {}
        if path.exists():
            self.content = json.loads(path.read_text())

    def says(self, wanted: Restore, state: str) -> bool:
        return self.content.get("id") == wanted.id and self.content.get("state") == state

    def write(self, wanted: Restore, state: str, gtids: str) -> None:
        new = self._path.with_suffix(".new")
        with new.open("w") as file:
            json.dump({"id": wanted.id, "state": state, "gtids": gtids}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self.content = json.loads(self._path.read_text())
