"""What a load balancer is to do about one public address: a pure function of one situation.

Whoever holds the address's lease is to have it. HAProxy's life decides who may hold it, the order
to drain and another machine's better claim who gives it away. Where the address is in fact, EC2
alone decides: it is one place, so that two machines that both think they hold it cannot both have
it. That is why a machine whose lease ran out goes on serving: it closes nothing, and whoever holds
the lease next takes the address away from it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

STEADY = 30.0
"""Seconds for which HAProxy has to have answered before a machine gets its own address back."""
RECOVERED = 2.0
"""Seconds after which a HAProxy that came back counts as well: its servers are up again by then,
and the other machine had its chance."""
RESERVED = 2.0
"""Seconds for which an address that was given to one machine is taken by no other."""
UNUSED = 120.0
"""Seconds for which an address that nobody ever held is left to the machine that it is made for."""
GIVEN = 4.0
"""Seconds after giving an address away in which its new connections are still kept off."""


class Action(StrEnum):
    """One step; the next situation says what it led to."""

    NOTHING = "nothing"
    TAKE = "take the lease"
    ASK = "ask for the address"
    SEE = "see that the address is here"
    RELEASE = "release the lease"
    EMPTY = "let its connections end"
    GIVE = "give the address away"
    REOPEN = "let new connections in again"


Holder = Literal["unknown", "nobody", "released", "us", "another"]
Belongs = Literal["here", "elsewhere", "anywhere"]
Leaving = Literal["", "emptying", "empty", "given"]


@dataclass(frozen=True)
class Decision:
    """A step, and why."""

    action: Action
    why: str = ""


@dataclass(frozen=True)
class Situation:
    """What one machine knows of one address at one moment. Times are in seconds."""

    holder: Holder = "unknown"
    """By the record as last read. `nobody`: there is none."""
    reachable: bool = True
    """The table answered when it was last asked."""
    held: bool = False
    """This machine may act as the holder: its lease has not run out."""
    vacant: bool = False
    """The lease may be taken: it was released or ran out, or nobody ever had it."""
    unchanged: float = 0.0
    """Since when the record has been seen as it is."""
    reserved: bool = False
    """The record was released for another machine than this one."""
    belongs: Belongs = "anywhere"
    """Where the address is to be while both machines are well."""
    well: bool = True
    """HAProxy answers."""
    well_for: float = float("inf")
    recovered: bool = False
    """It failed before it answered again."""
    draining: bool = False
    """This machine is to go."""
    asked: float | None = None
    """Another machine, whose own the address is, asks for it now: for how long it has been well."""
    asking: bool = False
    """It is time to ask again."""
    here: bool = False
    """The address has been seen here since the lease is ours."""
    hopeless: bool = False
    """EC2 refused it to this machine again and again, or did not answer."""
    yielding: bool = False
    """This machine gave up on that a moment ago: others come first."""
    look: bool = False
    """It is time to look, and no look is under way."""
    leaving: Leaving = ""
    left: float = 0.0
    """Since the address was given away."""


NOTHING = Decision(Action.NOTHING)


def decide(now: Situation) -> Decision:
    """The next step."""
    return _hold(now) if now.holder == "us" else _contend(now)


def _hold(now: Situation) -> Decision:
    if not now.well:
        return Decision(Action.RELEASE, "HAProxy does not answer")
    if now.hopeless and not now.here:
        return Decision(Action.RELEASE, "EC2 does not let this machine have it")
    why = _reason_to_give(now)
    if why and now.reachable:
        if now.leaving == "empty" or not (now.leaving or now.here):
            return Decision(Action.GIVE, why)
        return NOTHING if now.leaving else Decision(Action.EMPTY, why)
    if now.leaving:
        return Decision(Action.REOPEN, "it stays after all")
    return Decision(Action.SEE) if now.held and now.look else NOTHING


def _reason_to_give(now: Situation) -> str:
    if now.draining:
        return "this machine is to go"
    if now.belongs != "elsewhere" or now.asked is None or now.asked < STEADY:
        return ""
    # What is begun is gone on with, as long as the other one says that it is well.
    surely_ours = now.held and now.here
    return "its own machine is well again" if now.leaving or surely_ours else ""


def _contend(now: Situation) -> Decision:
    if now.leaving and (now.leaving != "given" or now.left >= GIVEN):
        return Decision(Action.REOPEN)
    if now.draining or not now.well or now.holder == "unknown":
        return NOTHING
    if now.vacant:
        return Decision(Action.TAKE, _why_vacant(now)) if _may_take(now) else NOTHING
    may_ask = now.belongs == "here" and now.holder == "another" and _recovered(now)
    return Decision(Action.ASK) if may_ask and now.asking else NOTHING


def _may_take(now: Situation) -> bool:
    if now.reserved and now.unchanged < RESERVED:
        return False
    if now.yielding:
        return False
    if now.holder == "nobody" and now.belongs == "elsewhere" and now.unchanged < UNUSED:
        return False
    return _recovered(now)


def _recovered(now: Situation) -> bool:
    return not now.recovered or now.well_for >= RECOVERED


def _why_vacant(now: Situation) -> str:
    if now.holder == "another":
        return f"its holder has been silent for {now.unchanged:.1f} s"
    return "it was released" if now.holder == "released" else "nobody has had it"
