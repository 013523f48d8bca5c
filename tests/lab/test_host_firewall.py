"""The machines' own firewalls on the real machines, with EC2's wide open: arrows all the same."""

import ipaddress
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from hosts.base import followed
from hosts.base.firewall import FILE, Arrow, parse
from lab import network
from tests.lab import traffic
from tests.lab.site import Machine, Site, eventually
from tests.lab.test_reachability import listening, reached_from

Reached = set[tuple[str, str, int]]
"""By whom, which machine, on which port."""

SPARE = 4444
"""A port that a program listens on which nobody meant to be reached."""
ANYTHING = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
OUTSIDE = "outside"
LISTEN = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
while True:
    listener.accept()
"""


def arrows(site: Site, role: str) -> list[Arrow]:
    """What the machines of a role are told."""
    path = f"/site/lab/{followed.path(role)}/{followed.ARROWS}"
    pages = site.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=path)
    return [parse(found["Value"]) for page in pages for found in page["Parameters"]]


def allows(known: Iterable[Arrow], way: str, peer: str, port: int) -> bool:
    address = ipaddress.IPv4Address(peer)
    return any(
        (arrow.way, arrow.port) == (way, port) and address in ipaddress.IPv4Network(arrow.network)
        for arrow in known
    )


@pytest.fixture
def open_groups(site: Site) -> Iterator[Site]:
    """Every security group of every machine lets everything in and out: the worst mistake."""
    ec2 = site.client("ec2")
    ids = [machine.id for machine in site.machines()]
    found: Any = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    groups = sorted(
        {
            group["GroupId"]
            for reservation in found
            for instance in reservation["Instances"]
            for interface in instance["NetworkInterfaces"]
            for group in interface["Groups"]
        }
    )
    assert groups
    with ExitStack() as stack:
        for group in groups:
            rule = {"GroupId": group, "IpPermissions": ANYTHING}
            ec2.authorize_security_group_ingress(**rule)
            stack.callback(ec2.revoke_security_group_ingress, **rule)
            ec2.authorize_security_group_egress(**rule)
            stack.callback(ec2.revoke_security_group_egress, **rule)
        yield site


@contextmanager
def listener(machine: Machine) -> Generator[None]:
    """A program on the machine that listens for anyone."""
    program = subprocess.Popen(
        ["ip", "netns", "exec", machine.netns, sys.executable, "-c", LISTEN, str(SPARE)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout
        assert program.stdout.readline() == "listening\n"
        yield
    finally:
        program.kill()
        program.communicate()


@contextmanager
def may_go_anywhere(site: Site, machine: Machine) -> Generator[None]:
    """The machine's own firewall holds nothing back that goes out: the next one's has to."""
    site.run(machine.name, "nft", "insert", "rule", "inet", "site", "out", "accept")
    try:
        yield
    finally:
        site.run(machine.name, "nft", "-f", str(FILE))


def dropped(site: Site, machine: Machine) -> int:
    """Packets that came to the machine and no further."""
    listed = site.run(machine.name, "nft", "-j", "list", "counter", "inet", "site", "dropped-in")
    (packets,) = [one["counter"]["packets"] for one in json.loads(listed)["nftables"][1:]]
    return packets


def scan(site: Site) -> tuple[Reached, list[int]]:
    """Every port that anything listens on, and two more, of each machine, from everywhere."""
    machines = site.machines()
    ports = sorted(set[int]().union(*(listening(site, m) for m in machines)) | {22, SPARE})
    sources = [(OUTSIDE, "lab-internet"), *((m.name, m.netns) for m in machines)]

    def reached(source: tuple[str, str]) -> Reached:
        name, netns = source
        targets = {(m.address, port): m.name for m in machines if m.name != name for port in ports}
        found = reached_from(netns, list(targets))
        return {(name, targets[target], target[1]) for target in found}

    with ThreadPoolExecutor(len(sources)) as pool:
        return set[tuple[str, str, int]]().union(*pool.map(reached, sources)), ports


def expected(
    site: Site, ports: list[int], leaves: Callable[[Machine, Machine, int], bool]
) -> Reached:
    """What the arrows let in at each machine, of what leaves another and of what there is."""
    machines = site.machines()
    known = {role: arrows(site, role) for role in {machine.role for machine in machines}}
    found: Reached = set()
    for target in machines:
        listens = listening(site, target) | {SPARE}
        for port in (port for port in ports if port in listens):
            callers = {
                m.name: m.address for m in machines if m != target and leaves(m, target, port)
            }
            if target.role == "load-balancer":  # nobody else is reached from outside at all
                callers[OUTSIDE] = network.CLIENT
            for name, address in callers.items():
                if allows(known[target.role], "in", address, port):
                    found.add((name, target.name, port))
    return found


def anything(*_: object) -> bool:
    return True


def groups_are_open(site: Site, target: Machine, caller: Machine) -> None:
    """Waits until packets that no arrow allows come as far as the machine."""

    def arrived() -> bool:
        before = dropped(site, target)
        reached_from(caller.netns, [(target.address, SPARE)])
        return dropped(site, target) > before

    eventually(f"a packet of {caller.name} arrives at {target.name}", arrived, 20)


def test_what_comes_in_is_the_arrows_when_the_groups_and_the_callers_let_all_out(
    open_groups: Site,
) -> None:
    site = open_groups
    machines = site.machines()
    with ExitStack() as stack:
        for machine in machines:
            stack.enter_context(listener(machine))
            stack.enter_context(may_go_anywhere(site, machine))
        for target in machines:
            caller = next(m for m in machines if m.role != target.role)
            groups_are_open(site, target, caller)
        found, ports = scan(site)
        assert found == expected(site, ports, anything)
    assert not {port for _, _, port in found} & {22, SPARE}


def test_what_goes_out_is_the_arrows_when_the_groups_let_all_out(open_groups: Site) -> None:
    site = open_groups
    known = {machine.role: arrows(site, machine.role) for machine in site.machines()}

    def leaves(caller: Machine, target: Machine, port: int) -> bool:
        # The scan is root's, who always has a way to AWS's API.
        return port == 443 or allows(known[caller.role], "out", target.address, port)

    with ExitStack() as stack:
        for machine in site.machines():
            stack.enter_context(listener(machine))
        found, ports = scan(site)
        assert found == expected(site, ports, leaves)


def status_of_metadata(site: Site, name: str, user: str) -> str:
    """What the metadata service answers a user, with curl's ``000`` for nothing."""
    ask = "curl -s -m 2 -o /dev/null -w %{http_code} http://169.254.169.254/latest/meta-data/"
    command = f"setpriv --reuid={user} --regid=nogroup --clear-groups {ask} || true"
    return site.run(name, "sh", "-c", command)


