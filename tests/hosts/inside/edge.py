"""A load balancer and an application server in one place: real HAProxy, real gunicorn, real files.

The parameters are a dictionary; everything else is what the machines run.
"""

import hashlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = ["/opt/site", "/srv/inside"]

import names  # noqa: E402

from hosts.app_server import certificate as own  # noqa: E402
from hosts.app_server import secrets  # noqa: E402
from hosts.app_server.gunicorn_conf import FOLDER as APP  # noqa: E402
from hosts.base.facts import MachineFacts  # noqa: E402
from hosts.load_balancer import save_state  # noqa: E402
from hosts.load_balancer.certificate import Keeper  # noqa: E402
from hosts.load_balancer.render import EDGE  # noqa: E402

PORT = 443
FACTS = MachineFacts(
    name="app-server-1",
    role="app-server",
    project="site",
    stack="lab",
    region="eu-central-1",
    table="",
    bucket="",
    zone="lab.site.internal",
    resolver="10.0.0.2",
    bundles=(),
)
APPLICATION = """
import time
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


class Ssm:
    """Parameters by name, as SSM has them."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, name: str, value: str) -> None:
        self.values[FACTS.parameter(name)] = value

    def get_parameter(self, **asked: Any) -> dict[str, Any]:
        return {"Parameter": {"Value": self.values[asked["Name"]]}}

    def put_parameter(self, **given: Any) -> None:
        assert given["Overwrite"]
        assert given["Type"] == "SecureString"
        assert given["Name"] in self.values
        self.values[given["Name"]] = given["Value"]


def wait(true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class HAProxy:
    """As its unit runs it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._log = Path("/run/haproxy.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        Path("/run/haproxy").mkdir(exist_ok=True)
        file = Path("/run/haproxy.cfg")
        file.write_text(self._text)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                ["haproxy", "-Ws", "-f", EDGE, "-f", str(file)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait(self._serves, "HAProxy starts")

    def _serves(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log()
        return Path(save_state.ADMIN).exists() and listens(8404)

    def reload(self) -> None:
        """As `systemctl reload` does; returns when the new process has taken over."""
        assert self._process
        before = self.worker()
        save_state.save(Path("/var/lib/haproxy/servers"))
        os.kill(self._process.pid, signal.SIGUSR2)
        wait(lambda: self.worker() not in ("", before), "HAProxy has reloaded")

    def worker(self) -> str:
        """The process id of the one that serves."""
        try:
            said = save_state.ask("show info")
        except OSError:
            return ""
        return next((ln.split()[1] for ln in said.splitlines() if ln.startswith("Pid:")), "")

    def log(self) -> str:
        return self._log.read_text()

    def servers_up(self) -> int:
        with http_connection() as connection:
            connection.request("GET", "/serving")
            return connection.getresponse().status


@contextmanager
def http_connection() -> Generator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", 8404, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def gunicorn() -> subprocess.Popen[bytes]:
    """As its unit runs it, once its certificate is there."""
    Path("/run/app").mkdir(exist_ok=True)
    Path("/run/app/wsgi.py").write_text(APPLICATION)
    with Path("/run/gunicorn.log").open("w") as log:
        return subprocess.Popen(
            [
                *("gunicorn", "--config", "/opt/site/hosts/app_server/gunicorn_conf.py"),
                *("--bind", "0.0.0.0:8443", "--workers", "1", "--threads", "16"),
                *("--chdir", "/run/app", "wsgi:application"),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "SITE_MACHINE": "app-server-1", "SITE_HEALTH_PATH": "/healthz"},
        )


def application_server(ssm: Any) -> None:
    """Its agent's part: a certificate, and gunicorn has it."""
    APP.mkdir(exist_ok=True)
    own.renew(ssm, FACTS, "127.0.0.2")
    secrets.hand_over(files=[own.SERVER])


def fingerprint(port: int) -> str:
    """Of the certificate that a new connection is shown, whatever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as sock,
    ):
        der = sock.getpeercert(binary_form=True)
    assert der
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


@dataclass
class Load:
    """Clients that never stop: some on new connections each time, some on ones that they keep."""

    trusted: ssl.SSLContext
    clients: int = 6
    sent: int = 0
    failed: list[str] = field(default_factory=list[str])
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Load":
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def more(self, count: int) -> None:
        """Waits until so many more were sent."""
        aim = self.sent + count
        wait(lambda: self.sent >= aim or bool(self.failed), f"{count} more requests", 60)

    def _run(self, number: int) -> None:
        keeps = number % 2 == 0
        connection: http.client.HTTPSConnection | None = None
        while not self._stop.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPSConnection(
                        "127.0.0.1", PORT, timeout=10, context=self.trusted
                    )
                post = number % 3 == 0
                connection.request(
                    "POST" if post else "GET", f"/{number}", body=b"x" * 20_000 if post else None
                )
                answer = connection.getresponse()
                said = answer.read()
                if (answer.status, said) != (200, b"ok"):
                    self.failed.append(f"{number}: {answer.status} {said[:60]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{number}: {type(error).__name__} {error}")
                connection = None
            with self._lock:
                self.sent += 1
            if not keeps and connection is not None:
                connection.close()
                connection = None


def start(ssm: Ssm, configuration: str) -> tuple[HAProxy, Keeper]:
    """Both machines, until the load balancer has its application server."""
    names.serve(lambda _: ["127.0.0.2"])
    application_server(ssm)
    gunicorn()
    client: Any = ssm
    haproxy = HAProxy(configuration)
    keeper = Keeper(client, FACTS.parameter, reload=haproxy.reload)
    keeper.fetch()
    haproxy.start()
    wait(lambda: haproxy.servers_up() == 200, "an application server is up")
    return haproxy, keeper
