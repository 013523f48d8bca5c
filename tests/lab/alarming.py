"""Faults with the alerts that they are to raise, and how soon people heard of each.

People are a webhook: a program on the monitoring machine that writes down what Alertmanager posts.
"""

import json
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from hosts.database.backup import catalog
from hosts.database.backup.store import Store
from hosts.load_balancer.certificate import EDGE
from lab import faults, machines
from tests import certificates
from tests.lab import traffic
from tests.lab.database.load import load
from tests.lab.database.pair import AGENT, MYSQLD, Pair
from tests.lab.prometheus import MACHINE, firing, query
from tests.lab.site import Site, eventually

APPLICATION = "site-app.service"
PORT = 9099
WEBHOOK = f"http://127.0.0.1:{PORT}/"
HEARD = "/run/heard"
EXPORTER = "prometheus-mysqld-exporter.service"
PEOPLE = f"""
import http.server, json, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("{HEARD}", "a") as file:
            for alert in said["alerts"]:
                line = [time.time(), alert["status"], alert["labels"]["alertname"]]
                file.write(json.dumps(line) + "\\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {PORT}), Handler).serve_forever()
"""
FIRING, RESOLVED = 300.0, 480.0
"""Seconds within which people have to hear of a fault, and of its end: an alert of the binary log
waits for three and a half minutes itself, Alertmanager for a minute between two messages."""
WELL = 600.0
"""Seconds until nothing is wrong any more of what was done before."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong while its block lasts, and what people should hear of it."""

    what: str
    alerts: tuple[str, ...]
    made: Callable[[Site], AbstractContextManager[None]]


@dataclass(frozen=True)
class Told:
    """Seconds from the fault, or from its end, until people had heard."""

    alert: str
    firing: float
    resolved: float


def subscribe(site: Site) -> None:
    """From now on people hear of alerts."""
    outcome = site.up({"monitoring.webhook": WEBHOOK})
    assert outcome.status == 0, outcome.text
    answer(site)


def answer(site: Site) -> None:
    """People can be told, by what runs until the machine ends."""
    site.run(MACHINE, "touch", HEARD)
    site.run(MACHINE, "systemd-run", "--unit=people", "--collect", "python3", "-c", PEOPLE)


def heard(site: Site, since: float) -> Iterator[tuple[float, str, str]]:
    """When they heard what of which alert."""
    for line in site.run(MACHINE, "cat", HEARD).splitlines():
        at, status, alert = json.loads(line)
        if at >= since:
            yield at, status, alert


def measure(site: Site, fault: Fault) -> list[Told]:
    """Makes a fault and ends it, and waits both times until people have heard of every alert.

    Before that it waits until nothing is wrong.
    """
    eventually("nothing is wrong", lambda: firing(site) == {"Watchdog"}, WELL)
    before = time.time()
    with fault.made(site):
        began = time.time()
        told = _wait(site, fault, "firing", before, FIRING)
        ending = time.time()
    ended = time.time()
    resolved = _wait(site, fault, "resolved", ending, RESOLVED)
    return [Told(one, max(0, told[one] - began), resolved[one] - ended) for one in fault.alerts]


def _wait(site: Site, fault: Fault, status: str, since: float, within: float) -> dict[str, float]:
    """When people first heard of each of its alerts."""

    def all_heard() -> dict[str, float] | None:
        known = {
            what: at for at, said, what in reversed(list(heard(site, since))) if said == status
        }
        return known if known.keys() >= set(fault.alerts) else None

    return eventually(f"{fault.what}: {status} {fault.alerts}", all_heard, within)


def _pair(site: Site) -> Pair:
    """As it is now."""
    pair = Pair(site)
    pair.look()
    return pair


def _replica(site: Site) -> str:
    return _pair(site).replica()


