"""The same faults, the site and MySQL Group Replication: `python -m benchmarks.group_replication`.

Measured is the write gap: the longest time between two acknowledged writes around a fault, as an
application behind 127.0.0.1:3306 of an application server sees it, with the load and the judge of
`benchmarks.failover`. First the site as it is, with two replicas; then, on the very same machines,
their agents stopped, a group of three members with one primary. They keep their own mysqld,
volumes and settings (`sync_binlog` and `innodb_flush_log_at_trx_commit` are 1), TLS everywhere,
and the MYSQL communication stack. The way there is the site's own: HAProxy asks the guard beside
each member, which is told by a program that looks at performance_schema fifty times a second. So
both are heard of equally soon.

The group in two settings: as MySQL ships it, and with `group_replication_member_expel_timeout=0`,
so that a lost member is not given five seconds more. Three faults, each on the primary of the
moment: mysqld killed (by SIGKILL; in the group it stays away until the others go on without it),
the machine cut off (its packets vanish, nobody answers for it), a planned change
(`group_replication_set_as_primary`). Afterwards the lost member joins again, with no load so that
it soon catches up, and every acknowledged row is looked for.

Wants a machine on which no lab runs, and leaves none. Takes some nine minutes; `--runs` says how
often each fault is made.
"""

import argparse
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field

from benchmarks import by_hand, failover, readme
from benchmarks.by_hand import say
from benchmarks.programs import member
from hosts.base.lease import boottime
from lab import faults
from tests.lab.database.judge import judge
from tests.lab.database.load import load, rows
from tests.lab.database.pair import Pair
from tests.lab.site import Site, eventually

RUNS = 3
LONGEST = 90.0
"""Seconds that a group may take to have a primary again, or its third member."""
CONFIGURATION = """\
[mysqld]
plugin_load_add = group_replication.so
loose_rpl_semi_sync_source_enabled = OFF
loose_rpl_semi_sync_replica_enabled = OFF
# As MySQL ships it: a member's received transactions are safe by their number.
sync_relay_log = 10000
group_replication_group_name = {group}
group_replication_start_on_boot = OFF
group_replication_communication_stack = MYSQL
group_replication_local_address = {address}:3306
group_replication_advertise_recovery_endpoints = {address}:3306
group_replication_group_seeds = {seeds}
group_replication_ssl_mode = REQUIRED
group_replication_recovery_use_ssl = ON
group_replication_recovery_ssl_ca = /etc/mysql/tls/ca.pem
"""
UNIT = """\
[Service]
# It asks the kernel for the machine's addresses.
RestrictAddressFamilies=AF_NETLINK
"""
MEMBERS = """
SELECT MEMBER_HOST, MEMBER_STATE, MEMBER_ROLE FROM performance_schema.replication_group_members
"""


