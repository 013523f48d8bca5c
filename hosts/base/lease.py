"""Who is in charge: a lease in the table `coordination`. The only code that knows how one works.

A record names its holder, a generation that grows with each new holder, and a counter that
changes with each renewal, several in a lease's time. A contender may take a record that was
released, or that did not change for the lease time on the contender's own clock; so no two clocks
need to agree. It takes it on the condition that it is still exactly what it watched.

The holder's deadline is counted from before the request that renewed the lease, and ends a
margin earlier than any contender's wait: whoever is past its `deadline` must have stopped
acting as the holder, and nobody has taken over yet. A contender that could not read for a while
starts its wait anew: the holder may have been unable to renew for the same reason.

The record carries the lease time that its holder counts with, and contenders wait for that: so
the time can be changed while leases are held.

A request may arrive long after its sender gave it up. So whatever changes more than the counter
is conditional on the counter as it was last seen: the next renewal voids what is still under way.

The clock is CLOCK_BOOTTIME, which goes on while a machine is suspended.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Value = str | int | bool | frozenset[str]
"""What a record can hold beside its own fields, for its owner's purposes. No empty sets."""

NOTHING: Mapping[str, "Value | None"] = {}


class UnreachableError(Exception):
    """The table did not answer. A write may or may not have been done."""


@dataclass(frozen=True)
class Times:
    """Seconds."""

    lease: float = 3.0
    """A contender takes a record that did not change for this long."""
    margin: float = 1.0
    """The holder stops this much earlier than a contender may take over."""
    gap: float = 1.5
    """Reads further apart than this say nothing of what happened in between."""

    def __post_init__(self) -> None:
        """Refuses times that cannot work."""
        if not 0 < self.margin < self.lease:
            raise ValueError(f"the margin ({self.margin} s) must be within 0 and {self.lease} s")
        if not 0 < self.gap < self.lease:
            raise ValueError(f"the gap ({self.gap} s) must be within 0 and {self.lease} s")


@dataclass(frozen=True)
class Record:
    """What the table says of a lease."""

    holder: str
    generation: int
    counter: int
    released: bool
    lease: float
    """Seconds that it lasts from its last renewal on."""
    extra: Mapping[str, Value] = field(default_factory=dict[str, Value])


