"""What must hold of the whole program, whatever the settings. Each takes one recording."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pulumi_aws

from tests.components.recorder import SECRET, Recording, Resource

Invariant = Callable[[Recording], None]
ALL: list[Invariant] = []

# The service authorization reference, as cfn-lint ships it: which actions know which resources.
_SPECIFICATION = importlib.util.find_spec("cfnlint")  # importing it would take a second
assert _SPECIFICATION
assert _SPECIFICATION.origin
_REFERENCE: dict[str, Any] = json.loads(
    Path(_SPECIFICATION.origin)
    .with_name("data")
    .joinpath("AdditionalSpecs/Policies.json")
    .read_text()
)


def invariant(function: Invariant) -> Invariant:
    """Registers it."""
    ALL.append(function)
    return function


def role(resource: Resource) -> str:
    """The role that a machine's tags name."""
    return cast("str", resource.inputs["tags"]["Role"])


@invariant
def only_load_balancers_have_public_addresses(site: Recording) -> None:
    for machine in site.every("Instance"):
        # An interface that was made for itself never gets one by itself.
        public = machine.inputs.get("associatePublicIpAddress", False)
        assert public is (role(machine) == "load-balancer")
    for subnet in site.every("Subnet"):
        assert subnet.inputs["mapPublicIpOnLaunch"] is False


@invariant
def machines_behind_the_load_balancer_are_in_private_subnets(site: Recording) -> None:
    kinds = {site.ids[subnet.urn]: subnet.name.split("-")[0] for subnet in site.every("Subnet")}
    for machine in site.every("Instance"):
        expected = "public" if role(machine) == "load-balancer" else "private"
        assert kinds[site.subnet_id(machine)] == expected, machine.name


@invariant
def private_subnets_have_no_route_to_the_internet_gateway(site: Recording) -> None:
    gateways = {site.ids[r.urn] for r in site.every("InternetGateway")}
    tables = {site.ids[r.urn]: r.name for r in site.every("RouteTable")}
    ways = {tables[r.inputs["routeTableId"]] for r in site.every("Route") if _way(r) in gateways}
    assert ways == {"public"}


@invariant
def nothing_is_open_to_the_world_but_the_load_balancers_port(site: Recording) -> None:
    open_rules = [r for r in site.every("SecurityGroupIngressRule") if r.inputs.get("cidrIpv4")]
    assert [(_group(site, r), r.inputs["fromPort"], r.inputs["toPort"]) for r in open_rules] == [
        ("load-balancer", 80, 80)
    ]


@invariant
def the_arrows_are_exactly_those_of_the_picture(site: Recording) -> None:
    expected = {
        ("internet", "load-balancer", 80),
        ("load-balancer", "app-server", 8000),
        ("app-server", "database", 3306),
        ("app-server", "database", 8008),
        ("database", "database", 3306),
        ("database", "database", 8009),
    }
    if any(r.name == "endpoints" for r in site.of("SecurityGroup") if r.type.startswith("aws:")):
        expected |= {(r, "endpoints", 443) for r in ("load-balancer", "app-server", "database")}
    assert set(_ingress(site)) == expected
    ours = {arrow for arrow in _egress(site) if arrow[1] not in ("aws", "packages")}
    assert ours == expected - {("internet", "load-balancer", 80)}


@invariant
def machines_reach_out_to_https_and_to_their_packages_only(site: Recording) -> None:
    out = {arrow for arrow in _egress(site) if arrow[1] in ("aws", "packages")}
    roles = {role(machine) for machine in site.every("Instance")}
    assert {(r, "aws", 443) for r in roles} <= out
    assert out <= {(r, *way) for r in roles for way in (("aws", 443), ("packages", 80))}


@invariant
def rules_are_for_single_tcp_ports(site: Recording) -> None:
    for kind in ("SecurityGroupIngressRule", "SecurityGroupEgressRule"):
        for rule in site.every(kind):
            assert rule.inputs["ipProtocol"] == "tcp"
            assert rule.inputs["fromPort"] == rule.inputs["toPort"]


@invariant
def security_groups_start_closed(site: Recording) -> None:
    for group in (r for r in site.every("SecurityGroup") if r.type.startswith("aws:")):
        assert not {"ingress", "egress"} & group.inputs.keys()
    default = site.one("DefaultSecurityGroup", "default")
    assert (default.inputs["ingress"], default.inputs["egress"]) == ([], [])


