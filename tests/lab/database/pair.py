"""The databases of the site under test: who leads, who is in sync, and whether all is well."""

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from lab import faults, namespaces
from lab.usererror import UserError
from tests.lab.database.judge import Verdict, judge
from tests.lab.database.load import SCHEMA, TABLE, Load, rows
from tests.lab.site import SLOWNESS, Machine, Site, eventually

MYSQLD = "mysql.service"
AGENT = "site-agent.service"
GUARD = "site-database-guard.service"
PORT = 8008
OK = 200
_local = build_opener(ProxyHandler({}))

RECOVERED = 60.0
"""Seconds after a fault within which all machines must be in sync again, rebuilt if need be."""


class Pair:
    """The database machines, by name; known also while they are off."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.machines: dict[str, Machine] = {}
        self._lease = {"id": {"S": ""}}
        self.look()

    def look(self) -> None:
        """Learn which machines there are, and which lease is theirs; all of them run."""
        self.machines = {machine.name: machine for machine in self.site.machines("database")}
        self._lease["id"]["S"] = f"lease/{self.site.output('backups')['line']}"

    @property
    def names(self) -> list[str]:
        return list(self.machines)

    def others(self, name: str) -> list[str]:
        return [other for other in self.names if other != name]

    def id(self, name: str) -> str:
        return self.machines[name].id

    def primary(self) -> str:
        """The machine that says writes may come to it; empty if none does, or several."""
        found = [name for name in self.names if self.says(name, "primary")]
        return found[0] if len(found) == 1 else ""

    def replica(self) -> str:
        """One that is not the primary."""
        return self.others(eventually("there is a primary", self.primary, 20))[0]

    def says(self, name: str, path: str) -> bool:
        """What HAProxy would hear from the machine's guard."""
        return self._ask(name, path)[0] == OK

    def status(self, name: str) -> dict[str, Any]:
        """What the machine says of itself; empty if nothing."""
        code, body = self._ask(name, "status")
        return json.loads(body) if code == OK else {}

    def record(self) -> dict[str, Any]:
        """The lease's record in the table; empty if there is none."""
        client = self.site.client("dynamodb")
        answer = client.get_item(TableName=self._table, Key=self._lease, ConsistentRead=True)
        return {key: _plain(value) for key, value in answer.get("Item", {}).items()}

    def generation(self) -> int:
        return int(self.record().get("generation", 0))

    def in_sync(self) -> set[str]:
        """The names of the machines that may take over."""
        return {member.partition("/")[0] for member in self.record().get("in_sync", ())}

    def ask(self, wanted: str, value: str) -> None:
        """Put a request into the lease's record, as an operator's program does."""
        self.site.client("dynamodb").update_item(
            TableName=self._table,
            Key=self._lease,
            UpdateExpression="SET #wanted = :value REMOVE refused",
            ConditionExpression="attribute_exists(id)",
            ExpressionAttributeNames={"#wanted": wanted},
            ExpressionAttributeValues={":value": {"S": value}},
        )

    def well(self) -> bool:
        """One primary, and everyone else in sync with it and read from."""
        primary = self.primary()
        if not primary or not all(self.says(name, "replica") for name in self.others(primary)):
            return False
        return self.in_sync() == set(self.names)

    def equal(self) -> bool:
        """Every machine has the same transactions."""
        sets = {self.rows(name, "SELECT @@global.gtid_executed")[0][0] for name in self.names}
        return len(sets) == 1

    def rows(self, name: str, query: str) -> list[list[str]]:
        return [[word.replace("\\n", "") for word in row] for row in self.site.rows(name, query)]

    def undo(self) -> None:
        """Take back every fault that can be taken back from outside."""
        faults.heal()
        for name, machine in self.machines.items():
            if self.off(name):
                self.power_on(name)
                continue
            faults.thaw(machine.id)
            for unit in (AGENT, GUARD, MYSQLD):
                with suppress(UserError):
                    faults.continue_process(machine.id, unit)
            with suppress(UserError):
                faults.free_disk(machine.id)

    def state(self, name: str) -> str:
        """EC2's word: running, stopped ..."""
        answer = self.site.client("ec2").describe_instances(InstanceIds=[self.id(name)])
        return answer["Reservations"][0]["Instances"][0]["State"]["Name"]

    def off(self, name: str) -> bool:
        return self.state(name) in ("stopping", "stopped")

    def power_on(self, name: str) -> None:
        """As the operator does, as soon as EC2 takes it as stopped."""
        eventually(f"{name} is stopped", lambda: self.state(name) == "stopped", 30)
        self.site.power_on(self.machines[name])

    @contextmanager
    def powered_off(self, *names: str) -> Generator[None]:
        """Without power, all at once; on again in this order."""
        for name in names:
            faults.power_off(self.id(name))
        try:
            yield
        finally:
            for name in names:
                self.power_on(name)

    @contextmanager
    def behind(self, name: str) -> Generator[None]:
        """A replica that receives what is written to the load's table, and cannot apply it."""
        pid = self.site.machine(name).pid  # another one since it was powered off
        with subprocess.Popen(
            ["nsenter", f"--target={pid}", "--all", "--", "mysql", "-N", "-B", "--unbuffered"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as mysql:
            assert mysql.stdin
            assert mysql.stdout
            mysql.stdin.write(f"LOCK TABLES {TABLE} READ; SELECT 'locked';\n")
            mysql.stdin.flush()
            assert mysql.stdout.readline() == "locked\n"
            yield
            # Its session ends with its input, and the lock with the session.
            mysql.stdin.close()
            mysql.wait(10)

    def recover(self, seconds: float = RECOVERED) -> None:
        """Wait until all is well; say what is not."""
        deadline = time.monotonic() + seconds * SLOWNESS
        while not self.well():
            if time.monotonic() > deadline:
                said = {name: self.status(name) for name in self.names}
                raise AssertionError(
                    f"not well within {seconds * SLOWNESS:.0f} s: the record {self.record()},"
                    f" the machines {json.dumps(said, indent=1)}"
                )
            time.sleep(0.25)

    def verdict(self, load: Load) -> Verdict:
        """What is wrong after a load that has ended, with all machines in sync."""
        try:
            eventually("all machines have the same transactions", self.equal, 30)
        except AssertionError:
            sets = {name: self.rows(name, "SELECT @@global.gtid_executed") for name in self.names}
            return Verdict([f"different transactions: {sets}"], 0)
        verdict = judge(load.writes, load.reads, rows(self.site, self.names[0], load.run))
        sums = {name: self._checksums(name) for name in self.names}
        if any(found != sums[self.names[0]] for found in sums.values()):
            return Verdict([*verdict.complaints, f"different tables: {sums}"], verdict.lost)
        return verdict

    def _checksums(self, name: str) -> list[list[str]]:
        schema = f"table_schema = '{SCHEMA}'"
        query = f"SELECT table_name FROM information_schema.tables WHERE {schema} ORDER BY 1"  # noqa: S608
        tables = [f"{SCHEMA}.{table}" for (table,) in self.site.rows(name, query)]
        return self.site.rows(name, f"CHECKSUM TABLE {', '.join(tables)}")

    @cached_property
    def _table(self) -> str:
        names: list[str] = self.site.client("dynamodb").list_tables()["TableNames"]
        (found,) = [name for name in names if name.endswith("coordination")]
        return found

    def _ask(self, name: str, path: str) -> tuple[int, str]:
        def get() -> tuple[int, str]:
            try:
                with _local.open(f"http://127.0.0.1:{PORT}/{path}", timeout=1) as answer:
                    return answer.status, answer.read().decode()
            except HTTPError as refusal:
                with refusal:
                    return refusal.code, ""
            except OSError:
                return 0, ""

        try:
            return namespaces.call(self.machines[name].netns, get)
        except OSError:  # it is off, and its network gone
            return 0, ""


def _plain(value: dict[str, Any]) -> Any:
    ((kind, found),) = value.items()
    return int(found) if kind == "N" else found