def test_nobody_but_root_asks_for_the_machines_credentials(site: Site) -> None:
    for machine in site.machines():
        assert status_of_metadata(site, machine.name, "root") == "401", "without a token, that is"
        assert status_of_metadata(site, machine.name, "nobody") == "000"


def tables(site: Site, name: str) -> list[str]:
    return site.run(name, "nft", "list", "tables").splitlines()


def test_rules_that_are_taken_away_or_broken_leave_a_shut_machine_and_come_back(site: Site) -> None:
    name = site.machines("app-server")[0].name
    good = site.run(name, "cat", str(FILE))
    site.run(name, "sh", "-c", f"echo 'table inet site {{ nonsense' > {FILE}")
    site.run(
        name, "sh", "-c", "nft delete table inet site; systemctl restart nftables.service || true"
    )
    assert {*tables(site, name)} & {"table inet closed", "table inet site"}
    eventually(
        "the machine has its rules again",
        lambda: (
            site.run(name, "cat", str(FILE)) == good and tables(site, name) == ["table inet site"]
        ),
        60,
    )
    eventually("both application servers answer in turn", lambda: len(site.in_turn()) == 2, 30)


def test_a_blocked_network_is_kept_out_and_no_machine_is_replaced(as_before: Site) -> None:
    site = as_before
    before = {machine.id for machine in site.machines()}
    assert traffic.send(site.url).ok
    outcome = site.up({"network.blockedNetworks": [network.OUTSIDE]})
    assert outcome.status == 0, outcome.text
    assert outcome.changes == {"public": "update"}
    assert {machine.id for machine in site.machines()} == before
    eventually("its clients are not answered", lambda: not traffic.send(site.url).ok, 10)
    outcome = site.up()
    assert outcome.changes == {"public": "update"}
    eventually("they are again", lambda: traffic.send(site.url).ok, 10)


def test_machines_of_one_role_take_their_updates_one_after_the_other(site: Site) -> None:
    def slot(machine: Machine) -> str:
        file = "/run/systemd/system/apt-daily-upgrade.timer.d/60-slot.conf"
        lines = site.run(machine.name, "cat", file).splitlines()
        return next(line for line in lines if line.startswith("OnCalendar=*"))

    for role in ("app-server", "database"):
        slots = [slot(machine) for machine in site.machines(role)]
        assert len({*slots}) == len(slots) > 1
