"""The role of a load balancer: HAProxy runs, and the public address leads here."""

import threading
from collections.abc import Sequence

from hosts.base import aws, services
from hosts.base.agent import Context, Health, in_background
from hosts.base.lease import Lease, Times, boottime
from hosts.base.lease_table import DynamoTable
from hosts.base.parameters import FOLDER
from hosts.load_balancer.claim_address import Claim, ElasticAddresses
from hosts.load_balancer.options import Options

STATUS = "http://127.0.0.1:8404"
LOOP = 1.0
"""Seconds between two renewals."""
TIMES = Times(lease=4.0, margin=1.0, gap=2.5)
HANDOVER = 4.0
"""Seconds that a drain waits for another load balancer to take the address."""
FIRST_SERVER = 300.0
"""Seconds for which readiness waits for an application server: the site is to be served when
the machine is ready, but a load balancer without any is still one."""


class LoadBalancer:
    """See `hosts.base.agent.Role`."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        """A claim for each address."""
        self._claims = claims
        self._draining = threading.Event()
        self._well = threading.Event()
        self._looping = False
        self._started_at = boottime()

    def start(self) -> None:
        """HAProxy first: nobody is to be sent to a machine that does not answer."""
        services.start_once("haproxy.service", FOLDER / "haproxy-started")
        self._started_at = boottime()
        if not self._looping:
            self._looping = True
            in_background("addresses", self._claim)

    def health(self) -> Health:
        """Ready when HAProxy answers and every address is where it belongs."""
        unit = services.show("haproxy.service")
        if unit.active == "failed":
            return Health("failed", services.journal("haproxy.service"))
        for claim in self._claims:
            if claim.error:
                return Health("failed", claim.error)
        if missing := self._missing():
            return Health("booting", missing)
        if services.http_status(f"{STATUS}/serving") == services.OK:
            return Health("ready")
        if boottime() - self._started_at < FIRST_SERVER:
            return Health("booting", "waiting for an application server")
        return Health("ready", "no application server is available")

    def _missing(self) -> str:
        if services.http_status(f"{STATUS}/health") != services.OK:
            return "HAProxy does not answer"
        waiting = [claim.allocation for claim in self._claims if not claim.settled]
        return f"waiting for the address {', '.join(waiting)}" if waiting else ""

    def drain(self) -> None:
        """Lets another machine take the address, then lets the requests in flight finish."""
        self._draining.set()
        for claim in self._claims:
            claim.release()
        services.wait_until(lambda: all(claim.taken_over for claim in self._claims), HANDOVER)
        services.systemctl("stop", "haproxy.service")

    def _claim(self) -> None:
        """The loop of the leases."""
        while not self._draining.wait(LOOP):
            well = services.http_status(f"{STATUS}/health", timeout=1.0) == services.OK
            for claim in self._claims:
                claim.step(well)
        threading.Event().wait()


def create(context: Context) -> LoadBalancer:
    """A load balancer with a claim for each of its addresses."""
    options = Options(**context.options)
    region, instance = context.facts.region, context.identity.instance
    addresses = ElasticAddresses(aws.ec2(region), instance)
    table = DynamoTable(aws.dynamodb(region), context.facts.table)
    return LoadBalancer(
        [
            Claim(
                allocation,
                Lease(table, f"address-{allocation}", instance, TIMES),
                addresses,
                boottime,
            )
            for allocation in options.addresses
        ]
    )
