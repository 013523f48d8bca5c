"""site-logs.service: this machine's journal, as it grows, into CloudWatch Logs.

So that a machine's last words can be read when it is gone. What was shipped is known by the
journal's own cursor, kept on disk: after a restart it goes on from there, and while CloudWatch does
not answer it waits. Nothing is kept in memory but one batch and a short queue: it is the journal
that keeps the rest. An event may arrive twice, none is left out that the journal still has.
"""

import contextlib
import json
import logging
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base import aws
from hosts.base.facts import MachineFacts, load
from hosts.base.identity import identity

log = logging.getLogger("logs")

CURSOR = Path("/var/lib/site-logs/cursor")
FIELDS = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,_PID"
"""Beside the time and the cursor, which are always there."""
QUEUE = 2000
"""Events that are read ahead; whoever is behind lets journalctl wait."""
PAUSE = 2.0
"""Seconds for which events are collected before they are sent."""
EVENTS, BYTES, OVERHEAD = 10_000, 1_048_576, 26
"""What CloudWatch takes at once: events, and their bytes with so many more for each."""
DAY = 24 * 3600 * 1000
"""Milliseconds: what it takes at once may be no further apart."""
PRIORITIES = tuple("01234567")
INFORMATION = 6
"""syslog's, for what names none."""
LONGEST = 32 * 1024
"""Characters of a message; the rest is left out."""
AGAIN = (1.0, 60.0)
"""Seconds until what failed is tried again, at first and at most."""
LAST = 5.0
"""Seconds that the last batch may take when the machine stops."""


@dataclass(frozen=True)
class Event:
    """One entry of the journal."""

    time: int
    """Milliseconds since the epoch."""
    text: str
    cursor: str

    @property
    def size(self) -> int:
        """Bytes, as CloudWatch counts."""
        return len(self.text.encode()) + OVERHEAD


def parse(line: str) -> Event | None:
    """Of a line of ``journalctl -o json``; None for one that says nothing."""
    try:
        entry = cast("dict[str, Any]", json.loads(line))
        cursor, at = str(entry["__CURSOR"]), int(entry["__REALTIME_TIMESTAMP"]) // 1000
    except (ValueError, KeyError, TypeError):
        return None
    said = _text(entry.get("MESSAGE"))
    if not said:
        return None
    priority = _text(entry.get("PRIORITY"))
    content = {
        "unit": _text(entry.get("_SYSTEMD_UNIT"))
        or _text(entry.get("SYSLOG_IDENTIFIER"))
        or "kernel",
        "priority": int(priority) if priority in PRIORITIES else INFORMATION,
        "pid": _text(entry.get("_PID")) or None,
        "message": said[:LONGEST],
    }
    known = {key: value for key, value in content.items() if value is not None}
    return Event(at, json.dumps(known, ensure_ascii=False), cursor)


def _text(value: object) -> str:
    """Of a field, which journalctl writes in four ways: as text, as a list of bytes that are no
    text, as a list of several values, of which the first is taken, or not at all.
    """
    if isinstance(value, list):
        several = cast("list[object]", value)
        if not all(isinstance(byte, int) for byte in several):
            return _text(several[0])
        value = bytes(cast("list[int]", several)).decode(errors="replace")
    # A half of a pair of surrogates is text for JSON and for nobody else.
    return "" if value is None else str(value).encode(errors="replace").decode()


class Batch:
    """What is sent at once."""

    def __init__(self) -> None:
        """Empty."""
        self.events: list[Event] = []
        self._size = 0

    def add(self, event: Event) -> bool:
        """Takes it if there is room."""
        if self.events:
            times = [self.events[0].time, self.events[-1].time, event.time]
            apart = max(times) - min(times) >= DAY
            if apart or len(self.events) == EVENTS or self._size + event.size > BYTES:
                return False
        self.events.append(event)
        self._size += event.size
        return True

    def halves(self) -> "tuple[Batch, Batch]":
        """One after the other, as they were read."""
        middle = len(self.events) // 2
        found = Batch(), Batch()
        for batch, events in zip(found, (self.events[:middle], self.events[middle:]), strict=True):
            for event in events:
                batch.add(event)
        return found

    def to_send(self) -> list[dict[str, Any]]:
        """In the order of time, as CloudWatch asks for: a clock that was set may have gone back."""
        return [
            {"timestamp": event.time, "message": event.text}
            for event in sorted(self.events, key=lambda event: event.time)
        ]

    @property
    def cursor(self) -> str:
        """Of the last one that was read."""
        return self.events[-1].cursor