class Table(Protocol):
    """Where records are kept."""

    def read(self, name: str) -> Record | None:
        """The record as every earlier write left it. Raises `UnreachableError`."""
        ...

    def write(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        """Changes a record if it is as expected (None: if there is none); the new record.

        A change to None removes that attribute. Answers None if the record was not as expected.
        Raises `UnreachableError`.
        """
        ...


@dataclass(frozen=True)
class Watch:
    """What a contender has seen: the record, and since when it has been the same."""

    record: Record | None
    since: float
    at: float


def watch(before: Watch | None, record: Record | None, now: float, gap: float) -> Watch:
    """What is known after one more read, answered at `now`."""
    same = before is not None and _state(before.record) == _state(record)
    if before is None or not same or now - before.at > gap:
        return Watch(record, since=now, at=now)
    return Watch(record, since=before.since, at=now)


def vacant(seen: Watch | None, now: float, times: Times) -> bool:
    """Whether a contender that saw this may try to take the lease."""
    return seen is not None and now - seen.at <= times.gap and _lapsed(seen)


def _lapsed(seen: Watch) -> bool:
    if seen.record is None or seen.record.released:
        return True
    return seen.at - seen.since >= seen.record.lease


def _state(record: Record | None) -> tuple[str, int, int, bool] | None:
    if record is None:
        return None
    return record.holder, record.generation, record.counter, record.released


def boottime() -> float:
    """Seconds since the machine started, suspended or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One machine's side of a lease. Its methods may be called from several threads."""

    def __init__(
        self,
        table: Table,
        name: str,
        me: str,
        times: Times,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """`me` names this machine among the contenders: its instance id."""
        self.name = name
        self.me = me
        self.times = times
        """May be changed: it counts from the next renewal on."""
        self._table = table
        self._clock = clock
        self._lock = threading.RLock()
        self._watch: Watch | None = None
        self._generation: int | None = None
        self._counter = 0
        self._deadline = float("-inf")
        self._lease: float | None = None

    @property
    def record(self) -> Record | None:
        """What was last read or written."""
        return self._watch.record if self._watch else None

    @property
    def since(self) -> float | None:
        """Since when, on the clock, the record has been as it is."""
        return self._watch.since if self._watch else None

    @property
    def deadline(self) -> float:
        """The time on the clock until which this machine may act as the holder."""
        return self._deadline

    @property
    def length(self) -> float:
        """Seconds that the lease lasts which this machine holds or would take."""
        return self.times.lease if self._lease is None else max(self._lease, self.times.lease)

    @property
    def held(self) -> bool:
        """Whether this machine may act as the holder now."""
        return self._clock() < self._deadline

    @property
    def generation(self) -> int | None:
        """The generation that this machine holds or last held, until it learns of another."""
        return self._generation

    @property
    def vacant(self) -> bool:
        """Whether this machine may try to acquire the lease."""
        return vacant(self._watch, self._clock(), self.times)

    def refresh(self, changes: Mapping[str, Value | None] = NOTHING) -> Record | None:
        """Renews the lease if it is this machine's, else reads it; what the table says now.

        The holder's `changes` are written with the renewal, or not at all: the answer tells. A
        program that was started anew goes on as the holder it was before.
        Raises `UnreachableError`.
        """
        with self._lock:
            if self._generation is not None and self._renew(self._generation, changes):
                return self.record
            record = self._read()
            if record is not None and self._is_ours(record):
                self._counter = max(self._counter, record.counter)
                if self._renew(record.generation, changes):
                    return self.record
                record = self._read()
            if record is None or not self._is_ours(record):
                self._generation, self._deadline = None, float("-inf")
            return record

    def acquire(self, changes: Mapping[str, Value | None] = NOTHING) -> bool:
        """Takes the lease if it was vacant when last seen, and is still exactly that.

        However long ago that was, for whoever had to prepare meanwhile: a holder that came back
        has changed what the write is conditional on. Raises `UnreachableError`; if it was taken
        all the same, the next `refresh` says so, and until then no record is known.
        """
        with self._lock:
            now = self._clock()
            if self._watch is None or not _lapsed(self._watch):
                return False
            before = self.record
            expected = before and {"generation": before.generation, "counter": before.counter}
            generation = before.generation + 1 if before else 1
            self._counter = before.counter + 1 if before else 1
            self._watch = None
            record = self._table.write(
                self.name, expected, self._holding(generation) | dict(changes)
            )
            if record is None:
                self._read()
                return False
            self._hold(record, now)
            return True

    def release(self, changes: Mapping[str, Value | None] = NOTHING) -> bool:
        """Gives the lease up: a contender need not wait. Whether it was ours to give.

        From the call on this machine is not the holder, whether the table answers or not: it
        must have stopped acting as one. Raises `UnreachableError`.
        """
        with self._lock:
            self._deadline = float("-inf")
            record = self._released(changes)
            if record is None:
                # A renewal of ours may have arrived of which nothing was heard.
                now = self._read()
                if now is not None and self._is_ours(now) and self._generation is not None:
                    self._counter = max(self._counter, now.counter)
                    record = self._released(changes)
            self._generation = None
            if record is None:
                return False
            self._see(record)
            return True

    def _released(self, changes: Mapping[str, Value | None]) -> Record | None:
        known = self.record
        if self._generation is None or known is None:
            return None
        self._counter += 1
        return self._table.write(
            self.name,
            self._ours(self._generation) | {"counter": known.counter},
            {"released": True, "counter": self._counter, **changes},
        )

    def note(self, changes: Mapping[str, Value | None]) -> bool:
        """Writes a wish into the record, for its holder to see; whether the record was still that.

        Raises `UnreachableError`.
        """
        record = self.record
        if record is None:
            return False
        expected = {"generation": record.generation, "released": record.released}
        return self._table.write(self.name, expected, changes) is not None

    def extend(self, asked_at: float, generation: int) -> bool:
        """The holder goes on without the table, as of `asked_at` on the clock.

        Only for whoever knows by other means that nobody takes this generation's lease over
        within the lease time from then. Whether it is still this machine's.
        """
        with self._lock:
            if self._generation != generation or not self.held or self._lease is None:
                return False
            self._deadline = max(self._deadline, asked_at + self._lease - self.times.margin)
            return True

    def _renew(self, generation: int, changes: Mapping[str, Value | None]) -> bool:
        now = self._clock()
        known = self.record
        expected = self._ours(generation)
        if known is None or known.lease != self.times.lease:
            changes = {**changes, "lease": self._milliseconds}
        if changes and known is not None:
            expected["counter"] = known.counter
        # Also if the table does not answer: it may have been written, with a shorter lease.
        self._counter += 1
        self._deadline = min(self._deadline, now + self.times.lease - self.times.margin)
        record = self._table.write(self.name, expected, {"counter": self._counter, **changes})
        if record is None:
            return False
        self._hold(record, now)
        return True

    def _ours(self, generation: int) -> dict[str, Value]:
        return {"holder": self.me, "generation": generation, "released": False}

    def _is_ours(self, record: Record) -> bool:
        return record.holder == self.me and not record.released

    def _holding(self, generation: int) -> dict[str, Value | None]:
        return {
            "holder": self.me,
            "generation": generation,
            "counter": self._counter,
            "released": False,
            "lease": self._milliseconds,
        }

    @property
    def _milliseconds(self) -> int:
        return round(self.times.lease * 1000)

    def _hold(self, record: Record, asked_at: float) -> None:
        self._generation = record.generation
        self._lease = record.lease
        self._deadline = asked_at + record.lease - self.times.margin
        self._see(record)

    def _read(self) -> Record | None:
        return self._see(self._table.read(self.name))

    def _see(self, record: Record | None) -> Record | None:
        self._watch = watch(self._watch, record, self._clock(), self.times.gap)
        return record
