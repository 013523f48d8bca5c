"""The steps of the machine that leads, or is about to: writing, and who is waited for.

The record and mysqld change in an order that leaves no moment in which a write could be
acknowledged that a member in sync has not: whoever is dropped leaves the record before it is
waited for no more, and whoever joins is waited for before it enters the record.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hosts.base.lease import Lease, Value, boottime
from hosts.database import fence, semisync
from hosts.database.certificate import AUTHORITY
from hosts.database.mysql import Account, Session, local, remote
from hosts.database.observe import joined
from hosts.database.pair import Mode, Pair, machine_of, pair
from hosts.database.peers import Peers
from hosts.database.replica import ActionError

log = logging.getLogger("database")

APPLYING = 2.0
"""Seconds that a take-over waits for what was received to be applied, before it lets others try."""
CATCHING_UP = 1.0
"""Seconds that the next primary has to apply the last writes while nobody may write."""
SOON = 0.3
"""Seconds within which it must have applied what is here now, before anyone is sent away."""
CLOSE = 0.4
"""Seconds within which a member has to receive what is here, before commits wait for it: its
agent looks each 0.2 s."""
ARRIVING = 1.0
"""Seconds that a member has to receive the last writes before it is called in sync."""


@dataclass(frozen=True)
class Steps:
    """What the steps work on.

    `opening` is called right before mysqld becomes writable, `opened` right after, and `closing`
    before it is closed.
    """

    me: str
    address: str
    lease: Lease
    peers: Peers
    replication: Callable[[], Account]
    opening: Callable[[], None]
    opened: Callable[[], None]
    closing: Callable[[], None]

    def begin(self, mode: Mode) -> None:
        """Takes the lease that nobody ever had."""
        if not self.lease.acquire(self._alone(mode)):
            message = "another machine was quicker"
            raise ActionError(message)

    def open(self, now: Pair) -> None:
        """Makes mysqld writable, waiting for everyone else who is in sync."""
        with local(APPLYING + 1) as session:
            # After a take-over of which the answer was lost, what was received is still to come.
            received = semisync.stop_receiving(session)
            self._apply(session, received or "")
            needed = semisync.needed(now, now.in_sync, self.me)
            strangers = self._strangers(now.in_sync | {now.joining}) if needed else []
            self._open(session, needed, strangers)

    def _open(self, session: Session, replicas: int, strangers: Sequence[str] = ()) -> None:
        with fence.exclusive():
            semisync.wait_for(session, replicas)
            self.opening()
            if not self.lease.held:
                message = "the lease was lost on the way"
                raise ActionError(message)
            if strangers:
                # To shut somebody out is to write: before anyone else can.
                session.run("SET GLOBAL offline_mode = ON")
            session.run("SET GLOBAL super_read_only = OFF")
            session.run("SET GLOBAL read_only = OFF")
            semisync.shut_out(session, strangers)
            session.run("SET GLOBAL offline_mode = OFF")
        self.opened()
        log.info("open for writes: generation %s", self.lease.generation)
        session.run("STOP REPLICA")
        session.run("RESET REPLICA ALL")
        session.run("SET GLOBAL binlog_expire_logs_auto_purge = ON")

    def take_over(self, mode: Mode, promised: Callable[[], bool]) -> None:
        """Becomes the primary with all that was received.

        Receiving stops first: from then on a former primary gets no acknowledgement from here.
        """
        began = time.monotonic()
        with local(APPLYING + 1) as session:
            received = semisync.stop_receiving(session)
            stopped = time.monotonic()
            try:
                self._apply(session, received or "")
                if promised():
                    message = "the primary was promised that it may go on"
                    raise ActionError(message)
                if not self.lease.acquire(self._alone(mode)):
                    message = "another machine was quicker, or the primary is back"
                    raise ActionError(message)
            except Exception:
                if received is not None:
                    self._receive_again(session)
                raise
            taken = time.monotonic()
            session.run("SET GLOBAL rpl_semi_sync_replica_enabled = OFF")
            self._open(session, 0)
            # Nobody is waited for yet.
            semisync.let_in(session)
        log.info(
            "took over: stopped receiving %.0f ms, applied, lease taken %.0f ms, open %.0f ms",
            (stopped - began) * 1000,
            (taken - stopped) * 1000,
            (time.monotonic() - taken) * 1000,
        )

    def _apply(self, session: Session, received: str) -> None:
        if not received:
            return
        if not _applies(session, received, APPLYING):
            message = "what was received is not applied yet"
            raise ActionError(message)

    def _receive_again(self, session: Session) -> None:
        account = self.replication()
        session.run(
            "START REPLICA IO_THREAD USER = %s PASSWORD = %s", account.user, account.password
        )

    def _alone(self, mode: Mode) -> dict[str, Value | None]:
        return {
            "in_sync": frozenset({self.me}),
            "mode": mode,
            "address": self.address,
            "joining": None,
            "leaving": None,
            "switchover_to": None,
            "handed_to": None,
            "refused": None,
            "force": None,
        }

    def release(self) -> None:
        """Gives the lease up. mysqld must be closed or dead."""
        self.lease.release({"switchover_to": None, "handed_to": None})
        self.peers.poke()

    def drop(self, now: Pair, member: str) -> None:
        """Waits for a member no more, once the record says that it is not in sync."""
        rest = now.in_sync - {member}
        changes: dict[str, Value | None] = {
            "in_sync": rest,
            "leaving": (now.leaving - {member}) or None,
        }
        if now.joining == member:
            changes["joining"] = None
        self._record(changes, rest)
        with local(3) as session:
            if len(rest) > 1:
                self._only(session, rest | {now.joining})
                self._wait_until_received(session, rest)
            else:
                # A thread that sends to one that is gone would keep the change waiting.
                semisync.hang_up(session, "")
            semisync.wait_for(session, semisync.needed(now, rest, self.me))
        log.info("%s is not in sync any more", machine_of(member))

    def relax(self, now: Pair) -> None:
        """Waits for those in sync, and for nobody else."""
        with local(3) as session:
            if now.others(self.me):
                self._only(session, now.in_sync | {now.joining})
                self._wait_until_received(session, now.in_sync)
            else:
                # As when the last one is dropped, which may be what was interrupted.
                semisync.hang_up(session, "")
            semisync.wait_for(session, semisync.needed(now, now.in_sync, self.me))

    def set_mode(self, mode: Mode) -> None:
        """Changes how this primary replicates."""
        only_me = frozenset({self.me})
        self._record({"mode": mode, "in_sync": only_me, "joining": None, "leaving": None}, only_me)
        if mode == "asynchronous":
            with local(3) as session:
                semisync.hang_up(session, "")
                semisync.wait_for(session, 0)
                semisync.let_in(session)

    def invite(self, now: Pair, member: str) -> None:
        """Tells a replica to acknowledge what it gets."""
        if others := now.others(self.me):
            # Its acknowledgements must not count as those of the others.
            with local(3) as session:
                semisync.wait_for(session, len(others) + 1)
        self._record({"joining": member}, now.in_sync)
        self.peers.poke()

    def uninvite(self, now: Pair) -> None:
        """It did not come."""
        self._record({"joining": None}, now.in_sync)
        self.peers.poke()

    def _only(self, session: Session, wanted: frozenset[str]) -> None:
        """Lets nobody else acknowledge: mysqld does not tell whose acknowledgement it counts."""
        semisync.shut_out(session, self._strangers(wanted))

    def _strangers(self, wanted: frozenset[str]) -> list[str]:
        """The addresses of others, unless they say that they do not acknowledge."""
        quiet = [name for name, peer in self.peers.fresh().items() if not peer.acknowledging]
        known = self.peers.known()
        ours = {peer.address for peer in known if peer.member in wanted}
        others = (peer for peer in known if peer.member not in (*wanted, *quiet))
        return [peer.address for peer in others if peer.address not in ours]

    def _wait_until_received(self, session: Session, in_sync: frozenset[str]) -> None:
        """Before fewer acknowledgements are enough: those there are may be of others.

        Raises `ActionError` if a member that is still to be waited for has not all there is.
        """
        everything = semisync.everything(session)
        end = boottime() + ARRIVING
        for member in sorted(in_sync - {self.me}):
            if not self._receives(session, member, everything, end):
                message = f"{machine_of(member)} has not received all that was written"
                raise ActionError(message)

    def _receives(self, session: Session, member: str, gtids: str, end: float) -> bool:
        """Whether a member has these transactions by then. Asks once at least."""
        while True:
            peer = self.peers.again(member)
            if peer and session.contains(peer.has, gtids):
                return True
            if boottime() >= end:
                return False
            time.sleep(0.02)

    def let_in(self, member: str) -> None:
        """A member that was shut out acknowledges no more: it may follow again."""
        with local(3) as session:
            semisync.let_in(session, self.peers.address(member))

    def admit(self, now: Pair, member: str) -> None:
        """Calls a member in sync, once commits wait for it and it has all those before."""
        with local(3) as session:
            if not self._is_close(session, member):
                # Commits would wait for it until it has caught up.
                message = f"{machine_of(member)} is too far behind to be waited for"
                raise ActionError(message)
            semisync.wait_for(session, len(now.in_sync))
            # A commit that was under way at that moment is not acknowledged for itself, only
            # with a later one: there has to be one.
            threading.Thread(target=semisync.commit_something, daemon=True).start()
            if not self._arrives(session, member):
                if not now.others(self.me):
                    # The record does not name it yet: nothing is lost by not waiting for it.
                    semisync.wait_for(session, 0)
                message = f"{machine_of(member)} did not catch up"
                raise ActionError(message)
            self._only(session, now.in_sync | {member})
        wanted = now.in_sync | {member}
        leaving = (now.leaving - {member}) or None
        self._record({"in_sync": wanted, "joining": None, "leaving": leaving}, wanted)
        log.info("%s is in sync", machine_of(member))

    def _is_close(self, session: Session, member: str) -> bool:
        """Whether a member has within a moment what is here now."""
        executed = joined(session.row("SELECT @@global.gtid_executed")[0])
        return self._receives(session, member, executed, boottime() + CLOSE)

    def _arrives(self, session: Session, member: str) -> bool:
        """Whether a member receives all that was done here before now, and has nothing else."""
        executed = joined(session.row("SELECT @@global.gtid_executed")[0])
        end = boottime() + ARRIVING
        while boottime() < end and self.lease.held:
            peer = self.peers.again(member)
            if peer and peer.running and peer.acknowledging:
                # Theirs first and ours after: a commit that waits is here a moment later.
                ours = joined(session.row("SELECT @@global.gtid_executed")[0])
                has_all = session.contains(peer.has, executed)
                if has_all and session.contains(ours, peer.executed):
                    return True
            time.sleep(0.02)
        return False

    def decline(self, why: str) -> None:
        """Does not do what the operator asked for, and says why."""
        self.lease.refresh({"switchover_to": None, "refused": why})

    def switch_over(self, now: Pair, member: str) -> None:
        """Hands the lease to a member that has everything, with nobody writing meanwhile.

        Raises `ActionError` with nothing changed if it is not close behind.
        """
        peer = self.peers.again(member)
        if peer is None:
            message = f"{machine_of(member)} does not answer"
            raise ActionError(message)
        there = remote(peer.address, self.replication(), AUTHORITY, APPLYING)
        with contextlib.closing(there):
            with local() as session:
                executed = joined(session.row("SELECT @@global.gtid_executed")[0])
            if not _applies(there, executed, SOON):
                message = f"{machine_of(member)} is behind in applying what it received"
                raise ActionError(message)
            self._hand_over(now, member, there)

    def _hand_over(self, now: Pair, member: str, there: Session) -> None:
        began = time.monotonic()
        self.closing()
        try:
            with fence.exclusive(), local(CATCHING_UP + 1) as session:
                session.run("SET SESSION lock_wait_timeout = 1")
                session.run("SET GLOBAL offline_mode = ON")
                session.run("SET GLOBAL super_read_only = ON")
                executed = joined(session.row("SELECT @@global.gtid_executed")[0])
            closed = time.monotonic()
            if not _applies(there, executed, CATCHING_UP):
                name = machine_of(member)
                message = f"{name} did not apply the last writes in {CATCHING_UP} s"
                raise ActionError(message)
            applied = time.monotonic()
            handing = {"handed_to": member, "switchover_to": None, "refused": None}
            if not self.lease.release(handing):
                message = "the lease was lost on the way"
                raise ActionError(message)
        except Exception:
            if self.lease.held:
                self.open(now)
            raise
        self.peers.poke()
        log.info(
            "handed over to %s: closed %.0f ms, applied there %.0f ms, released %.0f ms",
            machine_of(member),
            (closed - began) * 1000,
            (applied - closed) * 1000,
            (time.monotonic() - applied) * 1000,
        )

    def _record(self, changes: Mapping[str, Value | None], in_sync: frozenset[str]) -> None:
        """Changes the record, and is sure of it. Raises `ActionError`, `UnreachableError`."""
        record = self.lease.refresh(changes)
        now = record and pair(record)
        if now is None or now.holder != self.me or now.released or now.in_sync != in_sync:
            message = "the record could not be changed"
            raise ActionError(message)


def _applies(session: Session, gtids: str, seconds: float) -> bool:
    """Whether this server has executed these transactions by then."""
    (late,) = session.row("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", gtids, seconds)
    return not late
