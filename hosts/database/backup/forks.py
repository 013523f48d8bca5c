"""Whether a failover lost what was shipped already; whoever leads looks, and notes it.

What a primary has committed is shipped within seconds, also what no replica has yet. If another one
leads without it, as one may after an asynchronous failover or a forced change, then what the bucket
has of it is no part of what goes on: later points are got to without it. The noted transactions
never come back: the machine that had them is made anew, under another UUID.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hosts.database.backup import catalog
from hosts.database.backup.catalog import Fork, Full, Log, moment
from hosts.database.backup.gtids import Gtids, union
from hosts.database.backup.server import connect
from hosts.database.backup.store import Store
from hosts.database.mysql import Session

log = logging.getLogger("backup")

LOOK = 5.0
"""Seconds between two questions who leads."""
SURE = 15.0
"""Seconds after which what the primary still has not was lost: what a replica has received and
shipped, the primary may be about to commit."""
AGAIN = 300.0
"""Seconds between two looks of one that goes on leading: a former primary that was cut off from the
lease may have shipped some more."""


def beside(
    executed: Gtids, fulls: Sequence[Full], logs: Sequence[Log], forks: Sequence[Fork]
) -> Gtids:
    """What is in the bucket, the primary has not, and no fork says yet."""
    there = union([*(full.gtids for full in fulls), *(log.executed for log in logs)])
    return there - executed - union(fork.lost for fork in forks)


def fork(lost: Gtids, fulls: Sequence[Full], logs: Sequence[Log], machine: str) -> Fork:
    """The fork that these transactions are the end of; at least one of what is given has them."""
    found = time.time()
    holds = [log for log in logs if log.executed & lost]
    last = [one.last for one in holds if one.last is not None]
    last = last or [full.time for full in fulls if full.gtids & lost]
    line = (holds or fulls)[0].line
    return Fork(line, f"{found:.0f}", lost, max(last), found, machine)


def due(fulls: Sequence[Full], forks: Sequence[Fork]) -> bool:
    """Whether a fork has no full backup after it yet."""
    return bool(forks) and not any(
        full.time > forks[-1].time and not full.gtids & forks[-1].lost for full in fulls
    )


class Watch:
    """Looks on behalf of one machine. In a thread of its own."""

    def __init__(
        self,
        *,
        line: str,
        machine: str,
        socket: Path,
        generation: Callable[[], int | None],
        open_store: Callable[[], Store | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`generation` is the one that this machine leads in; nothing happens yet."""
        self._line, self._machine, self._socket = line, machine, socket
        self._generation, self._open_store, self._clock = generation, open_store, clock
        self._led: int | None = None
        self._next = 0.0
        self._suspected = Gtids()

    def step(self) -> float:
        """One look, if it is time; seconds until the next. Raises what reading a bucket does."""
        generation = self._generation()
        if generation != self._led:
            self._led, self._next, self._suspected = generation, 0.0, Gtids()
        store = None if generation is None else self._open_store()
        if store and self._clock() >= self._next:
            with connect(self._socket, 30) as session:
                self._look(store, session)
        return LOOK

    def _look(self, store: Store, session: Session) -> None:
        fulls, logs = catalog.fulls(store, self._line), catalog.logs(store, self._line)
        known = catalog.forks(store, self._line)
        executed, closed = session.row("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.super_read_only")
        if closed:  # it may still be applying what it received
            return
        found = beside(Gtids.parse(str(executed)), fulls, logs, known)
        lost, self._suspected = found & self._suspected, found
        self._next = self._clock() + (SURE if found else AGAIN)
        if lost:
            noted = fork(lost, fulls, logs, self._machine)
            store.write(noted.key, noted.to_json())
            self._suspected = Gtids()
            log.error(
                "a failover lost what was shipped until %s: %s. A restore to a later point is"
                " without it; a full backup follows",
                moment(noted.time),
                lost,
            )
