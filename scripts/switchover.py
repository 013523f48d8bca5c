"""Make another database machine the primary, while the site runs.

python -m scripts.switchover [--to NAME] [--stack S] [--yes] [--json]
python -m scripts.switchover --force --to NAME

Writes pause, mostly for a fraction of a second. It is checked first, asked to confirm, and shown as
it happens. Exit status: 0 done; 1 refused or failed, nothing changed unless said; 2 not understood,
no such stack, or AWS does not answer.

--force is for when every machine that surely has all acknowledged writes is lost for good: it makes
a replica the primary that was not in sync, or lost power, and loses what that replica has not.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from hosts.base.coordination import Coordination, Machine
from hosts.base.lease import Record, UnreachableError
from hosts.base.lease_table import DynamoTable
from hosts.database.decide import DOES_NOT_START, NOT_COPIED, STARTED_ANEW
from hosts.database.pair import NAME, Pair, machine_of, pair
from scripts import deployed
from scripts.command import DONE, NO, NotDoneError, attempt
from scripts.facts import HEARD

POLL = 0.1
"""Seconds between two looks at the record."""
WITHIN = 30.0
"""Seconds that a change of primary may take before the request is withdrawn."""
FORCED_WITHIN = 90.0
"""The same for a forced one, which may have to wait for mysqld to recover."""
RENEWED_WITHIN = 1.5
"""Seconds, beyond the lease, within which a holder that is alive renews it."""
ABLE = ("ready", "booting", "draining")
"""States of a machine that may lead, or will in a moment."""


class RefusedError(NotDoneError):
    """It is not done, for this reason."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    changed: bool
    before: str
    primary: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Databases:
    """The database machines at one moment."""

    pair: Pair
    record: Record
    machines: tuple[Machine, ...]
    now: float
    """Seconds since the epoch."""

    @property
    def primary(self) -> str:
        """The machine that holds the lease, or held it last."""
        return machine_of(self.pair.holder)

    @property
    def in_sync(self) -> set[str]:
        """The machines that have every acknowledged write."""
        return {machine_of(member) for member in self.pair.in_sync}

    def machine(self, name: str) -> Machine | None:
        """The machine of a name that reported last."""
        return next((machine for machine in self.machines if machine.name == name), None)

    def is_well(self, name: str) -> bool:
        """Whether a machine reports, and reports that it serves or is about to."""
        machine = self.machine(name)
        heard = machine is not None and self.now - machine.updated < HEARD
        return heard and machine is not None and machine.state in ABLE

    def could_lead(self, name: str) -> bool:
        """Whether a machine that is not well, as it is not in sync, could lead all the same."""
        machine = self.machine(name)
        if machine is None or self.now - machine.updated >= HEARD:
            return False
        return not any(reason in machine.detail for reason in (DOES_NOT_START, NOT_COPIED))

    def may_lack_writes(self, name: str) -> bool:
        """Whether a machine says that what it acknowledged last may not be on its disk."""
        machine = self.machine(name)
        return machine is not None and STARTED_ANEW in machine.detail

    def lines(self) -> list[str]:
        """For people: a line for each machine."""
        seen: dict[str, Machine] = {}
        for machine in self.machines:
            seen.setdefault(machine.name, machine)
        rows = [f"{self.pair.mode} replication, generation {self.pair.generation}"]
        for name in sorted({*seen, *self.in_sync}):
            role = "primary" if name == self.primary and not self.pair.released else "replica"
            sync = "in sync" if name in self.in_sync else "not in sync"
            rows.append(f"  {name:<14}{role:<9}{sync:<13}{self._told(seen.get(name))}")
        return rows

    def said(self, name: str) -> str:
        """What a machine reported last, for people."""
        return self._told(self.machine(name))

    def _told(self, machine: Machine | None) -> str:
        if machine is None:
            return "never reported"
        detail = machine.detail.partition("\n")[0]
        ago = self.now - machine.updated
        silent = f" (not heard of for {ago:.0f} s)" if ago >= HEARD else ""
        return f"{machine.state}{f': {detail}' if detail else ''}{silent}"


