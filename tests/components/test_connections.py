"""Arrows: said once, open at both ends."""

import pulumi

from components.connections import INTERNET, Addresses, Port, SecurityGroup
from components.site import this_site
from hosts.base.firewall import Arrow, parse
from tests.components.recorder import Recording, record

WEB = Port("web", 80)
STATS = Port("stats", 8404)
OUTER, INNER = "10.0.128.0/17", "10.0.0.0/17"


def arrows(site: Recording, kind: str) -> list[tuple[str, str, int]]:
    return [
        (
            site.name_of(rule.inputs["securityGroupId"]),
            rule.inputs.get("cidrIpv4") or site.name_of(rule.inputs["referencedSecurityGroupId"]),
            rule.inputs["fromPort"],
        )
        for rule in site.of(kind)
    ]


def groups() -> tuple[SecurityGroup, SecurityGroup]:
    site = this_site(deletion_protection=False)
    front = SecurityGroup("front", site=site, vpc_id="vpc-1", network=OUTER)
    back = SecurityGroup(
        "back", site=site, vpc_id="vpc-1", network=INNER, ports=[WEB, STATS], role="back"
    )
    return front, back


def test_a_connection_opens_the_listeners_ingress_and_the_callers_egress() -> None:
    def program() -> None:
        front, back = groups()
        back.allow_from(front)

    site = record(program)
    assert arrows(site, "SecurityGroupIngressRule") == [
        ("back", "front", 80),
        ("back", "front", 8404),
    ]
    assert arrows(site, "SecurityGroupEgressRule") == [
        ("front", "back", 80),
        ("front", "back", 8404),
    ]


def test_a_connection_may_be_to_some_of_the_ports_only() -> None:
    def program() -> None:
        front, back = groups()
        back.allow_from(front, STATS)

    assert arrows(record(program), "SecurityGroupIngressRule") == [("back", "front", 8404)]


def test_the_internet_has_no_end_of_its_own_to_open() -> None:
    def program() -> None:
        _, back = groups()
        back.allow_from(INTERNET, WEB)

    site = record(program)
    assert arrows(site, "SecurityGroupIngressRule") == [("back", "0.0.0.0/0", 80)]
    assert site.of("SecurityGroupEgressRule") == []


def test_a_group_may_talk_to_itself() -> None:
    def program() -> None:
        _, back = groups()
        back.allow_from(back, WEB)

    site = record(program)
    assert arrows(site, "SecurityGroupIngressRule") == [("back", "back", 80)]
    assert arrows(site, "SecurityGroupEgressRule") == [("back", "back", 80)]


def test_addresses_that_are_not_ours_can_be_reached_by_name_and_port() -> None:
    def program() -> None:
        front, _ = groups()
        front.allow_to(Addresses("partner", "198.51.100.0/24"), WEB)

    (rule,) = record(program).of("SecurityGroupEgressRule")
    assert rule.name == "front-to-partner-80"
    assert (rule.inputs["cidrIpv4"], rule.inputs["description"]) == (
        "198.51.100.0/24",
        "web to partner",
    )


def test_an_arrow_gives_its_rules_to_whoever_has_to_wait_for_them() -> None:
    def program() -> None:
        front, back = groups()
        pulumi.export("rules", [rule.urn for rule in back.allow_from(front, WEB)])

    assert [urn.rpartition(":")[2] for urn in record(program).exports["rules"]] == [
        "back-from-front-80",  # the rule, and what the machines follow
        "back-from-front-80",
        "front-to-back-80",
    ]


def followed(site: Recording) -> dict[str, Arrow]:
    return {p.inputs["name"]: parse(p.inputs["value"]) for p in site.of("Parameter")}


def test_machines_are_told_of_their_end_of_an_arrow_by_the_network_that_the_peer_is_in() -> None:
    def program() -> None:
        front, back = groups()
        back.allow_from(front, WEB)
        back.allow_from(back, STATS)
        back.allow_from(INTERNET, WEB)
        back.allow_to(Addresses("partner", "198.51.100.0/24"), WEB)
        front.allow_from(INTERNET, WEB)

    below = "/site/test/machines/back/arrows"
    assert followed(record(program)) == {
        f"{below}/back-from-front-80": Arrow("in", 80, OUTER, "web from front"),
        f"{below}/back-from-back-8404": Arrow("in", 8404, INNER, "stats from back"),
        f"{below}/back-to-back-8404": Arrow("out", 8404, INNER, "stats to back"),
        f"{below}/back-from-internet-80": Arrow("in", 80, "0.0.0.0/0", "web from internet"),
        f"{below}/back-to-partner-80": Arrow("out", 80, "198.51.100.0/24", "web to partner"),
    }, "front is of no role: it has no machines that could follow"
