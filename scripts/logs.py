"""The journal of a machine, of one that is gone too, from CloudWatch Logs.

python -m scripts.logs NAME [--since 1h] [--follow] [--unit U] [--json] [--stack S]

NAME is a machine's (app-server-1: every machine that ever had the name) or an instance id. Without
--since it is the last hour. Exit status: 0 there was something, or --follow was ended; 1 there is
nothing; 2 not understood, no such stack, or AWS does not answer.
"""

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from scripts import deployed
from scripts.command import DONE, NotAskedError, NotDoneError, attempt, teller
from scripts.deployed import Deployed

POLL = 2.0
"""Seconds between two looks of --follow."""
LATE = 30_000
"""Milliseconds for which --follow looks back: so late a line may arrive behind a newer one."""
ERROR = 3
"""The priority that errors have; smaller ones are worse."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d+)([smhd])")


@dataclass(frozen=True)
class Line:
    """One entry of a journal."""

    id: str
    """CloudWatch's own of the event."""
    time: int
    """Milliseconds since the epoch."""
    machine: str
    instance: str
    unit: str
    priority: int
    message: str

    @classmethod
    def of(cls, event: dict[str, Any]) -> "Line":
        """Of an event: a line of JSON, or whatever text it is."""
        machine, _, instance = event["logStreamName"].partition("/")
        found: dict[str, Any] = {"message": event["message"]}
        with contextlib.suppress(ValueError):
            entry: Any = json.loads(event["message"])
            found = cast(dict[str, Any], entry) if isinstance(entry, dict) else found
        return cls(
            id=event["eventId"],
            time=event["timestamp"],
            machine=machine,
            instance=instance,
            unit=str(found.get("unit", "")),
            priority=int(found.get("priority", 6)),
            message=str(found.get("message", "")),
        )

    def shown(self) -> str:
        """For people: as journalctl has it, with the machine in front."""
        at = datetime.fromtimestamp(self.time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        mark = "! " if self.priority <= ERROR else ""
        unit = f" {self.unit.removesuffix('.service')}:" if self.unit else ""
        return f"{at} {self.machine}{unit} {mark}{self.message}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        content = {name: value for name, value in vars(self).items() if name != "id"}
        return {**content, "time": self.time / 1000}


class Journals:
    """The group of a stack's logs, with a stream for each machine that there ever was."""

    def __init__(self, client: Any, group: str) -> None:
        """Nothing is asked yet."""
        self._client = client
        self.group = group

    @classmethod
    def of(cls, found: Deployed) -> "Journals":
        """A stack's. Raises `NotAskedError`."""
        return cls(found.client("logs"), found.owner().log_group)

    def streams(self, name: str) -> list[str]:
        """Those of a machine's name, or instance id. Raises `NotAskedError`, `NotDoneError`."""
        known: list[str] = []
        try:
            for page in self._client.get_paginator("describe_log_streams").paginate(
                logGroupName=self.group
            ):
                known += (one["logStreamName"] for one in page["logStreams"])
        except self._client.exceptions.ResourceNotFoundException:
            raise NotAskedError(
                f"there is no group {self.group} in CloudWatch Logs: `pulumi up` makes it"
            ) from None
        found = [one for one in known if name in one.split("/")]
        if not found:
            names = ", ".join(sorted({one.partition("/")[0] for one in known}))
            raise NotDoneError(
                f"no machine {name} has logged anything; "
                + (f"there are {names}" if names else "nor has any other")
            )
        return found

    def read(self, streams: Sequence[str], since: int) -> Iterator[Line]:
        """What was logged since a time, in milliseconds, in order."""
        lines: list[Line] = []
        # CloudWatch takes so many streams at once.
        for first in range(0, len(streams), 100):
            pages = self._client.get_paginator("filter_log_events").paginate(
                logGroupName=self.group,
                logStreamNames=streams[first : first + 100],
                startTime=since,
            )
            lines += (Line.of(event) for page in pages for event in page["events"])
        return iter(sorted(lines, key=lambda line: line.time))

    def follow(
        self, name: str, since: int, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Line]:
        """What was logged since a time, and whatever comes; also of machines that come."""
        shown: dict[str, int] = {}
        while True:
            for line in self.read(self.streams(name), since):
                if line.id not in shown:
                    yield line
                shown[line.id] = line.time
            since = max(since, max(shown.values(), default=0) - LATE)
            shown = {id_: at for id_, at in shown.items() if at >= since}
            sleep(POLL)


def since(text: str, now: float) -> int:
    """Milliseconds since the epoch: of ``90s``, ``15m``, ``2h``, ``3d``, or a time in ISO 8601.

    Raises `ValueError`.
    """
    if found := _SPAN.fullmatch(text):
        return round((now - int(found[1]) * _UNITS[found[2]]) * 1000)
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.logs", description=said[0], epilog=said[2]
    )
    parser.add_argument("name", metavar="NAME", help="of a machine, or an instance id")
    parser.add_argument(
        "--since",
        default="1h",
        help="from when on: 90s, 15m, 2h, 3d, or a time in ISO 8601, UTC (1h)",
    )
    parser.add_argument("--follow", action="store_true", help="and whatever comes, until Ctrl-C")
    parser.add_argument("--unit", help="only of this unit: site-agent, mysql, haproxy …")
    parser.add_argument("--json", action="store_true", help="an object for each line")
    deployed.add_options(parser)
    asked = parser.parse_args(arguments)

    def work() -> int:
        try:
            begin = since(asked.since, time.time())
        except ValueError as error:
            raise NotAskedError(
                f"--since {asked.since!r}: 90s, 15m, 2h, 3d, or a time in ISO 8601"
            ) from error
        journals = Journals.of(deployed.find(asked))
        lines = (
            journals.follow(asked.name, begin)
            if asked.follow
            else journals.read(journals.streams(asked.name), begin)
        )
        if not _print(lines, asked):
            raise NotDoneError(f"{asked.name} logged nothing of that kind (--since {asked.since})")
        return DONE

    def follow() -> int:
        try:
            return work()
        except KeyboardInterrupt:
            return DONE  # the way to end it

    return attempt(
        follow if asked.follow else work, teller(as_json=asked.json), interrupted="interrupted"
    )


def _print(lines: Iterable[Line], asked: argparse.Namespace) -> int:
    """How many there were."""
    count = 0
    for line in lines:
        if asked.unit and line.unit.removesuffix(".service") != asked.unit.removesuffix(".service"):
            continue
        count += 1
        print(json.dumps(line.to_json()) if asked.json else line.shown(), flush=asked.follow)
    return count


if __name__ == "__main__":
    sys.exit(main())
