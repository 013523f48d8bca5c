"""site-backup.service: the loop. What fails is said, and tried again; it never ends by itself."""

import contextlib
import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hosts.base import aws, parameters
from hosts.base.coordination import UnreachableError
from hosts.base.facts import MachineFacts, load
from hosts.base.lease import UnreachableError as LeaseUnreachableError
from hosts.base.lease_table import DynamoTable
from hosts.base.metrics import Exposition, Metric
from hosts.database import mysql, volume
from hosts.database.backup import catalog, forks, measured, schedule, store
from hosts.database.backup.binlog import LogError
from hosts.database.backup.board import Board, Entry
from hosts.database.backup.catalog import Full, moment
from hosts.database.backup.dump import DumpError, dump
from hosts.database.backup.pipes import CorruptError, ProgramError
from hosts.database.backup.schedule import Settings
from hosts.database.backup.server import RoomError, ScratchError, connect
from hosts.database.backup.ship import GapError, Shipper
from hosts.database.backup.store import MissingError, Store, StoreError
from hosts.database.backup.verify import verify
from hosts.database.mysql import MySQLError, Session
from hosts.database.options import Options
from hosts.database.pair import member, pair

log = logging.getLogger("backup")

LOOP = 2.0
"""Seconds between two looks at the orders."""
SETTINGS = "database/backups"
"""The parameter, without the stack's prefix."""
READ_SETTINGS = 60.0
"""Seconds between two reads of it."""
AGAIN = 300.0
"""Seconds between two looks at what is due; a backup that failed is tried again then."""
ATTEMPTS = 3
"""Times that an order is tried."""
SAID = 2.0
"""Seconds between two reports of how something goes."""

Failed = (
    *(CorruptError, DumpError, LogError, ProgramError, RoomError, ScratchError),
    *(LeaseUnreachableError, StoreError, UnreachableError, MySQLError, OSError, ValueError),
)
"""What may go wrong, and be well the next time."""


@dataclass(frozen=True, kw_only=True)
class Here:
    """Where this process is."""

    machine: str
    member: str
    line: str
    socket: Path
    data: Path
    """mysqld's folder."""
    scratch: Path
    """Where a backup is tried; made and removed each time."""


class Duty:
    """Whether this machine is the one that backs up."""

    def __init__(self, here: Here, table: DynamoTable) -> None:
        """Not asked yet: it is not."""
        self._here = here
        self._table = table
        self._known = False

    @property
    def known(self) -> bool:
        """What was last found."""
        return self._known

    def __call__(self) -> bool:
        """As the lease's record says; while that cannot be read, as it last said."""
        try:
            record = self._table.read(self._here.line)
        except LeaseUnreachableError as error:
            log.warning("who backs up: %s", _one_line(error))
            return self._known
        self._known = record is not None and schedule.chosen(pair(record)) == self._here.member
        return self._known

    def leads(self) -> int | None:
        """The generation of the lease if this machine holds it. Raises `UnreachableError`."""
        record = self._table.read(self._here.line)
        holds = record and record.holder == self._here.member and not record.released
        return record.generation if record and holds else None


class Shipping:
    """The binary logs. In a thread of its own: a full backup may take hours."""

    def __init__(
        self,
        *,
        here: Here,
        duty: Callable[[], bool],
        settings: Callable[[], Settings | None],
        open_store: Callable[[str], Store],
    ) -> None:
        """Nothing happens yet."""
        self._here = here
        self._duty = duty
        self._settings = settings
        self._open_store = open_store
        self._shipper: Shipper | None = None
        self._ended = False
        """Whether the log that was shipped last has ended."""
        self._lock = threading.Lock()
        self.gap = threading.Event()
        """Set when a full backup is needed, because logs between the last one and now are gone."""
        self.shipped: float | None = None
        """When this machine last found all of the log in the bucket, or since when it is to see to
        it; seconds since the epoch."""

    def step(self) -> float:
        """One look at the logs, if this machine is to; seconds until the next."""
        settings = self._settings()
        if settings is None:
            return READ_SETTINGS
        if not self._duty():
            self._shipper = self.shipped = None
            if not self._ended:
                with connect(self._here.socket, 30) as session:
                    end_log(session)
                self._ended = True
            return LOOP
        self._ended = False
        self.shipped = self.shipped or time.time()
        self.ship(self._open_store(settings.bucket))
        return settings.ship_every

    def ship(self, bucket: Store) -> None:
        """Ships what there is. Raises what `Shipper.ship` does, but `GapError`."""
        here = self._here
        with self._lock:
            shipper, self._shipper = self._shipper, None
            if shipper is None or shipper.bucket != bucket.bucket:
                shipper = Shipper(bucket, here.line, here.machine, here.data)
            try:
                with connect(here.socket, 30) as session:
                    shipper.ship(session)
            except GapError as error:
                log.warning("%s: a full backup is needed", error)
                self.gap.set()
                return
            # Not after a failure: the bucket is asked anew what there is.
            self._shipper, self.shipped = shipper, time.time()


