"""The alerts, by promtool: each fires on its fault and on no other, and ends after it.

A site that is well for ten minutes, not well for ten, and well again for ten, by what its machines
would say. Times are seconds since the epoch, which promtool begins with.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import image

pytestmark = pytest.mark.usefixtures("machine_image")

RULES = Path("hosts/monitoring/rules/site.yml")
RUNBOOKS = Path("docs/operations.md")
PANELS = Path("hosts/monitoring/page/panels.json")
STEP = 10
PART = 60
"""Samples of each of the three parts, `STEP` seconds apart."""
WELL_AT, FAULT_AT, AFTER_AT = (STEP * PART * part - STEP for part in (1, 2, 3))
"""The end of each."""

MACHINES = {
    "load-balancer-1": "10.0.0.1",
    "load-balancer-2": "10.0.0.2",
    "app-server-1": "10.0.0.3",
    "app-server-2": "10.0.0.4",
    "database-1": "10.0.0.5",
    "database-2": "10.0.0.6",
    "monitoring-1": "10.0.0.7",
}
DAY = 86400


@dataclass(frozen=True)
class Series:
    """What is measured each `STEP` seconds: a value, and how much it grows in a second."""

    value: float
    growth: float = 0
    absent: bool = False
    goes_on: bool = False
    """From where it was: a counter."""
    samples: int = 3 * PART
    """After so many it is gone for good."""

    def at(self, step: int) -> float:
        """So many steps on."""
        return self.value + self.growth * STEP * step


ABSENT = Series(0, absent=True)


def growing(rate: float) -> Series:
    """A counter that counts at another rate from now on."""
    return Series(0, rate, goes_on=True)


def of(machine: str, metric: str, /, **labels: str) -> str:
    """A series of a machine, in promtool's words."""
    role = machine.rpartition("-")[0]
    every = {"instance": MACHINES[machine], "role": role, "job": "node", **labels}
    inside = ",".join(f'{key}="{value}"' for key, value in every.items())
    return f"{metric}{{{inside}}}"


def certified(machine: str, which: str, begins: float, ends: float) -> dict[str, Series]:
    """A certificate of a machine."""
    return {
        of(machine, f"site_certificate_{name}_timestamp_seconds", certificate=which): Series(at)
        for name, at in (("begins", begins), ("ends", ends))
    }


def response(balancer: str, code: str) -> str:
    """A load balancer's answers to clients."""
    labels = {"proxy": "encrypted", "code": code, "job": "load-balancer"}
    return of(f"load-balancer-{balancer}", "haproxy_frontend_http_responses_total", **labels)


def zone(number: str) -> dict[str, Series]:
    """Of one load balancer, one application server and one database machine."""
    found: dict[str, Series] = {}
    balancer, server, database = (
        f"{role}-{number}" for role in ("load-balancer", "app-server", "database")
    )
    edge = {"job": "load-balancer"}
    found[of(balancer, "up", **edge)] = Series(1)
    for address in ("1", "2"):
        held = of(balancer, "site_address_held", address=f"eipalloc-{address}")
        found[held] = Series(float(address == number))
    found[of(balancer, "haproxy_backend_active_servers", proxy="app-servers", **edge)] = Series(2)
    for slot in ("slot-1", "slot-2"):
        labels = {"proxy": "app-servers", "server": slot, "state": "DOWN", **edge}
        found[of(balancer, "haproxy_server_status", **labels)] = Series(0)
    for code, rate in (("2xx", 100), ("5xx", 0)):
        found[response(number, code)] = Series(0, rate)
    for bound in ("0.1", "1", "5", "+Inf"):
        bucket = of(server, "site_application_request_seconds_bucket", le=bound)
        found[bucket] = Series(0, 10)
    found[of(server, "site_application_request_seconds_count")] = Series(0, 10)
    found[of(balancer, "haproxy_frontend_current_sessions", proxy="encrypted", **edge)] = Series(12)
    queries = of(database, "mysql_global_status_queries", job="mysqld")
    found[queries] = Series(0, 500)
    found[of(server, "up", job="way-to-database")] = Series(1)
    for machine, which, days in (
        (balancer, "edge", 60),
        (server, "app-server", 60),
        (database, "database", 400),
    ):
        found |= certified(machine, which, -30 * DAY, days * DAY)
    leads = number == "1"
    found[of(database, "site_database_primary")] = Series(float(leads))
    found[of(database, "site_database_replica")] = Series(float(not leads))
    found[of(database, "site_database_in_sync")] = Series(1)
    found[of(database, "site_database_semi_synchronous")] = Series(1)
    found[of(database, "site_database_lag_seconds")] = Series(0 if leads else 0.2)
    found[of(database, "site_database_max_replica_lag_seconds")] = Series(5)
    found[of(database, "site_database_table_reachable")] = Series(1)
    found[of(database, "up", job="mysqld")] = Series(1)
    found[of(database, "mysql_up", job="mysqld")] = Series(1)
    found[of(database, "site_backup_duty")] = Series(float(not leads))
    return found


