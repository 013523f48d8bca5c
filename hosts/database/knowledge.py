"""What one machine knows at a moment, from all that it watches: the situation to decide on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from hosts.base import services
from hosts.base.lease import Lease, UnreachableError, boottime
from hosts.database import process, published, volume
from hosts.database.accounts import PURPOSES
from hosts.database.backup.gtids import Gtids
from hosts.database.decide import Situation
from hosts.database.lag import Kept
from hosts.database.mysql import Account, MySQLError, local
from hosts.database.observe import UNIT, Observer, Seen
from hosts.database.pair import Pair, machine_of, pair
from hosts.database.peers import Peers
from hosts.database.primary import PrimaryWatch, View
from hosts.database.published import FOLDER
from hosts.database.replica import UNFINISHED
from hosts.database.semisync import are_shut_out
from hosts.database.tunables import Tunables
from hosts.database.watch import Boot, Failsafe, LostReplicas, Room

log = logging.getLogger("database")

RENEW = 0.3
"""Seconds between two renewals of the lease: what is left of it must do to start an agent again."""
LOOK = 0.25
"""Seconds between two looks at a lease of another machine."""
LOOK_HARD = 0.05
"""The same when a renewal is overdue: the lease may be taken the moment it ends."""
OVERDUE = 1.0
A_MOMENT = 1.0
"""Seconds: a replica that has what the primary had then has nearly caught up."""
BROKEN = 3
"""Starts after which a copy of the primary is the better start."""
ENDS = 10
"""Ends of mysqld since it last answered after which the same is true: systemd restarts it for
ever if it takes some seconds to fail."""
CANNOT_APPLY = 3
"""Times in a row that applying failed after which a copy of the primary is the better start."""
GRACE = 5.0
"""Seconds for which a machine that gave the lease up lets others come first, and for which one that
could not hand it over serves its clients before it tries again."""
FENCING = 10.0
"""Seconds after which a fence that did not end was interrupted."""
JOINING = 3.0
"""Seconds that a replica has to acknowledge, once it was invited."""


@dataclass
class Deeds:
    """What the agent did that matters later. Times are of CLOCK_BOOTTIME."""

    started_at: float = float("-inf")
    starts: int = 0
    """Since mysqld last answered."""
    resumes: int = 0
    """Of a replica that could not apply, since it last could."""
    released_at: float = float("-inf")
    failed_to_hand_over: float = float("-inf")
    invited_at: float = float("-inf")
    invite_again: float = float("-inf")
    prepared: bool = False


@dataclass
class Knowledge:
    """The watches of one machine, and what they last found."""

    me: str
    first: bool
    address: str
    lease: Lease
    peers: Peers
    tunables: Tunables
    replication: Callable[[], Account]
    restored: Gtids = field(default_factory=Gtids)
    """What this machine's restore ended with, if its pair begins with one."""
    wake: Callable[[], None] = lambda: None
    deeds: Deeds = field(default_factory=Deeds)
    pair: Pair | None = None
    read: bool = False
    """The table answered at least once."""
    reachable: bool = False
    seen: Seen = field(default_factory=lambda: Seen(float("-inf")))
    has_accounts: bool = False
    vacant_since: float | None = None

    def __post_init__(self) -> None:
        self.process = process.Watch(self.wake)
        self.primary = PrimaryWatch(self.replication)
        self.failsafe = Failsafe(self.lease, self.peers, self.me)
        self.lost = LostReplicas()
        self.room = Room(volume.MOUNT)
        self.boot = Boot(volume.MOUNT / "acknowledges-since-boot")
        self.kept_lag = Kept(FOLDER / "database-lag.json")
        self._observer = Observer()
        self._alive_at = boottime()
        self._ends = 0
        self._before = self._later = Seen(float("-inf"))

    def watches(self) -> Mapping[str, Callable[[], None]]:
        """What has to run beside the loop, by name."""
        return {"mysqld": self.process.run, "primary": self.primary.run, "peers": self.peers.run}

    def look_at_record(self) -> None:
        """Renews the lease or reads it; without the table, asks the others for leave to go on."""
        try:
            record = self.lease.refresh()
            self.pair = pair(record) if record else None
            if self.leads and self.pair and (self.pair.address != self.address or self.pair.force):
                # The machine was replaced, and its volume leads on; or it is back, and another
                # was to lead in its place: that must not come true at some later failover.
                record = self.lease.refresh({"address": self.address, "force": None})
                self.pair = pair(record) if record else None
            self.read = self.reachable = True
            self.failsafe.heard(self.pair)
        except UnreachableError as error:
            if self.reachable:
                log.warning("coordination: %s", error)
            self.reachable = False
            self.failsafe.go_on()
        elsewhere = self.pair and self.pair.holder != self.me and not self.pair.released
        self.primary.tell(self.pair.address if self.pair and elsewhere else "")
        if not self.lease.vacant:
            self.vacant_since = None
        elif self.vacant_since is None:
            self.vacant_since = boottime()

    def look_at_mysqld(self) -> None:
        """One observation."""
        seen = self._observer.look()
        if seen.mysqld:
            self._alive_at, self._ends, self.deeds.starts = seen.at, self.process.ends, 0
            if seen.at - self._later.at >= A_MOMENT:
                self._before, self._later = self._later, seen
            if seen.mysqld.applying and not seen.apply_error:
                self.deeds.resumes = 0
            if not self.has_accounts:
                self.has_accounts = _has_accounts()
        self.seen = seen
        self.lost.look(seen)

    def made_anew(self) -> None:
        """The database that did not start is another one now."""
        self.deeds.starts, self.deeds.started_at = 0, boottime()
        self._ends = self.process.ends

    def situation(self, *, draining: bool) -> Situation:
        """All of it."""
        seen, deeds, tunables, now = self.seen, self.deeds, self.tunables, boottime()
        mysqld, view = seen.mysqld, self.primary.view
        if view and fenced_since(view.at):
            view = None
        if self.boot.is_another and view and self._is_whole(view):
            self.boot.begins()
        unit = services.show(UNIT) if mysqld is None else None
        return Situation(
            me=self.me,
            first=self.first,
            restored=bool(self.restored) and Gtids.parse(seen.executed) == self.restored,
            pair=self.pair,
            reachable=self.reachable,
            held=self.lease.held,
            vacant=self.lease.vacant and not self.failsafe.promised,
            yielding=now - deeds.released_at < GRACE,
            behind=self._behind(),
            mysqld=replace(mysqld, prepared=deeds.prepared) if mysqld else None,
            running=unit is None or unit.active not in ("inactive", "failed"),
            exited=self.process.ends > self._ends,
            starting=unit is not None and unit.active == "activating",
            silent=now - max(self._alive_at, self.process.began),
            hung_after=tunables.lease,
            broken=deeds.starts >= BROKEN or self.process.ends - self._ends >= ENDS,
            doubtful=self.boot.is_another,
            full=self.room.full(),
            room_again=self.room.again,
            lag=self._lag_at_last_sign(now),
            max_failover_lag=tunables.max_failover_lag,
            mode=tunables.replication,
            draining=draining,
            primary=view.primary if view else None,
            alone=view is not None and view.alone and not (mysqld and mysqld.waiting),
            half_copied=UNFINISHED.exists(),
            cannot_apply=deeds.resumes >= CANNOT_APPLY,
            lost=self._lost_members(),
            quiet=self._quiet(),
            candidate=self._candidate(),
            arrived=self._arrived(),
            overdue=now - deeds.invited_at > JOINING,
            failed_to_hand_over=now - deeds.failed_to_hand_over < GRACE,
            successor=self.successor(),
        )

    @property
    def ready(self) -> bool:
        """Applications find their accounts."""
        return self.deeds.prepared or self.has_accounts

    @property
    def patience(self) -> float:
        """Seconds until the record is to be looked at again."""
        if self.leads or not self.reachable:
            return RENEW
        since = self.lease.since
        overdue = since is not None and boottime() - since > OVERDUE
        return LOOK_HARD if overdue else LOOK

    def _lag_at_last_sign(self, now: float) -> float:
        since, record = self.lease.since, self.lease.record
        lag = (now if since is None else since) - self.primary.current_at
        if record is None or not self.pair or self.pair.mode != "asynchronous":
            return lag  # which nobody goes by: nothing is written for it, nor read
        return self.kept_lag.at(f"{record.holder} {record.generation} {record.counter}", lag)

    def _is_whole(self, view: View) -> bool:
        """This machine acknowledges, and has all that the primary had a moment ago."""
        mysqld = self.seen.mysqld
        if not mysqld or not mysqld.acknowledging or mysqld.receiving != "ON":
            return False
        return _contains(self.seen.has, view.executed)

    @property
    def lag(self) -> float:
        """A replica's data is at most this old, in seconds."""
        return boottime() - self.primary.current_at

    @property
    def leads(self) -> bool:
        """The record names this machine."""
        return self.pair is not None and self.pair.holder == self.me and not self.pair.released

    def successor(self) -> str:
        """The member that is the best one to lead next; empty if none answers."""
        now = self.pair
        if not now or not self.leads:
            return ""
        usable = [peer for peer in self.peers.fresh().values() if not peer.full]
        if now.mode == "asynchronous":
            usable = [peer for peer in usable if peer.running and peer.source == self.address]
            wanted = [peer for peer in usable if machine_of(peer.member) == now.switchover_to]
            usable = wanted or usable
        else:
            known = now.others(self.me) - now.leaving
            usable = [peer for peer in usable if peer.member in known]
        return min(usable, key=lambda peer: (peer.lag, peer.member)).member if usable else ""

    def has_followers(self) -> bool:
        """Another machine replicates from this one, in sync or not yet."""
        followers = [peer for peer in self.peers.fresh().values() if peer.source == self.address]
        return any(not peer.draining for peer in followers)

    def _lost_members(self) -> frozenset[str]:
        if not self.lost.lost or not self.pair:
            return frozenset()
        others = self.pair.others(self.me)
        fresh = self.peers.fresh()
        lagging = {
            name
            for name in others & fresh.keys()
            if not _contains(fresh[name].has, self._before.executed)
        }
        # Those that do not answer, else those that lag; if all seem well, acknowledgements are
        # missing all the same.
        return (others - fresh.keys()) or frozenset(lagging) or others

    def _quiet(self) -> str:
        if not self.leads:
            return ""
        fresh = self.peers.fresh().values()
        quiet = [peer for peer in fresh if not peer.acknowledging]
        if not quiet:
            return ""
        try:
            with local() as session:
                out = are_shut_out(session)
        except (MySQLError, OSError):
            return ""
        return next((peer.member for peer in quiet if peer.address in out), "")

    def _candidate(self) -> str:
        now = self.pair
        if not now or not self.leads or boottime() < self.deeds.invite_again:
            return ""
        if now.joining or now.mode == "asynchronous" or not self._before.executed:
            return ""
        for name, peer in sorted(self.peers.fresh().items()):
            known = name in now.in_sync
            if (
                known
                or peer.draining
                or peer.full
                or not peer.running
                or peer.source != self.address
            ):
                continue
            if _contains(peer.has, self._before.executed):
                return name
        return ""

    def _arrived(self) -> bool:
        now = self.pair
        if not now or not now.joining:
            return False
        peer = self.peers.fresh().get(now.joining)
        enough = self.seen.clients > len(now.others(self.me))
        return peer is not None and peer.acknowledging and enough

    def _behind(self) -> str:
        """A member that should take over rather than this one, for as long as a lease lasts."""
        now, since = self.pair, self.vacant_since
        if not now or since is None or boottime() - since > self.tunables.lease:
            return ""
        for name, peer in sorted(self.peers.fresh().items()):
            if name in (self.me, now.holder) or peer.full:
                continue
            if now.released and now.handed_to == name:
                return name
            may = name in now.in_sync or now.mode == "asynchronous"
            if may and not _contains(self.seen.has, peer.has):
                return name
        return ""


def fenced_since(at: float) -> bool:
    """Whether what was seen at this time is worth nothing: a fence was under way.

    Transactions that waited were nowhere to be seen then, and are here now.
    """
    last = published.fenced()
    if last is None:
        return False
    return boottime() - last.began < FENCING if last.ended is None else last.ended >= at


def _contains(whole: str, part: str) -> bool:
    try:
        with local() as session:
            return session.contains(whole, part)
    except (MySQLError, OSError):
        return False


def _has_accounts() -> bool:
    try:
        with local() as session:
            users = {row[0] for row in session.rows("SELECT user FROM mysql.user")}
    except (MySQLError, OSError):
        return False
    return users >= {purpose.user for purpose in PURPOSES}
