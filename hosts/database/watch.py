"""What an agent keeps an eye on beside the record: promises, acknowledgements, room."""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from hosts.base.lease import Lease, boottime
from hosts.database.observe import Seen
from hosts.database.pair import Pair
from hosts.database.peers import Peers

STALLED = 0.6
"""Seconds for which commits wait and not one is acknowledged, after which a replica is lost."""
MISSING = 0.3
"""Seconds for which a replica that is waited for is not connected, after which it is lost."""
ROOM = 16 * 1024 * 1024
"""Bytes on the volume below which it is full; four times that is room again."""


class Failsafe:
    """The primary goes on without the table while all who could succeed it promise not to.

    Patroni's failsafe mode. A promise is for one generation and lasts for the lease time on the
    clock of whoever gave it, so it outlives what the primary makes of it.
    """

    def __init__(self, lease: Lease, peers: Peers, me: str) -> None:
        """Nothing is promised."""
        self._lease = lease
        self._peers = peers
        self._me = me
        self._in_sync: frozenset[str] = frozenset()
        self._asynchronous = False
        self._until = float("-inf")
        self._taking = False
        self._lock = threading.Lock()

    def heard(self, pair: Pair | None) -> None:
        """The record as it is: who could succeed this machine."""
        if pair:
            # Whoever is joining may be in sync by a write of which nothing was heard.
            self._in_sync = pair.in_sync | ({pair.joining} - {""})
            self._asynchronous = pair.mode == "asynchronous"

    def may_be_in_sync(self, member: str) -> None:
        """The record is about to name it."""
        self._in_sync |= {member}

    def may_be_asynchronous(self) -> None:
        """The record is about to say that anyone who is close enough may succeed this machine."""
        self._asynchronous = True

    def go_on(self) -> None:
        """The table does not answer: asks for leave to go on, if this machine is the primary."""
        generation = self._lease.generation
        if generation is None or not self._lease.held or self._asynchronous:
            # In asynchronous mode any replica that is close enough may take over.
            return
        asked_at = boottime()
        others = self._in_sync - {self._me}
        if not others or self._peers.promise(others, generation, self._lease.length):
            self._lease.extend(asked_at, generation)

    def promise(self, generation: int, seconds: float) -> bool:
        """Whether this machine lets the holder of that generation go on for so long."""
        with self._lock:
            record = self._lease.record
            if self._taking or record is None or record.released:
                return False
            if record.generation != generation or record.holder == self._me:
                return False
            self._until = max(self._until, boottime() + seconds)
            return True

    @property
    def promised(self) -> bool:
        """Whether a promise is in force."""
        return boottime() < self._until

    @contextmanager
    def taking_over(self) -> Generator[Callable[[], bool]]:
        """Nothing is promised meanwhile; gives whether something was."""
        with self._lock:
            self._taking = True
        try:
            yield lambda: self.promised
        finally:
            self._taking = False


class LostReplicas:
    """Whether commits wait for a replica in vain.

    A replica that was cut off silently still counts as connected; but then acknowledgements stand
    still while commits wait.
    """

    def __init__(self) -> None:
        """All is well."""
        self._acknowledged = 0
        self._stalled_since: float | None = None
        self._missing_since: float | None = None
        self._at = 0.0

    def look(self, seen: Seen) -> None:
        """Takes one more observation into account."""
        mysqld = seen.mysqld
        if mysqld is None:
            return
        if not mysqld.waits_for:
            self.forget()
        stalled = mysqld.waiting > 0 and seen.acknowledged == self._acknowledged
        missing = seen.clients < mysqld.waits_for
        since = self._stalled_since if self._stalled_since is not None else seen.at
        self._stalled_since = since if stalled else None
        since = self._missing_since if self._missing_since is not None else seen.at
        self._missing_since = since if missing else None
        self._acknowledged, self._at = seen.acknowledged, seen.at

    def forget(self) -> None:
        """Nobody is waited for, or others are."""
        self._stalled_since = self._missing_since = None

    @property
    def lost(self) -> bool:
        """As of the last observation."""
        stalled, missing = self._stalled_since, self._missing_since
        return (stalled is not None and self._at - stalled >= STALLED) or (
            missing is not None and self._at - missing >= MISSING
        )


class Boot:
    """In which run of the operating system this machine began to acknowledge.

    What mysqld has received it has written, not synced: that would cost several syncs for each
    transaction. It is safe from mysqld's end, and not from the operating system's.
    """

    ID = Path("/proc/sys/kernel/random/boot_id")

    def __init__(self, note: Path) -> None:
        """`note` is on the volume."""
        self._note = note
        self.is_another = not note.exists() or note.read_text() != self.ID.read_text()

    def begins(self) -> None:
        """It begins to acknowledge now, and has all that came before."""
        self._note.write_text(self.ID.read_text())
        self.is_another = False


class Room:
    """How full the volume is."""

    EVERY = 1.0
    """Seconds between two looks."""

    def __init__(self, folder: Path) -> None:
        """`folder` is on the volume."""
        self._folder = folder
        self._full = False
        self.again = False
        """There is room after there was none: mysqld hangs on a write that it tries each minute."""
        self._looked_at = float("-inf")

    def full(self) -> bool:
        """Whether nothing more can be written."""
        if boottime() - self._looked_at >= self.EVERY:
            self._looked_at = boottime()
            found = os.statvfs(self._folder)
            free = found.f_bavail * found.f_frsize
            full = free < (4 * ROOM if self._full else ROOM)
            self.again = (self.again or self._full) and not full
            self._full = full
        return self._full
