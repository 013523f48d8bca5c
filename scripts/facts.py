"""What is known of a deployed site at one moment, as plain values. `scripts.look` reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hosts.base.coordination import Machine
from hosts.database.backup.board import Entry
from hosts.database.backup.catalog import Full
from hosts.database.backup.schedule import Settings
from hosts.database.pair import Pair, machine_of

HEARD = 90.0
"""Seconds after which a machine that reports every 30 s counts as away."""
GONE = frozenset({"terminated", "shutting-down"})

_TELLS_FIRST = frozenset({"load-balancer", "database"})
"""Roles whose report begins with a line that is no trouble."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine as EC2 has it."""

    id: str
    name: str
    """As people know it: ``app-server-1``."""
    role: str
    state: str
    """``running``, ``stopped`` …"""
    address: str = ""
    zone: str = ""
    launched: float = 0.0
    """Seconds since the epoch."""
    troubles: tuple[str, ...] = ()
    """What EC2 says is wrong with it, or is going to be: failed checks, planned events."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """One of the site's public addresses."""

    public: str
    instance: str
    """The instance that EC2 leads it to; empty if none."""
    holder: str
    """The instance that holds its lease; empty if nobody does."""
    renewed: bool = True
    """The lease was seen to be renewed."""


@dataclass(frozen=True, kw_only=True)
class Backups:
    """What the bucket holds."""

    newest: Full | None = None
    good: Full | None = None
    """The newest of those that were restored to see whether they can be."""
    shipped: float | None = None
    """Up to when the binary log is there; seconds since the epoch."""
    settings: Settings | None = None
    last: Entry = field(default_factory=Entry)
    """The last order, and what came of it."""


@dataclass(frozen=True)
class Alarm:
    """An alarm that says something is wrong: CloudWatch's, or an alert of the monitoring's own."""

    name: str
    text: str


@dataclass(frozen=True)
class Seen:
    """One machine: what EC2 and what it says itself; one of both may be missing."""

    name: str
    role: str
    id: str
    instance: Instance | None
    report: Machine | None

    @property
    def ready(self) -> bool:
        """It runs, and said so itself."""
        running = self.instance is not None and self.instance.state == "running"
        return running and self.report is not None and self.report.state == "ready"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All of it. Times are in seconds, `now` since the epoch."""

    site: str
    """Project and stack: ``site-prod``."""
    region: str
    now: float
    expected: Mapping[str, str] = field(default_factory=dict[str, str])
    """The machines that the stack has made: name → instance id."""
    instances: tuple[Instance, ...] = ()
    reports: tuple[Machine, ...] = ()
    addresses: tuple[Address, ...] = ()
    pair: Pair | None = None
    """The databases' record; none before their first primary."""
    renewed: bool = True
    """The primary was seen to renew its lease."""
    max_replica_lag: float | None = None
    backups: Backups | None = None
    """None: it is not known where they are."""
    alarms: tuple[Alarm, ...] = ()

    @property
    def machines(self) -> tuple[Seen, ...]:
        """By name; of one name, the one that was made first."""
        reports = {report.id: report for report in self.reports}
        found = [
            Seen(one.name, one.role, one.id, one, reports.pop(one.id, None))
            for one in sorted(self.instances, key=lambda one: one.launched)
            if one.state not in GONE or one.id in reports
        ]
        found += [Seen(one.name, one.role, one.id, None, one) for one in reports.values()]
        return tuple(sorted(found, key=lambda one: one.name))

    def of(self, role: str) -> Iterator[Seen]:
        """The machines of a role."""
        return (machine for machine in self.machines if machine.role == role)

    def name(self, instance: str) -> str:
        """What people call an instance."""
        return next((one.name for one in self.machines if one.id == instance), instance)

    def ago(self, report: Machine) -> float:
        """Seconds since a machine reported."""
        return max(0.0, self.now - report.updated)

    @property
    def primary(self) -> str:
        """The database machine that leads; empty if none does."""
        return machine_of(self.pair.holder) if self.pair and not self.pair.released else ""

    @property
    def in_sync(self) -> frozenset[str]:
        """The database machines that have every acknowledged write."""
        return (
            frozenset(machine_of(member) for member in self.pair.in_sync)
            if self.pair
            else frozenset()
        )

    @property
    def alerts(self) -> tuple[Alarm, ...]:
        """CloudWatch's, and those that the monitoring machine told with its report."""
        own = [
            Alarm(str(alert.get("name", "")), str(alert.get("summary", "")))
            for machine in self.of("monitoring")
            if machine.report
            for alert in machine.report.figures.get("alerts", [])
        ]
        return (*self.alarms, *own)


def trouble(report: Machine) -> str:
    """What a machine that is in service says of what is not well, on one line."""
    lines = report.detail.splitlines()
    return "; ".join(lines[1:] if report.role in _TELLS_FIRST else lines)
