"""The loop of a database machine: observe, decide, act, about once a second.

In this version the first machine is the primary, and the others are replicas of it.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hosts.base import services
from hosts.base.coordination import Coordination, Machine, UnreachableError
from hosts.base.lease import boottime
from hosts.base.services import ServiceError
from hosts.database import act
from hosts.database.certificate import AUTHORITY
from hosts.database.decide import Action, Duty, Observation, decide
from hosts.database.lag import Lag
from hosts.database.mysql import Account, MySQLError, remote
from hosts.database.observe import UNIT, Remote, Seen, observe

log = logging.getLogger("database")

LOOP = 1.0
QUICK = 0.2
"""Seconds between two turns while there is something to do."""
STALE = 5.0
"""Seconds after which an observation says nothing any more."""
PEERS = 5.0
"""Seconds between two looks for the primary's address."""
STARTS = 10.0
"""Seconds between two starts of mysqld."""


class Agent:
    """The machine's duty, and what was last seen."""

    def __init__(
        self,
        *,
        name: str,
        ordinal: int,
        schema: str,
        max_lag: float,
        passwords: Mapping[str, str],
        coordination: Coordination,
    ) -> None:
        """`passwords` by account; `max_lag` in seconds."""
        self.duty: Duty = "primary" if ordinal == 1 else "replica"
        self._primary_name = name.removesuffix(str(ordinal)) + "1"
        self._schema = schema
        self._max_lag = max_lag
        self._passwords = passwords
        self._coordination = coordination
        self._lag = Lag()
        self._prepared = False
        self._remote: Remote | None = None
        self._looked_at = float("-inf")
        self._started_at = float("-inf")
        self._last: tuple[Action, str] | None = None
        self._seen = Seen(float("-inf"), Observation(alive=False))
        self._action = Action.NOTHING
        self._failure = ""
        self._stopped = threading.Event()
        self._turn = threading.Lock()

    def run(self) -> None:
        """The loop. Returns when stopped."""
        while not self._stopped.wait(LOOP if self.is_primary or self.is_replica else QUICK):
            with self._turn:
                if not self._stopped.is_set():
                    self.step()
        threading.Event().wait()

    def stop(self) -> None:
        """The loop takes no further step; returns when the last one is done."""
        self._stopped.set()
        with self._turn:
            self._seen = Seen(boottime(), Observation(alive=False))

    def step(self) -> None:
        """One turn."""
        if self.duty == "replica":
            self._find_primary()
        seen = observe(self._remote, self._lag, self._prepared)
        action = decide(self.duty, seen.observation)
        self._seen, self._action = seen, action
        if (action, seen.trouble) != self._last:
            log.info("%s %s", action, seen.trouble)
            self._last = (action, seen.trouble)
        try:
            self._act(action)
            self._failure = ""
        except (MySQLError, ServiceError, act.ActionError) as error:
            self._failure = f"could not {action}: {error}"
            log.warning("%s", self._failure)

    def _act(self, action: Action) -> None:
        account = Account("replication", self._passwords["replication"])
        primary = self._seen.observation.primary
        match action:
            case Action.START:
                if boottime() - self._started_at >= STARTS:
                    self._started_at = boottime()
                    act.start()
            case Action.OPEN:
                act.open_for_writes(self._schema, self._passwords)
                self._prepared = True
            case Action.CLOSE:
                act.close_for_writes()
            case Action.RESUME:
                act.resume(account)
            case Action.FOLLOW if primary:
                act.follow(primary.address, account)
            case Action.CLONE if primary:
                self._seen = Seen(boottime(), Observation(alive=False), trouble="copying")
                act.copy(primary.address, account)
            case _:
                pass

    def _find_primary(self) -> None:
        """Keeps a session to the primary. Its last known address stays, whatever is away."""
        if self._remote is None or boottime() - self._looked_at >= PEERS:
            self._looked_at = boottime()
            try:
                address = primary_address(
                    self._coordination.machines("database"), self._primary_name
                )
            except UnreachableError as error:
                log.warning("coordination: %s", error)
                address = ""
            if address and (self._remote is None or self._remote.address != address):
                self._remote = Remote(address, None)
        if self._remote and self._remote.session is None:
            account = Account("replication", self._passwords["replication"])
            try:
                self._remote.session = remote(self._remote.address, account, AUTHORITY)
            except (MySQLError, OSError) as error:
                log.info("the primary at %s: %s", self._remote.address, error)

    @property
    def is_primary(self) -> bool:
        """Whether writes may come here."""
        seen = self._seen.observation
        fresh = boottime() - self._seen.at < STALE
        ready = seen.prepared and not seen.super_read_only
        return self.duty == "primary" and fresh and seen.alive and ready

    @property
    def is_readable(self) -> bool:
        """Whether there is a copy here to read from, however old."""
        seen = self._seen.observation
        fresh = boottime() - self._seen.at < STALE
        return self.duty == "replica" and fresh and seen.alive and bool(self._seen.executed)

    @property
    def is_replica(self) -> bool:
        """Whether reads may come here: a copy that is close enough behind."""
        return self.is_readable and self.lag <= self._max_lag and self._seen.observation.applying

    @property
    def lag(self) -> float:
        """A replica's data is at most this old, in seconds."""
        return self._seen.lag + boottime() - self._seen.at

    def trouble(self) -> tuple[bool, str]:
        """Whether this cannot get well by itself, and what there is to say."""
        unit = services.show(UNIT)
        if unit.active == "failed":
            return True, f"mysqld does not start\n{services.journal(UNIT, 30)}"
        if self._action is Action.REFUSE:
            return True, (
                "this replica has transactions that the primary has not, so neither follows the"
                f" other and nothing is deleted: {self._seen.executed}"
            )
        said = [self._failure, self._seen.trouble]
        return False, "\n".join(text for text in said if text) or str(self._action)

    def status(self) -> dict[str, Any]:
        """For people and for monitoring."""
        lag = self.lag
        return {
            "duty": self.duty,
            "primary": self.is_primary,
            "replica": self.is_replica,
            "readable": self.is_readable,
            "lag": round(lag, 3) if lag < float("inf") else None,
            "action": str(self._action),
            "executed": self._seen.executed,
            "trouble": self._failure or self._seen.trouble,
            "observation": asdict(self._seen.observation),
        }


def primary_address(machines: list[Machine], name: str) -> str:
    """The address of the machine of this name that reported last; empty if there is none."""
    found = [machine for machine in machines if machine.name == name and machine.state != "drained"]
    return max(found, key=lambda machine: machine.updated).address if found else ""