class Group:
    """Three members. Where this says primary, it is what the members themselves say."""

    def __init__(self, site: Site) -> None:
        """Takes the machines from their agents, and makes them a group."""
        self._site = site
        self.expel_timeout = 5
        say("a group of three members")
        primary = by_hand.take(site)[0]
        self.names = [machine.name for machine in site.machines("database")]
        addresses = [site.machine(name).address for name in self.names]
        seeds = ",".join(f"{address}:3306" for address in addresses)
        group = uuid.uuid4()
        others = [name for name in self.names if name != primary]
        # On each by itself: nothing here must become a transaction of one of them alone.
        for name, address in zip(self.names, addresses, strict=True):
            self._grant(name)
            text = CONFIGURATION.format(group=group, address=address, seeds=seeds)
            site.run(name, "tee", "/etc/mysql/mysql.conf.d/zzz-group.cnf", given=text)
            site.run(name, "tee", "/etc/systemd/system/mysql.service.d/zz-group.conf", given=UNIT)
            site.run(name, "systemctl", "daemon-reload")
            site.run(name, "systemctl", "restart", "mysql.service")
        for name in self.names:
            by_hand.up(site, name)
            self._tell_the_guard(name)
        self._start(primary, bootstrap=True)
        for name in others:
            self.join(name)

    def _grant(self, name: str) -> None:
        by_hand.sql(
            self._site,
            name,
            "STOP REPLICA",
            "RESET REPLICA ALL",
            "SET GLOBAL super_read_only = OFF",
            "SET sql_log_bin = OFF",
            "GRANT GROUP_REPLICATION_STREAM, CONNECTION_ADMIN ON *.* TO replication@'%'",
            "SET GLOBAL super_read_only = ON",
        )

    def _tell_the_guard(self, name: str) -> None:
        program = by_hand.source(member)
        unit = ("--unit=member", "--description=Tells the guard", "--setenv=PYTHONPATH=/opt/site")
        self._site.run(name, "systemd-run", *unit, "/usr/bin/python3", "-c", program)

    def _start(self, name: str, *, bootstrap: bool = False) -> None:
        password = self._site.secret("/site/lab/database/replication-password")
        by_hand.sql(
            self._site,
            name,
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'replication',"
            f" SOURCE_PASSWORD = '{password}' FOR CHANNEL 'group_replication_recovery'",
            f"SET GLOBAL group_replication_member_expel_timeout = {self.expel_timeout}",
            f"SET GLOBAL group_replication_bootstrap_group = {bootstrap}",
            "START GROUP_REPLICATION",
            "SET GLOBAL group_replication_bootstrap_group = OFF",
        )

    def join(self, name: str) -> None:
        """Makes a member of a mysqld that is none; returns when it is online."""
        by_hand.up(self._site, name)

        def started() -> bool:
            try:
                self._start(name)
            except AssertionError:  # what it was before is not forgotten yet
                return False
            return True

        eventually(f"{name} joins", started, LONGEST)
        eventually(f"{name} is online", lambda: name in self.online(name), LONGEST)

    def online(self, asked: str) -> list[str]:
        """The members that are online, as one of them sees it."""
        rows = by_hand.sql(self._site, asked, MEMBERS)
        return [host for host, state, _ in rows if state == "ONLINE"]

    def primary(self) -> str:
        """The primary, as all members see it."""
        seen: set[str] = set()
        for name in self.names:
            rows = by_hand.sql(self._site, name, MEMBERS)
            seen |= {host for host, _, role in rows if role == "PRIMARY"}
        (one,) = seen
        return one

    def set_expel_timeout(self, seconds: int) -> None:
        """`group_replication_member_expel_timeout` of all members."""
        self.expel_timeout = seconds
        for name in self.names:
            by_hand.sql(
                self._site,
                name,
                f"SET GLOBAL group_replication_member_expel_timeout = {seconds}",
            )

    def everywhere(self) -> None:
        """Waits until every member has applied everything."""
        primary = self.primary()
        others = [name for name in self.names if name != primary]
        by_hand.caught_up(self._site, [primary, *others], LONGEST)

    @contextmanager
    def killed(self) -> Generator[None]:
        """mysqld of the primary is killed."""
        name = self.primary()
        faults.kill(self._site.machine(name).id, "mysql.service")
        yield
        self.join(name)

    @contextmanager
    def cut_off(self) -> Generator[None]:
        """The primary's machine is cut off, in silence."""
        name = self.primary()
        machine = self._site.machine(name)
        with faults.partitioned(machine.id):
            yield
            # What it missed it would learn in its own time: it begins anew.
            faults.kill(machine.id, "mysql.service")
            by_hand.up(self._site, name)
        self.join(name)

    @contextmanager
    def changed(self) -> Generator[None]:
        """Another member is made the primary."""
        name = self.primary()
        other = next(other for other in self.names if other != name)
        to = by_hand.value(self._site, other, "SELECT @@server_uuid")
        by_hand.sql(self._site, other, f"SELECT group_replication_set_as_primary('{to}')")
        yield


Fault = Callable[[Group], AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "mysqld killed": Group.killed,
    "machine cut off": Group.cut_off,
    "planned change": Group.changed,
}
EXPEL_TIMEOUTS = {"as shipped": 5, "expel timeout 0": 0}
SITE = "this site"
ITS_OWN = {"mysqld killed": "killed", "machine cut off": "cut-off", "planned change": "switchover"}
"""The same faults by their names in `benchmarks.failover`."""


