"""A replica's look at the primary's mysqld, in a thread of its own: it may hang for a second."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hosts.base.lease import boottime
from hosts.database import mysql
from hosts.database.certificate import AUTHORITY
from hosts.database.decide import Primary
from hosts.database.lag import Lag
from hosts.database.mysql import Account, MySQLError, Session
from hosts.database.observe import joined

LOOP = 0.5
"""Seconds between two looks."""
FRESH = 3.0
"""Seconds for which what was seen counts."""
ALONE = 4
"""Looks in a row that must find transactions of ours missing there: those that were sent to a
replica and not yet committed at the primary look the same for a moment."""


@dataclass(frozen=True)
class View:
    """One look, begun at `at`."""

    at: float
    primary: Primary
    alone: bool
    executed: str
    """The primary's."""
    missing: str
    """Transactions of ours that are not among them."""


class PrimaryWatch:
    """Follows the address that it is told."""

    def __init__(self, account: Callable[[], Account], authority: Path = AUTHORITY) -> None:
        """The account may change while this runs."""
        self._account = account
        self._authority = authority
        self._address = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._lag = Lag()
        self._view: View | None = None
        self._alone = 0
        self._common = ""
        self.trouble = ""

    def tell(self, address: str) -> None:
        """Where the primary is; empty if there is none but this machine."""
        if address != self._address:
            with self._lock:
                self._address, self._view = address, None
                self._alone, self._common = 0, ""
            self._wake.set()

    @property
    def view(self) -> View | None:
        """What was seen last, unless that is too long ago."""
        view = self._view
        return view if view and boottime() - view.at < FRESH else None

    @property
    def current_at(self) -> float:
        """This machine's data is at least as new as the primary's at this time."""
        return -self._lag.seconds(0.0)

    def run(self) -> None:
        """Does not return."""
        theirs: Session | None = None
        ours: Session | None = None
        reached = ""
        while True:
            self._wake.wait(LOOP)
            self._wake.clear()
            address = self._address
            if reached != address and theirs:
                theirs.close()
                theirs = None
            if not address:
                continue
            try:
                theirs = theirs or mysql.remote(address, self._account(), self._authority)
                reached = address
                ours = ours or _ours()
                self._look(address, ours, theirs)
                self.trouble = ""
            except (MySQLError, OSError, ValueError) as error:
                self.trouble = f"the primary at {address}: {error}"
                for session in (ours, theirs):
                    if session:
                        session.close()
                ours = theirs = None

    def _look(self, address: str, ours: Session | None, theirs: Session) -> None:
        if ours is None:
            self._look_at_theirs(address, theirs)
            return
        # Ours first and the primary's after: else, what just arrived seems to be ours alone.
        at = boottime()
        executed = joined(ours.row("SELECT @@global.gtid_executed")[0])
        asked_at = boottime()
        there, purged, read_only = theirs.row(
            "SELECT @@global.gtid_executed, @@global.gtid_purged, @@global.super_read_only"
        )
        there, purged = joined(there), joined(purged)
        missing = _subtract(ours, executed, there)
        # What was missing each time: something else may be on its way each time.
        common = _subtract(ours, missing, _subtract(ours, missing, self._common))
        has_what_we_lack = ours.contains(executed, purged)
        now = joined(ours.row("SELECT @@global.gtid_executed")[0])
        with self._lock:
            if address != self._address:
                return
            if not read_only:
                self._lag.asked(asked_at, there)
            self._lag.executed(lambda marked: ours.contains(now, marked))
            self._alone, self._common = (self._alone + 1, common) if common else (0, "")
            if missing and not common:
                self._alone, self._common = 1, missing
            self._view = View(
                at=at,
                primary=Primary(address, not read_only, not missing, has_what_we_lack),
                alone=self._alone >= ALONE,
                executed=there,
                missing=missing,
            )

    def _look_at_theirs(self, address: str, theirs: Session) -> None:
        """With our own mysqld away nothing is known of what it has."""
        at = boottime()
        there, read_only = theirs.row("SELECT @@global.gtid_executed, @@global.super_read_only")
        primary = Primary(address, not read_only, contains_ours=False, has_what_we_lack=False)
        with self._lock:
            if address == self._address:
                self._alone, self._common = 0, ""
                self._view = View(at, primary, alone=False, executed=joined(there), missing="")


def _subtract(session: Session, whole: str, part: str) -> str:
    return joined(session.row("SELECT GTID_SUBTRACT(%s, %s)", whole, part)[0])


def _ours() -> Session | None:
    try:
        return mysql.connect(2.0)
    except MySQLError:
        return None
