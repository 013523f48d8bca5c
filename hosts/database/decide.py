"""What a database machine is to do next: a pure function of one observation."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Duty = Literal["primary", "replica"]


class Action(StrEnum):
    """One step; the next observation says what it led to."""

    NOTHING = "nothing"
    START = "start mysqld"
    OPEN = "open for writes"
    CLOSE = "close for writes"
    RESUME = "go on replicating"
    FOLLOW = "follow the primary"
    CLONE = "copy the primary"
    REFUSE = "refuse: it has transactions that the primary has not"


@dataclass(frozen=True)
class Primary:
    """What was seen of the primary's mysqld."""

    address: str
    open: bool
    contains_ours: bool
    """Every transaction of ours is one of its."""
    has_what_we_lack: bool
    """Its binary logs still hold every transaction of its that we have not."""


@dataclass(frozen=True)
class Observation:
    """What was seen of this machine's mysqld, and of the primary's if it answered."""

    alive: bool
    starting: bool = False
    """Not alive, but systemd is at it."""
    prepared: bool = True
    """Schema and accounts were seen to."""
    super_read_only: bool = True
    empty: bool = True
    """It never executed a transaction."""
    source: str = ""
    """The address that it replicates from, or is set to."""
    receiving: Literal["ON", "CONNECTING", "OFF"] = "OFF"
    applying: bool = False
    primary: Primary | None = None


def decide(duty: Duty, seen: Observation) -> Action:
    """The next step of a machine with this duty."""
    if not seen.alive:
        return Action.NOTHING if seen.starting else Action.START
    if duty == "primary":
        is_one = seen.prepared and not seen.super_read_only and not seen.source
        return Action.NOTHING if is_one else Action.OPEN
    if not seen.super_read_only:
        return Action.CLOSE
    return _replica(seen)


def _replica(seen: Observation) -> Action:
    running = seen.receiving != "OFF" and seen.applying
    primary = seen.primary
    if primary is None or not primary.open:
        # What was received is applied, and the connection is tried, with the primary away.
        return Action.RESUME if seen.source and not running else Action.NOTHING
    if not primary.contains_ours:
        return Action.REFUSE
    if running and seen.source == primary.address:
        return Action.NOTHING
    # Copying replaces what is here: only if there is nothing, or all of it is over there.
    if seen.empty or not primary.has_what_we_lack:
        return Action.CLONE
    return Action.FOLLOW
