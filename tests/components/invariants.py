"""What must hold of the whole program, whatever the settings. Each takes one recording.

What must hold of any stack is in `policies/`; here is what only this program promises.
"""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

from components.addresses import halves
from hosts.base.firewall import parse
from hosts.base.followed import ARROWS
from tests.components.recorder import SECRET, Recording, Resource

Invariant = Callable[[Recording], None]
ALL: list[Invariant] = []


def invariant(function: Invariant) -> Invariant:
    """Registers it."""
    ALL.append(function)
    return function


def role(resource: Resource) -> str:
    """The role that a machine's tags name."""
    return cast("str", resource.inputs["tags"]["Role"])


@invariant
def every_load_balancer_has_a_public_address(site: Recording) -> None:
    for machine in site.every("Instance"):
        # An interface that was made for itself never gets one by itself.
        public = machine.inputs.get("associatePublicIpAddress", False)
        assert public is (role(machine) == "load-balancer")


@invariant
def machines_behind_the_load_balancer_are_in_private_subnets(site: Recording) -> None:
    kinds = {site.ids[subnet.urn]: subnet.name.split("-")[0] for subnet in site.every("Subnet")}
    for machine in site.every("Instance"):
        expected = "public" if role(machine) == "load-balancer" else "private"
        assert kinds[site.subnet_id(machine)] == expected, machine.name


@invariant
def nothing_is_open_to_the_world_but_the_load_balancers_ports(site: Recording) -> None:
    open_rules = [r for r in site.every("SecurityGroupIngressRule") if r.inputs.get("cidrIpv4")]
    assert [(_group(site, r), r.inputs["fromPort"], r.inputs["toPort"]) for r in open_rules] == [
        ("load-balancer", 443, 443),
        ("load-balancer", 80, 80),
    ]


@invariant
def the_arrows_are_exactly_those_of_the_picture(site: Recording) -> None:
    expected: set[tuple[str, str, int]] = {
        ("internet", "load-balancer", 80),
        ("internet", "load-balancer", 443),
        ("load-balancer", "app-server", 8443),
        ("app-server", "database", 3306),
        ("app-server", "database", 8008),
        ("database", "database", 3306),
        ("database", "database", 8009),
    }
    roles = {role(machine) for machine in site.every("Instance")}
    if "monitoring" in roles:
        expected |= {
            *(("monitoring", watched, 9100) for watched in roles - {"monitoring"}),
            ("monitoring", "load-balancer", 8404),
            ("monitoring", "app-server", 8405),
            ("monitoring", "database", 9104),
        }
    if any(r.name == "endpoints" for r in site.of("SecurityGroup") if r.type.startswith("aws:")):
        expected |= {(r, "endpoints", 443) for r in roles}
    assert set(_ingress(site)) == expected
    ours = {arrow for arrow in _egress(site) if arrow[1] not in ("aws", "packages", "acme")}
    assert ours == {arrow for arrow in expected if arrow[0] != "internet"}


@invariant
def machines_reach_out_to_https_and_to_their_packages_only(site: Recording) -> None:
    out = {arrow for arrow in _egress(site) if arrow[1] in ("aws", "packages")}
    roles = {role(machine) for machine in site.every("Instance")}
    assert {(r, "aws", 443) for r in roles} <= out
    assert out <= {(r, *way) for r in roles for way in (("aws", 443), ("packages", 80))}


@invariant
def the_machines_own_firewalls_have_the_same_arrows(site: Recording) -> None:
    networks = halves(site.one("Vpc", "vpc").inputs["cidrBlock"])
    of_rules: set[tuple[str, str, int, str]] = set()
    for kind, way in (("SecurityGroupIngressRule", "in"), ("SecurityGroupEgressRule", "out")):
        for rule in site.every(kind):
            group = rule.inputs.get("referencedSecurityGroupId")
            public = group is not None and site.name_of(group) == "load-balancer"
            peer = networks.public if public else networks.private
            network = rule.inputs.get("cidrIpv4") or peer
            if _group(site, rule) != "endpoints":
                of_rules.add((_group(site, rule), way, rule.inputs["fromPort"], network))
    of_machines: set[tuple[str, str, int, str]] = set()
    for parameter in site.every("Parameter"):
        name = parameter.inputs["name"].removeprefix(f"/site/{site.stack}/machines/")
        role, _, rest = name.partition("/")
        if rest.startswith(ARROWS):
            arrow = parse(parameter.inputs["value"])
            of_machines.add((role, arrow.way, arrow.port, arrow.network))
    assert of_machines == of_rules


@invariant
def machines_wait_for_their_ways_out_in_both_firewalls(site: Recording) -> None:
    for machine in site.every("Instance"):
        kinds = {
            urn.rpartition("::")[0].rpartition(":")[2]
            for urn in machine.dependencies
            if urn.endswith(f"::{role(machine)}-to-aws-443")
        }
        assert kinds == {"SecurityGroupEgressRule", "Parameter"}


