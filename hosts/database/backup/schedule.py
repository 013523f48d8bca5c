"""When a full backup is due, and which machine takes it. Pure."""

import json
import re
from dataclasses import dataclass
from typing import Any

from hosts.database.pair import Pair

HOUR = 3600
DAY = 24 * HOUR
_ORDINAL = re.compile(r".*-(\d+)/.*")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """As the program leaves them in the parameter ``database/backups``."""

    bucket: str
    at: str
    """A time of the day, in UTC: ``03:00``."""
    every: int
    """Hours from one full backup to the next, counted from that time."""
    ship_every: float
    """Seconds from one look at the binary log to the next."""
    verify: bool
    """Whether each full backup is restored to see whether it can be."""

    @classmethod
    def parse(cls, text: str) -> "Settings":
        """Of the parameter's JSON. Raises `ValueError`."""
        content: Any = json.loads(text)
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"the settings of the backups are {text!r}: {error}") from None


def latest(at: str, every: int, now: float) -> float:
    """When a full backup was last due; seconds since the epoch."""
    hours, _, minutes = at.partition(":")
    offset = int(hours) * HOUR + int(minutes) * 60
    period = every * HOUR
    return (now - offset) // period * period + offset


def due(newest: float | None, settings: Settings, now: float) -> bool:
    """Whether one is, `newest` being the time of the newest that there is."""
    return newest is None or newest < latest(settings.at, settings.every, now)


def chosen(pair: Pair) -> str:
    """The member that backs up: the in-sync replica of the lowest ordinal, else the primary.

    What an in-sync replica has, no failover undoes; what only an old primary has, one may.
    """
    replicas = [name for name in pair.in_sync - pair.leaving if name != pair.holder]
    return min(replicas, key=lambda name: (_ordinal(name), name), default=pair.holder)


def _ordinal(member: str) -> int:
    found = _ORDINAL.fullmatch(member)
    return int(found[1]) if found else 0
