"""A site that is well, as facts; tests change what they are about."""

from dataclasses import replace
from typing import Any

from hosts.base.coordination import Machine
from hosts.database.backup.board import Entry
from hosts.database.backup.catalog import Full
from hosts.database.backup.schedule import Settings
from hosts.database.pair import Pair
from scripts.facts import Address, Backups, Facts, Instance
from tests import full_backup

NOW = 1_800_000_000.0
HOUR = 3600.0
ROLES = {"load-balancer": "lb", "app-server": "app", "database": "db"}
SERVED = {
    "10.0.1.1": {"requests": 60, "up": True},
    "10.0.1.2": {"requests": 60, "up": True},
}
FIGURES: dict[str, dict[str, Any]] = {
    "load-balancer": {"release": "aaaaaaaa", "certificate_days": 80.0, "servers": SERVED},
    "app-server": {"release": "bbbbbbbb"},
    "database": {"release": "cccccccc", "lag": 0.02},
}
DETAILS = {
    "load-balancer-1": "certificate: 80 days left",
    "load-balancer-2": "certificate: 80 days left",
    "database-1": "primary",
    "database-2": "replica",
}


def instance(name: str, number: int = 0, **changes: Any) -> Instance:
    """A machine that runs since yesterday."""
    role, _, ordinal = name.rpartition("-")
    third = [*ROLES].index(role)
    values: dict[str, Any] = {
        "id": f"i-{ROLES[role]}{ordinal}{number or ''}",
        "name": name,
        "role": role,
        "state": "running",
        "address": f"10.0.{third}.{ordinal}",
        "zone": "eu-central-1" + "ab"[(int(ordinal) - 1) % 2],
        "launched": NOW - 24 * HOUR,
    }
    return Instance(**{**values, **changes})


def report(name: str, number: int = 0, *, ago: float = 12, **changes: Any) -> Machine:
    """What a machine says that is well."""
    of = instance(name, number)
    values: dict[str, Any] = {
        "id": of.id,
        "name": name,
        "role": of.role,
        "address": of.address,
        "state": "ready",
        "detail": DETAILS.get(name, ""),
        "updated": NOW - ago,
        "order": "",
        "figures": FIGURES[of.role],
    }
    return Machine(**{**values, **changes})


NAMES = [f"{role}-{ordinal}" for role in ROLES for ordinal in (1, 2)]
PAIR = Pair(
    holder="database-1/vol-1",
    generation=7,
    released=False,
    in_sync=frozenset({"database-1/vol-1", "database-2/vol-2"}),
)


def full(age: float = 3 * HOUR, *, good: bool | None = True, detail: str = "as they were") -> Full:
    """A backup of so many seconds ago."""
    return full_backup.full(NOW - age, good=good, detail=detail, id=f"at-{age:.0f}")


SETTINGS = Settings(bucket="b", at="03:00", every=24, ship_every=10.0, verify=True)
BACKUPS = Backups(
    newest=full(), good=full(), shipped=NOW - 20, settings=SETTINGS, last=Entry(outcome="good")
)
WELL = Facts(
    site="site-prod",
    region="eu-central-1",
    now=NOW,
    expected={name: instance(name).id for name in NAMES},
    instances=tuple(instance(name) for name in NAMES),
    reports=tuple(report(name) for name in NAMES),
    addresses=(
        Address(public="203.0.113.1", instance="i-lb1", holder="i-lb1"),
        Address(public="203.0.113.2", instance="i-lb2", holder="i-lb2"),
    ),
    pair=PAIR,
    max_replica_lag=5.0,
    backups=BACKUPS,
)


def with_instance(*changed: Instance, facts: Facts = WELL) -> Facts:
    """Other instances in the place of those of the same name."""
    names = {one.name for one in changed}
    kept = tuple(one for one in facts.instances if one.name not in names)
    return replace(facts, instances=(*kept, *changed))


def with_report(*changed: Machine, facts: Facts = WELL) -> Facts:
    """Other reports in the place of those of the same name."""
    names = {one.name for one in changed}
    kept = tuple(one for one in facts.reports if one.name not in names)
    return replace(facts, reports=(*kept, *changed))


def without(name: str, *, instance: bool = False, report: bool = False) -> Facts:
    """A machine of which EC2, or the table, knows nothing."""
    return replace(
        WELL,
        instances=tuple(one for one in WELL.instances if not (instance and one.name == name)),
        reports=tuple(one for one in WELL.reports if not (report and one.name == name)),
    )