@contextmanager
def _without_power(site: Site, name: str) -> Generator[None]:
    machine = site.machine(name)
    site.power_off(name)
    try:
        yield
    finally:
        stopped = site.client("ec2").get_waiter("instance_stopped")
        stopped.wait(InstanceIds=[machine.id], WaiterConfig={"Delay": 1})
        site.power_on(machine)


@contextmanager
def _all(*each: AbstractContextManager[Any]) -> Generator[None]:
    with ExitStack() as stack:
        for one in each:
            stack.enter_context(one)
        yield


def _hang(site: Site, unit: str, *names: str) -> AbstractContextManager[None]:
    return _all(*(faults.stopped_process(site.machine(name).id, unit) for name in names))


def _frozen(site: Site, role: str) -> AbstractContextManager[None]:
    return _all(*(faults.frozen(machine.id) for machine in site.machines(role)))


@contextmanager
def _stopped(site: Site, name: str, unit: str) -> Generator[None]:
    site.run(name, "systemctl", "stop", unit)
    try:
        yield
    finally:
        site.run(name, "systemctl", "start", unit)


@contextmanager
def _unstartable(site: Site, name: str, unit: str) -> Generator[None]:
    """It ends, and whoever starts it fails."""
    folder = f"/run/systemd/system/{unit}.d"
    script = (
        f"mkdir -p {folder}; printf '[Service]\\nExecStartPre=/bin/false\\n' >{folder}/no.conf;"
        f" systemctl daemon-reload; systemctl kill --signal=KILL {unit}"
    )
    site.run(name, "sh", "-c", script)
    try:
        yield
    finally:
        site.run(name, "sh", "-c", f"rm {folder}/no.conf; systemctl daemon-reload")


@contextmanager
def _filled(site: Site, name: str) -> Generator[None]:
    """All but a twentieth of its volume."""
    eventually(
        "there is a trend", lambda: query(site, "node_filesystem_avail_bytes offset 10m"), 660
    )
    script = (
        "set -- $(df --output=avail,size --block-size=1 /var/lib/mysql | tail -n 1);"
        " fallocate --length $(($1 - $2 / 20)) /var/lib/mysql/.filled"
    )
    site.run(name, "sh", "-c", script)
    try:
        yield
    finally:
        site.run(name, "rm", "/var/lib/mysql/.filled")


@contextmanager
def _ending_certificate(site: Site) -> Generator[None]:
    """In the parameter that the load balancers follow."""
    name = f"/site/lab/{EDGE}"
    before = site.secret(name)
    key, ending = certificates.server("site.example", days=10, begins=-80)
    given = {"Name": name, "Type": "SecureString", "Overwrite": True}
    site.client("ssm").put_parameter(Value=key + certificates.pem(ending), **given)
    try:
        yield
    finally:
        site.client("ssm").put_parameter(Value=before, **given)


@contextmanager
def _behind(site: Site) -> Generator[None]:
    pair = _pair(site)
    with load(site), pair.behind(pair.replica()):
        yield


@contextmanager
def _slow_writes(site: Site) -> Generator[None]:
    """The table of entries is locked for two seconds of each two and a half."""
    pair = _pair(site)
    primary = pair.id(eventually("there is a primary", pair.primary, 20))
    locks = (
        "while true; do mysql -e 'LOCK TABLES site.entries READ; DO SLEEP(2); UNLOCK TABLES';"
        " sleep 0.5; done"
    )
    with (
        subprocess.Popen(machines.entering(primary, ["sh", "-c", locks])) as locking,
        traffic.load(site.url, lambda _: traffic.entry(), pause=0.1),
    ):
        try:
            yield
        finally:
            locking.terminate()


@contextmanager
def _denied(site: Site, role: str, action: str) -> Generator[None]:
    """IAM allows it to no machine of the role."""
    iam = site.client("iam")
    (name,) = [r["RoleName"] for r in iam.list_roles()["Roles"] if r["RoleName"].endswith(role)]
    denied = {"Effect": "Deny", "Action": action, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    iam.put_role_policy(RoleName=name, PolicyName="a-fault", PolicyDocument=policy)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="a-fault")