@dataclass
class Measured:
    """Of one fault, in one setting."""

    gaps: list[float] = field(default_factory=list[float])
    """Seconds."""
    lost: int = 0
    """Acknowledged writes."""


def suffer(site: Site, group: Group, fault: Fault, to: Measured) -> None:
    """Writes, the fault, writes again; what was lost of them; then the group is whole again."""
    group.everywhere()
    with (
        ExitStack() as until_whole,
        load(site, server=by_hand.CLIENT) as seen,
    ):
        time.sleep(1)
        begun = boottime()
        until_whole.enter_context(fault(group))
        done = boottime()
        eventually("writes go on", lambda: seen.acknowledged(done + 0.5), LONGEST)
        time.sleep(2)
    verdict = judge(seen.writes, seen.reads, rows(site, group.primary(), seen.run))
    for complaint in verdict.complaints:
        say(complaint)
    to.gaps.append(seen.gap(begun))
    to.lost += verdict.lost


Found = dict[str, dict[str, Measured]]
"""By setting, then by fault."""


def measure_site(site: Site, runs: int) -> dict[str, Measured]:
    """All faults, of the site as it is."""
    pair = Pair(site)
    found: dict[str, Measured] = {}
    for fault, name in ITS_OWN.items():
        own = failover.Measured()
        for _ in range(runs):
            failover.CASES[name].run(pair, own)
            say(f"{fault}, {SITE}: {own.gaps[-1]:.2f} s")
        for complaint in own.complaints:
            say(complaint)
        found[fault] = Measured(own.gaps, own.lost)
    pair.recover()
    return found


def measure_group(site: Site, runs: int) -> Found:
    """All faults, in both settings of a group."""
    group = Group(site)
    found: Found = {}
    for setting, timeout in EXPEL_TIMEOUTS.items():
        group.set_expel_timeout(timeout)
        found[setting] = {fault: Measured() for fault in FAULTS}
        for fault, measured in found[setting].items():
            for _ in range(runs):
                suffer(site, group, FAULTS[fault], measured)
                say(f"{fault}, {setting}: {measured.gaps[-1]:.2f} s")
    return found


def table(found: Found) -> str:
    """As it stands in the README."""
    names = {SITE: "this site"} | {how: f"Group Replication, {how}" for how in EXPEL_TIMEOUTS}
    columns = [names[setting] for setting in found]
    lines = [f"| fault | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for fault in FAULTS:
        cells = [summary(of[fault].gaps) for of in found.values()]
        lines.append(f"| {fault} | {' | '.join(cells)} |")
    lost = [str(sum(measured.lost for measured in of.values())) for of in found.values()]
    lines.append(f"| acknowledged writes lost, all runs | {' | '.join(lost)} |")
    runs = max(len(measured.gaps) for of in found.values() for measured in of.values())
    head = f"Seconds without an acknowledged write: min / median / max of {runs} runs, on three "
    return f"{head}database machines.\n\n" + "\n".join([*lines, ""])


def summary(gaps: list[float]) -> str:
    """Minimum, median, maximum."""
    if not gaps:
        return "-"
    return f"{min(gaps):.2f} / {statistics.median(gaps):.2f} / {max(gaps):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.group_replication")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each fault (%(default)s)")
    parser.add_argument("--group-only", action="store_true", help="not the site's own figures")
    parser.add_argument("--json", action="store_true", help="every run, and leave the README be")
    options = parser.parse_args()
    found: Found = {}
    with by_hand.a_lab({"database.replicas": 2, "appServers.count": 1}) as site:
        if not options.group_only:
            found[SITE] = measure_site(site, options.runs)
        found |= measure_group(site, options.runs)
    if options.json:
        every = {how: {fault: asdict(m) for fault, m in of.items()} for how, of in found.items()}
        sys.stdout.write(json.dumps(every, indent=1) + "\n")
        return
    sys.stdout.write(table(found))
    readme.write("comparison", table(found))


if __name__ == "__main__":
    main()
