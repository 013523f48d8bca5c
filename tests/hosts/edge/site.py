"""The load balancer as it is on its machine: the image's HAProxy, the files as user data has them.

It runs in a copy of the image, in a network that has nothing but loopback. The resolver and the
application servers are threads of the test, with sockets in that network; so are the clients.
"""

import csv
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from hosts.load_balancer import Options, save_state
from hosts.load_balancer.files import APP_SERVERS, CERTIFICATE, CHALLENGE_MAP
from hosts.load_balancer.render import EDGE, haproxy_cfg
from lab import image
from tests import certificates
from tests.hosts import values
from tests.hosts.edge import room
from tests.hosts.edge.servers import AppServer, Request
from tests.hosts.inside import names

HOSTS = Path(__file__).parents[3] / "hosts"
NAME = "www.example.org"
SERVERS = ("10.0.0.1", "10.0.0.2")
PORT = 8443
Socket = TypeVar("Socket", bound=socket.socket)
_START = """\
for address in 169.254.169.253 {servers}; do ip address add $address/32 dev lo; done
mkdir -p /run/haproxy
# As under its unit, it may not compile anything: MemoryDenyWriteExecute=yes.
exec python3 -c 'import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE
os.execvp(sys.argv[1], sys.argv[1:])' haproxy -W -p /run/haproxy.pid \\
    -f {edge} -f /etc/haproxy/haproxy.cfg
"""


