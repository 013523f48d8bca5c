"""What a database machine is to do next: a pure function of one situation.

The design is Patroni's (its `ha.py` and synchronous mode), on MySQL's semi-synchronous
replication. Two rules carry it: a machine is writable only while it may act as the lease's
holder, and only a member that the record says to be in sync may take the lease over.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from hosts.database.pair import Mode, Pair, machine_of

STARTED_ANEW = "this machine started anew since it was called in sync"
"""Why one in sync does not take over: an operator's program looks for it."""
NOT_COPIED = "a copy of the former primary was not finished here"
DOES_NOT_START = "mysqld does not start"
"""Why a machine could not lead, whatever the operator says."""


class Action(StrEnum):
    """One step; the next situation says what it led to."""

    NOTHING = "nothing"
    REFUSE = "refuse"
    START = "start mysqld"
    KILL = "kill mysqld"
    # Of the lease's holder.
    OPEN = "open for writes"
    PREPARE = "see to schema and accounts"
    RELEASE = "release the lease"
    SWITCH_OVER = "switch over"
    DECLINE = "decline the switchover"
    DROP = "drop from those in sync"
    RELAX = "wait for nobody"
    SET_MODE = "change the mode of replication"
    INVITE = "invite to join those in sync"
    ADMIT = "admit to those in sync"
    UNINVITE = "give up on the one that was to join"
    LET_IN = "let a replica connect again"
    # Of a contender.
    BEGIN = "begin as the first primary"
    TAKE_OVER = "take over"
    # Of a replica.
    CLOSE = "close for writes"
    LEAVE = "ask to be waited for no more"
    FOLLOW = "follow the primary"
    RESUME = "go on replicating"
    ACKNOWLEDGE = "acknowledge what arrives"
    KEEP_QUIET = "acknowledge no more"
    COPY = "copy the primary"
    REBUILD = "make an empty database"


@dataclass(frozen=True)
class Decision:
    """A step, with whom, and why."""

    action: Action
    member: str = ""
    why: str = ""


@dataclass(frozen=True)
class Primary:
    """What was seen of the holder's mysqld, after this machine's own."""

    address: str
    open: bool
    contains_ours: bool
    """Every transaction of ours is one of its."""
    has_what_we_lack: bool
    """Its binary logs still hold every transaction of its that we have not."""


@dataclass(frozen=True)
class Mysqld:
    """What this machine's mysqld says of itself."""

    writable: bool = False
    empty: bool = True
    """It has neither executed nor received any transaction."""
    prepared: bool = True
    """Schema and accounts were seen to."""
    waits_for: int = 0
    """The acknowledgements that a commit waits for; 0 with semi-synchronous replication off."""
    waiting: int = 0
    """Sessions that wait for them now."""
    acknowledging: bool = False
    """As a replica, it acknowledges what arrives."""
    offline: bool = False
    """Clients are shut out: a fence did not come to its end."""
    source: str = ""
    """The address that it replicates from, or is set to."""
    receiving: Literal["ON", "CONNECTING", "OFF"] = "OFF"
    applying: bool = False


@dataclass(frozen=True)
class Situation:
    """What one machine knows at one moment. Times are in seconds."""

    me: str
    first: bool = False
    """This machine may begin a pair that never was."""
    restored: bool = False
    """The data here is what was restored for this pair, and nothing was written since."""
    pair: Pair | None = None
    """The record as last read; None if there is none."""
    reachable: bool = True
    """The table answered just now."""
    held: bool = False
    """This machine may act as the lease's holder."""
    vacant: bool = False
    """The lease may be taken, and no promise to its holder stands against that."""
    yielding: bool = False
    """This machine gave the lease up a moment ago: others come first."""
    behind: str = ""
    """A member that may take over as well, and has received more than we."""
    mysqld: Mysqld | None = None
    """None: it does not answer."""
    running: bool = False
    """Its process is there, or systemd is at it."""
    starting: bool = False
    """It has not come up yet: recovery after a crash may take long."""
    exited: bool = False
    """It was seen to end since it last answered."""
    silent: float = 0.0
    """Since it last answered, or began to run."""
    hung_after: float = 3.0
    broken: bool = False
    """It failed to start again and again."""
    doubtful: bool = False
    """The operating system started anew since it was called in sync: what it acknowledged then
    may not have reached its disk."""
    full: bool = False
    """There is no room left on the volume."""
    room_again: bool = False
    """There was none, and mysqld still waits for it."""
    lag: float = float("inf")
    """How far behind a replica was when the holder last gave a sign of life."""
    max_failover_lag: float = 0.0
    """A replica further behind does not take over in asynchronous mode."""
    mode: Mode = "semi-synchronous"
    """What the settings want."""
    draining: bool = False
    primary: Primary | None = None
    alone: bool = False
    """The same transactions of ours were missing on the primary on several looks in a row."""
    half_copied: bool = False
    """A copy of a primary was begun here and not seen to end: what is here may lack tables."""
    cannot_apply: bool = False
    """Applying what was received failed, and did so again from a fresh start."""
    lost: frozenset[str] = frozenset()
    """Members in sync whose acknowledgements are missing for too long."""
    quiet: str = ""
    """A replica that may not connect, and acknowledges no more."""
    candidate: str = ""
    """A replica that has nearly caught up."""
    arrived: bool = False
    """The member that is joining acknowledges now."""
    overdue: bool = False
    """It should have by now."""
    failed_to_hand_over: bool = False
    """A moment ago, and clients were sent away for it."""
    successor: str = ""
    """The member in sync that is the best one to lead next; empty if none answers."""

    @property
    def mine(self) -> bool:
        """The record names this machine as the holder."""
        return self.pair is not None and self.pair.holder == self.me and not self.pair.released

    @property
    def awaited(self) -> bool:
        """The primary waits for this machine's acknowledgements, or is about to."""
        pair = self.pair
        return pair is not None and (self.me in pair.in_sync or pair.joining == self.me)


