"""Who may talk to whom.

Every component owns a security group and says on which ports it listens. A connection is declared
once, `database.allow_from(app_servers)`, and opens both ends of the arrow: the listener's ingress
and the caller's egress. The rules are resources of their own: one more touches no other.

Beside each rule of a role stands a parameter, which the role's machines follow: their own
firewalls let through the same arrows (docs/decisions/0015). A security group knows its members; a
machine's firewall knows its peers by the network that they are in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pulumi
import pulumi_aws as aws

from components.site import Site
from hosts.base.firewall import Arrow, Way
from hosts.base.followed import ARROWS, path


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
        network: str,
        ports: Sequence[Port] = (),
        role: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`network` is where its members are, `role` that of the machines among them."""
        super().__init__("site:connections:SecurityGroup", name, None, opts)
        self.name = name
        self.network = network
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
                rules += self._ingress(peer, port)
            else:
                rules += self._ingress(peer.security_group, port)
                rules += peer.security_group.egress(self, port)
        return rules

    def allow_to(self, peer: Addresses, *ports: Port) -> list[pulumi.Resource]:
        """Lets this component reach ports of addresses that are not ours."""
        return [rule for port in ports for rule in self.egress(peer, port)]

    def _ingress(self, peer: "SecurityGroup | Addresses", port: Port) -> list[pulumi.Resource]:
        return self._open("in", peer, port)

    def egress(self, peer: "SecurityGroup | Addresses", port: Port) -> list[pulumi.Resource]:
        """This component's end of an arrow; the other end is the listener's `allow_from`."""
        return self._open("out", peer, port)

    def _open(
        self, way: Way, peer: "SecurityGroup | Addresses", port: Port
    ) -> list[pulumi.Resource]:
        word = {"in": "from", "out": "to"}[way]
        name = f"{self.name}-{word}-{peer.name}-{port.number}"
        what = f"{port.name} {word} {peer.name}"
        rule = self._rule(name, way, peer, port, what)
        if self._role is None:
            return [rule]
        return [rule, self._followed(name, Arrow(way, port.number, _network(peer), what))]

    def _followed(self, name: str, arrow: Arrow) -> pulumi.Resource:
        role = self._role or ""
        return aws.ssm.Parameter(
            name,
            name=self._site.parameter(f"{path(role)}/{ARROWS}{name}"),
            type="String",
            value=arrow.to_json(),
            tags=self._site.tags(name, role),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _rule(
        self, name: str, way: Way, peer: "SecurityGroup | Addresses", port: Port, what: str
    ) -> pulumi.Resource:
        kinds: dict[
            Way, type[aws.vpc.SecurityGroupIngressRule | aws.vpc.SecurityGroupEgressRule]
        ] = {"in": aws.vpc.SecurityGroupIngressRule, "out": aws.vpc.SecurityGroupEgressRule}
        return kinds[way](
            name,
            security_group_id=self.id,
            referenced_security_group_id=_group_id(peer),
            cidr_ipv4=_cidr(peer),
            ip_protocol="tcp",
            from_port=port.number,
            to_port=port.number,
            description=what,
            tags=self._site.tags(name, self._role),
            opts=pulumi.ResourceOptions(parent=self),
        )


def _group_id(peer: SecurityGroup | Addresses) -> pulumi.Output[str] | None:
    return peer.id if isinstance(peer, SecurityGroup) else None


def _cidr(peer: SecurityGroup | Addresses) -> str | None:
    return peer.cidr if isinstance(peer, Addresses) else None


def _network(peer: SecurityGroup | Addresses) -> str:
    return peer.cidr if isinstance(peer, Addresses) else peer.network
