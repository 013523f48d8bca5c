"""Elastic IPs, NAT gateways and VPC endpoints."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import first, given, items, only, tag_map, wait_until
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Change, Properties, Property, same_json
from lab.engine.values import Props

MINUTES = 60.0  # seconds


class Eip(Ec2Resource):
    """aws_eip. Nothing is asked of its association unless the program declares one."""

    token = "aws:ec2/eip:Eip"  # noqa: S105  a type's token
    kind = "elastic-ip"
    properties: ClassVar[Properties] = {
        "domain": Property(computed=True, replaces=True, choices=("vpc", "standard")),
        "address": Property(replaces=True),
        "instance": Property(computed=True),
        "networkInterface": Property(computed=True),
        "associateWithPrivateIp": Property(),
        **TAGS,
    }
    outputs = ("allocationId", "arn", "associationId", "privateIp", "publicDns", "publicIp")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.allocate_address(
            Domain=inputs.get("domain", "vpc"),
            TagSpecifications=self.specification(inputs),
            **given(inputs, {"address": "Address"}),
        )
        return str(response["AllocationId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        target = given(
            inputs,
            {
                "instance": "InstanceId",
                "networkInterface": "NetworkInterfaceId",
                "associateWithPrivateIp": "PrivateIpAddress",
            },
        )
        if target:
            self.ec2.associate_address(AllocationId=resource_id, AllowReassociation=True, **target)

    def read(self, resource_id: str, state: Props) -> Props:
        address = only(
            self.ec2.describe_addresses(AllocationIds=[resource_id])["Addresses"], resource_id
        )
        public = address["PublicIp"]
        return {
            "domain": address.get("Domain", "vpc"),
            "instance": address.get("InstanceId") or "",
            "networkInterface": address.get("NetworkInterfaceId") or "",
            "allocationId": resource_id,
            "arn": self.cloud.arn("ec2", f"elastic-ip/{resource_id}"),
            "associationId": address.get("AssociationId") or "",
            "privateIp": address.get("PrivateIpAddress") or "",
            "publicIp": public,
            "publicDns": f"ec2-{public.replace('.', '-')}.{self.cloud.region}"
            ".compute.amazonaws.com",
            **self.tags_found(tag_map(address.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed & {"instance", "networkInterface", "associateWithPrivateIp"}:
            self.settle(resource_id, inputs, call)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        address = only(
            self.ec2.describe_addresses(AllocationIds=[resource_id])["Addresses"], resource_id
        )
        if address.get("AssociationId"):
            self.ec2.disassociate_address(AssociationId=address["AssociationId"])
        self.ec2.release_address(AllocationId=resource_id)


class NatGateway(Ec2Resource):
    """aws_nat_gateway, of one zone."""

    token = "aws:ec2/natGateway:NatGateway"  # noqa: S105
    kind = "natgateway"
    properties: ClassVar[Properties] = {
        "subnetId": Property(required=True, replaces=True),
        "allocationId": Property(replaces=True),
        "connectivityType": Property(
            default="public", replaces=True, choices=("public", "private")
        ),
        "privateIp": Property(computed=True, replaces=True),
        **TAGS,
    }
    outputs = ("associationId", "networkInterfaceId", "publicIp")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_nat_gateway(
            SubnetId=inputs["subnetId"],
            ConnectivityType=inputs["connectivityType"],
            TagSpecifications=self.specification(inputs),
            **given(inputs, {"allocationId": "AllocationId", "privateIp": "PrivateIpAddress"}),
        )
        return str(response["NatGateway"]["NatGatewayId"])

    def _state(self, resource_id: str) -> str:
        found = self.ec2.describe_nat_gateways(NatGatewayIds=[resource_id])["NatGateways"]
        return str(found[0]["State"]) if found else "deleted"

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        what = f"NAT gateway {resource_id} to be available"
        wait_until(what, 10 * MINUTES, lambda: self._state(resource_id) != "pending")

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.ec2.describe_nat_gateways(NatGatewayIds=[resource_id])["NatGateways"]
        gateway = only(found, resource_id)
        if gateway["State"] in ("deleting", "deleted"):
            raise Gone(resource_id)
        address = first(gateway.get("NatGatewayAddresses"))
        return {
            "subnetId": gateway["SubnetId"],
            "allocationId": address.get("AllocationId"),
            "connectivityType": gateway.get("ConnectivityType"),
            "privateIp": address.get("PrivateIp"),
            "publicIp": address.get("PublicIp"),
            "networkInterfaceId": address.get("NetworkInterfaceId"),
            "associationId": address.get("AssociationId"),
            **self.tags_found(tag_map(gateway.get("Tags")), state),
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ec2.delete_nat_gateway(NatGatewayId=resource_id)
        what = f"NAT gateway {resource_id} to be deleted"
        wait_until(what, 30 * MINUTES, lambda: self._state(resource_id) in ("deleted", "failed"))


class VpcEndpoint(Ec2Resource):
    """aws_vpc_endpoint, Gateway or Interface."""

    token = "aws:ec2/vpcEndpoint:VpcEndpoint"  # noqa: S105
    kind = "vpc-endpoint"
    properties: ClassVar[Properties] = {
        "vpcId": Property(required=True, replaces=True),
        "serviceName": Property(required=True, replaces=True),
        "vpcEndpointType": Property(
            default="Gateway", replaces=True, choices=("Gateway", "Interface")
        ),
        "policy": Property(computed=True, same=same_json),
        "privateDnsEnabled": Property(computed=True),
        "routeTableIds": Property(computed=True, unordered=True),
        "subnetIds": Property(computed=True, unordered=True),
        "securityGroupIds": Property(computed=True, unordered=True),
        **TAGS,
    }
    outputs = (
        "arn",
        "cidrBlocks",
        "dnsEntries",
        "networkInterfaceIds",
        "ownerId",
        "prefixListId",
        "requesterManaged",
        "state",
    )

    def replaces(self, change: Change, inputs: Props) -> bool:
        if change.name == "privateDnsEnabled":
            return inputs["vpcEndpointType"] != "Interface"
        return change.replaces

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        return ("networkInterfaceIds",) if "subnetIds" in changed else ()

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_vpc_endpoint(
            VpcId=inputs["vpcId"],
            ServiceName=inputs["serviceName"],
            VpcEndpointType=inputs["vpcEndpointType"],
            TagSpecifications=self.specification(inputs),
            **given(
                inputs,
                {
                    "policy": "PolicyDocument",
                    "privateDnsEnabled": "PrivateDnsEnabled",
                    "routeTableIds": "RouteTableIds",
                    "subnetIds": "SubnetIds",
                    "securityGroupIds": "SecurityGroupIds",
                },
            ),
        )
        return str(response["VpcEndpoint"]["VpcEndpointId"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.ec2.describe_vpc_endpoints(VpcEndpointIds=[resource_id])["VpcEndpoints"]
        endpoint = only(found, resource_id)
        if endpoint["State"].lower() in ("deleting", "deleted"):
            raise Gone(resource_id)
        service = endpoint["ServiceName"]
        lists = self.ec2.describe_prefix_lists(
            Filters=[{"Name": "prefix-list-name", "Values": [service]}]
        )["PrefixLists"]
        prefixes = first(lists, lambda item: item["PrefixListName"] == service)
        return {
            "vpcId": endpoint["VpcId"],
            "serviceName": service,
            "vpcEndpointType": endpoint["VpcEndpointType"],
            "policy": endpoint.get("PolicyDocument"),
            "privateDnsEnabled": endpoint.get("PrivateDnsEnabled"),
            "routeTableIds": sorted(items(endpoint.get("RouteTableIds"))),
            "subnetIds": sorted(items(endpoint.get("SubnetIds"))),
            "securityGroupIds": sorted(group["GroupId"] for group in items(endpoint.get("Groups")))
            # moto does not say which groups an endpoint has
            or state.get("securityGroupIds"),
            "arn": self.cloud.arn("ec2", f"vpc-endpoint/{resource_id}"),
            "cidrBlocks": prefixes.get("Cidrs", []),
            "dnsEntries": [
                {"dnsName": entry.get("DnsName"), "hostedZoneId": entry.get("HostedZoneId")}
                for entry in items(endpoint.get("DnsEntries"))
            ],
            "networkInterfaceIds": sorted(items(endpoint.get("NetworkInterfaceIds"))),
            "ownerId": endpoint.get("OwnerId") or self.cloud.account,
            "prefixListId": prefixes.get("PrefixListId"),
            "requesterManaged": bool(endpoint.get("RequesterManaged")),
            "state": endpoint["State"],
            **self.tags_found(tag_map(endpoint.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        parameters: dict[str, object] = {}
        for name, noun in (
            ("routeTableIds", "RouteTableIds"),
            ("subnetIds", "SubnetIds"),
            ("securityGroupIds", "SecurityGroupIds"),
        ):
            if name in changed:
                old, new = set(items(state.get(name))), set(items(inputs.get(name)))
                parameters |= {f"Add{noun}": sorted(new - old)} if new - old else {}
                parameters |= {f"Remove{noun}": sorted(old - new)} if old - new else {}
        if "policy" in changed:
            parameters["PolicyDocument"] = inputs["policy"]
        if "privateDnsEnabled" in changed:
            parameters["PrivateDnsEnabled"] = inputs["privateDnsEnabled"]
        if parameters:
            self.ec2.modify_vpc_endpoint(VpcEndpointId=resource_id, **parameters)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ec2.delete_vpc_endpoints(VpcEndpointIds=[resource_id])


TYPES = (Eip, NatGateway, VpcEndpoint)
