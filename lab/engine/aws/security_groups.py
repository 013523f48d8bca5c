"""Security groups and their rules, each rule a resource of its own."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import given, mapping, only, tag_map, wait_until
from lab.engine.plugin import Call, PluginError
from lab.engine.schema import Change, Failure, Properties, Property
from lab.engine.values import Props

SOURCES = {
    "cidrIpv4": "CidrIpv4",
    "cidrIpv6": "CidrIpv6",
    "prefixListId": "PrefixListId",
    "referencedSecurityGroupId": "ReferencedGroupId",
}
ALL_PROTOCOLS = "-1"


def _protocol(text: str) -> str:
    return {"all": ALL_PROTOCOLS, "6": "tcp", "17": "udp", "1": "icmp"}.get(
        text.lower(), text.lower()
    )


def _same_protocol(old: str, new: str) -> bool:
    return _protocol(old) == _protocol(new)


def _inline(rule: dict[str, Any]) -> Props:
    """A rule in the form of a group's inline rules, to be seen as one too many."""
    return {
        "protocol": rule["IpProtocol"],
        "fromPort": rule.get("FromPort", 0),
        "toPort": rule.get("ToPort", 0),
        "cidrBlocks": [rule["CidrIpv4"]] if rule.get("CidrIpv4") else [],
        "description": rule.get("Description", ""),
    }


