"""The course of a drill: a fault is injected, stays, is undone, and the site is waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base import coordination
from hosts.database.backup.store import StoreError
from scripts.command import NotDoneError
from scripts.commands import Commands
from scripts.facts import Facts, Seen
from scripts.faults import SOON, Fault
from scripts.findings import findings
from scripts.seen import Event

EVERY = 1.0
"""Seconds between two looks at the site; a look itself takes about as long."""
WITHIN = 600.0
"""Seconds after which the site should be well again."""
AWAY = (BotoCoreError, ClientError, StoreError, coordination.UnreachableError)


class Looks(Protocol):
    """`scripts.look.Looker`."""

    def look(self) -> Facts:
        """The facts of now."""
        ...


@dataclass
class Director:
    """Makes a fault happen, and unhappen."""

    ec2: Any
    commands: Commands
    seconds: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def inject(self, fault: Fault, instance: str) -> None:
        """Raises `NotDoneError` if it did not happen."""
        if fault.by_ec2:
            self.ec2.stop_instances(InstanceIds=[instance])
            return
        script = fault.script.format(seconds=round(self.seconds))
        ended = self.commands.run(instance, script)
        if ended.status:
            raise NotDoneError(f"the machine did not do it: {ended.err.strip() or ended.status}")

    def undo(self, fault: Fault, instance: str) -> None:
        """Takes it back; may be called for what never happened. Raises `NotDoneError`."""
        if fault.by_ec2:
            self._start(instance)
        elif fault.undo:
            self.commands.run(instance, fault.undo)

    def _start(self, instance: str) -> None:
        end = self.clock() + WITHIN
        # One that is stopping cannot be started yet.
        while (state := self._state(instance)) == "stopping" and self.clock() < end:
            self.sleep(EVERY)
        if state == "stopped":
            self.ec2.start_instances(InstanceIds=[instance])
        elif state != "running":
            raise NotDoneError(f"{instance} is {state}, and cannot be started")

    def _state(self, instance: str) -> str:
        answer = self.ec2.describe_instances(InstanceIds=[instance])
        return answer["Reservations"][0]["Instances"][0]["State"]["Name"]


@dataclass
class Watch:
    """What of the site changes meanwhile, as events, and whether all is well."""

    looker: Looks
    now: Callable[[], float]
    """Seconds since the first visitor."""
    say: Callable[[str], None]
    events: list[Event] = field(default_factory=list[Event])
    wrong: tuple[str, ...] = ()
    primary: str = ""
    facts: Facts | None = None
    """As last seen."""
    _places: dict[str, str] = field(default_factory=dict[str, str])

    def note(self, what: str) -> None:
        """Something happened."""
        event = Event(self.now(), what)
        self.events.append(event)
        self.say(f"{event.at:6.1f} s  {what}")

    def look(self) -> bool:
        """One look; whether all is well. An AWS that does not answer is not."""
        try:
            facts = self.facts = self.looker.look()
        except AWAY as error:
            self.say(f"AWS does not answer: {error}")
            return False
        if self.primary and facts.primary not in ("", self.primary):
            self.note(f"{facts.primary} is the primary")
        self.primary = facts.primary or self.primary
        for address in facts.addresses:
            place = facts.name(address.instance)
            if address.instance and self._places.setdefault(address.public, place) != place:
                self.note(f"{address.public} leads to {place}")
                self._places[address.public] = place
        wrong = tuple(finding.what for finding in findings(facts))
        if bool(wrong) != bool(self.wrong):
            self.note(f"seen: {wrong[0]}" if wrong else "all is well again")
        self.wrong = wrong
        return not wrong


@dataclass
class Course:
    """One drill from beginning to end."""

    watch: Watch
    director: Director
    fault: Fault
    machine: Seen
    seconds: float
    within: float = WITHIN
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> str:
        """Why the site is not well again in time; empty if it is. The fault is undone, whatever
        comes: Ctrl-C as well."""
        what = self.fault.what.format(machine=self.machine.name)
        try:
            self.watch.note(f"now: {what}")
            self.director.inject(self.fault, self.machine.id)
            if self.fault.lasts:
                self._stay(self.seconds + (SOON if self.fault.ends_itself else 0))
        finally:
            self._undo()
        return self._mend()

    def _stay(self, seconds: float) -> None:
        end = self.clock() + seconds
        while (left := end - self.clock()) > 0:
            self.watch.look()
            self.sleep(min(EVERY, max(0.0, min(left, end - self.clock()))))

    def _undo(self) -> None:
        if not self.fault.lasts:
            return
        self.watch.note("it is over" if self.fault.ends_itself else "it is undone")
        try:
            self.director.undo(self.fault, self.machine.id)
        except NotDoneError as error:
            # A machine that was replaced, or mended itself by starting anew, has nothing to undo.
            self.watch.say(f"not undone: {error}")

    def _mend(self) -> str:
        # What the machine said before may be of a time when nobody had noticed yet.
        before, began = self._reported(), self.clock()
        while self.clock() - began < self.within:
            if self.watch.look() and self._reported() != before:
                return ""
            self.sleep(EVERY)
        why = "; ".join(self.watch.wrong) or f"{self.machine.name} did not report again"
        return f"not well again within {self.within:.0f} s: {why}"

    def _reported(self) -> float | None:
        """When the machine spoke last, on its own clock."""
        known = self.watch.facts.machines if self.watch.facts else (self.machine,)
        return next(
            (one.report.updated for one in known if one.id == self.machine.id and one.report), None
        )
