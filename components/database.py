"""The database machines, each with a volume and an address of its own that outlive it."""

import json
from collections.abc import Mapping
from functools import partial

import pulumi
import pulumi_aws as aws

from components import settings
from components.backups import Backups
from components.connections import Port
from components.fleet import NODE_EXPORTER, Fleet
from components.foundation import Foundation
from components.machine import AtInterface, Machine
from components.network import Network, Subnet
from components.policies import read_parameters, see_all_machines
from components.secrets import DatabaseSecrets
from components.site import Site
from hosts import database as host

MIB = 1024 * 1024
REDO_LOG = (100, 128 * 1024)
"""MiB: the least and the most of it that this program asks for."""

MYSQL = Port("mysql", 3306)
GUARD = Port("guard", 8008)
"""Says who is primary, and who may be read from."""
AGENTS = Port("agents", 8009)
"""The machines' agents, among themselves."""
MYSQLD_EXPORTER = Port("mysqld-exporter", 9104)


class Database(Fleet):
    """Replaced one after the other: a machine's volume has to leave it before the next can have it.

    Applications learn the machines' addresses from one record, which is written when all are
    ready. So that any of them may lead before that, a machine has the address of the one it
    replaces.
    Which of them is the primary is the machines' own affair; here they differ by ordinal only.
    """

    schema = "site"
    exporters = (NODE_EXPORTER, MYSQLD_EXPORTER)

    def __init__(
        self,
        *,
        site: Site,
        network: Network,
        foundation: Foundation,
        backups: Backups,
        settings: settings.Database,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "database",
            site=site,
            network=network,
            foundation=foundation,
            ports=[MYSQL, GUARD],
            opts=opts,
        )
        self._settings = settings
        self.secrets = DatabaseSecrets(
            "database-secrets", site=site, authorities=settings.authorities, opts=self._child
        )
        followed = self._followed_settings()
        identity = self._identity(
            items=["lease/database*"],
            may=[
                read_parameters(
                    site, [*self.secrets.for_databases, self._parameter, backups.parameter]
                ),
                see_all_machines(site, foundation.table),
                *backups.may,
            ],
        )
        for ordinal in range(1, 1 + settings.replicas + 1):
            name = f"database-{ordinal}"
            subnet = network.private[(ordinal - 1) % len(network.private)]
            volume, *_ = [
                self._volume(of, subnet.zone, backups.volume_tags) for of in self._volumes(name)
            ]
            self.machines.append(
                Machine(
                    name,
                    site=site,
                    foundation=foundation,
                    identity=identity,
                    place=AtInterface(self._interface(name, subnet)),
                    instance_type=settings.instance_type,
                    user_data=volume.id.apply(partial(self._user_data, name, ordinal)),
                    volume=volume,
                    replace="delete-first",
                    after=[
                        self.secrets,
                        followed,
                        backups,
                        *(machine.ready for machine in self.machines[-1:]),
                    ],
                    opts=self._child,
                )
            )
        self.record = self._publish()
        ready = [machine.ready for machine in self.machines]
        self.final_backup = backups.before_destroy(foundation, ready, self)
        self.register_outputs({})

    def _volumes(self, machine: str) -> list[str]:
        """The volume that a machine is to have, then those it had before a restore."""
        restore = self._settings.restore
        ids = [restore.id, *restore.kept] if restore else ["first"]
        return [machine if one == "first" else f"{machine}-{one}" for one in ids]

    def _volume(self, name: str, zone: str, more_tags: Mapping[str, str]) -> aws.ebs.Volume:
        return aws.ebs.Volume(
            name,
            availability_zone=zone,
            size=self._settings.volume_size,
            type="gp3",
            encrypted=True,
            tags={**self._site.tags(name, self.role), **more_tags},
            opts=pulumi.ResourceOptions(parent=self, protect=self._site.deletion_protection),
        )

    def _interface(self, name: str, subnet: Subnet) -> aws.ec2.NetworkInterface:
        return aws.ec2.NetworkInterface(
            name,
            subnet_id=subnet.id,
            security_groups=[self.security_group.id],
            tags=self._site.tags(name, self.role),
            opts=self._child,
        )

    @property
    def _parameter(self) -> str:
        return self._site.parameter(host.SETTINGS)

    def _followed_settings(self) -> aws.ssm.Parameter:
        """What the machines follow while they run: apart from user data, which replaces them."""
        return aws.ssm.Parameter(
            "database-settings",
            name=self._parameter,
            type="String",
            value=json.dumps(changing(self._settings)),
            tags=self._site.tags("database-settings", self.role),
            opts=self._child,
        )

    def _restore_point(self) -> dict[str, str] | None:
        restore = self._settings.restore
        return restore.model_dump(exclude={"kept"}) if restore else None

    def _user_data(self, name: str, ordinal: int, volume: str) -> str:
        options = host.Options(
            ordinal=ordinal,
            volume=volume,
            database=self.schema,
            restore=self._restore_point(),
        )
        return host.user_data(self._facts(name), options)


def changing(settings: settings.Database) -> dict[str, object]:
    """The settings that running machines follow, in the words of `hosts.database.tunables`."""
    least, most = REDO_LOG
    return {
        "replication": settings.replication,
        "lease": float(settings.lease),
        "max_replica_lag": float(settings.max_replica_lag),
        "max_failover_lag": float(settings.max_failover_lag),
        "variables": {
            "max_connections": settings.max_connections,
            "innodb_buffer_pool_size": settings.buffer_pool * MIB,
            "innodb_redo_log_capacity": min(max(settings.buffer_pool, least), most) * MIB,
        },
    }
