"""site-agent.service: starts the machine's role, says how it is, drains it on order.

One loop, about once a second, that outlives DynamoDB being away: what could not be said is
said later, and an order is carried out when it can be read again.
"""

import importlib
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from hosts.base import aws, followed, metrics
from hosts.base.bundle import folder
from hosts.base.coordination import Coordination, GoneError, State, UnreachableError
from hosts.base.facts import MachineFacts, load
from hosts.base.firewall import Firewall
from hosts.base.followed import Followed
from hosts.base.identity import Identity, identity
from hosts.base.maintenance import Maintenance
from hosts.base.metrics import Exposition, Histogram, Metric
from hosts.base.notify import tell_systemd

log = logging.getLogger("agent")

LOOP = 1.0
"""Seconds between two looks at the machine and at its orders."""
QUICK = 0.25
"""The same while the machine is coming up: somebody is waiting."""
HEARTBEAT = 30.0
"""Seconds after which an unchanged state is reported again."""
AGAIN = 15.0
"""Seconds after which a role that failed to start is started again."""
LENGTH = 1800.0
"""Seconds that the start of a role, and its drain, may take before the agent is taken for dead."""
RELEASE = 8
"""Characters of a digest by which people tell releases apart."""
PATIENCE = 5.0
"""Seconds for which a machine that was ready may be unwell before it says so."""


@dataclass(frozen=True)
class Health:
    """How a role is: ready, on its way, or failed, and what there is to say."""

    state: State
    detail: str = ""
    figures: Mapping[str, object] = field(default_factory=dict[str, object], compare=False)
    """What can be counted, as JSON has it: told with each report, and no reason for one."""


class Role(Protocol):
    """What the agent asks of a role. A folder of `hosts` has one: its module `role`."""

    def start(self) -> None:
        """Brings the role up. May be called again; raises with a clear message."""
        ...

    def health(self) -> Health:
        """How the role is. Quick."""
        ...

    def drain(self) -> None:
        """Takes the role out of service without losing a request; returns when it is out."""
        ...

    def metrics(self) -> Iterable[Metric | Histogram]:
        """What it says of itself to Prometheus, at any time from its making on. Quick."""
        ...


@dataclass(frozen=True)
class Context:
    """What a role is made from."""

    facts: MachineFacts
    options: dict[str, Any]
    identity: Identity
    coordination: Coordination