class SecurityGroup(Ec2Resource):
    """aws_security_group without rules of its own: AWS's allow-all egress is revoked, as there."""

    token = "aws:ec2/securityGroup:SecurityGroup"  # noqa: S105  a type's token
    kind = "security-group"
    properties: ClassVar[Properties] = {
        "name": Property(replaces=True, computed=True, autoname=255),
        "description": Property(default="Managed by Pulumi", replaces=True),
        "vpcId": Property(computed=True, replaces=True),
        "revokeRulesOnDelete": Property(default=False),
        **TAGS,
    }
    outputs = ("arn", "ownerId", "ingress", "egress")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_security_group(
            GroupName=inputs["name"],
            Description=inputs["description"],
            TagSpecifications=self.specification(inputs),
            **given(inputs, {"vpcId": "VpcId"}),
        )
        return str(response["GroupId"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        self.revoke_all(resource_id, egress_only=True)

    def revoke_all(self, resource_id: str, *, egress_only: bool = False) -> None:
        """Take every rule from the group."""
        filters = [{"Name": "group-id", "Values": [resource_id]}]
        rules = self.ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
        outward = [rule["SecurityGroupRuleId"] for rule in rules if rule["IsEgress"]]
        inward = [rule["SecurityGroupRuleId"] for rule in rules if not rule["IsEgress"]]
        if outward:
            self.ec2.revoke_security_group_egress(GroupId=resource_id, SecurityGroupRuleIds=outward)
        if inward and not egress_only:
            self.ec2.revoke_security_group_ingress(GroupId=resource_id, SecurityGroupRuleIds=inward)

    def read(self, resource_id: str, state: Props) -> Props:
        group = only(
            self.ec2.describe_security_groups(GroupIds=[resource_id])["SecurityGroups"], resource_id
        )
        return {
            "name": group["GroupName"],
            "description": group["Description"],
            "vpcId": group.get("VpcId"),
            "arn": self.cloud.arn("ec2", f"security-group/{resource_id}"),
            "ownerId": group.get("OwnerId"),
            **self.tags_found(tag_map(group.get("Tags")), state),
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state.get("revokeRulesOnDelete"):
            self.revoke_all(resource_id)

        def deleted() -> bool:
            try:
                self.ec2.delete_security_group(GroupId=resource_id)
            except Exception as error:
                if "DependencyViolation" in str(error):
                    return False
                raise
            return True

        wait_until(f"what uses security group {resource_id} to be gone", 900.0, deleted)


class DefaultSecurityGroup(SecurityGroup):
    """aws_default_security_group: adopts the VPC's own group and empties it; cannot be deleted."""

    token = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"  # noqa: S105
    properties: ClassVar[Properties] = {
        "vpcId": Property(computed=True, replaces=True),
        "revokeRulesOnDelete": Property(default=False),
        "ingress": Property(),
        "egress": Property(),
        **TAGS,
    }
    outputs = ("arn", "description", "name", "ownerId")

    def validate(self, inputs: Props) -> list[Failure]:
        return [
            Failure(name, f"the lab's aws plugin knows {self.token} with {name} empty only")
            for name in ("ingress", "egress")
            if inputs.get(name)
        ]

    def create(self, inputs: Props, call: Call) -> str:
        filters = [{"Name": "group-name", "Values": ["default"]}]
        if "vpcId" in inputs:
            filters.append({"Name": "vpc-id", "Values": [inputs["vpcId"]]})
        groups = self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        if not groups:
            message = f"VPC {inputs.get('vpcId', '(default)')} has no default security group"
            raise PluginError(message)
        return str(groups[0]["GroupId"])

    def read(self, resource_id: str, state: Props) -> Props:
        filters = [{"Name": "group-id", "Values": [resource_id]}]
        rules = self.ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
        return {
            **super().read(resource_id, state),
            "ingress": [_inline(rule) for rule in rules if not rule["IsEgress"]],
            "egress": [_inline(rule) for rule in rules if rule["IsEgress"]],
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed & {"ingress", "egress"}:
            self.revoke_all(resource_id)
        super().update(resource_id, state, inputs, changed, call)

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        self.revoke_all(resource_id)
        self.retag(resource_id, {}, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        """AWS deletes it with its VPC."""


class _Rule(Ec2Resource):
    """aws_vpc_security_group_ingress_rule and …_egress_rule."""

    kind = "security-group-rule"
    egress: ClassVar[bool]
    properties: ClassVar[Properties] = {
        "securityGroupId": Property(required=True, replaces=True),
        "ipProtocol": Property(required=True, same=_same_protocol),
        "fromPort": Property(),
        "toPort": Property(),
        "description": Property(),
        **{name: Property() for name in SOURCES},
        **TAGS,
    }
    outputs = ("arn", "securityGroupRuleId")

    def validate(self, inputs: Props) -> list[Failure]:
        count = sum(1 for name in SOURCES if name in inputs)
        if count == 1:
            return []
        reason = f"a rule has exactly one of {', '.join(SOURCES)}; {count} are given"
        return [Failure(next(iter(SOURCES)), reason)]

    def replaces(self, change: Change, inputs: Props) -> bool:
        """AWS modifies a rule but not the kind of its source."""
        kind_changes = change.name in SOURCES and change.kind.name != "UPDATE"
        return change.replaces or kind_changes

    def create(self, inputs: Props, call: Call) -> str:
        description = given(inputs, {"description": "Description"})
        permission: dict[str, Any] = {"IpProtocol": _protocol(inputs["ipProtocol"])}
        for name, group, key in (
            ("cidrIpv4", "IpRanges", "CidrIp"),
            ("cidrIpv6", "Ipv6Ranges", "CidrIpv6"),
            ("prefixListId", "PrefixListIds", "PrefixListId"),
            ("referencedSecurityGroupId", "UserIdGroupPairs", "GroupId"),
        ):
            if name in inputs:
                permission[group] = [{key: inputs[name], **description}]
        for name, key in (("fromPort", "FromPort"), ("toPort", "ToPort")):
            if name in inputs:
                permission[key] = inputs[name]
        authorize = (
            self.ec2.authorize_security_group_egress
            if self.egress
            else self.ec2.authorize_security_group_ingress
        )
        response = authorize(
            GroupId=inputs["securityGroupId"],
            IpPermissions=[permission],
            TagSpecifications=self.specification(inputs),
        )
        return str(response["SecurityGroupRules"][0]["SecurityGroupRuleId"])

    def read(self, resource_id: str, state: Props) -> Props:
        response = self.ec2.describe_security_group_rules(SecurityGroupRuleIds=[resource_id])
        rule = only(response["SecurityGroupRules"], resource_id)

        def port(name: str, key: str) -> int | None:
            value = rule.get(key)
            return None if value in (None, -1) and name not in state else value

        group = mapping(rule.get("ReferencedGroupInfo")).get("GroupId")
        described = rule.get("Description")
        if not described and (group or rule.get("PrefixListId")):
            described = state.get("description")  # moto keeps it, but only tells it of networks
        return {
            "securityGroupId": rule["GroupId"],
            "ipProtocol": _protocol(str(rule["IpProtocol"])),
            "fromPort": port("fromPort", "FromPort"),
            "toPort": port("toPort", "ToPort"),
            "description": described or None,
            "cidrIpv4": rule.get("CidrIpv4"),
            "cidrIpv6": rule.get("CidrIpv6"),
            "prefixListId": rule.get("PrefixListId"),
            "referencedSecurityGroupId": group,
            "arn": self.cloud.arn("ec2", f"security-group-rule/{resource_id}"),
            "securityGroupRuleId": resource_id,
            **self.tags_found(tag_map(rule.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed - {"tags", "tagsAll"}:
            names = {
                "fromPort": "FromPort",
                "toPort": "ToPort",
                "description": "Description",
                **SOURCES,
            }
            protocol = _protocol(inputs["ipProtocol"])
            rule = {"IpProtocol": protocol, **given(inputs, names)}
            if protocol == ALL_PROTOCOLS:
                rule |= {"FromPort": -1, "ToPort": -1}  # EC2 needs no ports here, moto does
            self.ec2.modify_security_group_rules(
                GroupId=inputs["securityGroupId"],
                SecurityGroupRules=[
                    {"SecurityGroupRuleId": resource_id, "SecurityGroupRule": rule}
                ],
            )
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        revoke = (
            self.ec2.revoke_security_group_egress
            if self.egress
            else self.ec2.revoke_security_group_ingress
        )
        revoke(GroupId=state["securityGroupId"], SecurityGroupRuleIds=[resource_id])


class SecurityGroupIngressRule(_Rule):
    """Who may come in."""

    token = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"  # noqa: S105
    egress = False


class SecurityGroupEgressRule(_Rule):
    """Where members of the group may go."""

    token = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"  # noqa: S105
    egress = True


TYPES = (SecurityGroup, DefaultSecurityGroup, SecurityGroupIngressRule, SecurityGroupEgressRule)
