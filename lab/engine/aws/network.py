"""VPCs, subnets, internet gateways and route tables."""

import binascii
from typing import ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import given, only, tag_map
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

    def create(self, inputs: Props, call: Call) -> str:  # noqa: ARG002
        response = self.ec2.create_vpc(
            CidrBlock=inputs["cidrBlock"],
            InstanceTenancy=inputs["instanceTenancy"],
            TagSpecifications=self.specification(inputs),
        )
        return str(response["Vpc"]["VpcId"])

    def settle(self, id: str, inputs: Props, call: Call) -> None:  # noqa: A002, ARG002
        self._set_dns(id, inputs, {"enableDnsSupport", "enableDnsHostnames"})

    def _set_dns(self, id: str, inputs: Props, changed: set[str]) -> None:  # noqa: A002
        for name in ("enableDnsSupport", "enableDnsHostnames"):
            if name in changed and name in inputs:
                parameter = name[0].upper() + name[1:]
                self.ec2.modify_vpc_attribute(VpcId=id, **{parameter: {"Value": inputs[name]}})

    def read(self, id: str, state: Props) -> Props:  # noqa: A002
        vpc = only(self.ec2.describe_vpcs(VpcIds=[id])["Vpcs"], id)

        def attribute(name: str) -> bool:
            answer = self.ec2.describe_vpc_attribute(VpcId=id, Attribute=name)
            return bool(answer[name[0].upper() + name[1:]]["Value"])

        def of_vpc(describe: str, kind: str, key: str, extra: dict[str, str]) -> str | None:
            filters = [{"Name": "vpc-id", "Values": [id]}]
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
            "arn": self.cloud.arn("ec2", f"vpc/{id}"),
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
        id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        self._set_dns(id, inputs, changed)
        super().update(id, state, inputs, changed, call)

    def delete(self, id: str, state: Props, call: Call) -> None:  # noqa: A002, ARG002
        self.ec2.delete_vpc(VpcId=id)


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

    def create(self, inputs: Props, call: Call) -> str:  # noqa: ARG002
        response = self.ec2.create_subnet(
            VpcId=inputs["vpcId"],
            CidrBlock=inputs["cidrBlock"],
            TagSpecifications=self.specification(inputs),
            **given(inputs, {"availabilityZone": "AvailabilityZone"}),
        )
        return str(response["Subnet"]["SubnetId"])

    def settle(self, id: str, inputs: Props, call: Call) -> None:  # noqa: A002, ARG002
        if inputs["mapPublicIpOnLaunch"]:
            self._map_public(id, inputs)

    def _map_public(self, id: str, inputs: Props) -> None:  # noqa: A002
        self.ec2.modify_subnet_attribute(
            SubnetId=id, MapPublicIpOnLaunch={"Value": inputs["mapPublicIpOnLaunch"]}
        )

    def read(self, id: str, state: Props) -> Props:  # noqa: A002
        subnet = only(self.ec2.describe_subnets(SubnetIds=[id])["Subnets"], id)
        return {
            "vpcId": subnet["VpcId"],
            "cidrBlock": subnet["CidrBlock"],
            "availabilityZone": subnet["AvailabilityZone"],
            "availabilityZoneId": subnet.get("AvailabilityZoneId"),
            "mapPublicIpOnLaunch": subnet["MapPublicIpOnLaunch"],
            "arn": self.cloud.arn("ec2", f"subnet/{id}"),
            "ownerId": subnet.get("OwnerId"),
            **self.tags_found(tag_map(subnet.get("Tags")), state),
        }

    def update(
        self,
        id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "mapPublicIpOnLaunch" in changed:
            self._map_public(id, inputs)
        super().update(id, state, inputs, changed, call)

    def delete(self, id: str, state: Props, call: Call) -> None:  # noqa: A002, ARG002
        self.ec2.delete_subnet(SubnetId=id)


class InternetGateway(Ec2Resource):
    """aws_internet_gateway; another VPC moves it rather than replaces it."""

    token = "aws:ec2/internetGateway:InternetGateway"  # noqa: S105
    kind = "internet-gateway"
    properties: ClassVar[Properties] = {"vpcId": Property(computed=True), **TAGS}
    outputs = ("arn", "ownerId")

    def create(self, inputs: Props, call: Call) -> str:  # noqa: ARG002
        response = self.ec2.create_internet_gateway(TagSpecifications=self.specification(inputs))
        return str(response["InternetGateway"]["InternetGatewayId"])

    def settle(self, id: str, inputs: Props, call: Call) -> None:  # noqa: A002, ARG002
        if "vpcId" in inputs:
            self.ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=inputs["vpcId"])

    def read(self, id: str, state: Props) -> Props:  # noqa: A002
        found = self.ec2.describe_internet_gateways(InternetGatewayIds=[id])["InternetGateways"]
        gateway = only(found, id)
        attached = gateway.get("Attachments") or [{}]
        return {
            "vpcId": attached[0].get("VpcId"),
            "arn": self.cloud.arn("ec2", f"internet-gateway/{id}"),
            "ownerId": gateway.get("OwnerId") or self.cloud.account,
            **self.tags_found(tag_map(gateway.get("Tags")), state),
        }

    def update(
        self,
        id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "vpcId" in changed:
            if state.get("vpcId"):
                self.ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=state["vpcId"])
            self.settle(id, inputs, call)
        super().update(id, state, inputs, changed, call)

    def delete(self, id: str, state: Props, call: Call) -> None:  # noqa: A002, ARG002
        if state.get("vpcId"):
            self.ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=state["vpcId"])
        self.ec2.delete_internet_gateway(InternetGatewayId=id)