@dataclass
class Operator:
    """Who asks, and what for."""

    table: DynamoTable
    coordination: Coordination
    say: Callable[[str], None]
    ask: Callable[[str], str]
    line: str = NAME
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    epoch: Callable[[], float] = time.time
    _said: str = field(default="", init=False)

    def switch_over(self, to: str, *, confirmed: bool) -> Outcome:
        """A planned change of primary; `to` may be empty. Raises `RefusedError`."""
        seen = self._look()
        self._show(seen)
        target = choose(seen, to)
        check(seen, target)
        if not self._renewed(seen):
            msg = (
                f"{seen.primary} does not renew its lease: a failover is under way or about to be;"
                " look again in a moment"
            )
            raise RefusedError(msg)
        question = (
            f"Make {target} the primary in place of {seen.primary}? Writes pause, mostly for a"
            " fraction of a second. Type yes: "
        )
        if not confirmed and self.ask(question).strip() != "yes":
            msg = "it was not confirmed: nothing was changed"
            raise RefusedError(msg)
        expected = {"holder": seen.pair.holder, "generation": seen.pair.generation}
        request = {"switchover_to": target, "refused": None}
        if self.table.write(self.line, expected, request) is None:
            msg = "the primary has just changed by itself: nothing was asked for; look again"
            raise RefusedError(msg)
        return self._follow(seen, target, "switchover_to", WITHIN)

    def force(self, to: str) -> Outcome:
        """Makes a machine the primary that may lack acknowledged writes. Raises `RefusedError`."""
        seen = self._look()
        self._show(seen)
        if self._renewed(seen):
            msg = f"{seen.primary} is the primary and alive: nothing has to be forced"
            raise RefusedError(msg)
        check_forced(seen, to)
        lost = ", ".join(sorted(seen.in_sync - {to}))
        question = (
            f"{_lacks(seen, to)} is lost to the site for good, although clients were told that it"
            f" was written. Should {lost} come back, it is made a copy of {to}; what only it has is"
            f" kept aside as a dump first. {lost} must be off, or gone: cut off from the table"
            f" alone it would go on writing. To lose these writes, type {to}: "
        )
        if self.ask(question).strip() != to:
            msg = "it was not confirmed: nothing was changed"
            raise RefusedError(msg)
        expected = {"generation": seen.record.generation, "counter": seen.record.counter}
        if self.table.write(self.line, expected, {"force": to, "refused": None}) is None:
            msg = f"{seen.primary} has just come back: nothing was forced"
            raise RefusedError(msg)
        return self._follow(seen, to, "force", FORCED_WITHIN)

    def _look(self) -> Databases:
        record = self.table.read(self.line)
        if record is None:
            msg = "the databases have not agreed on a primary yet: their first start is under way"
            raise RefusedError(msg)
        machines = tuple(self.coordination.machines("database"))
        return Databases(pair(record), record, machines, self.epoch())

    def _show(self, seen: Databases) -> None:
        for line in seen.lines():
            self.say(line)

    def _renewed(self, seen: Databases) -> bool:
        """Whether the lease is renewed within the time that it lasts."""
        if seen.pair.released:
            return False
        end = self.clock() + seen.record.lease + RENEWED_WITHIN
        while self.clock() < end:
            record = self.table.read(self.line)
            if record is None or record.generation != seen.record.generation:
                return False
            if record.counter != seen.record.counter:
                return not record.released
            self.sleep(POLL)
        return False

    def _follow(self, before: Databases, target: str, request: str, within: float) -> Outcome:
        """Shows what happens until the target leads, or it is said why it does not."""
        began = self.clock()
        try:
            while self.clock() - began < within:
                try:
                    record = self.table.read(self.line)
                except UnreachableError as error:
                    self.say(f"the table does not answer ({error}); asking on")
                    self.sleep(POLL)
                    continue
                now = pair(record) if record else before.pair
                passed = self.clock() - began
                self._tell(now, passed)
                if machine_of(now.holder) == target and not now.released:
                    self.say(f"{target} is the primary after {passed:.1f} s")
                    return Outcome(True, before.primary, target, round(passed, 2))
                why = str(record.extra.get("refused", "")) if record else ""
                if why:
                    return Outcome(False, before.primary, machine_of(now.holder), passed, why)
                if request == "switchover_to" and now.generation > before.pair.generation:
                    why = f"{machine_of(now.holder)} took over first"
                    return Outcome(False, before.primary, machine_of(now.holder), passed, why)
                self.sleep(POLL)
        except KeyboardInterrupt:
            return self._withdraw(before, target, request, "interrupted")
        return self._withdraw(before, target, request, f"it did not happen within {within:.0f} s")

    def _tell(self, now: Pair, passed: float) -> None:
        holder = machine_of(now.holder)
        said = f"{holder} has handed over" if now.released else f"{holder} leads"
        if said != self._said:
            self._said = said
            self.say(f"{passed:6.1f} s  {said}, generation {now.generation}")

    def _withdraw(self, before: Databases, target: str, request: str, why: str) -> Outcome:
        try:
            withdrawn = self.table.write(self.line, {request: target}, {request: None})
        except UnreachableError as error:
            msg = (
                f"{why}, and the request could not be withdrawn ({error}): {target} may still"
                " become the primary; look again when the table answers"
            )
            raise RefusedError(msg) from error
        asked = "the request was withdrawn" if withdrawn else "the request had been taken up"
        record = self.table.read(self.line)
        holder = machine_of(record.holder) if record else before.primary
        return Outcome(holder == target, before.primary, holder, WITHIN, f"{why}: {asked}")


