"""Real connections from everywhere to everything that listens: exactly the picture's arrows."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.lab.site import Machine, Site

INTERNET = "internet"
ARROWS = {
    (INTERNET, "load-balancer", 80),
    (INTERNET, "load-balancer", 443),
    # Anyone may be a client: also the site's own machines, which may speak HTTP to the outside
    # for the distribution's packages, and HTTPS for AWS's API.
    ("app-server", "load-balancer", 80),
    ("app-server", "load-balancer", 443),
    ("database", "load-balancer", 80),
    ("database", "load-balancer", 443),
    ("monitoring", "load-balancer", 80),
    ("monitoring", "load-balancer", 443),
    ("load-balancer", "load-balancer", 80),
    ("load-balancer", "load-balancer", 443),
    ("load-balancer", "app-server", 8443),
    ("app-server", "database", 3306),
    ("app-server", "database", 8008),
    ("database", "database", 3306),
    ("database", "database", 8009),
    # Who is asked how it is.
    ("monitoring", "load-balancer", 9100),
    ("monitoring", "load-balancer", 8404),
    ("monitoring", "app-server", 9100),
    ("monitoring", "app-server", 8405),
    ("monitoring", "database", 9100),
    ("monitoring", "database", 9104),
}

TRY = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reached(target):
    try:
        socket.create_connection(target, timeout=2).close()
    except OSError:
        return False
    return True

targets = [tuple(target) for target in json.load(sys.stdin)]
with ThreadPoolExecutor(32) as pool:
    print(json.dumps([t for t, ok in zip(targets, pool.map(reached, targets)) if ok]))
"""


def listening(site: Site, machine: Machine) -> set[int]:
    """Ports that anything on the machine listens on, beyond its own loopback."""
    ports: set[int] = set()
    for line in site.run(machine.name, "ss", "-Htln").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        if not address.startswith(("127.", "[::1]")):
            ports.add(int(port))
    return ports


def reached_from(netns: str, targets: list[tuple[str, int]]) -> set[tuple[str, int]]:
    run = subprocess.run(
        ["ip", "netns", "exec", netns, sys.executable, "-c", TRY],
        input=json.dumps(targets),
        capture_output=True,
        text=True,
        check=True,
    )
    return {(address, port) for address, port in json.loads(run.stdout)}


def test_what_reaches_what_is_exactly_the_arrows(site: Site) -> None:
    machines = site.machines()
    ports = {machine: listening(site, machine) for machine in machines}
    for role, port in {(target, port) for _, target, port in ARROWS}:
        for machine in (m for m in machines if m.role == role):
            assert port in ports[machine], f"{machine.name} does not listen on {port}"

    # Also where nobody listens now: a rule that is too wide shows as a refusal, not as silence,
    # only for ports that listen; so each machine is tried on every port that any of them has.
    everything = sorted(set[int]().union(*ports.values()) | {22})
    sources = [(INTERNET, "lab-internet", None)]
    sources += [(machine.role, machine.netns, machine) for machine in machines]

    def matrix(source: tuple[str, str, Machine | None]) -> set[tuple[str, str, int]]:
        role, netns, itself = source
        targets = {(m.address, p): m for m in machines if m is not itself for p in everything}
        reached = reached_from(netns, list(targets))
        return {(role, targets[target].role, target[1]) for target in reached}

    with ThreadPoolExecutor(len(sources)) as pool:
        found = set[tuple[str, str, int]]().union(*pool.map(matrix, sources))
    assert found == ARROWS
