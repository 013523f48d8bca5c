"""The load balancers of the site under test: who has which address, and what clients notice."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from lab import faults
from lab.usererror import UserError
from tests.lab import traffic
from tests.lab.site import Machine, Site, eventually

HAPROXY = "haproxy.service"
AGENT = "site-agent.service"
EVERY = 0.05
"""Seconds between two clients' first words."""


@dataclass(frozen=True)
class Address:
    """A public address; its `name` is that of the machine that has it while both are well."""

    name: str
    allocation: str
    public: str


class Balancers:
    """The machines and addresses, known also while machines are off."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.machines: dict[str, Machine] = {}
        self.addresses = {found.name: found for found in self._addresses()}
        self.look()

    def look(self) -> None:
        """Learn which machines there are: those that run, and those that did."""
        self.machines |= {m.name: m for m in self.site.machines("load-balancer")}

    def _addresses(self) -> list[Address]:
        wanted = [{"Name": "tag:Role", "Values": ["load-balancer"]}]
        answer = self.site.client("ec2").describe_addresses(Filters=wanted)["Addresses"]
        found: list[Address] = []
        for one in answer:
            name = next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "Name")
            short = f"load-balancer-{name.rpartition('-')[2]}"
            found.append(Address(short, one["AllocationId"], one["PublicIp"]))
        return sorted(found, key=lambda address: address.name)

    def id(self, name: str) -> str:
        return self.machines[name].id

    def other(self, name: str) -> str:
        (found,) = self.machines.keys() - {name}
        return found

    def url(self, address: str) -> str:
        """The site at one of its addresses."""
        return f"{urlsplit(self.site.url).scheme}://{self.addresses[address].public}"

    def place(self, address: str) -> str:
        """The machine that EC2 leads the address to, by name; its id if it is unknown here."""
        allocation = self.addresses[address].allocation
        answer = self.site.client("ec2").describe_addresses(AllocationIds=[allocation])
        return self._name(answer["Addresses"][0].get("InstanceId") or "")

    def holder(self, address: str) -> str:
        """The machine that holds the address's lease; nobody while it is released."""
        record = self.record(address)
        return "" if record.get("released") else self._name(str(record.get("holder", "")))

    def generation(self, address: str) -> int:
        """Grows with every machine that takes the lease."""
        return int(self.record(address).get("generation", 0))

    def record(self, address: str) -> dict[str, Any]:
        key = {"id": {"S": f"lease/address-{self.addresses[address].allocation}"}}
        table = self.site.output("table")
        client = self.site.client("dynamodb")
        item = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
        return {name: next(iter(value.values())) for name, value in item.items()}

    def _name(self, instance: str) -> str:
        return next((m.name for m in self.machines.values() if m.id == instance), instance)

    def at(self, address: str, machine: str) -> bool:
        """The address is with this machine, by EC2 and by the lease alike."""
        return self.place(address) == machine == self.holder(address)

    def home(self) -> bool:
        """Every address is with its own machine, and answered there."""
        if not all(self.at(name, name) for name in self.addresses):
            return False
        return all(traffic.send(self.url(name)).ok for name in self.addresses)

    def state(self, name: str) -> str:
        """EC2's word: running, stopped …"""
        answer = self.site.client("ec2").describe_instances(InstanceIds=[self.id(name)])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def power_on(self, name: str) -> None:
        """As the operator does, as soon as EC2 takes it as stopped."""
        eventually(f"{name} is stopped", lambda: self.state(name) == "stopped", 30)
        self.site.power_on(self.machines[name])
        eventually(f"{name} runs", lambda: self.state(name) == "running", 30)

    def undo(self) -> None:
        """Take back every fault that can be taken back from outside."""
        faults.heal()
        for name, machine in self.machines.items():
            if self.state(name) in ("stopping", "stopped"):
                self.power_on(name)
                continue
            faults.thaw(machine.id)
            with suppress(UserError):
                faults.run(machine.id, "systemctl", "unmask", "--runtime", HAPROXY)
            with suppress(UserError):
                faults.continue_process(machine.id, HAPROXY)
            with suppress(UserError):
                faults.run(machine.id, "systemctl", "start", HAPROXY)


@dataclass(frozen=True)
class Try:
    """One client's one request on a connection of its own; times are of the monotonic clock."""

    begun: float
    ended: float
    answer: traffic.Answer


@dataclass
class Seen:
    """What the clients of one address saw; complete when the block of `watched` has ended."""

    begun: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    sent: int = 0
    tries: list[Try] = field(default_factory=list[Try])

    @property
    def gap(self) -> float:
        """The longest time in which no request was answered, in seconds."""
        answered = sorted(one.ended for one in self.tries if one.answer.ok)
        moments = [self.begun, *(t for t in answered if t < self.ended), self.ended]
        return max(after - before for before, after in pairwise(moments))

    def failed(self) -> list[Try]:
        return [one for one in self.tries if not one.answer.ok]

    def report(self) -> str:
        slowest = max((one.answer.seconds for one in self.tries), default=0.0)
        lines = [f"{self.sent} sent, gap {self.gap:.2f} s, slowest {slowest:.2f} s"]
        lines += [f"+{one.begun - self.begun:.2f} s: {one.answer}" for one in self.failed()[:10]]
        return "\n".join(lines)


@contextmanager
def watched(url: str) -> Generator[Seen]:
    """A new client every 50 ms for as long as the block lasts, none of which waits for another."""
    stop = threading.Event()
    seen = Seen()
    tries: list[Future[Try]] = []

    def ask() -> Try:
        begun = time.monotonic()
        answer = traffic.send(url)
        return Try(begun, time.monotonic(), answer)

    def work(pool: ThreadPoolExecutor) -> None:
        while not stop.wait(EVERY):
            tries.append(pool.submit(ask))

    with ThreadPoolExecutor(400) as pool:
        clients = threading.Thread(target=work, args=(pool,))
        clients.start()
        try:
            yield seen
        finally:
            stop.set()
            clients.join()
            seen.ended = time.monotonic()
    seen.tries = [one.result() for one in tries]
    seen.sent = len(tries)
