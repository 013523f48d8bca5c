"""The role of an application server: gunicorn serves, the way to the database is known."""

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from hosts.app_server import certificate, measured, secrets
from hosts.app_server.gunicorn_conf import COUNTERS, DRAINING, FOLDER, LAYOUT
from hosts.app_server.options import Options
from hosts.base import aws, parameters, services
from hosts.base.agent import Context, Health, in_background
from hosts.base.certificate import Certificate, CertificateError, look
from hosts.base.facts import MachineFacts
from hosts.base.metrics import Histogram, Metric
from hosts.base.metrics import certificate as of_certificate

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("secrets")

UNIT = "site-app.service"
PRIMARY = "http://127.0.0.1:8405/primary"
DATABASE = 30.0
"""Seconds for which the application's start waits for a primary: one that makes its tables when
it is loaded should find it. After that it is started all the same."""
QUIET = 3.0
"""Seconds without any request after which a draining machine is out of rotation."""
FAILURES = (parameters.ParameterError, CertificateError, BotoCoreError, OSError)
AGAIN = 30.0
"""Seconds after which an application that failed is started again."""


class AppServer:
    """See `hosts.base.agent.Role`."""

    def __init__(self, facts: MachineFacts, options: Options, address: str) -> None:
        """Nothing happens yet. `address` is the machine's own."""
        self._facts = facts
        self._address = address
        self._options = options
        self._failed_at: float | None = None
        self._keeping = False
        self._trouble = ""
        self._certificate: Certificate | None = None

    def start(self) -> None:
        """Fetches the secrets, then starts HAProxy, then the application."""
        client = aws.ssm(self._facts.region)
        secrets.fetch(client, self._facts)
        self._renew(client)
        services.start_once("haproxy.service", parameters.FOLDER / "haproxy-started")
        services.wait_until(lambda: services.http_status(PRIMARY) == services.OK, DATABASE)
        services.systemctl("start", "--no-block", UNIT)
        if not self._keeping:
            self._keeping = True
            in_background("secrets", self._keep_secrets)

    def health(self) -> Health:
        """Ready when the application says so; failed as soon as systemd gave up starting it."""
        unit = services.show(UNIT)
        if unit.active == "failed":
            return self._failed(unit.result)
        self._failed_at = None
        if unit.active != "active":
            return Health("booting", "the application is starting")
        url = f"https://127.0.0.1:{self._options.port}{self._options.health_path}"
        status = services.http_status(url, authorities=parameters.FOLDER / certificate.AUTHORITIES)
        if status == services.OK:
            return Health("ready", self._trouble)
        answer = f"answers {status}" if status else "does not answer"
        said = services.journal(UNIT, 12)
        return Health("booting", f"GET {self._options.health_path} {answer}\n{said}")

    def drain(self) -> None:
        """Fails the health check until no load balancer sends anything, then stops."""
        if services.show(UNIT).active == "active":
            (FOLDER / DRAINING).touch()
            began = time.monotonic()
            services.wait_until(lambda: quiet(began), self._options.request_timeout + 10)
            # Nothing is in flight: there is no need to wait for idle connections.
            services.run("systemctl", "kill", "--kill-whom=main", "-s", "SIGQUIT", UNIT)
        services.systemctl("stop", UNIT)

    def metrics(self) -> Iterable[Metric | Histogram]:
        """What the application did, and how long its certificate is good for."""
        yield from measured.application()
        if self._certificate is not None:
            yield from of_certificate("app-server", self._certificate)

    def _keep_secrets(self) -> None:
        client = aws.ssm(self._facts.region)
        while True:
            threading.Event().wait(secrets.EVERY)
            try:
                for changed in secrets.refresh(client, self._facts):
                    log.info("%s has changed", changed)
                self._renew(client)
                self._trouble = ""
            except FAILURES as error:
                log.warning("%s", error)
                self._trouble = f"the secrets stay as they are: {error}"

    def _renew(self, client: "SSMClient") -> None:
        if certificate.renew(client, self._facts, self._address):
            log.info("there is a new certificate")
        self._certificate = look((parameters.FOLDER / certificate.SERVER).read_text())
        secrets.hand_over(files=[certificate.SERVER])

    def _failed(self, result: str) -> Health:
        now = time.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        elif now - self._failed_at >= AGAIN:
            self._failed_at = None
            services.systemctl("reset-failed", UNIT)
            services.systemctl("start", "--no-block", UNIT)
        said = services.journal(UNIT, 40)
        return Health("failed", f"the application does not start ({result})\n{said}")


def quiet(began: float, folder: Path = FOLDER, now: float | None = None) -> bool:
    """Whether nothing is in flight and nothing came for a while since the drain began."""
    now = time.monotonic() if now is None else now
    last = began
    for path in folder.glob(f"{COUNTERS}*"):
        if not Path(f"/proc/{path.name.removeprefix(COUNTERS)}").exists():
            continue
        in_flight, touched = LAYOUT.unpack(path.read_bytes()[: LAYOUT.size])
        if in_flight:
            return False
        last = max(last, touched)
    return now - last >= QUIET


def create(context: Context) -> AppServer:
    """The role from its options."""
    return AppServer(context.facts, Options(**context.options), context.identity.address)