class Stream:
    """One machine's, in the group of the stack. Made when it is first written to."""

    def __init__(self, client: Any, group: str, name: str) -> None:
        """Nothing is asked yet."""
        self._client = client
        self._where = {"logGroupName": group, "logStreamName": name}

    def put(self, batch: Batch) -> None:
        """What CloudWatch refuses as such is left out, and nothing beside it.

        Raises `ClientError`, `BotoCoreError`.
        """
        try:
            self._put(batch)
        except ClientError as error:
            if _code(error) != "InvalidParameterException":
                raise
            if len(batch.events) == 1:
                log.warning("an entry is left out, which CloudWatch refuses: %s", error)
                return
            for half in batch.halves():
                self.put(half)

    def _put(self, batch: Batch) -> None:
        try:
            self._put_events(batch)
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
            with contextlib.suppress(self._client.exceptions.ResourceAlreadyExistsException):
                self._client.create_log_stream(**self._where)
            self._put_events(batch)

    def _put_events(self, batch: Batch) -> None:
        answer: Mapping[str, Any] = self._client.put_log_events(
            **self._where, logEvents=batch.to_send()
        )
        if rejected := answer.get("rejectedLogEventsInfo"):
            log.warning("CloudWatch did not take some events: %s", rejected)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class Shipper:
    """From a queue to a stream, one batch after the other."""

    def __init__(
        self,
        events: "queue.Queue[Event]",
        put: Callable[[Batch], None],
        cursor: Path = CURSOR,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`wait` waits for so many seconds, and says whether the machine stops."""
        self._events = events
        self._put = put
        self._cursor = cursor
        self._ends = threading.Event()
        self._wait = wait or self._ends.wait
        self._left: Event | None = None
        self._said = ""

    def end(self) -> None:
        """What was read is sent, once; then `run` returns."""
        self._ends.set()

    def run(self) -> None:
        """Ships until `end`."""
        while not self._ends.is_set():
            batch = self._collect(PAUSE)
            if batch.events and not self._ship(batch):
                # What is later must not be shipped before it: the cursor would be past it.
                return
        deadline = time.monotonic() + LAST
        while time.monotonic() < deadline and (batch := self._collect(0)).events:
            if not self._try(batch):
                return

    def _collect(self, seconds: float) -> Batch:
        batch, end = Batch(), time.monotonic() + seconds
        if self._left:
            batch.add(self._left)
            self._left = None
        while (rest := end - time.monotonic()) > 0 or not self._events.empty():
            try:
                event = self._events.get(timeout=max(rest, 0.01))
            except queue.Empty:
                break
            if not batch.add(event):
                self._left = event
                break
            if self._ends.is_set():
                end = 0.0
        return batch

    def _ship(self, batch: Batch) -> bool:
        pause, most = AGAIN
        while not self._try(batch):
            if self._wait(pause):
                return self._try(batch)
            pause = min(2 * pause, most)
        return True

    def _try(self, batch: Batch) -> bool:
        try:
            self._put(batch)
        except (ClientError, BotoCoreError) as error:
            if str(error) != self._said:  # this line is shipped, too
                self._said = str(error)
                log.warning("not shipped, and tried again: %s", error)
            return False
        self._said = ""
        new = self._cursor.with_name(".cursor.new")
        new.write_text(batch.cursor)
        new.replace(self._cursor)
        return True


def command(cursor: Path = CURSOR) -> list[str]:
    """Follows the journal from where it was left, or from its beginning."""
    known = cursor.read_text().strip() if cursor.exists() else ""
    start = f"--after-cursor={known}" if known else "--lines=all"
    fields = f"--output-fields={FIELDS}"
    # --all: a field of more than 4096 bytes would be null.
    return ["journalctl", "--follow", "--all", "--output=json", fields, start]


def read(lines: Iterable[str], events: "queue.Queue[Event]", ended: Callable[[], None]) -> None:
    """Until there are no more, or one cannot be read; waits while the queue is full."""
    try:
        for line in lines:
            if event := parse(line):
                events.put(event)
    finally:
        ended()


def group(facts: MachineFacts) -> str:
    """The stack's."""
    return f"/{facts.project}/{facts.stack}"


def main() -> None:
    """Runs until systemd ends it, or journalctl does: then systemd starts both anew."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    facts, _ = load()
    me = identity()
    stream = Stream(aws.logs(facts.region), group(facts), f"{facts.name}/{me.instance}")
    events: queue.Queue[Event] = queue.Queue(QUEUE)
    shipper = Shipper(events, stream.put)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: shipper.end())
    with subprocess.Popen(command(), stdout=subprocess.PIPE, text=True, errors="replace") as reader:
        assert reader.stdout  # noqa: S101 it was asked for
        arguments = reader.stdout, events, shipper.end
        threading.Thread(target=read, args=arguments, daemon=True).start()
        shipper.run()
        reader.terminate()


if __name__ == "__main__":
    main()
