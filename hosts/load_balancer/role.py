"""The role of a load balancer: HAProxy runs, and public addresses lead here.

How long a failure may last decides the times. A machine that falls silent is replaced when its
lease of 3 s has run out: with the look that saw the last renewal (0.2 s late at most), the look
that finds it run out and EC2's part that is about 3.5 s, of the 4 that are promised. Shorter would
be shorter than a restart of this program takes, which is no failure and moves nothing; DynamoDB may
fail to answer four renewals in a row. A HAProxy that is gone or hangs is known within 0.2 and 0.9 s
(`pulse`), and then nobody waits for the lease: it is released.
"""

import logging
import threading
from collections.abc import Iterable

from hosts.base import aws, services
from hosts.base.agent import Context, Health, in_background
from hosts.base.lease import Lease, Times, boottime
from hosts.base.lease_table import DynamoTable
from hosts.base.metrics import Metric
from hosts.base.parameters import FOLDER
from hosts.load_balancer import certificate, door, measured, pulse
from hosts.load_balancer import renewal as renewals
from hosts.load_balancer.certificate import Keeper
from hosts.load_balancer.claim_address import Claim
from hosts.load_balancer.decide import Belongs
from hosts.load_balancer.elastic_addresses import AddressError, ElasticAddresses
from hosts.load_balancer.interface import Interface
from hosts.load_balancer.options import Options
from hosts.load_balancer.pulse import PORT, UNIT, HaproxyPulse
from hosts.load_balancer.renewal import Renewal
from hosts.load_balancer.shares import Shares

log = logging.getLogger("address")

STATUS = f"http://127.0.0.1:{PORT}"
TIMES = Times(lease=3.0, margin=1.0, gap=2.0)
LEAVING = 15.0
"""Seconds that a drain waits for other load balancers to have the addresses."""
LINGER = 1.0
"""Seconds for which HAProxy still serves what reaches it after they have."""
FIRST_SERVER = 300.0
"""Seconds for which readiness waits for an application server: the site is to be served when
the machine is ready, but a load balancer without any is still one."""
PERMITTED = 60.0
"""Seconds until AWS has to know everywhere what a machine may do whose role was just made."""
HAVE = 1.0
"""Seconds between two looks whether the machine has its private addresses."""


class LoadBalancer:
    """See `hosts.base.agent.Role`."""

    def __init__(self, context: Context) -> None:
        """Nothing happens yet."""
        self._context = context
        self._options = Options.read(context.options)
        self._pulse = HaproxyPulse(boottime, self._wake)
        self._claims: list[Claim] = []
        facts = context.facts
        client, acme = aws.ssm(facts.region), self._options.acme
        self._certificates = Keeper(client, facts.parameter)
        self._renewal = acme and Renewal(
            acme,
            client,
            facts.parameter,
            Lease(
                DynamoTable(aws.dynamodb(facts.region), facts.table),
                "certificate",
                context.identity.instance,
                renewals.TIMES,
            ),
        )
        self._shares = Shares(boottime)
        self._started_at = boottime()

    def start(self) -> None:
        """HAProxy first: nobody is to be sent to a machine that does not answer."""
        self._certificates.fetch()
        if self._renewal:
            self._renewal.prepare()
        services.start_once(UNIT, FOLDER / "haproxy-started")
        self._started_at = boottime()
        if self._claims:
            return
        door.make()
        facts, options = self._context.facts, self._options
        interface = Interface(lambda: aws.ec2(facts.region))
        addresses = _patiently(interface, len(options.addresses))
        private = dict(zip(options.addresses, addresses, strict=True))
        self._claims = self._make(private)
        in_background("haproxy", self._feel_pulse)
        in_background("interface", lambda: _keep(interface, addresses))
        for claim in self._claims:
            in_background(claim.allocation, claim.run)
        in_background("certificates", self._keep_certificates)
        if self._renewal:
            in_background("renewal", self._renewal.run)

    def _make(self, private: dict[str, str]) -> list[Claim]:
        facts, instance = self._context.facts, self._context.identity.instance
        table = DynamoTable(aws.dynamodb(facts.region), facts.table)
        elastic = ElasticAddresses(lambda: aws.ec2(facts.region), instance, private)
        return [
            Claim(
                allocation,
                Lease(table, f"address-{allocation}", instance, TIMES),
                addresses=elastic,
                pulse=self._pulse,
                door=door.AddressDoor(address),
                clock=boottime,
                belongs=belongs(allocation, self._options.own),
            )
            for allocation, address in private.items()
        ]

    def health(self) -> Health:
        """Ready when HAProxy answers and every address is where it belongs."""
        unit = services.show(UNIT)
        if unit.active == "failed":
            return Health("failed", services.journal(UNIT))
        for claim in self._claims:
            if claim.error:
                return Health("failed", claim.error)
        if missing := self._missing():
            return Health("booting", missing)
        if services.http_status(f"{STATUS}/serving") == services.OK:
            return Health("ready", self._said(), self._figures())
        if boottime() - self._started_at < FIRST_SERVER:
            return Health("booting", "waiting for an application server")
        return Health("ready", self._said("no application server is available"), self._figures())

    def _figures(self) -> dict[str, object]:
        return {**self._shares.figures(), "certificate_days": self._certificates.days()}

    def _said(self, *more: str) -> str:
        """About the certificate first, in a line of its own."""
        trouble = self._renewal.trouble if self._renewal else ""
        return "\n".join(line for line in (self._certificates.detail(), trouble, *more) if line)

    def _missing(self) -> str:
        if not self._pulse.well:
            return "HAProxy does not answer"
        waiting = [claim.allocation for claim in self._claims if not claim.settled]
        return f"waiting for the address {', '.join(waiting)}" if waiting else ""

    def drain(self) -> None:
        """Lets another machine have the addresses, then lets the requests in flight finish."""
        for claim in self._claims:
            claim.drain()
        here = [claim for claim in self._claims if claim.holder == "us"]
        services.wait_until(lambda: all(claim.gone for claim in self._claims), LEAVING, 0.5)
        if here:
            # EC2 says that an address has moved before the last packet to its former place.
            threading.Event().wait(LINGER)
        services.systemctl("stop", UNIT)

    def metrics(self) -> Iterable[Metric]:
        """Who has which address, and how long the site's certificate is good for."""
        yield from measured.addresses(self._claims, self._pulse)
        yield from measured.served(self._certificates.served)

    def _keep_certificates(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(certificate.EVERY)
            self._certificates.turn()

    def _wake(self) -> None:
        for claim in self._claims:
            claim.wake()

    def _feel_pulse(self) -> None:
        pause = threading.Event()
        while not pause.wait(pulse.EVERY):
            self._pulse.beat()


def belongs(allocation: str, own: str) -> Belongs:
    """Where an address is to be while all load balancers are well."""
    if not own:
        return "anywhere"
    return "here" if allocation == own else "elsewhere"


def _patiently(interface: Interface, count: int) -> list[str]:
    """The machine's private addresses for Elastic IPs."""
    end = boottime() + PERMITTED
    while True:
        try:
            return interface.secondary(count)
        except AddressError as error:
            if boottime() > end:
                raise
            log.warning("%s", error)
        threading.Event().wait(2)


def _keep(interface: Interface, addresses: list[str]) -> None:
    pause = threading.Event()
    while not pause.wait(HAVE):
        for address in addresses:
            try:
                interface.have(address)
            except (OSError, AddressError) as error:
                log.warning("%s: %s", address, error)


def create(context: Context) -> LoadBalancer:
    """A load balancer with a claim for each of its addresses."""
    return LoadBalancer(context)
