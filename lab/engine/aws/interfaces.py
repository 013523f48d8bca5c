"""Network interfaces that outlive the instances that they are attached to."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import given, only, tag_map, wait_until
from lab.engine.plugin import Call
from lab.engine.schema import Properties, Property
from lab.engine.values import Props

TEN_MINUTES = 600.0  # seconds, the real provider's limit for a detachment


class NetworkInterface(Ec2Resource):
    """aws_network_interface."""

    token = "aws:ec2/networkInterface:NetworkInterface"  # noqa: S105  a type's token
    kind = "network-interface"
    properties: ClassVar[Properties] = {
        "subnetId": Property(required=True, replaces=True),
        "description": Property(computed=True),
        "privateIp": Property(computed=True, replaces=True),
        "securityGroups": Property(computed=True, unordered=True),
        "sourceDestCheck": Property(default=True),
        **TAGS,
    }
    outputs = ("arn", "macAddress", "ownerId", "privateDnsName")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_network_interface(
            TagSpecifications=self.specification(inputs),
            **given(
                inputs,
                {
                    "subnetId": "SubnetId",
                    "description": "Description",
                    "privateIp": "PrivateIpAddress",
                    "securityGroups": "Groups",
                },
            ),
        )
        return str(response["NetworkInterface"]["NetworkInterfaceId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        if not inputs["sourceDestCheck"]:
            self._set(resource_id, SourceDestCheck={"Value": False})

    def _set(self, resource_id: str, **attribute: object) -> None:
        self.ec2.modify_network_interface_attribute(NetworkInterfaceId=resource_id, **attribute)

    def _find(self, resource_id: str) -> dict[str, Any]:
        found = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[resource_id])
        return only(found["NetworkInterfaces"], resource_id)

    def read(self, resource_id: str, state: Props) -> Props:
        interface = self._find(resource_id)
        return {
            "subnetId": interface["SubnetId"],
            "description": interface.get("Description") or "",
            "privateIp": interface["PrivateIpAddress"],
            "securityGroups": sorted(group["GroupId"] for group in interface["Groups"]),
            "sourceDestCheck": bool(interface.get("SourceDestCheck", True)),
            "arn": self.cloud.arn("ec2", f"network-interface/{resource_id}"),
            "macAddress": interface["MacAddress"],
            "ownerId": interface["OwnerId"],
            "privateDnsName": interface.get("PrivateDnsName") or "",
            **self.tags_found(tag_map(interface.get("TagSet")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "securityGroups" in changed:
            self._set(resource_id, Groups=inputs["securityGroups"])
        if "description" in changed:
            self._set(resource_id, Description={"Value": inputs["description"]})
        if "sourceDestCheck" in changed:
            self._set(resource_id, SourceDestCheck={"Value": inputs["sourceDestCheck"]})
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        what = f"network interface {resource_id} to be free"
        wait_until(what, TEN_MINUTES, lambda: self._find(resource_id)["Status"] == "available")
        self.ec2.delete_network_interface(NetworkInterfaceId=resource_id)


TYPES = (NetworkInterface,)
