"""The load balancers: HAProxy behind Elastic IPs, the only machines with public addresses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pulumi
import pulumi_aws as aws
from cryptography import x509

from components import settings
from components.app_servers import AppServers
from components.connections import HTTP, HTTPS, Addresses, Port
from components.edge_certificate import EdgeCertificate
from components.fleet import NODE_EXPORTER, Fleet
from components.foundation import Foundation
from components.machine import InSubnet, Machine
from components.network import Network
from components.policies import Statement, claim_addresses, read_parameters
from components.public_names import PublicNames
from components.settings.tls import names_of
from components.site import Site
from hosts import load_balancer as host

MIB = 1024 * 1024
TEN_SECONDS = 10
HAPROXY = Port("haproxy", 8404)
"""What it counts, and its own health."""
_ACME = Addresses("acme", "0.0.0.0/0")  # wherever the setting's name leads


@dataclass(frozen=True)
class Count:
    """What a mode is made of."""

    machines: int
    addresses: int
    owned: bool
    """Each address is one machine's own while all are well."""


MODES = {
    "single": Count(1, 1, owned=True),
    "active-passive": Count(2, 1, owned=False),
    "active-active": Count(2, 2, owned=True),
}


class LoadBalancers(Fleet):
    """The program makes addresses and never associations: a machine that is well claims its own.

    Replaced ones go when all new ones are ready, one after the other: one that cannot come up costs
    nothing, and of two that serve only one is ever told to go.
    """

    public = True
    exporters = (NODE_EXPORTER, HAPROXY)

    def __init__(
        self,
        *,
        site: Site,
        network: Network,
        foundation: Foundation,
        app_servers: AppServers,
        settings: settings.LoadBalancers,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "load-balancer",
            site=site,
            network=network,
            foundation=foundation,
            ports=[HTTPS, HTTP],
            opts=opts,
        )
        self._settings = settings
        self._app_servers = app_servers
        count = MODES[settings.mode]
        elastic = [self._address(ordinal) for ordinal in range(1, count.addresses + 1)]
        self.addresses = [address.public_ip for address in elastic]
        allocations = pulumi.Output.all(*(address.allocation_id for address in elastic))
        self.certificate = EdgeCertificate(
            "edge-certificate",
            site=site,
            settings=settings,
            addresses=self.addresses,
            opts=self._child,
        )
        follows = self.certificate.follows
        if follows.acme and (port := settings.tls.acme.port) != HTTPS.number:
            self.security_group.allow_to(_ACME, Port("acme", port))
        identity = self._identity(
            items=["lease/address-*", *follows.items],
            may=self._may(
                allocations,
                read_parameters(site, [*follows.reads, *app_servers.secrets.for_load_balancers]),
                *follows.may,
            ),
        )
        for ordinal in range(1, count.machines + 1):
            name = f"load-balancer-{ordinal}"
            self.machines.append(
                Machine(
                    name,
                    site=site,
                    foundation=foundation,
                    identity=identity,
                    place=InSubnet(
                        network.public[(ordinal - 1) % len(network.public)], public=True
                    ),
                    instance_type=settings.instance_type,
                    user_data=self._user_data(name, allocations, ordinal if count.owned else 0),
                    after=[self.certificate, app_servers.secrets],
                    # It is to have something to serve; and what is ready last drains first, alone.
                    ready_after=[
                        app_servers.record,
                        *(machine.ready for machine in self.machines[-1:]),
                    ],
                    opts=self._child,
                )
            )
        self.record = self._publish()
        if settings.domain and settings.hosted_zone:
            PublicNames(
                "public-names",
                site=site,
                domain=settings.domain,
                zone=settings.hosted_zone,
                addresses=self.addresses,
                after=[self.record],
                opts=self._child,
            )
        self.url = self._url()
        self.register_outputs({"addresses": self.addresses, "url": self.url})

    def _address(self, ordinal: int) -> aws.ec2.Eip:
        name = f"load-balancer-{ordinal}"
        return aws.ec2.Eip(
            name,
            domain="vpc",
            tags=self._site.tags(name, self.role),
            opts=pulumi.ResourceOptions(parent=self, protect=self._site.deletion_protection),
        )

    def _may(
        self, allocations: pulumi.Output[Sequence[str]], *more: Statement
    ) -> pulumi.Output[Sequence[Statement]]:
        subnets = [subnet.id for subnet in self._network.public]
        known = pulumi.Output.all(allocations=allocations, subnets=pulumi.Output.all(*subnets))
        return known.apply(
            lambda k: [
                *claim_addresses(self._site, self.role, k["allocations"], k["subnets"]),
                *more,
            ]
        )

    def _user_data(
        self, name: str, allocations: pulumi.Output[Sequence[str]], own: int
    ) -> pulumi.Output[str]:
        facts = self._facts(name)
        render = partial(host.user_data, facts)
        # It is as long for any addresses: what is too long is refused before there are some.
        any_addresses = [f"eipalloc-{'0' * 17}"] * len(self.addresses)
        self._rendered(lambda: render(self._options(any_addresses, own)))
        return allocations.apply(lambda known: render(self._options(known, own)))

    def _options(self, allocations: Sequence[str], own: int) -> host.Options:
        servers = self._app_servers
        return host.Options(
            addresses=tuple(allocations),
            own=allocations[own - 1] if own else "",
            distribution=self._settings.distribution,
            app_port=servers.port.number,
            health_path=servers.settings.health_path,
            # One thread of a server is left for its health checks: a server that is merely busy
            # must not look dead. Of one process: its requests may all have come to the same one.
            # Load balancers that serve at the same time know nothing of each other: they share.
            connections_per_server=(servers.settings.threads - 1) // len(allocations),
            connections=self._settings.connections,
            request_timeout=servers.settings.request_timeout,
            client_timeout=self._settings.client_timeout,
            keep_alive_timeout=self._settings.keep_alive_timeout,
            queue_timeout=self._settings.queue_timeout,
            connect_timeout=self._settings.connect_timeout,
            tunnel_timeout=self._settings.tunnel_timeout,
            hsts=self._settings.hsts,
            hosts=hosts(self._settings),
            limits=_limits(self._settings.limits),
            acme=self.certificate.follows.acme,
        )

    def _url(self) -> pulumi.Output[str]:
        return pulumi.Output.format("https://{}", self._settings.domain or self.addresses[0])


def hosts(settings: settings.LoadBalancers) -> tuple[str, ...]:
    """The names that the site answers to: its domain, and those of a certificate of its own.

    With neither of them it is not known by which name clients come.
    """
    names = [settings.domain] if settings.domain else []
    if settings.tls.certificate:
        names += names_of(x509.load_pem_x509_certificate(settings.tls.certificate.encode()))
    return tuple(dict.fromkeys(names))


def _limits(limits: settings.Limits) -> host.Limits:
    return host.Limits(
        requests_per_second=limits.requests_per_second,
        burst=limits.burst or math.ceil(TEN_SECONDS * limits.requests_per_second),
        connections=limits.connections,
        uploads=limits.uploads,
        body=limits.body * MIB,
    )