class Agent:
    """The loop. `step` is one turn of it."""

    def __init__(
        self,
        facts: MachineFacts,
        me: Identity,
        coordination: Coordination,
        role: Role,
        clock: Callable[[], float] = time.monotonic,
        *,
        before: Callable[[], None] = lambda: None,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        """Nothing happens yet. `before` is done each time before the role is started; `trouble` is
        what there is to say of a machine whose role is ready."""
        self._facts = facts
        self._me = me
        self._coordination = coordination
        self._role = role
        self._clock = clock
        self._before = before
        self._trouble = trouble
        # Of application servers: the site's, which comes after the programs of the role.
        self._release = facts.bundles[-1].sha256[:RELEASE] if facts.bundles else ""
        self._started = False
        self._start_at = float("-inf")
        self._registered = False
        self._drained = False
        self._health = Health("booting")
        self._was_ready = False
        self._unwell_since: float | None = None
        self._said: Health | None = None
        self._said_at = float("-inf")

    @property
    def booting(self) -> bool:
        """Whether the machine is on its way up."""
        return self.state == "booting"

    @property
    def state(self) -> State:
        """What the machine is doing."""
        return self._health.state

    def step(self) -> bool:
        """One turn. False when the machine is drained and there is nothing left to do."""
        try:
            order = self._order()
        except GoneError:
            return False
        if order == "drain":
            return self._drain()
        self._look()
        try:
            self._say()
        except GoneError:
            return False
        return True

    def _order(self) -> str:
        try:
            if not self._registered:
                facts, me = self._facts, self._me
                item = self._coordination.register(me.instance, facts.name, facts.role, me.address)
                self._registered = True
                return item.order
            return self._coordination.read(self._me.instance).order
        except UnreachableError as error:
            log.warning("coordination: %s", error)
            return ""

    def _look(self) -> None:
        now = self._clock()
        try:
            if not self._started:
                if now - self._start_at < AGAIN:
                    return
                self._start_at = now
                with at_length():
                    self._before()
                    self._role.start()
                self._started = True
                log.info("started")
            health = self._role.health()
        except Exception as error:  # noqa: BLE001 any of them is the machine's state
            log.error("%s", traceback.format_exc())
            health = Health("failed", f"{type(error).__name__}: {error}")
        if health.state == "ready":
            self._was_ready, self._unwell_since = True, None
            said = (health.detail, self._trouble())
            health = replace(health, detail="\n".join(line for line in said if line))
        elif self._was_ready:
            self._unwell_since = self._unwell_since or now
            if now - self._unwell_since < PATIENCE:
                return
            health = Health("failed", health.detail)
        self._health = health

    def _say(self) -> None:
        now = self._clock()
        if not self._registered:
            return
        if self._health == self._said and now - self._said_at < HEARTBEAT:
            return
        try:
            figures = {"release": self._release, **self._health.figures}
            health = self._health
            self._coordination.report(self._me.instance, health.state, health.detail, figures)
        except UnreachableError as error:
            log.warning("coordination: %s", error)
            return
        if self._health != self._said:
            log.info("%s %s", self._health.state, self._health.detail.partition("\n")[0])
        self._said, self._said_at = self._health, now

    def _drain(self) -> bool:
        try:
            if not self._drained:
                self._health = Health("draining")
                self._say()
                log.info("draining")
                with at_length():
                    self._role.drain()
                self._drained = True
            self._health = Health("drained")
        except GoneError:
            return False
        except Exception as error:  # noqa: BLE001 the operator is told and may go on
            log.error("%s", traceback.format_exc())
            self._health = Health("failed", f"drain: {type(error).__name__}: {error}")
        try:
            self._say()
        except GoneError:
            return False
        # Until it could be said: the operator waits for it.
        return self._said != Health("drained")


@contextmanager
def at_length() -> Generator[None]:
    """For work that takes minutes: systemd's watchdog is as patient meanwhile."""
    usual = os.environ.get("WATCHDOG_USEC")
    if usual:
        tell_systemd(f"WATCHDOG_USEC={LENGTH * 1e6:.0f}")
    try:
        yield
    finally:
        if usual:
            tell_systemd(f"WATCHDOG_USEC={usual}\nWATCHDOG=1")


def create(context: Context) -> Role:
    """The role of this machine, from its folder."""
    module = importlib.import_module(f"hosts.{folder(context.facts.role)}.role")
    return cast(Role, module.create(context))


def in_background(name: str, work: Callable[[], None]) -> None:
    """Runs a role's own loop. If it ends, so does the agent: systemd starts it anew."""

    def target() -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001 whatever it was
            log.critical("%s ended: %s", name, traceback.format_exc())
        os._exit(1)

    threading.Thread(target=target, name=name, daemon=True).start()


def main() -> None:
    """Runs until the machine is drained."""
    logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stdout)
    for name in ("agent", "database", "address", "alerts", "certificate", "secrets", "followed"):
        logging.getLogger(name).setLevel(logging.INFO)
    facts, options = load()
    me = identity()
    coordination = Coordination(aws.dynamodb(facts.region), facts.table)
    firewall = Firewall(facts.resolver)
    path = facts.parameter(followed.path(facts.role))
    follows = Followed(lambda: aws.ssm(facts.region), path, firewall, Maintenance(facts.name))
    role = create(Context(facts, options, me, coordination))

    def behind_its_firewall() -> None:
        firewall.close()
        follows.first()

    agent = Agent(
        facts,
        me,
        coordination,
        role,
        before=behind_its_firewall,
        trouble=lambda: follows.trouble,
    )
    in_background("followed", follows.run)

    def measured() -> Iterable[Metric | Histogram]:
        yield from metrics.machine(facts, me.instance, agent.state, follows.trouble)
        yield from role.metrics()

    def expose() -> None:
        # What listens early is behind the rules that were loaded before there was a network.
        metrics.start_exporter(metrics.NODE_EXPORTER)
        Exposition("agent", measured).run()

    in_background("metrics", expose)
    tell_systemd("READY=1")
    while agent.step():
        tell_systemd("WATCHDOG=1")
        time.sleep(QUICK if agent.booting else LOOP)
    log.info("nothing left to do")
    # Stays, as the unit's state: a drained machine does not start its role again.
    while True:
        tell_systemd("WATCHDOG=1")
        time.sleep(LOOP)


if __name__ == "__main__":
    main()