@invariant
def every_disk_is_gp3(site: Recording) -> None:
    for machine in site.every("Instance"):
        assert machine.inputs["rootBlockDevice"]["volumeType"] == "gp3"
        assert "ebsBlockDevices" not in machine.inputs
    for volume in site.every("Volume"):
        assert volume.inputs["type"] == "gp3"


@invariant
def no_secret_is_anywhere_in_the_clear(site: Recording) -> None:
    secrets = [r for r in site.every("Parameter") if r.inputs["type"] == "SecureString"]
    assert len(secrets) >= 6
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
def names_in_aws_follow_from_those_of_the_program(site: Recording) -> None:
    tagged = [r for r in site.aws() if "tags" in r.inputs]
    assert len(tagged) > 30
    for resource in tagged:
        assert resource.inputs["tags"]["Name"] == f"site-{site.stack}-{resource.name}"
    for machine in site.every("Instance"):
        assert role(machine) == machine.name.rpartition("-")[0]


@invariant
def permissions_are_of_this_account_and_region(site: Recording) -> None:
    for policy in site.every("RolePolicy"):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            for resource in _several(statement["Resource"]):
                here = ":eu-central-1:123456789012:" in resource
                assert here or resource == "*" or resource.startswith("arn:aws:s3:::")


@invariant
def every_machine_of_a_role_has_that_roles_profile(site: Recording) -> None:
    for machine in site.every("Instance"):
        profile = site.one("InstanceProfile", role(machine))
        assert machine.inputs["iamInstanceProfile"] == profile.inputs["name"]


@invariant
def there_is_a_machine_for_each_address_and_a_private_address_for_each(site: Recording) -> None:
    addresses = [r for r in site.every("Eip") if r.name.startswith("load-balancer")]
    machines = [m for m in site.every("Instance") if role(m) == "load-balancer"]
    assert 1 <= len(addresses) <= len(machines) <= 2
    for machine in machines:
        assert all(a.outputs["allocationId"] in machine.inputs["userData"] for a in addresses)


@invariant
def load_balancers_are_drained_one_after_the_other(site: Recording) -> None:
    machines = [m for m in site.every("Instance") if role(m) == "load-balancer"]
    machines.sort(key=lambda m: m.name)
    for before, machine in pairwise(machines):
        ready = site.one("Command", f"{machine.name}-ready")
        assert site.one("Command", f"{before.name}-ready").urn in ready.dependencies
        assert site.one("Command", f"{before.name}-ready").urn not in machine.dependencies
    for machine in machines:
        assert not machine.options.deleteBeforeReplace, "the new one first"


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
    records = [r for r in site.every("Record") if not r.inputs.get("setIdentifier")]
    assert {r.name for r in records} == {role(m) for m in machines}
    for record in records:
        mine = [m for m in machines if role(m) == record.name]
        assert sorted(record.inputs["records"]) == sorted(m.outputs["privateIp"] for m in mine)
        for machine in mine:
            assert site.one("Command", f"{machine.name}-ready").urn in record.dependencies


@invariant
def nobody_reaches_the_monitoring_machine(site: Recording) -> None:
    assert "monitoring" not in {listener for _, listener, _ in _ingress(site)}


@invariant
def every_machine_may_ship_its_journal_to_the_stacks_own_group(site: Recording) -> None:
    group = site.one("LogGroup", "logs").inputs["name"]
    roles = {role(machine) for machine in site.every("Instance")}
    for name in roles:
        policy = json.loads(site.one("RolePolicy", name).inputs["policy"])
        (may,) = (one for one in policy["Statement"] if one["Sid"] == "Logs")
        assert may["Resource"].endswith(f":log-group:{group}:log-stream:*")


@invariant
def every_watched_machine_has_an_alarm_that_needs_no_machine(site: Recording) -> None:
    machines = site.every("Instance")
    if "monitoring" not in {role(machine) for machine in machines}:
        assert not site.of("MetricAlarm")
        return
    (topic,) = site.of("Topic")
    watched = {
        alarm.inputs.get("dimensions", {}).get("InstanceId"): alarm
        for alarm in site.every("MetricAlarm")
    }
    life = watched.pop(None)
    assert life.inputs["treatMissingData"] == "breaching"
    assert life.inputs["namespace"] in site.one("RolePolicy", "monitoring").inputs["policy"]
    assert set(watched) == {site.ids[machine.urn] for machine in machines}
    for alarm in site.every("MetricAlarm"):
        assert alarm.inputs["alarmActions"] == [topic.outputs["arn"]]


@invariant
def machines_of_a_role_are_spread_over_the_zones(site: Recording) -> None:
    zones = len({s.inputs["availabilityZone"] for s in site.every("Subnet")})
    for name in ("load-balancer", "app-server", "database"):
        mine = [site.subnet_id(m) for m in site.every("Instance") if role(m) == name]
        assert len(set(mine)) == min(len(mine), zones)


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


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
