"""The loop of a database machine: observe, decide, act, several times a second.

What it finds is published to the guard, which answers for it and fences mysqld when this program
is late, so that this program may be restarted at any time.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from hosts.base.lease import Times, UnreachableError, boottime
from hosts.base.services import ServiceError
from hosts.database import fence, lead, process, published, rejoin, replica
from hosts.database.decide import Action, Decision, Situation, decide
from hosts.database.knowledge import Knowledge, fenced_since
from hosts.database.lead import Steps
from hosts.database.mysql import MySQLError
from hosts.database.pair import Pair, pair
from hosts.database.published import Published
from hosts.database.replica import ActionError

log = logging.getLogger("database")

LOOP = 0.2
"""Seconds between two turns."""
QUICK = 0.05
"""The same while a commit waits, or the lease may be taken."""
STALE = 5.0
"""Seconds after which an observation says nothing any more."""
STARTS = 10.0
"""Seconds between two starts of mysqld."""
AGAIN = 10.0
"""Seconds until a replica that did not come is invited again."""

IN_BACKGROUND = frozenset({Action.PREPARE, Action.COPY, Action.REBUILD})
"""Steps that may wait for others for long: the loop has to go on meanwhile."""
DESTRUCTIVE = frozenset({Action.COPY, Action.REBUILD})
"""While one of them is under way nothing else is done."""
FAILURES = (
    MySQLError,
    OSError,
    ServiceError,
    ActionError,
    UnreachableError,
    fence.BusyError,
    fence.FenceError,
)


class Agent:
    """One machine of the pair."""

    def __init__(self, known: Knowledge, schema: str, passwords: Mapping[str, str]) -> None:
        """`passwords` by account."""
        self.known = known
        self.passwords = dict(passwords)
        self.draining = False
        self._schema = schema
        self._steps = Steps(
            me=known.me,
            address=known.address,
            lease=known.lease,
            peers=known.peers,
            replication=known.replication,
            opening=lambda: self._publish_open(serving=False),
            opened=lambda: self._publish_open(serving=True),
            closing=self._close_door,
        )
        self._read_at = float("-inf")
        self._opened_at = published.read().opened_at
        self._door_closed = False
        self._copying = False
        self._now = Situation(known.me)
        self._decision = Decision(Action.NOTHING)
        self._said: tuple[object, ...] = ()
        self._failure = ""
        self._work: tuple[Action, threading.Thread] | None = None
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._turn = threading.Lock()
        known.wake = self.wake

    def wake(self) -> None:
        """Something has changed: the next turn is now, and it looks at the record."""
        self._read_at = float("-inf")
        self._woken.set()

    def run(self) -> None:
        """The loop. Does not return."""
        while not self._stopped.is_set():
            with self._turn:
                if not self._stopped.is_set():
                    self.step()
            self._woken.wait(QUICK if self._urgent else LOOP)
            self._woken.clear()
        threading.Event().wait()

    def stop(self) -> None:
        """The loop takes no further step; returns when the last one is done."""
        self._stopped.set()
        with self._turn:
            published.publish(Published(status={"action": "stopped"}))

    @property
    def between_turns(self) -> AbstractContextManager[object]:
        """In it the loop takes no step."""
        return self._turn

    @property
    def _urgent(self) -> bool:
        mysqld = self.known.seen.mysqld
        return bool(mysqld and mysqld.waiting) or self.known.patience < LOOP

    def step(self) -> None:
        """One turn."""
        known = self.known
        if boottime() - self._read_at >= known.patience:
            self._read_at = boottime()
            known.lease.times = times(known.tunables.lease)
            known.look_at_record()
        began = boottime()
        known.look_at_mysqld()
        if not known.read:
            # A program that was started anew: what the one before it published stands.
            return
        self._now = known.situation(draining=self.draining)
        self._decision = decide(self._now)
        self._publish()
        self._log()
        if not fenced_since(began):
            self._act(self._decision)

    # ---- act

    def _act(self, decision: Decision) -> None:
        if self._works(*DESTRUCTIVE, decision.action):
            return
        if decision.action in IN_BACKGROUND:
            thread = threading.Thread(target=lambda: self._try(decision), daemon=True)
            self._work = decision.action, thread
            thread.start()
            return
        self._try(decision)

    def _works(self, *actions: Action) -> bool:
        """Whether one of these is under way in the background."""
        return self._work is not None and self._work[1].is_alive() and self._work[0] in actions

    def _try(self, decision: Decision) -> None:
        try:
            self._do(decision, self._now)
            self._failure = ""
        except FAILURES as error:
            failure = f"could not {decision.action}: {error}"
            if failure != self._failure:
                log.warning("%s", failure)
            self._failure = failure
            return
        if decision.action not in (Action.NOTHING, Action.REFUSE):
            self.wake()

    def _do(self, decision: Decision, now: Situation) -> None:  # noqa: PLR0912 a line for each
        match decision.action:
            case Action.START:
                self._start()
            case Action.KILL:
                process.kill()
            case Action.PREPARE:
                lead.prepare(self._schema, self.passwords)
                self.known.deeds.prepared = self.known.has_accounts = True
            case Action.BEGIN:
                self._steps.begin(now.mode)
            case Action.TAKE_OVER:
                with self.known.failsafe.taking_over() as promised:
                    self._steps.take_over(now.mode, promised)
            case Action.RELEASE:
                self._release()
            case Action.CLOSE:
                fence.fence()
            case Action.FOLLOW if now.primary:
                replica.follow(now.primary.address, self.known.replication(), yes=self._in_sync)
            case Action.RESUME:
                self.known.deeds.resumes += bool(self.known.seen.apply_error)
                replica.resume(self.known.replication(), yes=self._in_sync)
            case Action.ACKNOWLEDGE | Action.KEEP_QUIET:
                yes = decision.action is Action.ACKNOWLEDGE
                replica.acknowledge(self.known.replication(), yes=yes)
                self.known.peers.poke()
            case Action.COPY if now.primary:
                self._copy(now.primary.address)
            case Action.REBUILD:
                rejoin.empty()
                self.known.deeds.starts, self.known.deeds.started_at = 0, boottime()
            case Action.LEAVE if now.pair:
                self.known.lease.note({"leaving": now.pair.leaving | {now.me}})
                self.known.peers.poke()
            case _ if now.pair:
                self._lead(decision, now.pair)
            case _:
                pass

    def _lead(self, decision: Decision, record: Pair) -> None:
        steps, deeds, member = self._steps, self.known.deeds, decision.member
        match decision.action:
            case Action.OPEN:
                steps.open(record)
            case Action.SWITCH_OVER:
                self._switch_over(record, member)
            case Action.DECLINE:
                steps.decline(decision.why)
            case Action.DROP:
                steps.drop(record, member)
                self.known.lost.forget()
            case Action.RELAX:
                steps.relax(record)
            case Action.SET_MODE:
                steps.set_mode(self._now.mode)
            case Action.INVITE:
                deeds.invited_at = boottime()
                self.known.failsafe.may_be_in_sync(member)
                steps.invite(record, member)
            case Action.ADMIT:
                steps.admit(record, member)
            case Action.LET_IN:
                steps.let_in(member)
            case Action.UNINVITE:
                deeds.invite_again = boottime() + AGAIN
                steps.uninvite(record)
            case _:
                pass

    @property
    def _in_sync(self) -> bool:
        """Whether this replica is to acknowledge what arrives."""
        record, me = self._now.pair, self._now.me
        return record is not None and (me in record.in_sync or record.joining == me)

    def _start(self) -> None:
        deeds = self.known.deeds
        if boottime() - deeds.started_at >= STARTS:
            deeds.starts += 1
            deeds.started_at = boottime()
            process.start()

    def _release(self) -> None:
        self._close_door()
        process.kill()
        self.known.deeds.released_at = boottime()
        self._steps.release()

    def _switch_over(self, record: Pair, member: str) -> None:
        try:
            self._steps.switch_over(record, member)
            self.known.deeds.released_at = boottime()
        except FAILURES as error:
            if record.switchover_to:
                self._steps.decline(str(error))
            raise

    def _copy(self, address: str) -> None:
        # From now on the primary does not call this machine in sync; and whatever it wrote
        # before it knew is in the record after a lease time.
        self._copying = True
        try:
            replica.stop()
            if self.known.seen.executed:
                time.sleep(self.known.lease.length)
            record = self.known.lease.refresh()
            now = record and pair(record)
            if now is None or now.released or now.holder == self.known.me:
                message = "there is no primary to copy from"
                raise ActionError(message)
            if self.known.me in now.in_sync or now.joining == self.known.me:
                message = "this machine is in sync"
                raise ActionError(message)
            self._copy_from(address)
        finally:
            self._copying = False

    def _copy_from(self, address: str) -> None:
        view = self.known.primary.view
        if view and view.missing:
            rejoin.keep_aside(view.missing)
        replica.copy(address, self.known.replication())

    # ---- tell

    def _close_door(self) -> None:
        """Clients are sent away at once; mysqld stays under watch until it is closed."""
        self._door_closed = True
        self._publish()

    def _publish_open(self, *, serving: bool) -> None:
        if not serving:
            self._opened_at = boottime()
        self._door_closed = False
        published.publish(
            Published(
                role="primary",
                open=True,
                opened_at=self._opened_at,
                deadline=self.known.lease.deadline,
                serving=serving and self._ready,
                status=self.status(),
            )
        )

    def _publish(self) -> None:
        known, now = self.known, self._now
        mysqld = now.mysqld
        copying = self._works(*DESTRUCTIVE)
        writable = bool(mysqld and mysqld.writable and not copying)
        readable = bool(mysqld and not mysqld.writable and not mysqld.empty and not mysqld.offline)
        readable = readable and not now.mine and not copying
        published.publish(
            Published(
                role="primary" if now.mine else "replica" if readable else "none",
                open=writable,
                opened_at=self._opened_at,
                deadline=known.lease.deadline,
                serving=now.mine and writable and self._ready and not self._door_closed,
                readable=readable,
                replica=readable
                and known.lag <= known.tunables.max_replica_lag
                and bool(mysqld and mysqld.applying),
                valid_until=known.seen.at + STALE,
                status=self.status(),
            )
        )

    @property
    def _ready(self) -> bool:
        """Applications find their accounts."""
        return self.known.deeds.prepared or self.known.has_accounts

    def _log(self) -> None:
        decision, record = self._decision, self._now.pair
        said = (decision, record and (record.holder, record.generation, record.in_sync))
        if said == self._said:
            return
        self._said = said
        what = " ".join(word for word in (str(decision.action), decision.member) if word)
        why = f": {decision.why}" if decision.why else ""
        if record is None:
            log.info("%s%s [no record]", what, why)
            return
        released = " (released)" if record.released else ""
        in_sync = ", ".join(sorted(record.in_sync))
        log.info(
            "%s%s [generation %d: %s%s; in sync: %s]",
            what,
            why,
            record.generation,
            record.holder,
            released,
            in_sync,
        )

    @property
    def is_primary(self) -> bool:
        """Whether writes come here."""
        said = published.read()
        return said.serving and boottime() < said.deadline

    @property
    def is_replica(self) -> bool:
        """Whether this is a copy that is close enough behind, and one that may take over."""
        record, said = self.known.pair, published.read()
        safe = record is not None and (
            record.mode == "asynchronous" or self.known.me in record.in_sync
        )
        return said.replica and boottime() < said.valid_until and safe

    @property
    def may_go(self) -> bool:
        """Whether nobody relies on this machine: another leads, and waits for it no more."""
        record, me = self.known.pair, self.known.me
        if record is None:
            return True
        if self.known.leads:
            return not record.others(me) and not self.known.successor()
        return me not in record.in_sync

    def for_peers(self) -> dict[str, Any]:
        """What the other agents ask for: the fields of `peers.Peer`."""
        seen = self.known.seen
        mysqld = seen.mysqld
        running = bool(mysqld and mysqld.receiving == "ON" and mysqld.applying)
        return {
            "member": self.known.me,
            "executed": seen.executed,
            "received": seen.received,
            "source": mysqld.source if mysqld else "",
            "running": running and not self._copying,
            "acknowledging": bool(mysqld and mysqld.acknowledging),
            "full": self._now.full,
            "draining": self.draining,
            "lag": self.known.lag,
        }

    def status(self) -> dict[str, Any]:
        """For people and for monitoring."""
        now, record, lag = self._now, self._now.pair, self.known.lag
        return {
            "member": now.me,
            "holder": record.holder if record else None,
            "generation": record.generation if record else None,
            "in_sync": sorted(record.in_sync) if record else [],
            "mode": record.mode if record else None,
            "action": str(self._decision.action),
            "why": self._decision.why,
            "lag": 0.0 if now.mine else round(lag, 3) if lag < float("inf") else None,
            "executed": self.known.seen.executed,
            "waiting": now.mysqld.waiting if now.mysqld else None,
            "table": "reachable" if now.reachable else "unreachable",
            "trouble": self.trouble(),
        }

    def trouble(self) -> str:
        """What there is to say of what is not well."""
        seen = self.known.seen
        refused = self._decision.why if self._decision.action is Action.REFUSE else ""
        said = [refused, self._failure, seen.trouble, seen.receive_error, seen.apply_error]
        return "\n".join(dict.fromkeys(text for text in said if text))


def times(lease: float) -> Times:
    """A lease with its margin: a fence takes up to a second, more time than two is wasted."""
    margin = min(max(lease / 3, 1.0), 2.0)
    return Times(lease=lease, margin=margin, gap=min(1.5, 0.75 * lease))
