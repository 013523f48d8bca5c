"""What a game day can do to a site: to which machine, how, and how it is undone.

A machine is stopped by EC2; what happens inside one is a shell script of Run Command's. A machine
that is cut off lets itself in again: nobody could tell it to.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hosts.app_server.role import UNIT as APPLICATION
from hosts.database.observe import UNIT as MYSQLD
from hosts.load_balancer.pulse import UNIT as HAPROXY
from scripts.command import NotDoneError
from scripts.facts import Facts, Seen

SOON = 2
"""Seconds after which a machine is cut off: Run Command has to say first that it was told."""
_TABLE = "inet drill"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    what: str
    """What happens, with a place for the ``{machine}``."""
    role: str
    pick: Callable[[Facts], Iterator[Seen]]
    """The machines that it is about, the most telling one first."""
    script: str = ""
    """What is run in the machine; empty: EC2 stops it. ``{seconds}`` is how long it is to last."""
    undo: str = ""
    """What is run in the machine in the end."""
    lasts: bool = True
    """It goes on until it is undone; else the machine mends it by itself at once."""

    @property
    def by_ec2(self) -> bool:
        """The machine is stopped, and started again."""
        return not self.script

    @property
    def ends_itself(self) -> bool:
        """It lasts as long as it was told to."""
        return "{seconds}" in self.script


def _signal(unit: str, name: str) -> str:
    return f"systemctl kill --signal={name} {unit}"


def _cut_off() -> str:
    """Every packet is dropped, in silence, but the machine's to itself."""
    rules = "; ".join(
        (
            f"add table {_TABLE}",
            f"add chain {_TABLE} in {{ type filter hook input priority -400; policy drop; }}",
            f"add chain {_TABLE} out {{ type filter hook output priority -400; policy drop; }}",
            f"add rule {_TABLE} in iif lo accept",
            f"add rule {_TABLE} out oif lo accept",
        )
    )
    timer = "systemd-run --quiet --collect --timer-property=AccuracySec=100ms"
    # First what ends it: it must not depend on anything that comes later.
    return (
        f"set -e; {timer} --unit=drill-ends --on-active=$(({SOON} + {{seconds}}))"
        f" nft delete table {_TABLE}; {timer} --unit=drill-begins --on-active={SOON}"
        f" nft '{rules.replace('{', '{{').replace('}', '}}')}'"
    )


def _primary(facts: Facts) -> Iterator[Seen]:
    return (one for one in facts.of("database") if one.name == facts.primary)


def _replicas(facts: Facts) -> Iterator[Seen]:
    return (
        one
        for one in facts.of("database")
        if one.name != facts.primary and one.name in facts.in_sync
    )


def _balancers(facts: Facts) -> Iterator[Seen]:
    """Those that clients reach."""
    holders = {address.instance for address in facts.addresses}
    return (one for one in facts.of("load-balancer") if one.id in holders)


def _servers(facts: Facts) -> Iterator[Seen]:
    return facts.of("app-server")


def _program(
    role: str, pick: Callable[[Facts], Iterator[Seen]], name: str, unit: str
) -> tuple[Fault, ...]:
    """What can happen to the program that a machine is there for."""
    return (
        Fault(
            f"{name}-killed",
            f"{name} is killed on {{machine}}",
            role,
            pick,
            _signal(unit, "KILL"),
            lasts=False,
        ),
        Fault(
            f"{name}-hangs",
            f"{name} stands still on {{machine}}: its port is open, and nobody answers",
            role,
            pick,
            _signal(unit, "STOP"),
            _signal(unit, "CONT"),
        ),
    )


def _machine(role: str, pick: Callable[[Facts], Iterator[Seen]], name: str) -> tuple[Fault, ...]:
    """What can happen to any machine."""
    return (
        Fault(f"{name}-stopped", "EC2 stops {machine}, and starts it again", role, pick),
        Fault(f"{name}-cut-off", "{machine} loses its network, in silence", role, pick, _cut_off()),
    )


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        *_program("load-balancer", _balancers, "haproxy", HAPROXY),
        *_machine("load-balancer", _balancers, "load-balancer"),
        *_program("app-server", _servers, "application", APPLICATION),
        *_machine("app-server", _servers, "app-server"),
        *_program("database", _primary, "mysqld", MYSQLD),
        *_machine("database", _primary, "primary"),
        *_machine("database", _replicas, "replica"),
    )
}


def victim(facts: Facts, fault: Fault, name: str = "") -> Seen:
    """The machine that it happens to: the one named, else the first. Raises `NotDoneError`."""
    able = list(fault.pick(facts))
    if not name and able:
        return able[0]
    for one in able:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in able) or "none"
    raise NotDoneError(f"{fault.name} cannot happen to {name or 'any machine'}; it can to: {names}")


def check(facts: Facts, wrong: list[str], fault: Fault) -> None:
    """Raises `NotDoneError` unless the site can take it: all is well, and there is another one."""
    if wrong:
        raise NotDoneError(
            f"the site is not well, and would not take it: {wrong[0]}"
            + (f" (and {len(wrong) - 1} more: `python -m scripts.status`)" if wrong[1:] else "")
        )
    ready = [one.name for one in facts.of(fault.role) if one.ready]
    if len(ready) < 2:  # noqa: PLR2004 one that fails, and one that takes over
        raise NotDoneError(
            f"there is no second {fault.role} that could take over: {', '.join(ready) or 'none'}"
        )
    if fault.role == "database" and facts.pair and facts.pair.mode == "asynchronous":
        raise NotDoneError(
            "database.replication is asynchronous: a failover may lose what clients were told is"
            " done, and a drill must not"
        )


def by_lot(facts: Facts, wrong: list[str]) -> Fault:
    """One of the faults that the site can take; if there is none, any."""
    able: list[Fault] = []
    for fault in FAULTS.values():
        with contextlib.suppress(NotDoneError):
            check(facts, wrong, fault)
            victim(facts, fault)
            able.append(fault)
    return random.choice(able or [*FAULTS.values()])  # noqa: S311 a lot, no secret
