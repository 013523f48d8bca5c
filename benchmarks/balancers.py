"""Requests per second through HAProxy, as ratios: to one application server, and to nginx.

The same small static answers, one client with kept-alive connections, in turn within one run,
so that a noisy machine disturbs all three alike. nginx runs on the load balancer's own machine,
while HAProxy is stopped.
"""

import re
import statistics
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Template

from tests.lab.site import Site, eventually

HERE = Path(__file__).parent
ROUNDS = 5
SECONDS = 6
CONNECTIONS = 16


@dataclass(frozen=True)
class Ratios:
    direct: float
    haproxy: float
    nginx: float

    @property
    def to_direct(self) -> float:
        return self.haproxy / self.direct

    @property
    def to_nginx(self) -> float:
        return self.haproxy / self.nginx


def measure(site: Site) -> Ratios:
    """Deploy the smallest site and measure; the medians of `ROUNDS` rounds."""
    outcome = site.up({"appServers.folder": "benchmarks/site", "appServers.healthPath": "/"})
    if outcome.status:
        raise RuntimeError(outcome.text)
    balancer = site.machines("load-balancer")[0]
    servers = site.machines("app-server")
    through = f"http://{balancer.address}/"
    rounds: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        direct = _wrk(balancer.netns, f"http://{servers[0].address}:8000/")
        haproxy = _wrk("lab-internet", through)
        with _nginx(site, balancer.netns, [f"{server.address}:8000" for server in servers]):
            nginx = _wrk("lab-internet", through)
        rounds.append((direct, haproxy, nginx))
    return Ratios(*(statistics.median(figures) for figures in zip(*rounds, strict=True)))


def _wrk(netns: str, url: str) -> float:
    """Requests per second; any answer but a 2xx makes the figure worthless."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]
    said = subprocess.check_output(["ip", "netns", "exec", netns, *command], text=True)
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not found:
        raise RuntimeError(said)
    return float(found[1])


@contextmanager
def _nginx(site: Site, netns: str, servers: list[str]) -> Generator[None]:
    name = site.machines("load-balancer")[0].name
    site.run(name, "systemctl", "stop", "haproxy")
    try:
        with TemporaryDirectory() as scratch:
            conf = Path(scratch) / "nginx.conf"
            template = Template((HERE / "nginx.conf.j2").read_text())
            conf.write_text(template.render(scratch=scratch, servers=servers))
            command = ["ip", "netns", "exec", netns, "nginx", "-c", str(conf), "-p", scratch]
            with subprocess.Popen(command) as nginx:
                try:
                    eventually("nginx listens", lambda: _listens(netns), 10)
                    yield
                finally:
                    nginx.terminate()
    finally:
        site.run(name, "systemctl", "start", "haproxy")
        everyone = {server.name for server in site.machines("app-server")}
        eventually("HAProxy has its servers again", lambda: site.in_turn() == everyone, 60)


def _listens(netns: str) -> bool:
    said = subprocess.check_output(["ip", "netns", "exec", netns, "ss", "-Htln"], text=True)
    return any(line.split()[3].endswith(":80") for line in said.splitlines())