NOTHING = Decision(Action.NOTHING)


def decide(now: Situation) -> Decision:
    """The next step."""
    if now.mine and now.pair is not None:
        return _lead(now, now.pair)
    if now.room_again and now.mysqld is not None:
        return Decision(Action.KILL, why="there is room again, which it would see in a minute")
    if now.mysqld is None:
        return _revive(now)
    if now.mysqld.writable or now.mysqld.waits_for or now.mysqld.offline:
        return Decision(Action.CLOSE, why="this machine does not hold the lease")
    if now.pair and now.mysqld.acknowledging and not now.vacant and not now.awaited:
        return Decision(Action.KEEP_QUIET)
    if now.draining:
        return _leave(now)
    if now.vacant:
        return _contend(now, now.mysqld)
    return _follow(now, now.mysqld)


def _lead(now: Situation, pair: Pair) -> Decision:
    others = pair.others(now.me)
    mysqld = now.mysqld
    if mysqld is None:
        return _lead_without(now, others)
    if not now.held:
        if mysqld.writable:
            return Decision(Action.CLOSE, why="the lease could not be renewed")
        return Decision(Action.NOTHING, why="the lease has to be renewed first")
    needed = len(others) + bool(others and pair.joining)
    closed = mysqld.offline or not mysqld.writable
    if closed and not now.reachable:
        why = "the table does not answer: who is in sync may have changed"
        return Decision(Action.NOTHING, why=why)
    if closed or mysqld.waits_for < needed:
        return Decision(Action.OPEN, why=f"generation {pair.generation} of the lease is held")
    if not mysqld.prepared:
        return Decision(Action.PREPARE)
    if not now.reachable:
        return Decision(Action.NOTHING, why="the table does not answer")
    return _tend(now, pair, mysqld, others)


def _lead_without(now: Situation, others: frozenset[str]) -> Decision:
    """The holder, and its mysqld does not answer."""
    if now.broken and now.pair and now.pair.mode == "asynchronous":
        return Decision(Action.RELEASE, why=DOES_NOT_START)
    if not others:
        # With asynchronous replication, too, it is started again here: what it has committed is
        # on its disk, and another one may not have all of it.
        if not now.running:
            return Decision(Action.START)
        if _hangs(now, patience=1 if now.successor else 10):
            return Decision(Action.KILL, why=f"it has not answered for {now.silent:.0f} s")
        return Decision(Action.NOTHING, why="mysqld is starting")
    if now.exited or not now.running:
        return Decision(Action.RELEASE, why="mysqld ended")
    if now.silent >= now.hung_after:
        return Decision(Action.RELEASE, why=f"mysqld has not answered for {now.silent:.1f} s")
    return Decision(Action.NOTHING, why="mysqld does not answer")


def _tend(now: Situation, pair: Pair, mysqld: Mysqld, others: frozenset[str]) -> Decision:
    """The primary in service."""
    gone = sorted(others & (now.lost | pair.leaving))
    if gone:
        why = "it is leaving" if gone[0] in pair.leaving else "it does not acknowledge"
        return Decision(Action.DROP, gone[0], why)
    if now.full and now.successor:
        return Decision(Action.RELEASE, now.successor, "the volume is full")
    if pair.switchover_to:
        return _asked_to_switch(now, pair, others)
    if now.draining and now.successor and not now.failed_to_hand_over:
        return Decision(Action.SWITCH_OVER, now.successor, "this machine is to go")
    if pair.mode != now.mode:
        return Decision(Action.SET_MODE, why=now.mode)
    if now.mode == "asynchronous":
        return Decision(Action.RELAX) if mysqld.waits_for else NOTHING
    if pair.joining:
        if now.overdue:
            return Decision(Action.UNINVITE, pair.joining)
        return Decision(Action.ADMIT, pair.joining) if now.arrived else NOTHING
    if mysqld.waits_for > len(others):
        return Decision(Action.RELAX)
    if now.quiet:
        return Decision(Action.LET_IN, now.quiet)
    if now.candidate:
        return Decision(Action.INVITE, now.candidate)
    return NOTHING


