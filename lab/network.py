"""The lab's network: a router, an outside world, and a cable to each machine.

Every packet of a machine goes through the router, between two machines of one subnet
too, because a machine knows no other neighbour than its gateway. So the router's
firewall sees what EC2's security groups see. Nothing here touches the user's own
network: all of it is in name spaces that start with `lab-`.
"""

import contextlib
import ipaddress
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from lab import namespaces
from lab.namespaces import INTERNET, ROUTER

METADATA = "169.254.169.254"
RESOLVER = "169.254.169.253"
AWS = "198.18.0.1"
S3 = "198.18.0.2"
DYNAMODB = "198.18.0.3"
CLIENT = "203.0.113.10"
"""Where clients of the site come from, as its machines see them."""

OUTSIDE = "203.0.113.0/24"
OUTSIDE_INTERFACE = "internet"

_ROUTER_MAC = "02:00:00:00:00:01"
_ROUTER_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "netfilter/nf_conntrack_tcp_be_liberal": "1",
}
_MACHINE_SYSCTLS = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}


class NetworkError(Exception):
    """The network cannot be made as asked; the message is for the user."""


@dataclass(frozen=True)
class Cable:
    """What it takes to put one instance on the network."""

    instance: str
    mac: str
    address: str
    secondary: tuple[str, ...]
    subnet: str
    vpc: str


def name_space(instance_id: str) -> str:
    """The name of the machine's name space."""
    return f"{namespaces.PREFIX}{instance_id}"


def interface(instance_id: str) -> str:
    """The router's end of the machine's cable; 15 characters, as the kernel allows."""
    return f"m-{instance_id.removeprefix('i-')[-13:]}"


def gateway(subnet: str) -> str:
    """The first address of a subnet is its router's, as on AWS."""
    return str(ipaddress.ip_network(subnet)[1])


def resolver(vpc: str) -> str:
    """The address of the VPC's own resolver: its base plus two."""
    return str(ipaddress.ip_network(vpc)[2])


def create() -> None:
    """Make the router and the outside world."""
    _ip(None, [f"netns add {ROUTER}", f"netns add {INTERNET}"])
    namespaces.sysctl(ROUTER, _ROUTER_SYSCTLS)
    namespaces.sysctl(INTERNET, _MACHINE_SYSCTLS)
    outside = ipaddress.ip_network(OUTSIDE)
    _ip(
        None,
        [
            f"link add name {OUTSIDE_INTERFACE} netns {ROUTER} type veth "
            f"peer name eth0 netns {INTERNET}"
        ],
    )
    own = [METADATA, RESOLVER, AWS, S3, DYNAMODB]
    _ip(
        ROUTER,
        [
            "link set lo up",
            *(f"addr add {address}/32 dev lo" for address in own),
            f"addr add {outside[1]}/{outside.prefixlen} dev {OUTSIDE_INTERFACE}",
            f"link set {OUTSIDE_INTERFACE} up",
            # What is nowhere is silence, as on AWS: no router says "unreachable".
            "route add blackhole default",
        ],
    )
    _ip(
        INTERNET,
        [
            "link set lo up",
            f"addr add {CLIENT}/{outside.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {outside[1]}",
        ],
    )


def plug(cable: Cable) -> str:
    """Give an instance its network; returns the name of its name space.

    Idempotent for the instance. Takes about 30 ms.
    """
    name = name_space(cable.instance)
    if namespaces.path(name).exists():
        return name
    port, subnet = interface(cable.instance), ipaddress.ip_network(cable.subnet)
    hop = gateway(cable.subnet)
    try:
        _ip(
            None,
            [
                f"netns add {name}",
                f"link add name {port} address {_ROUTER_MAC} netns {ROUTER} type veth "
                f"peer name eth0 address {cable.mac} netns {name}",
            ],
        )
        namespaces.sysctl(name, _MACHINE_SYSCTLS)
        _ip(
            ROUTER,
            [
                f"link set {port} up",
                f"addr replace {hop}/32 dev lo",
                f"route replace blackhole {cable.vpc}",
                *_routes(cable, (cable.address, *cable.secondary)),
            ],
        )
        _ip(
            name,
            [
                "link set lo up",
                # No route to the subnet: the gateway is the only neighbour.
                f"addr add {cable.address}/{subnet.prefixlen} dev eth0 noprefixroute",
                "link set eth0 up",
                f"route add {hop} dev eth0 src {cable.address}",
                f"route add default via {hop} src {cable.address}",
                f"neigh replace {hop} lladdr {_ROUTER_MAC} dev eth0 nud permanent",
            ],
        )
    except NetworkError:
        unplug(cable.instance)
        raise
    return name


def answer_at(addresses: Iterable[str]) -> None:
    """Give the router more addresses at which its own services are asked."""
    _ip(ROUTER, [f"addr replace {address}/32 dev lo" for address in addresses])


def reroute(cable: Cable, gone: Iterable[str]) -> None:
    """Follow a change of an instance's secondary private addresses."""
    port = interface(cable.instance)
    _ip(ROUTER, [f"route del {address}/32 dev {port}" for address in gone], force=True)
    _ip(ROUTER, _routes(cable, cable.secondary))


def _routes(cable: Cable, addresses: Iterable[str]) -> list[str]:
    port = interface(cable.instance)
    lines: list[str] = []
    for address in addresses:
        lines.append(f"route replace {address}/32 dev {port}")
        lines.append(f"neigh replace {address} lladdr {cable.mac} dev {port} nud permanent")
    return lines


def unplug(instance_id: str) -> None:
    """Take an instance off the network: what is sent to it vanishes. Idempotent."""
    name = name_space(instance_id)
    # The router's end first: a name space lives until its last process has ended.
    _ip(ROUTER, [f"link del {interface(instance_id)}"], force=True)
    if namespaces.path(name).exists():
        _ip(None, [f"netns del {name}"])


def pull(instance_id: str) -> None:
    """Take out an instance's cable at once; `unplug` and `plug` put another in."""
    _ip(ROUTER, [f"link set {interface(instance_id)} down"], force=True)


def clear() -> None:
    """Remove everything of this lab or an earlier one, with the processes in it."""
    names = namespaces.existing()
    for name in names:
        for pid in namespaces.processes(name):
            with contextlib.suppress(ProcessLookupError):
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
    _ip(None, [f"netns del {name}" for name in names], force=True)
    deadline = time.monotonic() + 5
    while left := namespaces.existing():
        if time.monotonic() > deadline:
            msg = f"These name spaces of an earlier lab cannot be removed: {', '.join(left)}."
            raise NetworkError(msg)
        time.sleep(0.02)


def _ip(name: str | None, commands: list[str], *, force: bool = False) -> None:
    """Run commands of `ip` in one process; with `force`, go on after one that fails."""
    if not commands:
        return
    where = ["-netns", name] if name else []
    done = subprocess.run(
        ["ip", *where, *(["-force"] if force else []), "-batch", "-"],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not force:
        msg = f"The lab's network could not be made: {done.stderr.strip().splitlines()[0]}"
        raise NetworkError(msg)