class Work:
    """Full backups and their verification, by schedule and on order."""

    def __init__(
        self,
        *,
        here: Here,
        duty: Callable[[], bool],
        settings: Callable[[], Settings | None],
        open_store: Callable[[str], Store],
        board: Board,
        shipping: Shipping,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing happens yet."""
        self._here = here
        self._duty = duty
        self._settings = settings
        self._open_store = open_store
        self._board = board
        self._shipping = shipping
        self._clock = clock
        self._not_before = float("-inf")
        self._attempts: tuple[str, int] = ("", 0)
        self._said: tuple[float, str] = (float("-inf"), "")
        self.fulls: Sequence[Full] | None = None
        """The complete full backups, as last seen; the oldest first."""

    def step(self) -> None:
        """One turn: what is ordered, else what is due, if this machine is the one to do it."""
        settings = self._settings()
        if settings is None or not self._duty():
            return
        entry = self._board.read()
        if entry.open:
            self._carry_out(entry, settings)
        elif self._clock() >= self._not_before:
            # Also if nothing is due: what is in the bucket is not asked every two seconds.
            self._not_before = self._clock() + AGAIN
            self._if_due(settings)
        elif self._shipping.gap.is_set():
            self._not_before = self._clock() + AGAIN
            self._full(settings)

    def _if_due(self, settings: Settings) -> None:
        bucket = self._open_store(settings.bucket)
        fulls = self._look(settings)
        usable = [full for full in fulls if full.verified is None or full.verified.good]
        newest = usable[-1].time if usable else None
        forked = forks.due(usable, catalog.forks(bucket, self._here.line))
        due = schedule.due(newest, settings, self._clock())
        if due or forked or self._shipping.gap.is_set():
            self._full(settings)

    def _look(self, settings: Settings) -> Sequence[Full]:
        self.fulls = catalog.fulls(self._open_store(settings.bucket), self._here.line)
        return self.fulls

    def _full(self, settings: Settings) -> str:
        """See `_dump`; what there is then is looked at anew."""
        try:
            return self._dump(settings)
        finally:
            with contextlib.suppress(StoreError):
                self._look(settings)

    def _dump(self, settings: Settings) -> str:
        """Its id; behind that, if it could not be verified, why."""
        here, bucket = self._here, self._open_store(settings.bucket)
        full = dump(here.socket, bucket, here.line, here.machine, self._report)
        gap = self._shipping.gap.is_set()
        self._shipping.gap.clear()
        with connect(here.socket, 30) as session:
            end_log(session)
        if settings.verify:
            try:
                verdict = verify(bucket, full, here.scratch, here.machine, self._report)
            except RoomError as error:
                log.warning("%s is not verified: %s", full.id, error)
                return f"{full.id} {_one_line(error)}"
            if not verdict.good:
                if gap:  # which this one does not close
                    self._shipping.gap.set()
                raise CorruptError(f"the backup {full.id} cannot be restored: {verdict.detail}")
        return full.id

    def _carry_out(self, entry: Entry, settings: Settings) -> None:
        here = self._here
        times = 1 + (self._attempts[1] if self._attempts[0] == entry.order else 0)
        self._attempts = entry.order, times
        try:
            result = self._do(entry.what, settings)
        except Failed as error:
            log.error("%s: %s", entry.what, _one_line(error))
            if times >= ATTEMPTS or isinstance(error, RoomError | CorruptError | MissingError):
                self._board.close(entry.order, here.machine, "failed", _one_line(error))
            else:
                self._board.report(here.machine, f"tries again: {_one_line(error)}")
            return
        self._board.close(entry.order, here.machine, "good", result)

    def _do(self, what: str, settings: Settings) -> str:
        kind, _, name = what.partition(" ")
        here, bucket = self._here, self._open_store(settings.bucket)
        self._report(f"{what}: begun")
        match kind:
            case "full":
                done = self._full(settings)
                self._shipping.ship(bucket)
                return done
            case "ship":
                self._shipping.ship(bucket)
                return moment(self._clock())
            case "verify":
                line, _, name = name.partition("/")
                full = catalog.full(bucket, line, name)
                verdict = verify(bucket, full, here.scratch, here.machine, self._report)
                if not verdict.good:
                    raise CorruptError(verdict.detail)
                return verdict.detail
            case _:
                raise ValueError(f"{what!r} is nothing that can be ordered")

    def _report(self, detail: str) -> None:
        at, before = self._said
        now = time.monotonic()
        if detail == before or now - at < SAID:
            return
        self._said = now, detail
        log.info("%s", detail)
        with contextlib.suppress(UnreachableError):  # it is for people, and the next comes soon
            self._board.report(self._here.machine, detail)


def end_log(session: Session) -> None:
    """What is shipped from here on is in a log of its own.

    The bucket forgets by age, and would forget the beginning of a log that is years old: that of
    one that backups lead on from, or that is taken up again where another machine stopped.
    """
    session.run("FLUSH LOCAL BINARY LOGS")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class _Read:
    """The settings, read from time to time; the last good ones stay."""

    def __init__(self, facts: MachineFacts) -> None:
        self._client = aws.ssm(facts.region)
        self._name = facts.parameter(SETTINGS)
        self._at = float("-inf")
        self._found: Settings | None = None

    @property
    def known(self) -> Settings | None:
        """As last read."""
        return self._found

    def __call__(self) -> Settings | None:
        if time.monotonic() - self._at >= READ_SETTINGS:
            self._at = time.monotonic()
            try:
                self._found = Settings.parse(parameters.value(self._client, self._name))
            except (parameters.ParameterError, ValueError) as error:
                log.warning("%s", error)
        return self._found


def main() -> None:
    """Runs until systemd ends it."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    log.setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _end)
    facts, options = load()
    here = Here(
        machine=facts.name,
        member=member(facts.name, options["volume"]),
        line=Options(**options).line,
        socket=Path(mysql.SOCKET),
        data=volume.DATA,
        scratch=volume.MOUNT / "scratch",
    )
    dynamodb = aws.dynamodb(facts.region)
    s3 = store.client(facts.region)

    def open_store(bucket: str) -> Store:
        return Store(s3, bucket)

    duty = Duty(here, DynamoTable(dynamodb, facts.table))
    settings = _Read(facts)
    shipping = Shipping(here=here, duty=duty, settings=settings, open_store=open_store)
    work = Work(
        here=here,
        duty=duty,
        settings=settings,
        open_store=open_store,
        board=Board(dynamodb, facts.table, here.line),
        shipping=shipping,
    )

    def work_step() -> float:
        work.step()
        return LOOP

    def metrics() -> Iterable[Metric]:
        known = settings.known
        return measured.backups(known, work.fulls, shipping.shipped, duty=duty.known)

    threading.Thread(target=Exposition("backup", metrics).run, daemon=True).start()

    def open_own() -> Store | None:
        found = settings()
        return open_store(found.bucket) if found else None

    watch = forks.Watch(
        line=here.line,
        machine=here.machine,
        socket=here.socket,
        generation=duty.leads,
        open_store=open_own,
    )
    for step in (shipping.step, watch.step):
        threading.Thread(target=_forever, args=[step], daemon=True).start()
    _forever(work_step)


def _forever(step: Callable[[], float]) -> None:
    said = ""
    while True:
        pause = LOOP
        try:
            pause = step()
            said = ""
        except Failed as error:
            if (text := _one_line(error)) != said:
                said = text
                log.warning("%s", text)
        except Exception:  # noqa: BLE001 whatever it is, the next one is tried, too
            log.error("%s", traceback.format_exc())
        time.sleep(pause)


def _end(*_: object) -> None:
    """What was started is ended, and its files removed."""
    sys.exit(0)


if __name__ == "__main__":
    main()
