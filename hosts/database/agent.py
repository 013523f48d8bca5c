"""The loop of a database machine: observe, decide, act, several times a second.

What it finds is published to the guard, which answers for it and fences mysqld when this program
is late, so that this program may be restarted at any time.
"""

import contextlib
import faulthandler
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from hosts.base.lease import Times, UnreachableError, boottime
from hosts.base.services import ServiceError
from hosts.database import accounts, fence, process, published, rejoin, replica, report
from hosts.database.decide import Action, Decision, Situation, decide
from hosts.database.knowledge import Knowledge, fenced_since
from hosts.database.lead import Steps
from hosts.database.mysql import MySQLError, local
from hosts.database.pair import Pair, pair
from hosts.database.primary import View
from hosts.database.published import Published
from hosts.database.replica import ActionError

log = logging.getLogger("database")

LOOP = 0.2
"""Seconds between two turns."""
QUICK = 0.05
"""The same while a commit waits, or the lease may be taken."""
BREATH = 0.01
"""The least: whoever waits for a turn to end gets its chance."""
STARTS = 10.0
"""Seconds between two starts of mysqld."""
PREPARING = 30.0
"""Seconds that one statement for the accounts may take."""
STUCK = 9
"""Looks without a turn in between, `BETWEEN` seconds apart: no step should wait as long."""
BETWEEN = 10.0
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
        said = published.read()
        self._opened_at = said.opened_at
        self._maybe_open = said.open
        """mysqld was opened, and has not been seen closed or gone since."""
        self._door_closed = False
        self._copying = False
        self._kept_aside = ""
        self._now = Situation(known.me)
        self._decision = Decision(Action.NOTHING)
        self._said = ""
        self._failure = ""
        self._work: tuple[Action, threading.Thread] | None = None
        self._turns = 0
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
            self._turns += 1
            self._woken.wait(
                max(BREATH, min(QUICK if self._urgent else LOOP, self._until_the_record))
            )
            self._woken.clear()
        threading.Event().wait()

    def watch(self) -> None:
        """Returns when the loop is stuck. A frozen machine's looks are as late as its turns."""
        seen, looks = self._turns, 0
        while looks < STUCK and not self._stopped.wait(BETWEEN):
            looks = looks + 1 if self._turns == seen else 0
            seen = self._turns
        if self._stopped.is_set():
            threading.Event().wait()
        faulthandler.dump_traceback()

    def stop(self) -> None:
        """The loop takes no further step; returns when the last one is done."""
        self._stopped.set()
        with self._turn:
            published.publish(Published(status={"action": "stopped"}))

    def resign(self) -> None:
        """Nobody has to wait for the lease of a stopped agent to end. mysqld must be closed."""
        if self.known.leads:
            with contextlib.suppress(*FAILURES):
                self._steps.release()

    @property
    def between_turns(self) -> AbstractContextManager[object]:
        """In it the loop takes no step."""
        return self._turn

    @property
    def _urgent(self) -> bool:
        mysqld = self.known.seen.mysqld
        return bool(mysqld and mysqld.waiting) or self.known.patience < LOOP

    @property
    def _until_the_record(self) -> float:
        """Seconds until it is looked at again, and the lease renewed: never later than need be, as
        what is left of the lease is the time that an agent has to be started again.
        """
        return max(0.0, self._read_at + self.known.patience - boottime())

    def step(self) -> None:
        """One turn."""
        known = self.known
        if not self._until_the_record:
            self._read_at = boottime()
            known.lease.times = times(known.tunables.lease)
            known.look_at_record()
        began = boottime()
        # What is seen while the data is exchanged says nothing once that is done.
        exchanging = self._works(*DESTRUCTIVE)
        known.look_at_mysqld()
        if not known.read:
            # A program that was started anew: what the one before it published stands.
            return
        self._now = known.situation(draining=self.draining)
        self._decision = decide(self._now)
        self._look_if_open()
        self._publish()
        self._log()
        if not exchanging and not fenced_since(began):
            self._act(self._decision)

    def _look_if_open(self) -> None:
        mysqld = self._now.mysqld
        if mysqld:
            self._maybe_open = mysqld.writable or (self._maybe_open and mysqld.waiting > 0)
        elif self._now.exited or not self._now.running:
            self._maybe_open = False

    # ---- act

    def _act(self, decision: Decision) -> None:
        if self._works(decision.action):
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
            if isinstance(error, UnreachableError):
                # Whether the record was changed has to be read before anything else is decided.
                self.known.reachable = False
                self.wake()
            return
        if decision.action not in (Action.NOTHING, Action.REFUSE):
            self.wake()

    def _do(self, decision: Decision, now: Situation) -> None:  # noqa: PLR0912 a line for each
        match decision.action:
            case Action.START:
                self._start()
            case Action.KILL:
                fence.kill()
                self.known.room.again = False
            case Action.PREPARE:
                with local(PREPARING) as session:
                    accounts.ensure(session, self._schema, self.passwords)
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
                replica.follow(now.primary.address, self.known.replication(), yes=now.awaited)
            case Action.RESUME:
                self.known.deeds.resumes += bool(self.known.seen.apply_error)
                replica.resume(self.known.replication(), yes=now.awaited)
            case Action.ACKNOWLEDGE | Action.KEEP_QUIET:
                yes = decision.action is Action.ACKNOWLEDGE
                replica.acknowledge(self.known.replication(), yes=yes)
                if yes:
                    self.known.boot.begins()
                self.known.peers.poke()
            case Action.COPY if now.primary:
                self._copy(now.primary.address)
            case Action.REBUILD:
                rejoin.empty(self._view().executed)
                self.known.made_anew()
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
                self.known.failsafe.may_be_asynchronous()
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

    def _start(self) -> None:
        deeds = self.known.deeds
        if boottime() - deeds.started_at >= STARTS:
            deeds.starts += 1
            deeds.started_at = boottime()
            process.start()

    def _release(self) -> None:
        self._close_door()
        fence.kill()
        self.known.deeds.released_at = boottime()
        self._steps.release()

    def _switch_over(self, record: Pair, member: str) -> None:
        try:
            self._steps.switch_over(record, member)
            self.known.deeds.released_at = boottime()
        except FAILURES as error:
            self.known.deeds.failed_to_hand_over = boottime()
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

    def _view(self) -> View:
        view = self.known.primary.view
        if view is None:
            message = "the primary does not say what it has"
            raise ActionError(message)
        return view

    def _copy_from(self, address: str) -> None:
        view = self._view()
        if view.missing and view.missing != self._kept_aside:
            # Once, however often the copy is tried: earlier dumps would make room for it.
            rejoin.keep_aside(view.missing)
            self._kept_aside = view.missing
        replica.copy(address, self.known.replication())

    # ---- tell

    def _close_door(self) -> None:
        """Clients are sent away at once; mysqld stays under watch until it is closed."""
        self._door_closed = True
        self._publish()

    def _publish_open(self, *, serving: bool) -> None:
        if not serving:
            self._opened_at = boottime()
        self._door_closed, self._maybe_open = False, True
        published.publish(
            Published(
                role="primary",
                open=True,
                opened_at=self._opened_at,
                deadline=self.known.lease.deadline,
                serving=serving and self.known.ready,
                status=self.status(),
            )
        )

    def _publish(self) -> None:
        published.publish(
            report.to_guard(
                self.known,
                self._now,
                maybe_open=self._maybe_open,
                copying=self._works(*DESTRUCTIVE) or self._now.half_copied,
                door_closed=self._door_closed,
                opened_at=self._opened_at,
                status=self.status(),
            )
        )

    def _log(self) -> None:
        said = report.line(self._decision, self._now.pair)
        if said != self._said:
            self._said = said
            log.info("%s", said)

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
    def follows(self) -> bool:
        """Whether this machine applies what the primary writes, however far behind it is."""
        seen = self.known.seen
        return seen.follows and boottime() < seen.at + report.STALE

    @property
    def may_go(self) -> bool:
        """Whether nobody relies on this machine: another leads, and waits for it no more."""
        record, me = self.known.pair, self.known.me
        if record is None:
            return True
        if self.known.leads:
            return not record.others(me) and not self.known.has_followers()
        return me not in record.in_sync

    def for_peers(self) -> dict[str, Any]:
        """See `report.to_peers`."""
        return report.to_peers(self.known, self._now, copying=self._copying)

    def status(self) -> dict[str, Any]:
        """See `report.status`."""
        return report.status(self.known, self._now, self._decision, self.trouble())

    def trouble(self) -> str:
        """See `report.trouble`."""
        return report.trouble(self.known, self._decision, self._failure)


def times(lease: float) -> Times:
    """A lease with its margin: a fence takes up to a second, more time than two is wasted."""
    margin = min(max(lease / 3, 1.0), 2.0)
    return Times(lease=lease, margin=margin, gap=min(1.5, 0.75 * lease))