def well() -> dict[str, Series]:
    """All that the rules ask for, of a site in which nothing is wrong."""
    found: dict[str, Series] = {}
    for machine in MACHINES:
        ext4 = {"fstype": "ext4", "mountpoint": "/", "device": "/dev/nvme0n1"}
        found[of(machine, "up")] = Series(1)
        found[of(machine, "site_machine_info", machine=machine, instance_id="i-1")] = Series(1)
        found[of(machine, "site_machine_trouble")] = Series(0)
        found[of(machine, "site_machine_state", state="ready")] = Series(1)
        found[of(machine, "site_machine_state", state="failed")] = Series(0)
        found[of(machine, "site_machine_state", state="draining")] = Series(0)
        found[of(machine, "site_machine_state", state="drained")] = Series(0)
        file = "/run/site/metrics/agent.prom"
        found[of(machine, "node_textfile_mtime_seconds", file=file)] = Series(0, 1)
        found[of(machine, "node_filesystem_avail_bytes", **ext4)] = Series(8e9)
        found[of(machine, "node_filesystem_size_bytes", **ext4)] = Series(10e9)
        found[of(machine, "node_cpu_seconds_total", mode="idle", cpu="0")] = Series(0, 0.9)
    for number in ("1", "2"):
        found |= zone(number)
    # Who had the address before: for a while both are known by it.
    former = of("app-server-1", "site_machine_info", machine="app-server-0", instance_id="i-0")
    found[former] = Series(1, samples=PART // 2)
    file = "/run/site/metrics/backup.prom"
    for database in ("database-1", "database-2"):
        found[of(database, "node_textfile_mtime_seconds", file=file)] = Series(0, 1)
    found[of("database-2", "site_backup_every_seconds")] = Series(DAY)
    found[of("database-2", "site_backup_ship_every_seconds")] = Series(30)
    found[of("database-2", "site_backup_verifies")] = Series(1)
    found[of("database-2", "site_backup_broken")] = Series(0)
    found[of("database-2", "site_backup_full_timestamp_seconds")] = Series(-DAY)
    found[of("database-2", "site_backup_verified_timestamp_seconds")] = Series(-DAY)
    found[of("database-2", "site_backup_shipped_timestamp_seconds")] = Series(0, 1)
    found[of("monitoring-1", "up", job="alertmanager", instance="127.0.0.1:9093")] = Series(1)
    found[of("monitoring-1", "site_notifications_failed_total")] = Series(0)
    found[of("monitoring-1", "alertmanager_notifications_failed_total")] = Series(0)
    return found


def gone(machine: str) -> dict[str, Series]:
    """What Prometheus sees of a machine that does not answer."""
    address = f'instance="{MACHINES[machine]}"'
    mine = {series for series in well() if address in series}
    return {series: Series(0) if series.startswith("up{") else ABSENT for series in mine}


def silent(machine: str, program: str = "agent") -> dict[str, Series]:
    """What Prometheus sees of a program that ended: what it said last, for ever."""
    file = f"/run/site/metrics/{program}.prom"
    return {of(machine, "node_textfile_mtime_seconds", file=file): Series(0)}


@dataclass(frozen=True)
class Fault:
    """What is measured while it lasts, and what is said of it."""

    series: dict[str, Series]
    says: str
    """The alert's description."""
    also: frozenset[str] = field(default_factory=frozenset[str])
    """Others that are right to fire as well."""


FAULTS: dict[str, Fault] = {
    "MachineNotReporting": Fault(gone("app-server-2"), "app-server-2 at 10.0.0.4, role app-server"),
    "MachineFailed": Fault(
        {of("app-server-1", "site_machine_state", state="failed"): Series(1)},
        "app-server-1 at 10.0.0.3",
    ),
    "MachineTrouble": Fault(
        {of("app-server-1", "site_machine_trouble"): Series(1)},
        "app-server-1 at 10.0.0.3: its firewall or its updates stay as they were",
    ),
    "AgentSilent": Fault(
        silent("app-server-1"),
        "app-server-1 at 10.0.0.3: for 19m 50s",
    ),
    "ExporterSilent": Fault(
        {of("load-balancer-1", "up", job="load-balancer"): Series(0)},
        "load-balancer at 10.0.0.1",
    ),
    "DiskWillFill": Fault(
        {
            of(
                "database-1",
                "node_filesystem_avail_bytes",
                fstype="ext4",
                mountpoint="/",
                device="/dev/nvme0n1",
            ): Series(4e9, -2e6)
        },
        "/ of database-1 at 10.0.0.5",
    ),
    "DiskAlmostFull": Fault(
        {
            of(
                "database-1",
                "node_filesystem_avail_bytes",
                fstype="ext4",
                mountpoint="/",
                device="/dev/nvme0n1",
            ): Series(5e8)
        },
        "/ of database-1 at 10.0.0.5: 5% left",
        frozenset({"DiskWillFill"}),
    ),
    "CertificateEnding": Fault(
        {
            of(
                "load-balancer-1", "site_certificate_ends_timestamp_seconds", certificate="edge"
            ): Series(3 * DAY + FAULT_AT)
        },
        "the edge certificate of load-balancer-1: 3d 0h 0m 0s left",
    ),
    "AddressWithoutHolder": Fault(
        {of("load-balancer-2", "site_address_held", address="eipalloc-2"): Series(0)},
        "eipalloc-2: no load balancer has it",
    ),
    "NoApplicationServer": Fault(
        {
            of(
                "load-balancer-1",
                "haproxy_backend_active_servers",
                proxy="app-servers",
                job="load-balancer",
            ): Series(0)
        },
        "load-balancer-1 at 10.0.0.1",
    ),
    "ApplicationServerEjected": Fault(
        {
            of(
                "load-balancer-1",
                "haproxy_server_status",
                proxy="app-servers",
                server="slot-2",
                state="DOWN",
                job="load-balancer",
            ): Series(1)
        },
        "slot-2 as load-balancer-1 sees it",
    ),
    "ErrorRate": Fault(
        {response("1", "5xx"): growing(50)},
        "20% of all answers are 5xx",
    ),
    "SlowAnswers": Fault(
        {
            of("app-server-1", "site_application_request_seconds_bucket", le="0.1"): Series(6000),
            of("app-server-1", "site_application_request_seconds_bucket", le="1"): Series(6000),
        },
        "one request in a hundred takes longer than 4.92s",
    ),
    "DatabaseNoPrimary": Fault(
        {of("database-1", "site_database_primary"): Series(0)},
        "of 2 machines none says that it leads",
    ),
    "DatabaseTwoPrimaries": Fault(
        {of("database-2", "site_database_primary"): Series(1)},
        "2 of them",
    ),
    "DatabaseReplicaLost": Fault(
        {of("database-2", "site_database_replica"): Series(0)},
        "1 fewer than there should be",
    ),
    "DatabaseReplicaLagging": Fault(
        {of("database-2", "site_database_lag_seconds"): Series(90)},
        "database-2 at 10.0.0.6: 1m 30s behind",
    ),
    "DatabaseNotInSync": Fault(
        {of("database-2", "site_database_in_sync"): Series(0)},
        "1 in sync",
    ),
    "LeaseTableUnreachable": Fault(
        {of("database-2", "site_database_table_reachable"): Series(0)},
        "database-2 at 10.0.0.6",
    ),
    "MysqldDown": Fault(
        {of("database-2", "mysql_up", job="mysqld"): Series(0)},
        "database-2 at 10.0.0.6",
    ),
    "BackupTooOld": Fault(
        {of("database-2", "site_backup_full_timestamp_seconds"): Series(FAULT_AT - 2 * DAY)},
        "it is 2d 0h 0m 0s old",
    ),
    "BackupUnverified": Fault(
        {of("database-2", "site_backup_broken"): Series(1)},
        "no backup of the last two periods was restored to try it, or the newest one failed",
    ),
    "BackupNotShipped": Fault(
        {of("database-2", "site_backup_shipped_timestamp_seconds"): Series(FAULT_AT - 600)},
        "for 10m 0s: so much would be lost if all database machines' volumes were",
    ),
    "NobodyBacksUp": Fault(
        {of("database-2", "site_backup_duty"): Series(0)},
        "of 2 database machines none says that it is its turn",
    ),
    "NotificationsFailing": Fault(
        {of("monitoring-1", "site_notifications_failed_total"): growing(1)},
        "300 messages in five minutes",
    ),
}

MORE: dict[str, tuple[dict[str, Series], set[str]]] = {
    "the agent of the primary ended, and the other machine leads": (
        {
            **silent("database-1"),
            of("database-2", "site_database_primary"): Series(1),
            of("database-2", "site_database_replica"): Series(0),
        },
        {"AgentSilent", "DatabaseReplicaLost", "DatabaseNotInSync"},
    ),
    "the agent of the primary ended, and nobody leads": (
        silent("database-1"),
        {"AgentSilent", "DatabaseNoPrimary", "DatabaseNotInSync"},
    ),
    "the agent of a load balancer ended, and nobody has its address": (
        silent("load-balancer-2"),
        {"AgentSilent", "AddressWithoutHolder"},
    ),
    "the program that backs up ended": (silent("database-2", "backup"), {"NobodyBacksUp"}),
    "one request of few failed": (
        {
            response("1", "2xx"): growing(0.1),
            response("2", "2xx"): growing(0.1),
            response("1", "5xx"): growing(0.02),
        },
        set(),
    ),
    "a replica that only lags": (
        {of("database-2", "site_database_lag_seconds"): Series(90)},
        {"DatabaseReplicaLagging"},
    ),
    "nobody can say which backups there are": (
        {of("database-2", "site_backup_full_timestamp_seconds"): ABSENT},
        {"BackupTooOld"},
    ),
    "a certificate of six days is half way through": (
        certified("load-balancer-1", "edge", -3 * DAY, 3 * DAY),
        set(),
    ),
    "a certificate of six days was not renewed": (
        certified("load-balancer-1", "edge", -5 * DAY, DAY),
        {"CertificateEnding"},
    ),
    "the log is to be shipped each hour": (
        {
            of("database-2", "site_backup_shipped_timestamp_seconds"): Series(FAULT_AT - 600),
            of("database-2", "site_backup_ship_every_seconds"): Series(3600),
        },
        set(),
    ),
    "a machine was about to drain when it was last asked": (
        {
            **gone("database-2"),
            of("database-2", "site_machine_state", state="draining"): Series(1),
        },
        {"DatabaseReplicaLost", "DatabaseNotInSync", "NobodyBacksUp"},
    ),
    "a drained machine went": (
        {
            **gone("app-server-2"),
            of("app-server-2", "site_machine_state", state="drained"): Series(1),
        },
        set(),
    ),
    "a replica's machine is lost": (
        gone("database-2"),
        {
            *("MachineNotReporting", "DatabaseReplicaLost", "DatabaseNotInSync"),
            "NobodyBacksUp",
        },
    ),
    "all load balancers are lost": (
        {**gone("load-balancer-1"), **gone("load-balancer-2")},
        {"MachineNotReporting", "AddressWithoutHolder"},
    ),
    "all databases are lost": (
        {**gone("database-1"), **gone("database-2")},
        {"MachineNotReporting", "DatabaseNoPrimary", "DatabaseReplicaLost", "NobodyBacksUp"},
    ),
    "backups are not tried any more": (
        {of("database-2", "site_backup_verified_timestamp_seconds"): Series(-3 * DAY)},
        {"BackupUnverified"},
    ),
    "there never was a backup": (
        {of("database-2", "site_backup_full_timestamp_seconds"): Series(-2e9)},
        {"BackupTooOld"},
    ),
}


def rules() -> dict[str, dict[str, Any]]:
    """The alerts by their names."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_a_fault_and_a_runbook() -> None:
    assert set(FAULTS) == set(rules()) - {"Watchdog"}
    sections = [line[4:] for line in RUNBOOKS.read_text().splitlines() if line.startswith("### ")]
    for name in FAULTS:
        assert rules()[name]["annotations"]["runbook"] == f"{RUNBOOKS}#{name.lower()}"
        assert name in sections, "what to do when it fires"


def samples(well: Series, fault: Series | None) -> str:
    """All three parts, as promtool reads them."""
    found: list[str] = []
    value = well.value
    for step in range(3 * PART):
        now = fault if fault and PART <= step < 2 * PART else well
        goes_on = fault is not None and fault.goes_on
        value = (
            value + now.growth * STEP if goes_on else now.at(step % PART if now is fault else step)
        )
        absent = now.absent or step >= well.samples
        found.append("_" if absent else f"{value:g}" if value < 1e5 else f"{value:.0f}")
    return " ".join(found)


def scenario(name: str, changes: dict[str, Series], expected: set[str]) -> dict[str, Any]:
    """One test of promtool's: what fires at the end of each part, and nothing else."""
    site = well()
    assert set(changes) <= set(site), name

    def at(time: int, names: set[str]) -> dict[str, Any]:
        return {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
            "eval_time": f"{time}s",
            "exp_samples": [
                {"labels": f'{{alertname="{one}"}}', "value": 1} for one in sorted(names)
            ],
        }

    return {
        "name": name,
        "interval": f"{STEP}s",
        "input_series": [
            {"series": series, "values": samples(found, changes.get(series))}
            for series, found in site.items()
        ],
        "promql_expr_test": [
            at(WELL_AT, {"Watchdog"}),
            at(FAULT_AT, {"Watchdog", *expected}),
            at(AFTER_AT, {"Watchdog"}),
        ],
    }


def promtool(folder: Path, tests: list[dict[str, Any]]) -> tuple[int, str]:
    """Runs tests of rules; its status, and what it said."""
    content = {
        "rule_files": ["/srv/rules.yml"],
        "evaluation_interval": f"{STEP}s",
        "tests": tests,
    }
    file = folder / "test.json"
    file.write_text(json.dumps(content))
    binds = {RULES: "/srv/rules.yml", file: "/srv/test.json"}
    done = image.run(["promtool", "test", "rules", "/srv/test.json"], binds, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_each_alert_fires_on_its_fault_alone_and_ends_after_it(tmp_path: Path) -> None:
    tests = [scenario(name, f.series, {name, *f.also}) for name, f in FAULTS.items()]
    tests += [scenario(name, series, names) for name, (series, names) in MORE.items()]
    status, said = promtool(tmp_path, tests)
    assert status == 0, said


def test_a_site_that_is_well_is_not_said_to_have_a_fault(tmp_path: Path) -> None:
    status, said = promtool(tmp_path, [scenario("well", {}, {"MachineFailed"})])
    assert status != 0, "promtool finds nothing wrong with anything"
    assert "MachineFailed" in said


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All alerts at the end of their faults: promtool, told to expect none, tells of each."""
    tests: list[dict[str, Any]] = [
        {
            **scenario(name, fault.series, set()),
            "promql_expr_test": [],
            "alert_rule_test": [
                {"alertname": name, "eval_time": f"{FAULT_AT}s", "exp_alerts": []},
            ],
        }
        for name, fault in FAULTS.items()
    ]
    status, said = promtool(tmp_path_factory.mktemp("told"), tests)
    assert status != 0
    return said


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_says_of_whom_and_of_how_much_it_speaks(name: str, told: str) -> None:
    _, found, rest = told.partition(f"alertname: {name},")
    assert found
    assert f'description="{FAULTS[name].says}"' in rest.partition("alertname: ")[0]


def test_the_page_asks_for_nothing_that_a_well_site_does_not_measure(tmp_path: Path) -> None:
    panels = json.loads(PANELS.read_text())
    asked = [panel["expr"] for panel in (*panels["tiles"], *panels["tables"])]
    asked += [one["expr"] for panel in panels["charts"] for one in panel["series"]]
    assert len(asked) > 20
    test = scenario("page", {}, set())
    test["promql_expr_test"] = [
        {
            "expr": f"count({expr.replace('$window', '60s')}) > bool 0",
            "eval_time": f"{WELL_AT}s",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for expr in asked
    ]
    status, said = promtool(tmp_path, [test])
    assert status == 0, said