@contextmanager
def _bucket_takes_nothing(site: Site) -> Generator[None]:
    """And what was in it is gone."""
    s3, backups = site.client("s3"), site.output("backups")
    with _denied(site, "database", "s3:PutObject"):
        store = Store(s3, backups["bucket"])
        for one in catalog.fulls(store, backups["line"]):
            for found in store.list(one.folder):
                s3.delete_object(Bucket=backups["bucket"], Key=found.key)
        yield


@contextmanager
def _unheard(site: Site) -> Generator[None]:
    """An alert that people cannot be told; they hear of both when they can be again."""
    site.run(MACHINE, "systemctl", "stop", "people.service")
    with _hang(site, APPLICATION, "app-server-1"):
        eventually("it is not told", lambda: "NotificationsFailing" in firing(site), FIRING)
        answer(site)
        yield


FAULTS = (
    Fault(
        "an application server without power",
        ("MachineNotReporting", "ApplicationServerEjected"),
        lambda site: _without_power(site, "app-server-1"),
    ),
    Fault(
        "both application servers hang, and are asked",
        ("NoApplicationServer", "ErrorRate"),
        lambda site: _all(
            _hang(site, APPLICATION, "app-server-1", "app-server-2"),
            traffic.load(site.url, lambda _: traffic.page(), clients=4, pause=0.1),
        ),
    ),
    Fault(
        "an application that does not start",
        ("MachineFailed",),
        lambda site: _unstartable(site, "app-server-2", APPLICATION),
    ),
    Fault(
        "an application server that may not read its parameters",
        ("MachineTrouble",),
        lambda site: _denied(site, "app-server", "ssm:GetParametersByPath"),
    ),
    Fault(
        "an agent that is stopped",
        ("AgentSilent",),
        lambda site: _stopped(site, "app-server-2", AGENT),
    ),
    Fault(
        "both load balancers frozen",
        ("AddressWithoutHolder",),
        lambda site: _frozen(site, "load-balancer"),
    ),
    Fault(
        "a frozen load balancer, and EC2 moves no address",
        ("AddressWithoutHolder", "MachineFailed"),
        lambda site: _all(
            _denied(site, "load-balancer", "ec2:AssociateAddress"),
            faults.frozen(site.machine("load-balancer-1").id),
        ),
    ),
    Fault("entries that are locked for seconds", ("SlowAnswers",), _slow_writes),
    Fault("a certificate with ten days left", ("CertificateEnding",), _ending_certificate),
    Fault(
        "an exporter that is stopped",
        ("ExporterSilent",),
        lambda site: _stopped(site, _replica(site), EXPORTER),
    ),
    Fault(
        "a volume that fills up",
        ("DiskAlmostFull", "DiskWillFill"),
        lambda site: _filled(site, _replica(site)),
    ),
    Fault(
        "the replica without power",
        ("DatabaseReplicaLost", "DatabaseNotInSync"),
        lambda site: _without_power(site, _replica(site)),
    ),
    Fault("a replica that cannot apply what it gets", ("DatabaseReplicaLagging",), _behind),
    Fault(
        "the replica cut off from AWS",
        ("LeaseTableUnreachable",),
        lambda site: faults.partitioned(_replica(site), "aws"),
    ),
    Fault(
        "the replica's mysqld does not start",
        ("MysqldDown",),
        lambda site: _unstartable(site, _replica(site), MYSQLD),
    ),
    Fault(
        "both databases frozen",
        ("DatabaseNoPrimary", "NobodyBacksUp"),
        lambda site: _frozen(site, "database"),
    ),
    Fault(
        "a bucket that takes no backups any more, and has none",
        ("BackupTooOld", "BackupUnverified", "BackupNotShipped"),
        _bucket_takes_nothing,
    ),
    Fault("a webhook that does not answer", ("NotificationsFailing",), _unheard),
)