class Site:
    """A load balancer, its application servers, and whoever asks."""

    def __init__(self, folder: Path, options: Options, *, encrypted: bool = True) -> None:
        """`folder` is the test's own. Not `encrypted`: the application servers speak plain HTTP."""
        self._folder = folder
        self.memory = folder / "run-site"
        self._log = folder / "log"
        self._configuration = folder / "haproxy.cfg"
        self._servers: dict[str, AppServer] = {}
        folder.chmod(0o755)
        self.edge_authority = certificates.authority()
        self.internal_authority = certificates.authority("the stack's authority")
        facts = values.facts("load-balancer")
        self.role = f"app-server.{facts.zone}"
        self._configuration.write_text(haproxy_cfg(facts, options))
        (self.memory / "edge").mkdir(parents=True)
        self.file(CHALLENGE_MAP).touch()
        key, certificate = certificates.server(NAME, "localhost", signer=self.edge_authority)
        self.file(CERTIFICATE).write_text(key + certificates.pem(certificate))
        self.file(APP_SERVERS).write_text(certificates.pem(self.internal_authority[1]))
        self.authority = folder / "authority.pem"
        self.authority.write_text(certificates.pem(self.edge_authority[1]))
        self._start()
        with room.inside(self.pid):
            self._resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._resolver.bind((names.RESOLVER, 53))
        names.answer(self._resolver, lambda _: SERVERS)
        for address in SERVERS:
            self.serve(address, self.certified(self.role) if encrypted else None)

    def _start(self) -> None:
        script = _START.format(servers=" ".join(SERVERS), edge=EDGE)
        binds = {
            self._configuration: "/etc/haproxy/haproxy.cfg",
            HOSTS: "/opt/site/hosts",
            self.memory: "/run/site",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                image.entering(["sh", "-euc", script], binds),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            )
        until(lambda: self._process.poll() is not None or self.pid != 0)
        until(lambda: self._process.poll() is not None or self._answers())
        assert self._process.poll() is None, self.log()

    @property
    def pid(self) -> int:
        """HAProxy's master, seen from outside; 0 while there is none."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        if not found or room.of_thread() == str(Path(f"/proc/{found[0]}/ns/net").readlink()):
            return 0
        return int(found[0])

    def _answers(self) -> bool:
        with suppress(OSError):
            self.socket(8404).close()
            return True
        return False

    def file(self, path: Path) -> Path:
        """A file of /run/site, where it is for the test."""
        return self.memory / path.relative_to("/run/site")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """What HAProxy logged of requests."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def certified(self, *names: str, signer: Any = None) -> Path:
        """Key and certificate of a server in one file, by the stack's authority if by no other."""
        key, made = certificates.server(*names, signer=signer or self.internal_authority)
        file = self._folder / f"server-{made.serial_number}.pem"
        file.write_text(key + certificates.pem(made))
        return file

    def serve(
        self,
        address: str,
        certificate: Path | None,
        most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """An application server, in the place of the one that was there."""
        if address in self._servers:
            self._servers[address].close()
        with room.inside(self.pid):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, PORT))
            listener.listen(512)
        self._servers[address] = AppServer(listener, certificate, most)

    @property
    def servers(self) -> list[AppServer]:
        return list(self._servers.values())

    def served(self) -> list[Request]:
        """What has reached any application server."""
        return [request for server in self.servers for request in server.requests]

    def forget(self) -> None:
        for server in self.servers:
            server.requests.clear()

    def up(self, number: int = len(SERVERS)) -> None:
        """Waits until so many application servers are taken to be well."""
        until(lambda: self.servers_up() == number, 15, self.log)

    def servers_up(self) -> int:
        slots = [row for row in self.statistics() if row["svname"].startswith("slot-")]
        return sum(row["status"].startswith("UP") for row in slots)

    def statistics(self) -> list[dict[str, str]]:
        """HAProxy's own, of each section and server."""
        rows = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
        return [row for row in rows if row["svname"]]

    def statistic(self, section: str, server: str, what: str) -> str:
        (found,) = [
            row for row in self.statistics() if (row["pxname"], row["svname"]) == (section, server)
        ]
        return found[what]

    def ask(self, command: str) -> str:
        """HAProxy's admin socket."""
        return save_state.ask(command, f"/proc/{self.pid}/root{save_state.ADMIN}")

    def workers(self) -> set[int]:
        """The processes under the master."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return {int(one) for one in children.read_text().split()}

    def reload(self) -> None:
        """As the unit does, and waits until the new process serves."""
        save = self.run_inside("python3", "/opt/site/hosts/load_balancer/save_state.py")
        assert save.returncode == 0, save.stderr
        before = self.workers()
        loaded = self.log().count("Loading success")
        os.kill(self.pid, signal.SIGUSR2)
        until(lambda: self.log().count("Loading success") > loaded, 10, self.log)
        assert self.workers() - before, self.log()

    def run(
        self, *command: str, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A program of this machine, in the load balancer's network."""
        return self._enter(["--net"], command, stdin, timeout)

    def run_inside(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A program of the image, beside HAProxy."""
        return self._enter(["--net", "--mount", "--root", "--wdns=/"], command, stdin, 60)

    def _enter(
        self, spaces: list[str], command: Sequence[str], stdin: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), *spaces, *command],
            capture_output=True,
            input=stdin,
            text=True,
            timeout=timeout,
            check=False,
        )

    def socket(self, port: int = 443, source: str = "127.0.0.1") -> socket.socket:
        """A client's connection."""
        return self._connected(socket.socket, port, source)

    def _connected(self, new: Callable[[], Socket], port: int, source: str) -> Socket:
        with room.inside(self.pid):
            sock = new()
            sock.settimeout(15)
            try:
                sock.bind((source, 0))
                sock.connect(("127.0.0.1", port))
            except OSError:
                sock.close()
                raise
        return sock

    def context(self, *alpn: str) -> ssl.SSLContext:
        """What a client expects of TLS."""
        context = ssl.create_default_context(cafile=self.authority)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def tls(
        self,
        *alpn: str,
        source: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
        **more: Any,
    ) -> ssl.SSLSocket:
        """A client's connection, encrypted."""
        context = context or self.context(*alpn)
        # Wrapped first: `wrap_socket` loses a socket that was reset before it looks at it.
        return self._connected(
            lambda: context.wrap_socket(socket.socket(), server_hostname=NAME, **more), 443, source
        )

    def close(self) -> None:
        self._resolver.close()
        for server in self.servers:
            server.close()
        self._process.kill()
        self._process.wait(10)


@contextmanager
def running(folder: Path, *, encrypted: bool = True, **changes: object) -> Generator[Site]:
    """A load balancer with some options changed, and its application servers up."""
    site = Site(
        folder,
        values.load_balancer_options(**{"connections": 1000, **changes}),
        encrypted=encrypted,
    )
    try:
        yield site
    finally:
        site.close()


def until(true: Callable[[], bool], seconds: float = 10, why: Callable[[], str] = str) -> None:
    """Waits for a condition, which has to come true in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.01)
