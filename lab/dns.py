"""Amazon's resolver: dnsmasq in the router, told the zones of Route 53, private and public.

It knows nothing else and asks nobody: any other name does not exist. A change of
addresses is read in place (SIGHUP), without a query lost.
"""

import ipaddress
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lab import namespaces, network
from lab.facts import Facts, Record
from lab.namespaces import ROUTER

_IDLE_TTL = 60
_START_TIMEOUT = 5.0
_PACKET = 8192
"""Bytes; the largest answer by UDP to whoever says that it takes as much (EDNS)."""


class ResolverError(Exception):
    """The resolver does not run; the message is for the user."""


@dataclass(frozen=True)
class Names:
    """What dnsmasq is told."""

    hosts: str
    """Addresses and names, read again at every change."""
    options: str
    """Everything else; a change costs a restart of some 20 ms."""
    ignored: tuple[str, ...] = ()
    """Records that the lab does not serve."""


def render(facts: Facts) -> Names:
    """The zones, and the names that EC2 gives to instances."""
    records = [
        _from_within(facts, record) if zone.public else record
        for zone in facts.zones
        for record in zone.records
    ]
    addresses = [record for record in records if record.type in ("A", "AAAA")]
    aliases = [record for record in records if record.type == "CNAME"]
    hosts = [f"{value} {r.name}" for r in addresses for value in r.values if _is_address(value)]
    # The short name too: EC2's DHCP names the domain to search, the lab has no DHCP.
    hosts += [
        f"{instance.address} {name} {name.partition('.')[0]}"
        for instance in facts.instances.values()
        for name in [host_name(instance.address, instance.region)]
    ]
    # dnsmasq has one time to live for all that it reads from a file.
    ttl = min((record.ttl for record in addresses), default=_IDLE_TTL)
    options = [
        "no-hosts",
        "no-resolv",
        "no-poll",
        # By any other way of listening it refuses TCP to an address that is not the arriving
        # interface's own.
        "bind-interfaces",
        *(f"listen-address={address}" for address in ("127.0.0.1", *resolvers(facts))),
        # What is in no zone does not exist.
        "address=/#/",
        f"local-ttl={ttl}",
        f"edns-packet-max={_PACKET}",
        "user=root",
        "group=root",
        "pid-file=",
        *(f"local=/{zone.name}/" for zone in sorted(facts.zones, key=lambda zone: zone.name)),
        *(f"cname={alias.name},{_target(alias)},{alias.ttl}" for alias in aliases),
    ]
    served = [*addresses, *aliases]
    ignored = tuple(f"{r.name} {r.type}" for r in records if r not in served)
    return Names(_lines(sorted(hosts)), _lines(options), ignored)


def resolvers(facts: Facts) -> list[str]:
    """The addresses at which the resolver is asked: the link-local one, and each VPC's."""
    return [network.RESOLVER, *sorted({network.resolver(vpc) for vpc in facts.vpcs.values()})]


def host_name(address: str, region: str) -> str:
    """The private name that EC2 gives to an instance with this address."""
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{domain}"


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _from_within(facts: Facts, record: Record) -> Record:
    """A public record as a machine can use it.

    Elastic IPs are in 127/8 here, where a machine finds only itself: it is told the private
    addresses that they stand for, and of an address without a holder nothing.
    """
    leads = {elastic.address: elastic.private for elastic in facts.elastic}
    values = (leads.get(value, value) for value in record.values)
    return replace(record, values=tuple(value for value in values if value))


def _target(alias: Record) -> str:
    return alias.values[0].rstrip(".")


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class Resolver:
    """dnsmasq, kept at what it was last told."""

    def __init__(self, directory: Path, died: Callable[[], None]) -> None:
        """`died` is called, on a thread, if it ends by itself: `serve` starts it again."""
        self._died = died
        self._hosts = directory / "dnsmasq.hosts"
        self._config = directory / "dnsmasq.conf"
        self._names: Names | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def serve(self, names: Names) -> None:
        """Answer with these names from now on."""
        if names == self._names and self._running():
            return
        old, self._names = self._names, names
        _replace(self._hosts, names.hosts)
        if old is not None and old.options == names.options and self._process and self._running():
            os.kill(self._process.pid, signal.SIGHUP)
            return
        _replace(self._config, f"addn-hosts={self._hosts}\n{names.options}")
        self.stop()
        self._start()

    def stop(self) -> None:
        """Answer no more."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _start(self) -> None:
        command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={self._config}"]
        self._process = subprocess.Popen(
            namespaces.inside(ROUTER, command), stdin=subprocess.DEVNULL
        )
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        deadline = time.monotonic() + _START_TIMEOUT
        while not namespaces.call(ROUTER, _answers):
            if self._process.poll() is not None or time.monotonic() > deadline:
                msg = f"dnsmasq did not start with {self._config}; its reason is in the lab's log."
                raise ResolverError(msg)
            time.sleep(0.005)

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        process.wait()
        if process is self._process:
            self._died()


def _replace(file: Path, content: str) -> None:
    """Write so that a reader finds the old or the new, never half of it."""
    temporary = file.with_suffix(".new")
    temporary.write_text(content)
    temporary.rename(file)


def _answers() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 53)) == 0
