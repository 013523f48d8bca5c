"""The machines of one role: what they share, and the name with the addresses of the ready ones."""

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import pulumi
import pulumi_aws as aws

from components.addresses import resolver
from components.connections import HTTP, HTTPS, Addresses, Connectable, Port, SecurityGroup
from components.foundation import Foundation, Programs
from components.machine import Identity, Machine
from components.network import Network
from components.policies import (
    Statement,
    document,
    follow_parameters,
    read_programs,
    session_manager,
    ship_logs,
    trust_ec2,
)
from components.site import Site
from hosts.base import Bundle, MachineFacts
from hosts.base.bundle import build
from hosts.base.cloud_config import TooLongError
from hosts.base.followed import MAINTENANCE, path
from hosts.base.maintenance import NONE

RECORD_TTL = 1
"""Seconds. HAProxy asks each second; a longer life only delays new machines."""

NODE_EXPORTER = Port("node-exporter", 9100)
"""On every machine: how the machine is, and what its agent says of its role."""
_HOSTS = "/opt/site/hosts"
_AWS = Addresses("aws", "0.0.0.0/0")  # the APIs have public addresses, too many and too new to list
_PACKAGES = Addresses("packages", "0.0.0.0/0")  # the distribution's archive: plain HTTP, signed


class Fleet(pulumi.ComponentResource):
    """Base of the roles. A role makes an identity, then its machines, then publishes them.

    `record` is there when every machine of the role is in service.
    """

    public: ClassVar[bool] = False
    """Whether its machines are in public subnets, with public addresses of their own."""
    exporters: ClassVar[Sequence[Port]] = (NODE_EXPORTER,)
    """Where Prometheus asks the role's machines how they are."""
    record: aws.route53.Record

    def __init__(
        self,
        role: str,
        *,
        site: Site,
        network: Network,
        foundation: Foundation,
        ports: Sequence[Port],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(f"site:fleet:{type(self).__name__}", role, None, opts)
        self.role = role
        self.machines: list[Machine] = []
        self._site = site
        self._network = network
        self._foundation = foundation
        self._child = pulumi.ResourceOptions(parent=self)
        self.security_group = SecurityGroup(
            role,
            site=site,
            vpc_id=network.vpc_id,
            network=network.blocks.public if self.public else network.blocks.private,
            ports=ports,
            role=role,
            opts=self._child,
        )
        self._programs = foundation.programs(f"{role}-programs", build(role), role, self)

    def allow_from(self, peer: Connectable | Addresses, *ports: Port) -> None:
        """Lets the peer reach these machines, by default on every port that they listen on."""
        self.security_group.allow_from(peer, *ports)

    def _identity(
        self,
        *,
        items: Sequence[str] = (),
        may: pulumi.Input[Sequence[Statement]] | Sequence[pulumi.Input[Statement]] = (),
        programs: Sequence[Programs] = (),
    ) -> Identity:
        """The role's instance profile and all that its machines need from first second to last.

        Args:
            items: Which items of the coordination table they share, besides the machines' own.
            may: What else they may do.
            programs: What they fetch besides the programs of their role.
        """
        role = aws.iam.Role(
            self.role,
            name=self._site.name(self.role),
            assume_role_policy=document([trust_ec2()]),
            tags=self._site.tags(self.role, self.role),
            opts=self._child,
        )
        stored = [self._programs, *programs]
        granted = [
            *session_manager(self._site),
            ship_logs(self._site),
            read_programs(self._foundation.bucket_arn, [program.key for program in stored]),
            self._foundation.coordinate("machine/*", *items),
            follow_parameters(self._site, self._site.parameter(path(self.role))),
        ]
        # Also a list some of whose statements are not known yet.
        known = pulumi.Output.from_input(cast("pulumi.Input[Sequence[Statement]]", may))
        policy = aws.iam.RolePolicy(
            self.role,
            name=self._site.name(self.role),
            role=role.name,
            policy=known.apply(lambda more: document([*granted, *more])),
            opts=self._child,
        )
        profile = aws.iam.InstanceProfile(
            self.role,
            name=self._site.name(self.role),
            role=role.name,
            tags=self._site.tags(self.role, self.role),
            opts=self._child,
        )
        return Identity(
            role=self.role,
            profile=profile.name,
            security_group=self.security_group.id,
            needs=[
                policy,
                *(program.object for program in stored),
                *self._ways_out(),
                self._maintenance(),
                self._network,
                self._foundation,
            ],
        )

    def _maintenance(self) -> pulumi.Resource:
        name = f"{self.role}-{MAINTENANCE}"
        return aws.ssm.Parameter(
            name,
            name=self._site.parameter(f"{path(self.role)}/{MAINTENANCE}"),
            type="String",
            value=self._foundation.settings.maintenance_window or NONE,
            tags=self._site.tags(name, self.role),
            opts=self._child,
        )

    def _ways_out(self) -> list[pulumi.Resource]:
        # Here and not among the arrows between the roles: a machine needs AWS from its first
        # second, to fetch its programs, to its last, to say that it is drained.
        rules = self.security_group.allow_to(_AWS, HTTPS)
        if self.public or not self._network.endpoints:
            rules += self.security_group.allow_to(_PACKAGES, HTTP)
        if self._network.endpoints:
            rules += self._network.endpoints.allow_from(self)
        return rules

    def _facts(self, name: str, *programs: tuple[Programs, str]) -> MachineFacts:
        """What a machine is told of itself; `programs`, with their paths, beside the role's."""
        unpacked = [(self._programs, _HOSTS), *programs]
        return MachineFacts(
            name=name,
            role=self.role,
            project=self._site.project,
            stack=self._site.stack,
            region=self._site.region,
            table=self._foundation.table,
            bucket=self._foundation.bucket,
            zone=self._site.zone,
            resolver=resolver(self._network.cidr),
            bundles=tuple(Bundle(key=p.key, sha256=p.sha256, path=path) for p, path in unpacked),
        )

    def _rendered(self, user_data: Callable[[], str]) -> str:
        """User data, or why there is none in the operator's terms."""
        try:
            return user_data()
        except TooLongError as error:
            raise pulumi.RunError(str(error)) from None

    def _publish(self) -> aws.route53.Record:
        """The role's record: changed when all new machines are ready, before any old drains."""
        return aws.route53.Record(
            self.role,
            zone_id=self._network.zone_id,
            name=f"{self.role}.{self._site.zone}",
            type="A",
            ttl=RECORD_TTL,
            records=[machine.private_ip for machine in self.machines],
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[machine.ready for machine in self.machines]
            ),
        )
