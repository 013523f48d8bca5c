"""What our HAProxy gives, as ratios: to one application server, to a bare HAProxy, and to nginx.
What its own journal of requests costs is said beside it.

The same small static answers over HTTPS, kept-alive connections, in turn within one run, so that a
noisy machine disturbs all alike; then, what it adds to the slowest of a hundred answers at half of
what it can take. The others run on the load balancer's own machine, with its certificate, while our
HAProxy is stopped.
"""

import re
import statistics
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Template

from hosts.load_balancer.files import CERTIFICATE
from hosts.load_balancer.render import EDGE
from tests.lab.site import Machine, Site, eventually

HERE = Path(__file__).parent
ROUNDS = 5
SECONDS = 6
CONNECTIONS = 16
OUTSIDE = "lab-internet"
"""The name space that clients are in."""
HANDSHAKES = 5
"""Seconds of new connections, one after the other."""
OTHER = "other-haproxy"
ASKS = ("-www", "/")
"""HTTP/1.0 without a host: all three refuse it on the spot, so that TLS alone is compared."""


@dataclass(frozen=True)
class Figures:
    """What one program gives, each per second."""

    requests: float
    new_sessions: float = 0.0
    """TLS 1.3, on a new connection each."""
    resumed_sessions: float = 0.0
    """TLS 1.2 (`openssl s_time` resumes no other), on a new connection each. As each asks for
    something: of a connection that is closed without a request, OpenSSL forgets the session."""
    p99: float = 0.0
    """Milliseconds within which 99 of 100 requests are answered, at half of our own most."""

    def over(self, other: "Figures") -> "Figures":
        """The ratios."""
        return Figures(
            _ratio(self.requests, other.requests),
            _ratio(self.new_sessions, other.new_sessions),
            _ratio(self.resumed_sessions, other.resumed_sessions),
            _ratio(self.p99, other.p99),
        )


def _ratio(ours: float, theirs: float) -> float:
    """0 where one was not measured."""
    return ours / theirs if theirs else 0.0


def measure(site: Site) -> dict[str, Figures]:
    """Deploy the smallest site and measure; the medians of `ROUNDS` rounds, by program."""
    outcome = site.up(
        {
            "appServers.folder": "benchmarks/site",
            "appServers.healthPath": "/",
            # One that may use all threads of the servers, as the others do.
            "loadBalancers.mode": "single",
            "monitoring.enabled": False,
        }
    )
    if outcome.status:
        raise RuntimeError(outcome.text)
    (balancer,) = site.machines("load-balancer")
    servers = site.machines("app-server")
    # What CloudWatch is in the lab would need these processors for the journal of each request.
    for machine in (balancer, *servers):
        site.run(machine.name, "systemctl", "stop", "site-logs.service")
    targets = [f"{server.address}:8443" for server in servers]
    contenders: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
        "ours": nullcontext,
        "unlogged": lambda: _unlogged(site, balancer),
        "bare": lambda: _bare(site, balancer, targets),
        "nginx": lambda: _nginx(site, balancer, targets),
    }
    rounds: dict[str, list[Figures]] = {"direct": [], **{name: [] for name in contenders}}
    for _ in range(ROUNDS):
        # An application server takes nothing older than TLS 1.3.
        rounds["direct"].append(Figures(_wrk(balancer.netns, targets[0])))
        for name, running in contenders.items():
            with running():
                rounds[name].append(_figures(OUTSIDE, f"{balancer.address}:443"))
    found = {name: _medians(figures) for name, figures in rounds.items()}
    half = found["ours"].requests / 2
    ways = {"direct": (balancer.netns, targets[0]), "ours": (OUTSIDE, f"{balancer.address}:443")}
    for name, way in ways.items():
        waits = [_p99(*way, half) for _ in range(ROUNDS)]
        found[name] = replace(found[name], p99=statistics.median(waits))
    return found


def _medians(found: list[Figures]) -> Figures:
    return Figures(
        statistics.median(one.requests for one in found),
        statistics.median(one.new_sessions for one in found),
        statistics.median(one.resumed_sessions for one in found),
    )


def _figures(netns: str, target: str) -> Figures:
    return Figures(
        _wrk(netns, target),
        _sessions(netns, target, "-new", "-tls1_3"),
        _sessions(netns, target, "-reuse", "-tls1_2"),
    )


