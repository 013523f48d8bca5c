"""The load balancers: HAProxy behind an Elastic IP, the only machines with public addresses."""

from typing import cast

import pulumi
import pulumi_aws as aws

from components import settings
from components.app_servers import AppServers
from components.connections import Port
from components.fleet import Fleet
from components.foundation import Foundation
from components.machine import InSubnet, Machine
from components.network import Network
from components.policies import Statement, claim_addresses
from components.site import Site
from hosts import load_balancer as host

CLIENTS = Port("http", 80)
MACHINES = {"single": 1}


class LoadBalancers(Fleet):
    """The program makes addresses and never associations: a machine that is well claims its own."""

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
            ports=[CLIENTS],
            opts=opts,
        )
        self._settings = settings
        self._app_servers = app_servers
        address = aws.ec2.Eip(
            "load-balancer-1",
            domain="vpc",
            tags=site.tags("load-balancer-1", self.role),
            opts=pulumi.ResourceOptions(parent=self, protect=site.deletion_protection),
        )
        allocations = [address.allocation_id]
        self.addresses = [address.public_ip]
        identity = self._identity(
            items=["lease/address-*"], may=self._claims(allocations), public=True
        )
        for ordinal in range(1, MACHINES[settings.mode] + 1):
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
                    user_data=self._user_data(name, allocations),
                    ready_after=[app_servers.record],  # it is to have something to serve
                    opts=self._child,
                )
            )
        self.record = self._publish()
        self.register_outputs({"addresses": self.addresses})

    def _claims(self, allocations: list[pulumi.Output[str]]) -> list[pulumi.Input[Statement]]:
        subnets = [subnet.id for subnet in self._network.public]
        known = pulumi.Output.all(
            allocations=pulumi.Output.all(*allocations), subnets=pulumi.Output.all(*subnets)
        )
        statements = known.apply(
            lambda k: claim_addresses(self._site, self.role, k["allocations"], k["subnets"])
        )
        return [statements[index] for index in range(4)]

    def _user_data(self, name: str, allocations: list[pulumi.Output[str]]) -> pulumi.Output[str]:
        facts = self._facts(name)
        return pulumi.Output.all(*allocations).apply(
            lambda known: host.user_data(facts, self._options(cast("list[str]", known)))
        )

    def _options(self, allocations: list[str]) -> host.Options:
        servers = self._app_servers
        return host.Options(
            addresses=tuple(allocations),
            distribution=self._settings.distribution,
            app_port=servers.port.number,
            health_path=servers.settings.health_path,
            # One thread of a server is left for its health checks: a server that is merely busy
            # must not look dead. Of one process: its requests may all have come to the same one.
            connections_per_server=servers.settings.threads - 1,
            connections=self._settings.connections,
            request_timeout=servers.settings.request_timeout,
            client_timeout=self._settings.client_timeout,
            keep_alive_timeout=self._settings.keep_alive_timeout,
            queue_timeout=self._settings.queue_timeout,
            connect_timeout=self._settings.connect_timeout,
        )
