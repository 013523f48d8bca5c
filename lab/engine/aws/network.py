"""VPCs, subnets, internet gateways and route tables."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import binascii
from typing import ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import first, given, only, tag_map
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Failure, Properties, Property
from lab.engine.values import Props


class Vpc(Ec2Resource):
    """aws_vpc."""

    token = "aws:ec2/vpc:Vpc"  # noqa: S105  a type's token
    kind = "vpc"
    properties: ClassVar[Properties] = {
        "cidrBlock": Property(required=True, replaces=True),
        "enableDnsHostnames": Property(computed=True),
        "enableDnsSupport": Property(default=True),
        "instanceTenancy": Property(default="default", replaces=True),
        **TAGS,
    }
    outputs = (
        "arn",
        "defaultNetworkAclId",
        "defaultRouteTableId",
        "defaultSecurityGroupId",
        "dhcpOptionsId",
        "mainRouteTableId",
        "ownerId",
    )

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_vpc(
            CidrBlock=inputs["cidrBlock"],
            InstanceTenancy=inputs["instanceTenancy"],
            TagSpecifications=self.specification(inputs),
        )
        return str(response["Vpc"]["VpcId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        self._set_dns(resource_id, inputs, {"enableDnsSupport", "enableDnsHostnames"})

    def _set_dns(self, resource_id: str, inputs: Props, changed: set[str]) -> None:
        for name in ("enableDnsSupport", "enableDnsHostnames"):
            if name in changed and name in inputs:
                parameter = name[0].upper() + name[1:]
                self.ec2.modify_vpc_attribute(
                    VpcId=resource_id, **{parameter: {"Value": inputs[name]}}
                )

    def read(self, resource_id: str, state: Props) -> Props:
        vpc = only(self.ec2.describe_vpcs(VpcIds=[resource_id])["Vpcs"], resource_id)

        def attribute(name: str) -> bool:
            answer = self.ec2.describe_vpc_attribute(VpcId=resource_id, Attribute=name)
            return bool(answer[name[0].upper() + name[1:]]["Value"])

        def of_vpc(describe: str, kind: str, key: str, extra: dict[str, str]) -> str | None:
            filters = [{"Name": "vpc-id", "Values": [resource_id]}]
            filters += [{"Name": name, "Values": [value]} for name, value in extra.items()]
            found = getattr(self.ec2, describe)(Filters=filters)[kind]
            return found[0][key] if found else None

        main = of_vpc(
            "describe_route_tables", "RouteTables", "RouteTableId", {"association.main": "true"}
        )
        return {
            "cidrBlock": vpc["CidrBlock"],
            "enableDnsHostnames": attribute("enableDnsHostnames"),
            "enableDnsSupport": attribute("enableDnsSupport"),
            "instanceTenancy": vpc["InstanceTenancy"],
            "arn": self.cloud.arn("ec2", f"vpc/{resource_id}"),
            "dhcpOptionsId": vpc.get("DhcpOptionsId"),
            "ownerId": vpc.get("OwnerId"),
            "mainRouteTableId": main,
            "defaultRouteTableId": main,
            "defaultNetworkAclId": of_vpc(
                "describe_network_acls", "NetworkAcls", "NetworkAclId", {"default": "true"}
            ),
            "defaultSecurityGroupId": of_vpc(
                "describe_security_groups", "SecurityGroups", "GroupId", {"group-name": "default"}
            ),
            **self.tags_found(tag_map(vpc.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        self._set_dns(resource_id, inputs, changed)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ec2.delete_vpc(VpcId=resource_id)


class Subnet(Ec2Resource):
    """aws_subnet."""

    token = "aws:ec2/subnet:Subnet"  # noqa: S105
    kind = "subnet"
    properties: ClassVar[Properties] = {
        "vpcId": Property(required=True, replaces=True),
        "cidrBlock": Property(required=True, replaces=True),
        "availabilityZone": Property(computed=True, replaces=True),
        "mapPublicIpOnLaunch": Property(default=False),
        **TAGS,
    }
    outputs = ("arn", "ownerId", "availabilityZoneId")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_subnet(
            VpcId=inputs["vpcId"],
            CidrBlock=inputs["cidrBlock"],
            TagSpecifications=self.specification(inputs),
            **given(inputs, {"availabilityZone": "AvailabilityZone"}),
        )
        return str(response["Subnet"]["SubnetId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        if inputs["mapPublicIpOnLaunch"]:
            self._map_public(resource_id, inputs)

    def _map_public(self, resource_id: str, inputs: Props) -> None:
        self.ec2.modify_subnet_attribute(
            SubnetId=resource_id, MapPublicIpOnLaunch={"Value": inputs["mapPublicIpOnLaunch"]}
        )

    def read(self, resource_id: str, state: Props) -> Props:
        subnet = only(self.ec2.describe_subnets(SubnetIds=[resource_id])["Subnets"], resource_id)
        return {
            "vpcId": subnet["VpcId"],
            "cidrBlock": subnet["CidrBlock"],
            "availabilityZone": subnet["AvailabilityZone"],
            "availabilityZoneId": subnet.get("AvailabilityZoneId"),
            "mapPublicIpOnLaunch": subnet["MapPublicIpOnLaunch"],
            "arn": self.cloud.arn("ec2", f"subnet/{resource_id}"),
            "ownerId": subnet.get("OwnerId"),
            **self.tags_found(tag_map(subnet.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "mapPublicIpOnLaunch" in changed:
            self._map_public(resource_id, inputs)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ec2.delete_subnet(SubnetId=resource_id)


class InternetGateway(Ec2Resource):
    """aws_internet_gateway; another VPC moves it rather than replaces it."""

    token = "aws:ec2/internetGateway:InternetGateway"  # noqa: S105
    kind = "internet-gateway"
    properties: ClassVar[Properties] = {"vpcId": Property(computed=True), **TAGS}
    outputs = ("arn", "ownerId")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_internet_gateway(TagSpecifications=self.specification(inputs))
        return str(response["InternetGateway"]["InternetGatewayId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        if "vpcId" in inputs:
            self.ec2.attach_internet_gateway(InternetGatewayId=resource_id, VpcId=inputs["vpcId"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.ec2.describe_internet_gateways(InternetGatewayIds=[resource_id])[
            "InternetGateways"
        ]
        gateway = only(found, resource_id)
        attached = first(gateway.get("Attachments"))
        return {
            "vpcId": attached.get("VpcId"),
            "arn": self.cloud.arn("ec2", f"internet-gateway/{resource_id}"),
            "ownerId": gateway.get("OwnerId") or self.cloud.account,
            **self.tags_found(tag_map(gateway.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "vpcId" in changed:
            if state.get("vpcId"):
                self.ec2.detach_internet_gateway(
                    InternetGatewayId=resource_id, VpcId=state["vpcId"]
                )
            self.settle(resource_id, inputs, call)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state.get("vpcId"):
            self.ec2.detach_internet_gateway(InternetGatewayId=resource_id, VpcId=state["vpcId"])
        self.ec2.delete_internet_gateway(InternetGatewayId=resource_id)


class RouteTable(Ec2Resource):
    """aws_route_table, without routes of its own: each is a Route."""

    token = "aws:ec2/routeTable:RouteTable"  # noqa: S105
    kind = "route-table"
    properties: ClassVar[Properties] = {"vpcId": Property(required=True, replaces=True), **TAGS}
    outputs = ("arn", "ownerId", "routes")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_route_table(
            VpcId=inputs["vpcId"], TagSpecifications=self.specification(inputs)
        )
        return str(response["RouteTable"]["RouteTableId"])

    def read(self, resource_id: str, state: Props) -> Props:
        table = only(
            self.ec2.describe_route_tables(RouteTableIds=[resource_id])["RouteTables"], resource_id
        )
        return {
            "vpcId": table["VpcId"],
            "arn": self.cloud.arn("ec2", f"route-table/{resource_id}"),
            "ownerId": table.get("OwnerId"),
            **self.tags_found(tag_map(table.get("Tags")), state),
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ec2.delete_route_table(RouteTableId=resource_id)


DESTINATIONS = {
    "destinationCidrBlock": "DestinationCidrBlock",
    "destinationIpv6CidrBlock": "DestinationIpv6CidrBlock",
    "destinationPrefixListId": "DestinationPrefixListId",
}
TARGETS = {
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
}


class Route(Ec2Resource):
    """aws_route: its destination is what it is, its target can be replaced."""

    token = "aws:ec2/route:Route"  # noqa: S105
    taggable = False
    properties: ClassVar[Properties] = {
        "routeTableId": Property(required=True, replaces=True),
        **{name: Property(replaces=True) for name in DESTINATIONS},
        **{name: Property(computed=True) for name in TARGETS},
    }
    outputs = ("instanceId", "instanceOwnerId", "origin", "state")

    def validate(self, inputs: Props) -> list[Failure]:
        failures: list[Failure] = []
        for what, names in (("destination", DESTINATIONS), ("target", TARGETS)):
            count = sum(1 for name in names if name in inputs)
            if count != 1:
                reason = f"a route has exactly one {what} of {', '.join(names)}; {count} are given"
                failures.append(Failure(next(iter(names)), reason))
        return failures

    def create(self, inputs: Props, call: Call) -> str:
        self.ec2.create_route(
            RouteTableId=inputs["routeTableId"], **given(inputs, {**DESTINATIONS, **TARGETS})
        )
        destination = next(inputs[name] for name in DESTINATIONS if name in inputs)
        return f"r-{inputs['routeTableId']}{binascii.crc32(destination.encode())}"

    def read(self, resource_id: str, state: Props) -> Props:
        response = self.ec2.describe_route_tables(RouteTableIds=[state["routeTableId"]])
        table = only(response["RouteTables"], resource_id)
        wanted = given(state, DESTINATIONS)
        routes = [
            route
            for route in table["Routes"]
            if any(route.get(name) == value for name, value in wanted.items())
        ]
        route = only(routes, resource_id)
        return {
            **{name: route.get(parameter) for name, parameter in TARGETS.items()},
            "origin": route.get("Origin"),
            "state": route.get("State"),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed & set(TARGETS):
            self.ec2.replace_route(
                RouteTableId=inputs["routeTableId"], **given(inputs, {**DESTINATIONS, **TARGETS})
            )

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ec2.delete_route(RouteTableId=state["routeTableId"], **given(state, DESTINATIONS))


class RouteTableAssociation(Ec2Resource):
    """aws_route_table_association; another table replaces it in AWS, not in Pulumi."""

    token = "aws:ec2/routeTableAssociation:RouteTableAssociation"  # noqa: S105
    taggable = False
    properties: ClassVar[Properties] = {
        "routeTableId": Property(required=True),
        "subnetId": Property(required=True, replaces=True),
    }

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.associate_route_table(
            RouteTableId=inputs["routeTableId"], SubnetId=inputs["subnetId"]
        )
        return str(response["AssociationId"])

    def _find(self, state: Props) -> dict[str, str]:
        """By subnet: replacing the table gives the association a new id that Pulumi cannot take."""
        subnet = state["subnetId"]
        filters = [{"Name": "association.subnet-id", "Values": [subnet]}]
        for table in self.ec2.describe_route_tables(Filters=filters)["RouteTables"]:
            for association in table["Associations"]:
                if association.get("SubnetId") == subnet:
                    return association
        raise Gone(subnet)

    def read(self, resource_id: str, state: Props) -> Props:
        found = self._find(state)
        return {"routeTableId": found["RouteTableId"], "subnetId": found["SubnetId"]}

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "routeTableId" in changed:
            self.ec2.replace_route_table_association(
                AssociationId=self._find(state)["RouteTableAssociationId"],
                RouteTableId=inputs["routeTableId"],
            )

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        association = self._find(state)["RouteTableAssociationId"]
        self.ec2.disassociate_route_table(AssociationId=association)


TYPES = (Vpc, Subnet, InternetGateway, RouteTable, Route, RouteTableAssociation)
