"""The network: what the world reaches, and what starts closed."""

import ipaddress
from typing import Any

from policies.rule import LOAD_BALANCER, Found, FoundInStack, Resource, Stack, rule, stack_rule

INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
OLD_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
SUBNET = "aws:ec2/subnet:Subnet"
INSTANCE = "aws:ec2/instance:Instance"
INTERFACE = "aws:ec2/networkInterface:NetworkInterface"
ROUTE = "aws:ec2/route:Route"
TABLE = "aws:ec2/routeTable:RouteTable"
ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
GATEWAY = "aws:ec2/internetGateway:InternetGateway"
EIP = "aws:ec2/eip:Eip"
EIP_ASSOCIATION = "aws:ec2/eipAssociation:EipAssociation"

PUBLIC_PORTS = (80, 443)


def _is_world(cidr: Any) -> bool:
    """Whether a range has addresses that are not private ones."""
    return bool(cidr) and not ipaddress.ip_network(cidr, strict=False).is_private


def _from_world(ingress: Resource) -> str:
    """The range of the internet that a rule lets in, if any; a prefix list may be all of it."""
    if listed := ingress.get("prefixListId"):
        return f"the prefix list {listed}"
    ranges = (ingress.get("cidrIpv4"), ingress.get("cidrIpv6"))
    return next((cidr for cidr in ranges if _is_world(cidr)), "")


@rule(INGRESS)
def the_world_reaches_http_and_https_only(ingress: Resource) -> Found:
    """From the internet only ports 80 and 443 are reached."""
    cidr, low, high = _from_world(ingress), ingress.get("fromPort"), ingress.get("toPort")
    if cidr and (low != high or low not in PUBLIC_PORTS):
        yield f"it lets {cidr} reach ports {low} to {high}; allowed are 80 and 443, a rule each"


@stack_rule(INGRESS)
def the_world_reaches_only_load_balancers(stack: Stack) -> FoundInStack:
    """From the internet only load balancers are reached."""
    roles = {resource.urn: resource.role for resource in stack if resource.type == GROUP}
    for ingress in (resource for resource in stack if resource.type == INGRESS):
        groups = ingress.refers.get("securityGroupId", frozenset())
        others = {urn.rpartition("::")[2] for urn in groups if roles.get(urn) != LOAD_BALANCER}
        if (cidr := _from_world(ingress)) and (others or not groups):
            yield (
                ingress,
                f"it opens {', '.join(sorted(others)) or 'a group of another stack'} to {cidr};"
                f" only the group with the tag Role {LOAD_BALANCER} may be",
            )


@rule(INGRESS, EGRESS)
def rules_are_for_single_tcp_ports(arrow: Resource) -> Found:
    """A rule opens one port of TCP, no range and no other protocol."""
    if (protocol := arrow.get("ipProtocol")) != "tcp":
        yield f"ipProtocol is {protocol}; allowed is tcp"
    if (low := arrow.get("fromPort")) is None or low != (high := arrow.get("toPort")):
        yield f"it opens ports {low} to {arrow.get('toPort')}; one rule for each port that is meant"
    elif high == 22:  # noqa: PLR2004 SSH's
        yield "it opens port 22; there is no SSH, operators come by Session Manager"


@rule(GROUP, DEFAULT_GROUP, OLD_RULE)
def security_groups_start_closed(group: Resource) -> Found:
    """Security groups start closed; each arrow is a SecurityGroupIngressRule or EgressRule."""
    if group.type == OLD_RULE:
        yield "SecurityGroupRule knows of no other rules; use SecurityGroupIngressRule, EgressRule"
    for way in ("ingress", "egress"):
        if group.type != OLD_RULE and (rules := group.get(way)):
            yield f"{way} has {len(rules)} rules of its own; leave it out, or empty"


@rule(SUBNET)
def subnets_give_no_public_addresses(subnet: Resource) -> Found:
    """No machine gets a public address by being in a subnet."""
    if subnet.get("mapPublicIpOnLaunch"):
        yield "mapPublicIpOnLaunch is true; a machine that needs an address asks for it"


@rule(EIP, EIP_ASSOCIATION)
def addresses_are_associated_by_machines_alone(address: Resource) -> Found:
    """Elastic IPs go to whichever machine holds their lease, not to one that the program names."""
    if address.type == EIP_ASSOCIATION:
        yield "an EipAssociation takes the address from the machine that holds its lease"
    for name in ("instance", "networkInterface"):
        if address.type == EIP and address.get(name):
            yield f"{name} is set; leave it out"


@stack_rule(ROUTE, TABLE)
def only_load_balancers_have_a_way_from_the_internet(stack: Stack) -> FoundInStack:
    """Machines other than load balancers are in subnets with no route to an internet gateway."""
    gateways = {resource.urn for resource in stack if resource.type == GATEWAY}
    open_tables = {
        table
        for route in stack
        if route.type == ROUTE and route.refers.get("gatewayId", frozenset()) & gateways
        for table in route.refers.get("routeTableId", ())
    } | {
        table.urn
        for table in stack
        if table.type == TABLE and table.refers.get("routes", frozenset()) & gateways
    }
    open_subnets = {
        subnet
        for association in stack
        if association.type == ASSOCIATION
        and association.refers.get("routeTableId", frozenset()) & open_tables
        for subnet in association.refers.get("subnetId", ())
    }
    for machine in stack:
        if machine.type in (INSTANCE, INTERFACE) and machine.role != LOAD_BALANCER:
            for subnet in sorted(machine.refers.get("subnetId", frozenset()) & open_subnets):
                yield machine, f"it is in {subnet.rpartition('::')[2]}, which the internet reaches"
