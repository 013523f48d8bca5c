"""The database machines, each with a volume of its own that outlives it."""

from functools import partial

import pulumi
import pulumi_aws as aws

from components import settings
from components.connections import Port
from components.fleet import Fleet
from components.foundation import Foundation
from components.machine import Machine
from components.network import Network
from components.policies import read_parameters, see_all_machines
from components.secrets import DatabaseSecrets
from components.site import Site
from hosts import database as host

MYSQL = Port("mysql", 3306)
AGENT = Port("agent", 8008)


class Database(Fleet):
    """Replaced one after the other: a machine's volume has to leave it before the next can have it.

    Which of them is the primary is the machines' own affair; here they differ by ordinal only.
    """

    schema = "site"

    def __init__(
        self,
        *,
        site: Site,
        network: Network,
        foundation: Foundation,
        settings: settings.Database,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "database",
            site=site,
            network=network,
            foundation=foundation,
            ports=[MYSQL, AGENT],
            opts=opts,
        )
        self._settings = settings
        self.secrets = DatabaseSecrets("database-secrets", site=site, opts=self._child)
        identity = self._identity(
            may=[
                read_parameters(site, self.secrets.for_databases),
                see_all_machines(site, foundation.table),
            ]
        )
        for ordinal in range(1, 1 + settings.replicas + 1):
            name = f"database-{ordinal}"
            subnet = network.private[(ordinal - 1) % len(network.private)]
            volume = aws.ebs.Volume(
                name,
                availability_zone=subnet.zone,
                size=settings.volume_size,
                type="gp3",
                encrypted=True,
                tags=site.tags(name, self.role),
                opts=pulumi.ResourceOptions(parent=self, protect=site.deletion_protection),
            )
            self.machines.append(
                Machine(
                    name,
                    site=site,
                    foundation=foundation,
                    identity=identity,
                    subnet=subnet,
                    instance_type=settings.instance_type,
                    user_data=volume.id.apply(partial(self._user_data, name, ordinal)),
                    volume=volume,
                    replace="delete-first",
                    after=[self.secrets, *(machine.ready for machine in self.machines[-1:])],
                    opts=self._child,
                )
            )
        self.record = self._publish()
        self.register_outputs({})

    def _user_data(self, name: str, ordinal: int, volume: str) -> str:
        options = host.Options(
            ordinal=ordinal,
            volume=volume,
            database=self.schema,
            max_replica_lag=self._settings.max_replica_lag,
            buffer_pool=self._settings.buffer_pool,
            max_connections=self._settings.max_connections,
        )
        return host.user_data(self._facts(name), options)
