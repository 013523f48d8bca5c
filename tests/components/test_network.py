"""The network for every way out of it."""

import pulumi
import pytest

from components import settings
from components.network import Network
from components.site import this_site
from tests.components.recorder import Recording, Resource, record


def network(recording: Recording | None = None, **given: object) -> Recording:
    def program() -> None:
        Network(
            "network",
            site=this_site(deletion_protection=False),
            settings=settings.Network.model_validate(given),
        )

    return record(program, recording=recording)


def ways_out(site: Recording) -> dict[str, str]:
    """The NAT gateway that each private route table leads to."""
    routes = [r for r in site.of("Route") if "natGatewayId" in r.inputs]
    return {
        site.name_of(r.inputs["routeTableId"]): site.name_of(r.inputs["natGatewayId"])
        for r in routes
    }


def test_every_zone_has_a_public_and_a_private_subnet() -> None:
    subnets = network(zones=3).every("Subnet")
    assert {(s.name, s.inputs["availabilityZone"], s.inputs["cidrBlock"]) for s in subnets} == {
        ("private-1", "eu-central-1a", "10.0.0.0/20"),
        ("private-2", "eu-central-1b", "10.0.16.0/20"),
        ("private-3", "eu-central-1c", "10.0.32.0/20"),
        ("public-1", "eu-central-1a", "10.0.128.0/20"),
        ("public-2", "eu-central-1b", "10.0.144.0/20"),
        ("public-3", "eu-central-1c", "10.0.160.0/20"),
    }


def test_one_nat_gateway_serves_all_zones() -> None:
    assert ways_out(network(zones=3, nat="one")) == {
        "private-1": "nat-1",
        "private-2": "nat-1",
        "private-3": "nat-1",
    }


def test_each_zone_has_a_way_out_of_its_own_if_one_wants_to_pay_for_it() -> None:
    assert ways_out(network(zones=3, nat="one-per-zone")) == {
        "private-1": "nat-1",
        "private-2": "nat-2",
        "private-3": "nat-3",
    }


def test_a_nat_gateway_is_in_a_public_subnet_that_has_its_way_out() -> None:
    site = network(nat="one")
    gateway = site.one("NatGateway", "nat-1")
    assert site.name_of(gateway.inputs["subnetId"]) == "public-1"
    assert site.one("Route", "public-internet").urn in gateway.dependencies


def endpoints(site: Recording, kind: str) -> list[Resource]:
    return [e for e in site.every("VpcEndpoint") if e.inputs["vpcEndpointType"] == kind]


@pytest.mark.parametrize("nat", ["none", "one", "one-per-zone"])
def test_s3_and_dynamodb_are_reached_without_a_way_out(nat: str) -> None:
    site = network(nat=nat)
    gateways = endpoints(site, "Gateway")
    assert [e.inputs["serviceName"] for e in gateways] == [
        "com.amazonaws.eu-central-1.s3",
        "com.amazonaws.eu-central-1.dynamodb",
    ]
    tables = {site.ids[t.urn] for t in site.every("RouteTable")}
    assert all(set(e.inputs["routeTableIds"]) == tables for e in gateways)


def test_without_a_way_out_machines_reach_what_they_need_by_endpoints() -> None:
    site = network(nat="none")
    assert site.of("NatGateway") == []
    assert ways_out(site) == {}
    interfaces = endpoints(site, "Interface")
    assert [e.inputs["serviceName"] for e in interfaces] == [
        f"com.amazonaws.eu-central-1.{service}"
        for service in ("logs", "monitoring", "sns", "ssm", "ssmmessages")
    ]
    for endpoint in interfaces:
        assert endpoint.inputs["privateDnsEnabled"] is True
        assert [site.name_of(g) for g in endpoint.inputs["securityGroupIds"]] == ["endpoints"]
        assert {site.name_of(s) for s in endpoint.inputs["subnetIds"]} == {"private-1", "private-2"}


def incoming(site: Recording) -> list[tuple[str, str]]:
    """The rules of the public subnets' ACL, in the order in which they are asked."""
    rules = site.one("NetworkAcl", "public").inputs["ingress"]
    assert all(rule["protocol"] == "-1" for rule in rules)
    in_order = sorted(rules, key=lambda rule: rule["ruleNo"])
    assert in_order == rules
    return [(rule["action"], rule["cidrBlock"]) for rule in rules]


def test_the_public_subnets_let_everyone_in_if_nobody_is_blocked() -> None:
    site = network(zones=3)
    acl = site.one("NetworkAcl", "public").inputs
    assert [site.name_of(id_) for id_ in acl["subnetIds"]] == ["public-1", "public-2", "public-3"]
    assert incoming(site) == [("allow", "0.0.0.0/0")]
    assert [(rule["action"], rule["cidrBlock"]) for rule in acl["egress"]] == [
        ("allow", "0.0.0.0/0")
    ]


def test_blocked_networks_are_refused_before_everyone_else_is_let_in() -> None:
    blocked = ["203.0.113.0/24", "198.51.100.7"]
    assert incoming(network(blockedNetworks=blocked)) == [
        ("deny", "203.0.113.0/24"),
        ("deny", "198.51.100.7/32"),
        ("allow", "0.0.0.0/0"),
    ]


def test_one_more_blocked_network_leaves_the_rules_of_the_others_alone() -> None:
    def rules(count: int) -> list[object]:
        blocked = [f"198.51.100.{n}" for n in range(count)]
        return network(blockedNetworks=blocked).one("NetworkAcl", "public").inputs["ingress"]

    before, after = rules(3), rules(4)
    assert all(rule in after for rule in before)


def test_an_acl_has_no_more_rules_than_aws_takes() -> None:
    blocked = [f"198.51.100.{2 * n}" for n in range(18)]
    assert len(incoming(network(blockedNetworks=blocked))) == 20 - 1, "the last is AWS's own"


def test_the_private_zone_is_named_after_stack_and_project() -> None:
    zone = network().one("Zone", "private")
    assert zone.inputs["name"] == "test.site.internal"


def test_a_region_with_too_few_zones_is_said_so() -> None:
    recording = Recording()
    recording.zones = ["eu-central-1a", "eu-central-1b"]
    with pytest.raises(
        pulumi.RunError, match=r"site:network\.zones is 3, but eu-central-1 has 2 \("
    ):
        network(recording, zones=3)


def test_local_zones_are_not_asked_for() -> None:
    (asked,) = [a for token, a in network().invokes if token.endswith("getAvailabilityZones")]
    assert asked["filters"] == [{"name": "opt-in-status", "values": ["opt-in-not-required"]}]


def test_without_a_region_the_program_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(pulumi.RunError, match="aws:region is not set"):
        record(lambda: this_site(deletion_protection=False), {"aws:region": ""})
