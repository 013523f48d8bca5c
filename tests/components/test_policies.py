"""Each rule of `policies/` refuses what it is there to refuse, and lets its neighbour through."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from policies import machines, networks, permissions, storage, tags
from policies.permissions import names_resources
from policies.rule import AnyRule, Resource
from policies.rules import RULES

MACHINE = machines.INSTANCE
RULE = networks.INGRESS
BALANCER = {"tags": {"Role": "load-balancer"}}
DATABASE = {"tags": {"Role": "database"}}
IMDS = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
KEY = "-----BEGIN PRIVATE KEY-----"
TABLE = "arn:aws:dynamodb:eu-central-1:1:table/"


def made(
    kind: str,
    properties: Mapping[str, Any] | None = None,
    name: str = "it",
    *,
    stack: str = "test",
    protected: bool = False,
    **refers: str,
) -> Resource:
    return Resource(
        type=kind,
        urn=urn(kind, name, stack),
        properties=properties or {},
        protected=protected,
        refers={key: frozenset([to]) for key, to in refers.items()},
    )


def urn(kind: str, name: str, stack: str = "test") -> str:
    return f"urn:pulumi:{stack}::site::{kind}::{name}"


def may(action: str, resource: str, **more: Any) -> dict[str, str]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return {"policy": json.dumps({"Statement": [statement]})}


def trusting(**principal: Any) -> dict[str, str]:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
    return {"assumeRolePolicy": json.dumps({"Statement": statement})}


def open_to(cidr: str, port: int, to: int | None = None, protocol: str = "tcp") -> dict[str, Any]:
    return {
        "cidrIpv4": cidr,
        "fromPort": port,
        "toPort": to or port,
        "ipProtocol": protocol,
    }


def tagged(**wrong: str | None) -> dict[str, Any]:
    own = {"Project": "site", "Stack": "test", "Name": "it", "Role": "database", **wrong}
    return {"tags": {key: value for key, value in own.items() if value}}


def group_open_to_the_world(role: str) -> list[Resource]:
    group = made(networks.GROUP, {"tags": {"Role": role}}, "group")
    return [group, made(RULE, open_to("0.0.0.0/0", 443), securityGroupId=group.urn)]


def machine_in_a_subnet(role: str, gateway: str, *, inline: bool = False) -> list[Resource]:
    """With a route to a gateway of this type."""
    table, subnet = urn(networks.TABLE, "table"), urn(networks.SUBNET, "subnet")
    way = made(gateway, name="way")
    return [
        way,
        made(networks.TABLE, name="table", routes=way.urn)
        if inline
        else made(networks.ROUTE, routeTableId=table, gatewayId=way.urn),
        made(networks.ASSOCIATION, routeTableId=table, subnetId=subnet),
        made(MACHINE, {"tags": {"Role": role}}, subnetId=subnet),
    ]


def bucket_with(*kinds: str, denies: str = "false") -> list[Resource]:
    bucket = made(storage.BUCKET, name="bucket")
    deny = {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": denies}}}
    policy = {"policy": json.dumps({"Statement": [deny]})}
    return [bucket, *(made(kind, policy, bucket=bucket.urn) for kind in kinds)]


FOUR: dict[str, Any] = dict.fromkeys(storage.FOUR, True)
WHOLE = (storage.BLOCK, storage.ENCRYPTION, storage.POLICY)
NAT = "aws:ec2/natGateway:NatGateway"
EVERY_BACKUP = "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup"
POWER_USER = "arn:aws:iam::aws:policy/PowerUserAccess"

# By rule: what it refuses, and the nearest that it lets through.
IN_NAMESPACE = {"StringEquals": {"cloudwatch:namespace": "mine"}}
CASES: dict[Any, tuple[list[list[Resource]], list[list[Resource]]]] = {
    machines.machines_require_imdsv2_one_hop_away: (
        [
            [made(MACHINE)],
            [made(MACHINE, {"metadataOptions": {**IMDS, "httpTokens": "optional"}})],
            [made(MACHINE, {"metadataOptions": {**IMDS, "httpPutResponseHopLimit": 2}})],
        ],
        [[made(MACHINE, {"metadataOptions": IMDS})]],
    ),
    machines.disks_are_encrypted: (
        [
            [made(MACHINE)],
            [
                made(
                    MACHINE,
                    {"rootBlockDevice": {"encrypted": True}, "ebsBlockDevices": [{"size": 1}]},
                )
            ],
            [made(machines.VOLUME, {"encrypted": False})],
            [made("aws:rds/instance:Instance")],
        ],
        [
            [made(MACHINE, {"rootBlockDevice": {"encrypted": True}})],
            [made(machines.VOLUME, {"encrypted": True})],
            [made("aws:rds/cluster:Cluster", {"storageEncrypted": True})],
        ],
    ),
    machines.only_load_balancers_have_public_addresses: (
        [
            [made(MACHINE, {"associatePublicIpAddress": True, **DATABASE})],
            [made(MACHINE, {"associatePublicIpAddress": True})],
            [made("aws:rds/instance:Instance", {"publiclyAccessible": True})],
        ],
        [
            [made(MACHINE, {"associatePublicIpAddress": True, **BALANCER})],
            [made(MACHINE, {"associatePublicIpAddress": False, **DATABASE})],
            [made("aws:rds/instance:Instance")],
        ],
    ),
    machines.nobody_logs_in_by_ssh: (
        [[made(MACHINE, {"keyName": "mine"})]],
        [[made(MACHINE)]],
    ),
    machines.private_keys_are_secure_strings: (
        [
            [made(MACHINE, {"userData": f"#cloud-config\n{KEY}"})],
            [made(machines.PARAMETER, {"type": "String", "value": KEY})],
        ],
        [
            [made(MACHINE, {"userData": "#cloud-config\n-----BEGIN CERTIFICATE-----"})],
            [made(machines.PARAMETER, {"type": "SecureString", "value": KEY})],
        ],
    ),
    networks.the_world_reaches_http_and_https_only: (
        [
            [made(RULE, open_to("0.0.0.0/0", 8404))],
            [made(RULE, open_to("0.0.0.0/0", 80, 443))],
            [made(RULE, open_to("8.8.0.0/16", 3306))],
            [made(RULE, {"prefixListId": "pl-1", "fromPort": 3306, "toPort": 3306})],
            [made(RULE, {"cidrIpv6": "::/0", "fromPort": 22, "toPort": 22})],
        ],
        [
            [made(RULE, open_to("0.0.0.0/0", 443))],
            [made(RULE, open_to("10.0.0.0/16", 3306))],
        ],
    ),
    networks.the_world_reaches_only_load_balancers: (
        [
            group_open_to_the_world("database"),
            [made(RULE, open_to("0.0.0.0/0", 443), securityGroupId=urn("x", "of-another"))],
            [made(RULE, open_to("0.0.0.0/0", 443))],
            [made(RULE, {"prefixListId": "pl-1", "fromPort": 443, "toPort": 443})],
        ],
        [group_open_to_the_world("load-balancer"), [made(RULE, open_to("10.0.0.0/16", 443))]],
    ),
    networks.rules_are_for_single_tcp_ports: (
        [
            [made(RULE, open_to("10.0.0.0/16", 1, 65535))],
            [made(networks.EGRESS, open_to("10.0.0.0/16", 53, protocol="udp"))],
            [made(networks.EGRESS, {"ipProtocol": "-1"})],
            [made(RULE, open_to("10.0.0.0/16", 22))],
        ],
        [[made(RULE, open_to("10.0.0.0/16", 3306))]],
    ),
    networks.security_groups_start_closed: (
        [
            [made(networks.GROUP, {"egress": [{"protocol": "-1"}]})],
            [made(networks.DEFAULT_GROUP, {"ingress": [{"protocol": "-1"}], "egress": []})],
            [made(networks.OLD_RULE)],
        ],
        [[made(networks.GROUP)], [made(networks.DEFAULT_GROUP, {"ingress": [], "egress": []})]],
    ),
    networks.subnets_give_no_public_addresses: (
        [[made(networks.SUBNET, {"mapPublicIpOnLaunch": True})]],
        [[made(networks.SUBNET, {"mapPublicIpOnLaunch": False})]],
    ),
    networks.addresses_are_associated_by_machines_alone: (
        [[made(networks.EIP, {"instance": "i-1"})], [made(networks.EIP_ASSOCIATION)]],
        [[made(networks.EIP, {"domain": "vpc"})]],
    ),
    networks.only_load_balancers_have_a_way_from_the_internet: (
        [
            machine_in_a_subnet("database", networks.GATEWAY),
            machine_in_a_subnet("database", networks.GATEWAY, inline=True),
        ],
        [
            machine_in_a_subnet("load-balancer", networks.GATEWAY),
            machine_in_a_subnet("database", NAT),
        ],
    ),
    storage.buckets_block_public_access: (
        [[made(storage.BLOCK, {**FOUR, name: False})] for name in storage.FOUR],
        [[made(storage.BLOCK, FOUR)]],
    ),
    storage.every_bucket_is_closed_and_encrypted: (
        [
            *([bucket_with(*(k for k in WHOLE if k != kind)) for kind in WHOLE]),
            bucket_with(*WHOLE, denies="true"),
            [made("aws:s3/bucketV2:BucketV2")],
        ],
        [bucket_with(*WHOLE)],
    ),
    storage.production_loses_nothing_by_accident: (
        [
            *([made(kind, stack="prod")] for kind in storage.KEPT),
            [made(storage.EIP, BALANCER, stack="prod")],
            [made(MACHINE, {"disableApiTermination": False}, stack="prod")],
        ],
        [
            *([made(kind, stack="prod", protected=True)] for kind in storage.KEPT),
            *([made(kind, stack="dev")] for kind in storage.KEPT),
            [made(storage.EIP, {"tags": {"Name": "site-prod-nat-1"}}, stack="prod")],
            [made(MACHINE, {"disableApiTermination": True}, stack="prod")],
        ],
    ),
    permissions.permissions_have_no_wildcard_that_aws_does_not_force: (
        [
            [made("aws:iam/policy:Policy", may("dynamodb:*", f"{TABLE}mine"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:GetItem", "*"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:GetItem", f"{TABLE}*"))],
            [
                made(
                    "aws:iam/rolePolicy:RolePolicy",
                    may("ssm:GetParameter", "arn:aws:ssm:*:*:parameter/a"),
                )
            ],
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:GetItem", f"{TABLE}*/index/a"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:GetItem", f"{TABLE}min?"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:Get*Item", f"{TABLE}mine"))],
            [made("aws:iam/userPolicy:UserPolicy", may("dynamodb:*", f"{TABLE}mine"))],
            [made("aws:iam/groupPolicy:GroupPolicy", may("dynamodb:*", f"{TABLE}mine"))],
            [made("aws:iam/role:Role", {"inlinePolicies": [may("dynamodb:*", f"{TABLE}mine")]})],
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:GetItems", f"{TABLE}mine"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("s3:GetObject", "x", NotAction="a"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("cloudwatch:PutMetricData", "*"))],
        ],
        [
            [made("aws:iam/rolePolicy:RolePolicy", may("dynamodb:GetItem", f"{TABLE}mine"))],
            [made("aws:iam/rolePolicy:RolePolicy", may("ec2:DescribeAddresses", "*"))],
            [
                made(
                    "aws:iam/rolePolicy:RolePolicy",
                    may("dynamodb:GetItem", f"{TABLE}*", Condition={"StringEquals": {"a": "b"}}),
                )
            ],
            [
                made(
                    "aws:iam/rolePolicy:RolePolicy",
                    may("cloudwatch:PutMetricData", "*", Condition=IN_NAMESPACE),
                )
            ],
        ],
    ),
    permissions.nothing_is_open_to_everybody: (
        [
            [made("aws:iam/role:Role", trusting(AWS="*"))],
            [made("aws:iam/role:Role", trusting(AWS=["arn:aws:iam::1:root", "*"]))],
        ],
        [
            [made("aws:iam/role:Role", trusting(Service="ec2.amazonaws.com"))],
            bucket_with(storage.POLICY),
        ],
    ),
    permissions.policies_are_written_for_their_role: (
        [
            [made(permissions.ATTACHMENT, {"policyArn": POWER_USER})],
            [made(permissions.ROLE, {"managedPolicyArns": [EVERY_BACKUP, POWER_USER]})],
        ],
        [
            [made(permissions.ROLE, {"managedPolicyArns": [EVERY_BACKUP]})],
            [made(permissions.ATTACHMENT, {"policyArn": EVERY_BACKUP})],
        ],
    ),
    tags.whatever_can_carry_tags_says_whose_it_is: (
        [
            *([made(MACHINE, tagged(**{tag: None}))] for tag in tagged()["tags"]),
            [made(MACHINE, tagged(Project="another"))],
            [made(networks.SUBNET, tagged(Stack="prod"))],
            [made(networks.EIP)],
        ],
        [
            [made(MACHINE, tagged())],
            [made(networks.SUBNET, tagged(Role=None))],
            [made(networks.ROUTE)],
            [made("site:machine:Machine")],
        ],
    ),
    tags.a_machines_disk_has_its_machines_tags: (
        [[made(MACHINE, tagged())]],
        [[made(MACHINE, {**tagged(), "rootBlockDevice": tagged()})]],
    ),
}


def test_every_rule_has_its_cases() -> None:
    assert {rule.look for rule in RULES} == set(CASES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_breaks_a_rule_is_found(rule: AnyRule) -> None:
    for stack in CASES[rule.look][0]:
        assert list(rule.breaches(stack)), stack


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_keeps_a_rule_is_let_through(rule: AnyRule) -> None:
    for stack in CASES[rule.look][1]:
        assert any(map(rule.applies, stack)) or not rule.types, "it was not looked at"
        assert list(rule.breaches(stack)) == []


def test_the_reference_knows_which_actions_can_name_their_resources() -> None:
    assert names_resources("s3:GetObject") is True
    assert names_resources("ec2:DescribeAddresses") is False
    assert names_resources("s3:ReadMinds") is None


def test_what_is_wrong_is_said_with_the_value_and_what_is_allowed() -> None:
    (found,) = machines.nobody_logs_in_by_ssh(made(MACHINE, {"keyName": "mine"}))
    assert found == "keyName is mine; leave it out, and use `make shell`"