def _asked_to_switch(now: Situation, pair: Pair, others: frozenset[str]) -> Decision:
    wanted = pair.switchover_to
    if wanted == machine_of(now.me):
        return Decision(Action.DECLINE, why=f"{wanted} is the primary already")
    known = others if pair.mode == "semi-synchronous" else others | {now.successor} - {""}
    for name in sorted(known):
        if machine_of(name) == wanted:
            return Decision(Action.SWITCH_OVER, name, "the operator asked for it")
    return Decision(Action.DECLINE, why=f"{wanted} is not in sync")


def _revive(now: Situation) -> Decision:
    """Not the holder, and mysqld does not answer."""
    pair = now.pair
    elsewhere = pair is not None and pair.holder != now.me and now.me not in pair.in_sync
    if now.broken and elsewhere and now.primary is not None and now.primary.open:
        return Decision(Action.REBUILD, why="mysqld does not start, and the primary has it all")
    if not now.running:
        return Decision(Action.START)
    if _hangs(now):
        return Decision(Action.KILL, why=f"it has not answered for {now.silent:.0f} s")
    return Decision(Action.NOTHING, why="mysqld does not answer")


def _hangs(now: Situation, patience: int = 10) -> bool:
    """Where no other machine could serve instead, there is time to be sure."""
    return not now.starting and now.silent >= patience * now.hung_after


def _leave(now: Situation) -> Decision:
    pair = now.pair
    if pair and now.me in pair.in_sync and now.me not in pair.leaving and not pair.released:
        return Decision(Action.LEAVE)
    return NOTHING


def _contend(now: Situation, mysqld: Mysqld) -> Decision:
    """The lease is free."""
    pair = now.pair
    if pair is None:
        return _begin(now, mysqld)
    mine = machine_of(now.me)
    if mysqld.empty:
        return Decision(Action.REFUSE, why="there is no data here")
    if now.half_copied:
        return Decision(Action.REFUSE, why=NOT_COPIED)
    if pair.force == mine:
        return Decision(Action.TAKE_OVER, why="the operator forced it")
    if now.full:
        return Decision(Action.REFUSE, why="the volume is full")
    if pair.handed_to == now.me and pair.released:
        return Decision(Action.TAKE_OVER, why="the primary handed over")
    if now.yielding:
        return Decision(Action.NOTHING, why="this machine gave the lease up: others come first")
    if pair.mode == "asynchronous" and now.me not in pair.in_sync:
        if now.lag > now.max_failover_lag:
            return Decision(
                Action.REFUSE,
                why=f"this replica was {now.lag:.1f} s behind, {now.max_failover_lag:g} s at most"
                " may be lost",
            )
    elif now.me not in pair.in_sync:
        names = ", ".join(sorted(machine_of(name) for name in pair.in_sync))
        return Decision(
            Action.REFUSE, why=f"not in sync: only {names} has every acknowledged write"
        )
    elif now.doubtful and pair.holder != now.me:
        return Decision(
            Action.REFUSE,
            why=f"{STARTED_ANEW}: the last that it acknowledged may not have reached its disk, and"
            " is on the primary's",
        )
    if now.behind:
        return Decision(Action.NOTHING, why=f"{machine_of(now.behind)} has received more")
    return Decision(Action.TAKE_OVER, why=f"{machine_of(pair.holder)} does not hold the lease")


def _begin(now: Situation, mysqld: Mysqld) -> Decision:
    if not now.first:
        return Decision(Action.NOTHING, why="the first machine has not begun yet")
    if not mysqld.empty and not now.restored:
        return Decision(
            Action.REFUSE,
            why="there is data here but no record of who led: whether this is the newest copy"
            " only an operator can say",
        )
    return Decision(Action.BEGIN)


def _follow(now: Situation, mysqld: Mysqld) -> Decision:
    """Another machine holds the lease, or may."""
    pair, primary = now.pair, now.primary
    running = mysqld.receiving != "OFF" and mysqld.applying
    if pair is None or pair.released or primary is None or not primary.open:
        # What was received is applied, and the connection is tried, with the primary away.
        return Decision(Action.RESUME) if mysqld.source and not running else NOTHING
    in_sync = now.me in pair.in_sync
    if now.cannot_apply or now.half_copied:
        why = "a copy was not finished here" if now.half_copied else "it cannot apply"
        return _leave(now) if in_sync else Decision(Action.COPY, why=why)
    if now.alone and not in_sync and pair.joining != now.me:
        return Decision(Action.COPY, why="transactions here were never acknowledged")
    if running and mysqld.source == primary.address:
        if now.awaited and not mysqld.acknowledging:
            return Decision(Action.ACKNOWLEDGE)
        return NOTHING
    if not primary.contains_ours:
        if in_sync:
            return Decision(Action.REFUSE, why="in sync, and yet with transactions of its own")
        return Decision(Action.NOTHING, why="transactions here are not on the primary yet")
    if mysqld.empty or not primary.has_what_we_lack:
        if in_sync:
            return Decision(Action.REFUSE, why="in sync, and yet without the primary's data")
        return Decision(Action.COPY, why="there is too little here to go on from")
    if mysqld.source == primary.address and not running:
        return Decision(Action.RESUME)
    return Decision(Action.FOLLOW)