class RouteTable(Ec2Resource):
    """aws_route_table, without routes of its own: each is a Route."""

    token = "aws:ec2/routeTable:RouteTable"  # noqa: S105
    kind = "route-table"
    properties: ClassVar[Properties] = {"vpcId": Property(required=True, replaces=True), **TAGS}
    outputs = ("arn", "ownerId", "routes")

    def create(self, inputs: Props, call: Call) -> str:  # noqa: ARG002
        response = self.ec2.create_route_table(
            VpcId=inputs["vpcId"], TagSpecifications=self.specification(inputs)
        )
        return str(response["RouteTable"]["RouteTableId"])

    def read(self, id: str, state: Props) -> Props:  # noqa: A002
        table = only(self.ec2.describe_route_tables(RouteTableIds=[id])["RouteTables"], id)
        return {
            "vpcId": table["VpcId"],
            "arn": self.cloud.arn("ec2", f"route-table/{id}"),
            "ownerId": table.get("OwnerId"),
            **self.tags_found(tag_map(table.get("Tags")), state),
        }

    def delete(self, id: str, state: Props, call: Call) -> None:  # noqa: A002, ARG002
        self.ec2.delete_route_table(RouteTableId=id)


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

    def create(self, inputs: Props, call: Call) -> str:  # noqa: ARG002
        self.ec2.create_route(
            RouteTableId=inputs["routeTableId"], **given(inputs, {**DESTINATIONS, **TARGETS})
        )
        destination = next(inputs[name] for name in DESTINATIONS if name in inputs)
        return f"r-{inputs['routeTableId']}{binascii.crc32(destination.encode())}"

    def read(self, id: str, state: Props) -> Props:  # noqa: A002
        response = self.ec2.describe_route_tables(RouteTableIds=[state["routeTableId"]])
        table = only(response["RouteTables"], id)
        wanted = given(state, DESTINATIONS)
        routes = [
            route
            for route in table["Routes"]
            if any(route.get(name) == value for name, value in wanted.items())
        ]
        route = only(routes, id)
        return {
            **{name: route.get(parameter) for name, parameter in TARGETS.items()},
            "origin": route.get("Origin"),
            "state": route.get("State"),
        }

    def update(
        self,
        id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,  # noqa: ARG002
    ) -> None:
        if changed & set(TARGETS):
            self.ec2.replace_route(
                RouteTableId=inputs["routeTableId"], **given(inputs, {**DESTINATIONS, **TARGETS})
            )

    def delete(self, id: str, state: Props, call: Call) -> None:  # noqa: A002, ARG002
        self.ec2.delete_route(RouteTableId=state["routeTableId"], **given(state, DESTINATIONS))


class RouteTableAssociation(Ec2Resource):
    """aws_route_table_association; another table replaces the association in AWS, not the resource."""

    token = "aws:ec2/routeTableAssociation:RouteTableAssociation"  # noqa: S105
    taggable = False
    properties: ClassVar[Properties] = {
        "routeTableId": Property(required=True),
        "subnetId": Property(required=True, replaces=True),
    }

    def create(self, inputs: Props, call: Call) -> str:  # noqa: ARG002
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

    def read(self, id: str, state: Props) -> Props:  # noqa: A002, ARG002
        found = self._find(state)
        return {"routeTableId": found["RouteTableId"], "subnetId": found["SubnetId"]}

    def update(
        self,
        id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,  # noqa: ARG002
    ) -> None:
        if "routeTableId" in changed:
            self.ec2.replace_route_table_association(
                AssociationId=self._find(state)["RouteTableAssociationId"],
                RouteTableId=inputs["routeTableId"],
            )

    def delete(self, id: str, state: Props, call: Call) -> None:  # noqa: A002, ARG002
        association = self._find(state)["RouteTableAssociationId"]
        self.ec2.disassociate_route_table(AssociationId=association)


TYPES = (Vpc, Subnet, InternetGateway, RouteTable, Route, RouteTableAssociation)
