"""Network ACLs, their rules with them."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from collections.abc import Iterable
from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import items, mapping, only, tag_map
from lab.engine.plugin import Call
from lab.engine.schema import Properties, Property
from lab.engine.values import Props

AWS_OWN = 32767
"""The number of the last rule of every ACL, which refuses the rest and cannot be changed."""

Entry = tuple[int, str, str, str, int, int]


def _entry(rule: Props) -> Entry:
    """Number, action, protocol, network, first and last port."""
    return (
        int(rule["ruleNo"]),
        str(rule["action"]).lower(),
        str(rule["protocol"]),
        str(rule["cidrBlock"]),
        int(rule["fromPort"]),
        int(rule["toPort"]),
    )


def _entries(rules: Any) -> set[Entry]:
    return {_entry(rule) for rule in items(rules)}


def _same_rules(old: Any, new: Any) -> bool:
    return _entries(old) == _entries(new)


_RULES = Property(
    computed=True,
    same=_same_rules,
    fields={
        "ruleNo": Property(required=True),
        "action": Property(required=True, choices=("allow", "deny")),
        "protocol": Property(required=True),
        "cidrBlock": Property(required=True),
        "fromPort": Property(required=True),
        "toPort": Property(required=True),
    },
)
_WAYS = {"ingress": False, "egress": True}


class NetworkAcl(Ec2Resource):
    """aws_network_acl: a subnet that it leaves goes back to the VPC's default one."""

    token = "aws:ec2/networkAcl:NetworkAcl"  # noqa: S105  a type's token
    kind = "network-acl"
    properties: ClassVar[Properties] = {
        "vpcId": Property(required=True, replaces=True),
        "subnetIds": Property(computed=True, unordered=True),
        "ingress": _RULES,
        "egress": _RULES,
        **TAGS,
    }
    outputs = ("arn", "ownerId")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_network_acl(
            VpcId=inputs["vpcId"], TagSpecifications=self.specification(inputs)
        )
        return str(response["NetworkAcl"]["NetworkAclId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        for name in _WAYS:
            self._exchange(resource_id, name, {}, inputs)
        self._associate(items(inputs.get("subnetIds")), resource_id)

    def _exchange(self, resource_id: str, name: str, state: Props, inputs: Props) -> None:
        old, new = _entries(state.get(name)), _entries(inputs.get(name))
        where = {"NetworkAclId": resource_id, "Egress": _WAYS[name]}
        for entry in sorted(old - new):
            self.ec2.delete_network_acl_entry(RuleNumber=entry[0], **where)
        for number, action, protocol, network, first, last in sorted(new - old):
            self.ec2.create_network_acl_entry(
                RuleNumber=number,
                RuleAction=action,
                Protocol=protocol,
                CidrBlock=network,
                PortRange={"From": first, "To": last},
                **where,
            )

    def _associate(self, subnets: Iterable[str], acl: str) -> None:
        for subnet in subnets:
            filters = [{"Name": "association.subnet-id", "Values": [subnet]}]
            for found in self.ec2.describe_network_acls(Filters=filters)["NetworkAcls"]:
                for association in found["Associations"]:
                    if association["SubnetId"] == subnet:
                        self.ec2.replace_network_acl_association(
                            AssociationId=association["NetworkAclAssociationId"], NetworkAclId=acl
                        )

    def _default(self, vpc: str) -> str:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "default", "Values": ["true"]}]
        found = self.ec2.describe_network_acls(Filters=filters)["NetworkAcls"]
        return str(only(found, vpc)["NetworkAclId"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.ec2.describe_network_acls(NetworkAclIds=[resource_id])["NetworkAcls"]
        acl = only(found, resource_id)
        return {
            "vpcId": acl["VpcId"],
            "subnetIds": sorted(one["SubnetId"] for one in items(acl.get("Associations"))),
            **{
                name: [
                    _rule(entry)
                    for entry in items(acl.get("Entries"))
                    if entry["Egress"] is egress and entry["RuleNumber"] != AWS_OWN
                ]
                for name, egress in _WAYS.items()
            },
            "arn": self.cloud.arn("ec2", f"network-acl/{resource_id}"),
            "ownerId": acl.get("OwnerId"),
            **self.tags_found(tag_map(acl.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        for name in _WAYS:
            if name in changed:
                self._exchange(resource_id, name, state, inputs)
        if "subnetIds" in changed:
            old, new = items(state.get("subnetIds")), items(inputs.get("subnetIds"))
            self._associate(sorted({*old} - {*new}), self._default(inputs["vpcId"]))
            self._associate(sorted({*new} - {*old}), resource_id)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        found = self.ec2.describe_network_acls(NetworkAclIds=[resource_id])["NetworkAcls"]
        acl = only(found, resource_id)
        subnets = [one["SubnetId"] for one in items(acl.get("Associations"))]
        self._associate(subnets, self._default(acl["VpcId"]))
        self.ec2.delete_network_acl(NetworkAclId=resource_id)


def _rule(entry: dict[str, Any]) -> Props:
    ports = mapping(entry.get("PortRange"))
    return {
        "ruleNo": entry["RuleNumber"],
        "action": entry["RuleAction"],
        "protocol": entry["Protocol"],
        "cidrBlock": entry["CidrBlock"],
        "fromPort": ports.get("From", 0),
        "toPort": ports.get("To", 0),
    }


TYPES = (NetworkAcl,)
