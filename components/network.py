"""The network: a VPC over several zones, public and private subnets, the ways out, the names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import settings
from components.addresses import halves, zone_subnets
from components.connections import HTTPS, SecurityGroup
from components.site import Site

# Session Manager's and Parameter Store's. S3 and DynamoDB have gateway endpoints, which are free;
# the EC2 API is called by the load balancers alone, who have public addresses.
_PRIVATE_SERVICES = ("logs", "monitoring", "sns", "ssm", "ssmmessages")
# The numbers of a network ACL's rules, which are asked in their order. That of the rule which lets
# everyone in never changes: it is there at every moment of an update.
_FIRST_BLOCKED, _EVERYONE = 100, 1000


@dataclass(frozen=True)
class Subnet:
    """A subnet and the availability zone it is in."""

    id: pulumi.Output[str]
    zone: str


class Network(pulumi.ComponentResource):
    """Depend on it as a whole to start when its routes, ways out and endpoints are there."""

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        settings: settings.Network,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:network:Network", name, None, opts)
        self._site = site
        self._child = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(
            "vpc",
            cidr_block=settings.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags=site.tags("vpc"),
            opts=self._child,
        )
        self.vpc_id = vpc.id
        self.cidr = settings.cidr
        self.blocks = halves(settings.cidr)
        # AWS gives every VPC a group whose members may talk to each other. Nobody is in it.
        aws.ec2.DefaultSecurityGroup(
            "default",
            vpc_id=vpc.id,
            ingress=[],
            egress=[],
            tags=site.tags("default"),
            opts=self._child,
        )
        zones = self._zones(settings.zones)
        blocks = zone_subnets(settings.cidr, settings.zones)
        self.public = self._subnets("public", zones, [block.public for block in blocks])
        self.private = self._subnets("private", zones, [block.private for block in blocks])
        internet = aws.ec2.InternetGateway(
            "internet", vpc_id=vpc.id, tags=site.tags("internet"), opts=self._child
        )
        public_table = self._route_table("public", self.public)
        public_route = aws.ec2.Route(
            "public-internet",
            route_table_id=public_table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=internet.id,
            opts=self._child,
        )
        private_tables = [
            self._route_table(f"private-{ordinal}", [subnet])
            for ordinal, subnet in enumerate(self.private, 1)
        ]
        gateways = {"none": 0, "one": 1, "one-per-zone": settings.zones}[settings.nat]
        nats = [
            self._nat(ordinal, subnet, public_route)
            for ordinal, subnet in enumerate(self.public[:gateways], 1)
        ]
        if nats:
            for index, table in enumerate(private_tables):
                aws.ec2.Route(
                    f"private-{index + 1}-internet",
                    route_table_id=table.id,
                    destination_cidr_block="0.0.0.0/0",
                    nat_gateway_id=nats[index % len(nats)].id,
                    opts=self._child,
                )
        self._keep_out(settings.blocked_networks)
        for service in ("s3", "dynamodb"):
            self._gateway_endpoint(service, [public_table, *private_tables])
        self.endpoints = None if nats else self._interface_endpoints()
        self.zone_id = aws.route53.Zone(
            "private",
            name=site.zone,
            vpcs=[{"vpc_id": vpc.id}],
            tags=site.tags("private"),
            opts=self._child,
        ).zone_id
        self.register_outputs({"vpc_id": self.vpc_id, "zone_id": self.zone_id})

    def _zones(self, wanted: int) -> list[str]:
        # Local and wavelength zones are zones too, but ones that an account has to opt in to.
        found = aws.get_availability_zones(
            state="available",
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
        ).names
        if len(found) < wanted:
            msg = (
                f"site:network.zones is {wanted}, but {self._site.region} has {len(found)}"
                f" ({', '.join(found)}). Set it with `pulumi config set --path site:network.zones"
                f" {len(found)}`, or choose another region."
            )
            raise pulumi.RunError(msg)
        return sorted(found)[:wanted]

    def _subnets(self, kind: str, zones: Sequence[str], cidrs: Sequence[str]) -> list[Subnet]:
        """One in each zone."""
        return [
            self._subnet(f"{kind}-{ordinal}", zone, cidr)
            for ordinal, (zone, cidr) in enumerate(zip(zones, cidrs, strict=True), 1)
        ]

    def _subnet(self, name: str, zone: str, cidr: str) -> Subnet:
        subnet = aws.ec2.Subnet(
            name,
            vpc_id=self.vpc_id,
            availability_zone=zone,
            cidr_block=cidr,
            map_public_ip_on_launch=False,  # a machine says so itself
            tags=self._site.tags(name),
            opts=self._child,
        )
        return Subnet(subnet.id, zone)

    def _route_table(self, name: str, subnets: Sequence[Subnet]) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            name, vpc_id=self.vpc_id, tags=self._site.tags(name), opts=self._child
        )
        for ordinal, subnet in enumerate(subnets, 1):
            aws.ec2.RouteTableAssociation(
                name if len(subnets) == 1 else f"{name}-{ordinal}",
                route_table_id=table.id,
                subnet_id=subnet.id,
                opts=self._child,
            )
        return table

    def _nat(self, ordinal: int, subnet: Subnet, way_out: aws.ec2.Route) -> aws.ec2.NatGateway:
        name = f"nat-{ordinal}"
        address = aws.ec2.Eip(name, domain="vpc", tags=self._site.tags(name), opts=self._child)
        return aws.ec2.NatGateway(
            name,
            allocation_id=address.allocation_id,
            subnet_id=subnet.id,
            tags=self._site.tags(name),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[way_out]),
        )

    def _keep_out(self, blocked: Sequence[str]) -> None:
        """The public subnets' network ACL: nothing of these networks comes in, not even answers."""
        everyone = _acl_rule(_EVERYONE, "allow", "0.0.0.0/0")
        aws.ec2.NetworkAcl(
            "public",
            vpc_id=self.vpc_id,
            subnet_ids=[subnet.id for subnet in self.public],
            ingress=[
                *(_acl_rule(n, "deny", cidr) for n, cidr in enumerate(blocked, _FIRST_BLOCKED)),
                everyone,
            ],
            egress=[everyone],
            tags=self._site.tags("public"),
            opts=self._child,
        )

    def _gateway_endpoint(self, service: str, tables: Sequence[aws.ec2.RouteTable]) -> None:
        aws.ec2.VpcEndpoint(
            service,
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{self._site.region}.{service}",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=self._site.tags(service),
            opts=self._child,
        )

    def _interface_endpoints(self) -> SecurityGroup:
        group = SecurityGroup(
            "endpoints",
            site=self._site,
            vpc_id=self.vpc_id,
            network=self.blocks.private,
            ports=[HTTPS],
            opts=self._child,
        )
        for service in _PRIVATE_SERVICES:
            aws.ec2.VpcEndpoint(
                service,
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{self._site.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=[subnet.id for subnet in self.private],
                security_group_ids=[group.id],
                tags=self._site.tags(service),
                opts=self._child,
            )
        return group


def _acl_rule(number: int, action: str, cidr: str) -> Any:
    """A rule for all protocols and ports, incoming or outgoing."""
    return {
        "rule_no": number,
        "action": action,
        "protocol": "-1",
        "cidr_block": cidr,
        "from_port": 0,
        "to_port": 0,
    }