def _wrk(netns: str, target: str) -> float:
    """Requests per second; any answer but a 2xx makes the figure worthless."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"https://{target}/"]
    said = _in(netns, *command)
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or not found:
        raise RuntimeError(said)
    return float(found[1])


def _p99(netns: str, target: str, rate: float) -> float:
    """Milliseconds. `rate` is requests per second, of all connections together."""
    with TemporaryDirectory() as scratch:
        log = Path(scratch) / "requests"
        each = ("--h1", f"--clients={CONNECTIONS}", f"--rps={max(1, round(rate / CONNECTIONS))}")
        time = (f"--duration={SECONDS}", "--warm-up-time=1")
        _in(netns, "h2load", *each, *time, f"--log-file={log}", f"https://{target}/")
        lines = [line.split("\t") for line in log.read_text().splitlines()]
    if not lines or {status for _, status, _ in lines} != {"200"}:
        msg = f"{target}: not every request was answered with 200"
        raise RuntimeError(msg)
    return statistics.quantiles((int(wait) / 1000 for *_, wait in lines), n=100)[98]


def _sessions(netns: str, target: str, *options: str) -> float:
    """TLS sessions per second, one after the other."""
    time = ("-time", str(HANDSHAKES))
    said = _in(netns, "openssl", "s_time", "-connect", target, *time, *ASKS, *options)
    found = re.search(r"(\d+) connections in (\d+) real seconds", said)
    resumed = re.findall("^[*tr]+$", said, re.MULTILINE)
    if not found or (
        "-reuse" in options and resumed and resumed[0].count("r") < len(resumed[0]) / 2
    ):
        raise RuntimeError(said)
    return int(found[1]) / int(found[2])


def _in(netns: str, *command: str) -> str:
    return subprocess.check_output(["ip", "netns", "exec", netns, *command], text=True)


@contextmanager
def _instead_of_ours(site: Site, balancer: Machine) -> Generator[None]:
    site.run(balancer.name, "systemctl", "stop", "haproxy")
    try:
        yield
    finally:
        site.run(balancer.name, "systemctl", "start", "haproxy")
        everyone = {server.name for server in site.machines("app-server")}
        eventually("HAProxy has its servers again", lambda: site.in_turn() == everyone, 60)


@contextmanager
def _another(site: Site, balancer: Machine, *files: str) -> Generator[None]:
    """Another HAProxy, in ours' place."""
    options = [word for file in files for word in ("-f", file)]
    with _instead_of_ours(site, balancer):
        run = ("systemd-run", "--quiet", f"--unit={OTHER}", "haproxy", "-db", *options)
        site.run(balancer.name, *run)
        try:
            eventually("the other HAProxy listens", lambda: _listens(balancer.netns), 10)
            yield
        finally:
            site.run(balancer.name, "systemctl", "stop", OTHER)


@contextmanager
def _bare(site: Site, balancer: Machine, servers: list[str]) -> Generator[None]:
    template = Template((HERE / "bare.cfg.j2").read_text(), keep_trailing_newline=True)
    file = f"/run/{OTHER}.cfg"
    content = template.render(certificate=CERTIFICATE, servers=servers)
    site.run(balancer.name, "sh", "-c", f"cat > {file}", given=content)
    with _another(site, balancer, file):
        yield


@contextmanager
def _unlogged(site: Site, balancer: Machine) -> Generator[None]:
    """Ours, but for its journal of requests."""
    edge = f"/run/{OTHER}-edge.cfg"
    site.run(balancer.name, "sh", "-c", f"sed '/^ *log global/d' {EDGE} > {edge}")
    with _another(site, balancer, edge, "/etc/haproxy/haproxy.cfg"):
        eventually("it has its servers", lambda: _serves(balancer), 30)
        yield


@contextmanager
def _nginx(site: Site, balancer: Machine, servers: list[str]) -> Generator[None]:
    with TemporaryDirectory() as scratch, _instead_of_ours(site, balancer):
        conf = Path(scratch) / "nginx.conf"
        certificate = Path(scratch) / "certificate.pem"
        certificate.write_text(site.run(balancer.name, "cat", str(CERTIFICATE)))
        template = Template((HERE / "nginx.conf.j2").read_text())
        journal = _root(balancer) / "run/systemd/journal/dev-log"
        conf.write_text(template.render(scratch=scratch, servers=servers, journal=journal))
        command = ["ip", "netns", "exec", balancer.netns, "nginx", "-c", str(conf), "-p", scratch]
        with subprocess.Popen(command) as nginx:
            try:
                eventually("nginx listens", lambda: _listens(balancer.netns), 10)
                yield
            finally:
                nginx.terminate()


def _root(machine: Machine) -> Path:
    """Its file system, as its own processes see it."""
    pid = subprocess.check_output(["ip", "netns", "pids", machine.netns], text=True).split()[0]
    return Path(f"/proc/{pid}/root")


def _serves(balancer: Machine) -> bool:
    asked = (
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://127.0.0.1:8404/serving",
    )
    return _in(balancer.netns, *asked) == "200"


def _listens(netns: str) -> bool:
    return any(line.split()[3].endswith(":443") for line in _in(netns, "ss", "-Htln").splitlines())