def choose(seen: Databases, to: str) -> str:
    """The machine to change to: the one named, else one that may lead. Raises `RefusedError`."""
    if to:
        return to
    others = sorted(seen.in_sync - {seen.primary})
    if seen.pair.mode == "asynchronous":
        others = sorted({machine.name for machine in seen.machines} - {seen.primary})
    for name in others:
        machine = seen.machine(name)
        if machine and machine.state == "ready" and seen.is_well(name):
            return name
    msg = f"there is no machine to change to: {seen.primary} leads, and no other is ready"
    raise RefusedError(msg)


def check(seen: Databases, target: str) -> None:
    """Raises `RefusedError` unless the target may lead now."""
    machine = seen.machine(target)
    if machine is None:
        names = ", ".join(sorted({machine.name for machine in seen.machines}))
        msg = f"there is no database machine {target}; there are {names or 'none'}"
    elif seen.pair.released:
        msg = f"{seen.primary} has handed over, and nobody leads yet: look again in a moment"
    elif target == seen.primary:
        msg = f"{target} is the primary already"
    elif seen.pair.switchover_to:
        msg = f"a change to {seen.pair.switchover_to} is under way already"
    elif seen.pair.mode == "semi-synchronous" and target not in seen.in_sync:
        msg = f"{target} is not in sync: it may lack writes that clients were told are done"
    elif machine.state != "ready" or not seen.is_well(target):
        msg = f"{target} is not ready to lead, it last said: {machine.state} {machine.detail}"
    else:
        return
    raise RefusedError(msg.strip())


def check_forced(seen: Databases, target: str) -> None:
    """Raises `RefusedError` unless forcing this machine is the only way left."""
    able = sorted(
        name
        for name in seen.in_sync - {target}
        if seen.is_well(name) and not seen.may_lack_writes(name)
    )
    if seen.machine(target) is None:
        names = ", ".join(sorted({machine.name for machine in seen.machines}))
        msg = f"there is no database machine {target}; there are {names or 'none'}"
    elif target in seen.in_sync and not seen.may_lack_writes(target):
        msg = f"{target} is in sync: it takes over by itself, nothing has to be forced"
    elif able:
        msg = (
            f"{able[0]} is in sync and reports: it takes over by itself and loses nothing; if it"
            " is never to come back, delete its instance first"
        )
    elif not seen.could_lead(target):
        msg = f"{target} could not lead; of it is known: {seen.said(target)}"
    else:
        return
    raise RefusedError(msg)


def _lacks(seen: Databases, target: str) -> str:
    """What the target may not have."""
    if target in seen.in_sync:
        return (
            f"{target} started anew since it was in sync: what it acknowledged last and had not"
            " on its disk yet"
        )
    names = ", ".join(sorted(seen.in_sync))
    return (
        f"Only {names} has every acknowledged write. {target} was not in sync: what it had not"
        " received"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.switchover",
        description="Make another database machine the primary, while the site runs.",
    )
    made.add_argument("--to", metavar="NAME", default="", help="the machine that is to lead")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
    made.add_argument(
        "--force",
        action="store_true",
        help="with every machine in sync lost: lead with what --to has, and lose the rest",
    )
    deployed.add_options(made)
    return made


def _arguments(arguments: list[str]) -> argparse.Namespace:
    asked = parser().parse_args(arguments)
    if asked.force and not asked.to:
        parser().error("--force needs --to NAME: which copy of the data is to be the one")
    if asked.json and not asked.force and not asked.yes:
        parser().error("--json asks nothing: give --yes as well")
    return asked


def main(arguments: list[str]) -> int:
    """Does it; the exit status."""
    asked = _arguments(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr if asked.json else sys.stdout, flush=True)

    def ask(question: str) -> str:
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline()

    # Who is ended takes the request back, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)

    def work() -> int:
        where = deployed.find(asked)
        client = where.dynamodb()
        table, coordination = DynamoTable(client, where.table), Coordination(client, where.table)
        operator = Operator(table, coordination, say, ask, where.line)
        if asked.force:
            outcome = operator.force(asked.to)
        else:
            outcome = operator.switch_over(asked.to, confirmed=asked.yes)
        if asked.json:
            print(json.dumps(asdict(outcome)))
        if not outcome.changed:
            print(f"not done: {outcome.reason}", file=sys.stderr)
        return DONE if outcome.changed else NO

    def tell(why: str) -> None:
        if asked.json:
            print(json.dumps({"changed": False, "reason": why}))
        print(f"not done: {why}", file=sys.stderr)

    return attempt(work, tell, interrupted="interrupted before anything was changed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
