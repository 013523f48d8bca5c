"""Who may talk to whom.

Every component owns a security group and says on which ports it listens. A connection is declared
once, `database.allow_from(app_servers)`, and opens both ends of the arrow: the listener's ingress
and the caller's egress. The rules are resources of their own: one more touches no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pulumi
import pulumi_aws as aws

from components.site import Site


@dataclass(frozen=True)
class Port:
    """A TCP port with the name of what listens there."""

    name: str
    number: int


@dataclass(frozen=True)
class Addresses:
    """A peer that is no machine of ours: a range of addresses."""

    name: str
    cidr: str


INTERNET = Addresses("internet", "0.0.0.0/0")
HTTPS = Port("https", 443)
HTTP = Port("http", 80)


class Connectable(Protocol):
    """What has a security group: every role of machines."""

    @property
    def security_group(self) -> "SecurityGroup": ...


class SecurityGroup(pulumi.ComponentResource):
    """A security group that starts closed, inward and outward."""

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        vpc_id: pulumi.Input[str],
        ports: Sequence[Port] = (),
        role: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:connections:SecurityGroup", name, None, opts)
        self.name = name
        self.ports = tuple(ports)
        self._site = site
        self._role = role
        group = aws.ec2.SecurityGroup(
            name,
            name=site.name(name),
            description=f"{name} of {site.project}-{site.stack}",
            vpc_id=vpc_id,
            tags=site.tags(name, role),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.id = group.id
        self.register_outputs({"id": self.id})

    @property
    def security_group(self) -> "SecurityGroup":
        return self

    def allow_from(self, peer: Connectable | Addresses, *ports: Port) -> list[pulumi.Resource]:
        """Lets the peer reach these ports, by default all that this component listens on."""
        rules: list[pulumi.Resource] = []
        for port in ports or self.ports:
            if isinstance(peer, Addresses):
                rules.append(self._ingress(peer, port))
            else:
                rules.append(self._ingress(peer.security_group, port))
                rules.append(peer.security_group.egress(self, port))
        return rules

    def allow_to(self, peer: Addresses, *ports: Port) -> list[pulumi.Resource]:
        """Lets this component reach ports of addresses that are not ours."""
        return [self.egress(peer, port) for port in ports]

    def _ingress(self, peer: "SecurityGroup | Addresses", port: Port) -> pulumi.Resource:
        name = f"{self.name}-from-{peer.name}-{port.number}"
        return self._rule(aws.vpc.SecurityGroupIngressRule, name, peer, port, "from")

    def egress(self, peer: "SecurityGroup | Addresses", port: Port) -> pulumi.Resource:
        """This component's end of an arrow; the other end is the listener's `allow_from`."""
        name = f"{self.name}-to-{peer.name}-{port.number}"
        return self._rule(aws.vpc.SecurityGroupEgressRule, name, peer, port, "to")

    def _rule(
        self,
        kind: type[aws.vpc.SecurityGroupIngressRule | aws.vpc.SecurityGroupEgressRule],
        name: str,
        peer: "SecurityGroup | Addresses",
        port: Port,
        way: str,
    ) -> pulumi.Resource:
        return kind(
            name,
            security_group_id=self.id,
            referenced_security_group_id=_group_id(peer),
            cidr_ipv4=_cidr(peer),
            ip_protocol="tcp",
            from_port=port.number,
            to_port=port.number,
            description=f"{port.name} {way} {peer.name}",
            tags=self._site.tags(name, self._role),
            opts=pulumi.ResourceOptions(parent=self),
        )


def _group_id(peer: SecurityGroup | Addresses) -> pulumi.Output[str] | None:
    return peer.id if isinstance(peer, SecurityGroup) else None


def _cidr(peer: SecurityGroup | Addresses) -> str | None:
    return peer.cidr if isinstance(peer, Addresses) else None
