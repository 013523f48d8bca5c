"""The role of the monitoring machine: Prometheus asks, Alertmanager tells."""

import logging
import pwd
import threading
from collections.abc import Iterable
from functools import cache

from hosts.base import aws, parameters, services
from hosts.base.agent import Context, Health, in_background
from hosts.base.metrics import Metric
from hosts.base.parameters import FOLDER, ParameterError
from hosts.monitoring import firing
from hosts.monitoring.files import WEBHOOK
from hosts.monitoring.options import WEBHOOK as PARAMETER
from hosts.monitoring.options import Options
from hosts.monitoring.relay import Relay

log = logging.getLogger("alerts")

UNITS = {
    "prometheus-alertmanager.service": "http://127.0.0.1:9093/-/ready",
    "prometheus.service": "http://127.0.0.1:9090/-/ready",
}
"""In the order of their start, and where they say that they are ready."""
USER = "prometheus"
EVERY = 30.0
"""Seconds between two looks at the parameter."""


class Monitoring:
    """See `hosts.base.agent.Role`."""

    def __init__(self, context: Context) -> None:
        """Nothing happens yet."""
        self._facts = context.facts
        self._options = Options(**context.options)
        self._trouble = ""
        region = context.facts.region
        self._relay = Relay(
            sns=cache(lambda: aws.sns(region)),
            cloudwatch=cache(lambda: aws.cloudwatch(region)),
            topic=self._options.topic,
            namespace=self._options.namespace,
        )
        self._serving = False

    def start(self) -> None:
        """First whoever is to be told, then Alertmanager, then Prometheus."""
        if self._options.webhook:
            self._fetch()
        if not self._serving:
            server = self._relay.server()
            in_background("relay", server.serve_forever)
            if self._options.webhook:
                in_background("webhook", self._keep)
            self._serving = True
        for unit in UNITS:
            services.start_once(unit, FOLDER / f"{unit}-started")

    def health(self) -> Health:
        """Ready when both say so; with the alerts that fire."""
        for unit, url in UNITS.items():
            if services.show(unit).active == "failed":
                return Health("failed", services.journal(unit))
            if services.http_status(url) != services.OK:
                return Health("booting", f"{unit} is not ready")
        try:
            figures = {"alerts": firing.fetch()}
        except OSError as error:
            return Health("ready", self._trouble or f"what fires is not known: {error}")
        return Health("ready", self._trouble, figures)

    def drain(self) -> None:
        """Nobody waits for it; what it knows is written before it goes."""
        services.systemctl("stop", *reversed(UNITS))

    def metrics(self) -> Iterable[Metric]:
        """Whether alerts get out."""
        yield from self._relay.metrics()

    def _fetch(self) -> None:
        """The URL, if it is another one; Alertmanager reads it with each message."""
        url = parameters.value(aws.ssm(self._facts.region), self._facts.parameter(PARAMETER))
        if WEBHOOK.exists() and WEBHOOK.read_text() == url:
            return
        parameters.write(url, WEBHOOK, owner=pwd.getpwnam(USER).pw_uid)
        log.info("alerts go to the URL of %s", PARAMETER)

    def _keep(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY):
            try:
                self._fetch()
                self._trouble = ""
            except (ParameterError, OSError) as error:
                self._trouble = f"the webhook stays as it is: {error}"
                log.warning("%s", self._trouble)


def create(context: Context) -> Monitoring:
    """The role from its options."""
    return Monitoring(context)