@invariant
def every_machine_requires_imdsv2_one_hop_away(site: Recording) -> None:
    for machine in site.every("Instance"):
        options = machine.inputs["metadataOptions"]
        assert options["httpTokens"] == "required"
        assert options["httpPutResponseHopLimit"] == 1


@invariant
def nobody_can_log_in_by_ssh(site: Recording) -> None:
    assert all("keyName" not in machine.inputs for machine in site.every("Instance"))
    assert not [r for r in site.every("SecurityGroupIngressRule") if r.inputs["fromPort"] == 22]


@invariant
def every_disk_is_encrypted(site: Recording) -> None:
    for machine in site.every("Instance"):
        assert machine.inputs["rootBlockDevice"]["encrypted"] is True
        assert machine.inputs["rootBlockDevice"]["volumeType"] == "gp3"
        assert "ebsBlockDevices" not in machine.inputs
    for volume in site.every("Volume"):
        assert volume.inputs["encrypted"] is True
        assert volume.inputs["type"] == "gp3"


@invariant
def the_bucket_is_closed_and_encrypted(site: Recording) -> None:
    buckets = {r.name for r in site.every("Bucket")}
    for name in buckets:
        closed = site.one("BucketPublicAccessBlock", name).inputs
        assert [v for k, v in sorted(closed.items()) if k != "bucket"] == [True] * 4
        site.one("BucketServerSideEncryptionConfiguration", name)
        (statement,) = json.loads(site.one("BucketPolicy", name).inputs["policy"])["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@invariant
def no_secret_is_anywhere_in_the_clear(site: Recording) -> None:
    secrets = [r for r in site.every("Parameter") if r.inputs["type"] == "SecureString"]
    assert len(secrets) == 4
    assert all(SECRET in r.inputs["value"] and "value" in r.secret for r in secrets)
    for resource in site.registered:
        clear = {k: v for k, v in resource.inputs.items() if k not in resource.secret}
        assert SECRET not in json.dumps(clear, default=str), resource.urn
    assert SECRET not in json.dumps(site.exports)


@invariant
def user_data_is_in_the_clear_and_fits(site: Recording) -> None:
    for machine in site.every("Instance"):
        text = machine.inputs["userData"]
        assert text.startswith("#cloud-config\n")
        assert len(text.encode()) <= 16384
        assert machine.inputs["userDataReplaceOnChange"] is True


@invariant
def no_machine_knows_another_ones_address(site: Recording) -> None:
    addresses = {machine.outputs["privateIp"] for machine in site.every("Instance")}
    for machine in site.every("Instance"):
        words = set(machine.inputs["userData"].replace('"', " ").replace(":", " ").split())
        assert not words & addresses


@invariant
def whatever_can_carry_tags_carries_them(site: Recording) -> None:
    tagged = [r for r in site.aws() if _can_carry_tags(r)]
    assert len(tagged) > 30
    names = {machine: f"site-{site.stack}-{machine}" for machine in (r.name for r in tagged)}
    for resource in tagged:
        tags = resource.inputs.get("tags", {})
        assert tags.get("Project") == "site", resource.urn
        assert tags.get("Stack") == site.stack, resource.urn
        assert tags.get("Name") == names[resource.name], resource.urn
    for machine in site.every("Instance"):
        assert machine.inputs["rootBlockDevice"]["tags"] == machine.inputs["tags"]
        assert role(machine) == machine.name.rpartition("-")[0]


@invariant
def policies_have_no_wildcard_that_aws_does_not_force(site: Recording) -> None:
    for policy in site.every("RolePolicy"):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            assert statement["Effect"] == "Allow"
            for action in _several(statement["Action"]):
                assert "*" not in action
                for resource in _several(statement["Resource"]):
                    _assert_as_narrow_as_can_be(action, resource, statement)
    attached = [policy.inputs["policyArn"] for policy in site.of("RolePolicyAttachment")]
    # AWS's own are wider than need be. This one is of no machine, and AWS Backup asks for it.
    only = "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup"
    assert set(attached) <= {only}


@invariant
def every_machine_of_a_role_has_that_roles_profile(site: Recording) -> None:
    for machine in site.every("Instance"):
        profile = site.one("InstanceProfile", role(machine))
        assert machine.inputs["iamInstanceProfile"] == profile.inputs["name"]


@invariant
def nothing_but_the_machines_associates_an_address(site: Recording) -> None:
    assert not site.of("EipAssociation")
    for address in site.every("Eip"):
        assert not {"instance", "networkInterface"} & address.inputs.keys()


@invariant
def what_holds_data_is_protected_if_deletion_protection_says_so(site: Recording) -> None:
    protected = site.deletion_protection
    kept = [
        *(site.every("Volume") + site.every("Table") + site.every("Bucket")),
        *(r for r in site.every("Eip") if r.name.startswith("load-balancer")),
    ]
    assert {r.options.protect for r in kept} == {protected}
    for machine in site.every("Instance"):
        assert machine.inputs["disableApiTermination"] is protected
        assert machine.inputs["forceDestroy"] is protected, "or the program could not replace it"
        assert machine.options.protect is False


@invariant
def databases_are_replaced_one_after_the_other(site: Recording) -> None:
    machines = [m for m in site.every("Instance") if role(m) == "database"]
    machines.sort(key=lambda m: m.name)
    for before, machine in pairwise(machines):
        assert site.one("Command", f"{before.name}-ready").urn in machine.dependencies
    for machine in machines:
        assert machine.options.deleteBeforeReplace
        assert site.one("VolumeAttachment", machine.name).options.deleteBeforeReplace
        assert site.one("Command", f"{machine.name}-ready").options.deleteBeforeReplace


@invariant
def every_record_waits_for_all_machines_of_its_role(site: Recording) -> None:
    machines = site.every("Instance")
    assert {r.name for r in site.every("Record")} == {role(m) for m in machines}
    for record in site.every("Record"):
        mine = [m for m in machines if role(m) == record.name]
        assert sorted(record.inputs["records"]) == sorted(m.outputs["privateIp"] for m in mine)
        for machine in mine:
            assert site.one("Command", f"{machine.name}-ready").urn in record.dependencies


@invariant
def machines_of_a_role_are_spread_over_the_zones(site: Recording) -> None:
    zones = len({s.inputs["availabilityZone"] for s in site.every("Subnet")})
    for name in ("app-server", "database"):
        mine = [site.subnet_id(m) for m in site.every("Instance") if role(m) == name]
        assert len(set(mine)) == min(len(mine), zones)


def _can_carry_tags(resource: Resource) -> bool:
    _, module, name = resource.type.split(":")
    cls = getattr(getattr(pulumi_aws, module.split("/")[0]), name)
    return "tags" in cls._internal_init.__annotations__


def _assert_as_narrow_as_can_be(action: str, resource: str, statement: dict[str, Any]) -> None:
    service, _, name = action.partition(":")
    known = _REFERENCE[service]["Actions"][name.lower()]
    where = f"{action} on {resource}"
    if resource == "*":
        assert not known.get("Resources"), f"{where}: AWS could be told which"
    elif resource.endswith("*") and action != "ssm:UpdateInstanceInformation":
        assert statement.get("Condition"), f"{where}: every one of them"
    else:
        assert ":eu-central-1:123456789012:" in resource or resource.startswith("arn:aws:s3:::")


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _way(route: Resource) -> str:
    return cast("str", route.inputs.get("gatewayId") or route.inputs["natGatewayId"])


def _group(site: Recording, rule: Resource) -> str:
    return site.name_of(rule.inputs["securityGroupId"])


def _ingress(site: Recording) -> Iterator[tuple[str, str, int]]:
    for rule in site.every("SecurityGroupIngressRule"):
        yield _peer(site, rule, "from"), _group(site, rule), rule.inputs["fromPort"]


def _egress(site: Recording) -> Iterator[tuple[str, str, int]]:
    for rule in site.every("SecurityGroupEgressRule"):
        yield _group(site, rule), _peer(site, rule, "to"), rule.inputs["fromPort"]


def _peer(site: Recording, rule: Resource, word: str) -> str:
    if group := rule.inputs.get("referencedSecurityGroupId"):
        return site.name_of(group)
    assert rule.inputs["cidrIpv4"] == "0.0.0.0/0"
    return cast("str", rule.inputs["description"].rpartition(f" {word} ")[2])
