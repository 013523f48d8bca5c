"""The router's rules, as text; what they do is tried on real machines in the lab's own tests."""

import dataclasses
import os
import subprocess

import pytest

from lab import firewall, network
from lab.facts import AclEntry, Endpoint, Facts, Group, Private, Rule
from lab.partitions import Cut
from lab.partitions import render as render_cuts
from tests.lab.unit.aws import ACCOUNT, ALLOW_ALL, APP, EDGE, account, with_instance


def block(ruleset: str, kind: str, name: str) -> list[str]:
    """The lines of one chain, set or map."""
    lines = ruleset.splitlines()
    start = lines.index(f"\t{kind} {name} {{")
    return [line.strip() for line in lines[start + 1 : lines.index("\t}", start)]]


def elements(ruleset: str, name: str, kind: str = "set") -> set[str]:
    for line in block(ruleset, kind, name):
        if line.startswith("elements"):
            return set(line.removeprefix("elements = { ").removesuffix(" }").split(", "))
    return set()


def rules_of(group: Group, *, way: str = "in") -> list[str]:
    """The chain that one machine's only group makes."""
    facts = account(
        groups=ACCOUNT.groups | {"sg-app": dataclasses.replace(group, id="sg-app")},
        instances={APP.id: APP},
    )
    return block(firewall.render(facts), "chain", f"{way}-0")


def ingress(*rules: Rule) -> list[str]:
    return rules_of(Group("sg-app", ingress=rules))


@pytest.mark.parametrize("hook", ["forward", "input"])
def test_what_no_rule_lets_through_is_dropped(hook: str) -> None:
    assert f"type filter hook {hook} priority filter; policy drop;" in block(
        firewall.render(ACCOUNT), "chain", hook
    )


def test_nothing_answers_unreachable_or_resets() -> None:
    assert "reject" not in firewall.render(ACCOUNT)


def test_a_group_without_rules_lets_nothing_through() -> None:
    assert ingress() == ["drop"]


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (Rule("tcp", (80, 80), cidr="0.0.0.0/0"), "tcp dport 80 return"),
        (Rule("tcp", (8000, 8005), cidr="10.0.0.0/16"),
         "ip saddr 10.0.0.0/16 tcp dport 8000-8005 return"),
        (Rule("udp", (53, 53), group="sg-edge"), "ip saddr @sg-edge udp dport 53 return"),
        (Rule("tcp", (0, 65535), cidr="0.0.0.0/0"), "meta l4proto tcp return"),
        (Rule("-1", None, cidr="0.0.0.0/0"), "return"),
        (Rule("-1", None, group="sg-edge"), "ip saddr @sg-edge return"),
        (Rule("icmp", (-1, -1), cidr="0.0.0.0/0"), "meta l4proto icmp return"),
        (Rule("icmp", (8, -1), cidr="0.0.0.0/0"), "icmp type 8 return"),
        (Rule("icmp", (3, 4), cidr="0.0.0.0/0"), "icmp type 3 icmp code 4 return"),
        (Rule("6", (22, 22), cidr="192.0.2.1/32"), "ip saddr 192.0.2.1/32 tcp dport 22 return"),
        (Rule("50", None, cidr="0.0.0.0/0"), "meta l4proto 50 return"),
        (Rule("tcp", (443, 443), prefix_list="pl-s3"),
         f"ip saddr {{ {network.S3}/32 }} tcp dport 443 return"),
    ],
)  # fmt: skip
def test_a_rule_lets_through_what_it_says(rule: Rule, line: str) -> None:
    assert ingress(rule) == [line, "drop"]


@pytest.mark.parametrize(
    "rule",
    [
        Rule("tcp", (80, 80)),  # of IPv6
        Rule("tcp", (80, 80), group="sg-deleted"),
        Rule("tcp", (80, 80), prefix_list="pl-deleted"),
    ],
)
def test_a_rule_for_nobody_lets_nothing_through(rule: Rule) -> None:
    assert ingress(rule) == ["drop"]


def test_egress_is_limited_as_ingress_is() -> None:
    egress = (Rule("tcp", (443, 443), prefix_list="pl-s3"),)
    assert rules_of(Group("sg-app", egress=egress), way="out") == [
        f"ip daddr {{ {network.S3}/32 }} tcp dport 443 return",
        "drop",
    ]


def test_the_groups_of_a_machine_add_up() -> None:
    facts = account(instances={EDGE.id: dataclasses.replace(EDGE, groups=("sg-app", "sg-edge"))})
    assert block(firewall.render(facts), "chain", "in-0") == [
        "ip saddr @sg-edge tcp dport 8000 return",
        "tcp dport 80 return",
        "drop",
    ]


def test_a_group_stands_for_the_addresses_of_its_machines() -> None:
    ruleset = firewall.render(ACCOUNT)
    assert elements(ruleset, "sg-edge") == {"10.0.0.4"}
    assert elements(ruleset, "sg-app") == {"10.0.16.4"}


def test_a_secondary_address_counts_as_the_machine_does() -> None:
    both = (Private("10.0.0.4", "54.214.0.1"), Private("10.0.0.9", "127.1.2.3"))
    ruleset = firewall.render(with_instance(EDGE, addresses=both))
    assert elements(ruleset, "sg-edge") == {"10.0.0.4", "10.0.0.9"}
    assert elements(ruleset, "public") == {"10.0.0.4", "10.0.0.9"}


def test_each_machine_is_known_by_its_own_cable() -> None:
    ruleset = firewall.render(ACCOUNT)
    assert elements(ruleset, "plugged") == {
        f"10.0.0.4 . {network.interface(EDGE.id)}",
        f"10.0.16.4 . {network.interface(APP.id)}",
    }
    for hook in ("forward", "input"):
        assert "iifname != internet ip saddr . iifname != @plugged drop" in block(
            ruleset, "chain", hook
        )


def test_only_the_public_machine_is_reached_from_outside() -> None:
    assert elements(firewall.render(ACCOUNT), "public") == {"10.0.0.4"}


def test_each_service_of_aws_is_open_to_those_who_have_a_way_there() -> None:
    ruleset = firewall.render(ACCOUNT)
    assert elements(ruleset, "to-aws") == {"10.0.0.4"}
    assert elements(ruleset, "to-s3") == {"10.0.0.4", "10.0.16.4"}
    assert elements(ruleset, "to-dynamodb") == {"10.0.0.4"}


def test_an_interface_endpoint_has_groups_of_its_own() -> None:
    endpoint = Endpoint("vpce-ssm", "vpc-1", "ssm", gateway=False, groups=("sg-endpoint",))
    groups = {
        "sg-endpoint": Group("sg-endpoint", (Rule("tcp", (443, 443), group="sg-app"),)),
        **ACCOUNT.groups,
    }
    facts = account(endpoints={"vpce-ssm": endpoint}, groups=groups)
    assert block(firewall.render(facts), "chain", "input")[-1] == (
        f"ip daddr {network.AWS} ip saddr 10.0.0.0/16 ip saddr @sg-app tcp dport 443 accept"
    )


def test_neither_groups_nor_acls_filter_metadata_and_names() -> None:
    lines = block(firewall.render(ACCOUNT), "chain", "input")
    filtered = lines.index("ip saddr vmap @outgoing")
    open_to_all = [
        f"ip daddr {network.METADATA} tcp dport 80 accept",
        f"ip daddr {{ {network.RESOLVER}, 10.0.0.2 }} udp dport 53 accept",
        f"ip daddr {{ {network.RESOLVER}, 10.0.0.2 }} tcp dport 53 accept",
    ]
    assert all(lines.index(line) < filtered for line in open_to_all)


def with_acl(*entries: AclEntry) -> Facts:
    subnet = dataclasses.replace(ACCOUNT.subnets["subnet-private"], acl=entries)
    return account(subnets=ACCOUNT.subnets | {subnet.id: subnet})


def test_an_acl_is_read_in_order_and_ends_with_deny() -> None:
    deny = AclEntry(50, allow=False, egress=False, protocol="6", ports=(22, 22), cidr="10.0.0.0/8")
    ruleset = firewall.render(with_acl(deny, *ALLOW_ALL))
    assert block(ruleset, "chain", "acl-in-subnet-private") == [
        "ip saddr 10.0.0.0/8 tcp dport 22 drop",
        "return",
        "drop",
    ]
    assert "acl-out-subnet-private" not in ruleset


def test_an_acl_is_asked_before_what_connection_tracking_knows() -> None:
    lines = block(firewall.render(with_acl()), "chain", "forward")
    tracked = lines.index("ct state established,related accept")
    jumps = [number for number, line in enumerate(lines) if " jump acl-" in line]
    assert len(jumps) == 2
    assert max(jumps) < tracked


def test_an_acl_does_not_apply_within_its_subnet() -> None:
    assert "ip daddr 10.0.16.0/24 ip saddr != 10.0.16.0/24 jump acl-in-subnet-private" in block(
        firewall.render(with_acl()), "chain", "forward"
    )


def test_two_vpcs_do_not_reach_each_other() -> None:
    facts = account(vpcs={"vpc-1": "10.0.0.0/16", "vpc-2": "172.31.0.0/16"})
    assert "ip saddr 10.0.0.0/16 ip daddr != 10.0.0.0/16 oifname != internet drop" in block(
        firewall.render(facts), "chain", "forward"
    )


def test_an_empty_account_lets_nothing_through() -> None:
    ruleset = firewall.render(Facts())
    assert "elements" not in ruleset


def cut(*cuts: Cut) -> tuple[list[str], list[str]]:
    ruleset = render_cuts(ACCOUNT, frozenset(cuts))
    return block(ruleset, "chain", "arriving")[1:], block(ruleset, "chain", "leaving")[1:]


def test_a_machine_cut_from_a_peer_loses_both_ways() -> None:
    assert cut(Cut(EDGE.id, "peer", APP.id)) == (
        [
            "ip saddr { 10.0.0.4 } ip daddr { 10.0.16.4 } drop",
            "ip saddr { 10.0.16.4 } ip daddr { 10.0.0.4 } drop",
        ],
        [],
    )


def test_a_cut_of_one_direction_loses_what_the_machine_sends_or_what_it_gets() -> None:
    sends = "ip saddr { 10.0.0.4 } ip daddr { 10.0.16.4 } drop"
    gets = "ip saddr { 10.0.16.4 } ip daddr { 10.0.0.4 } drop"
    assert cut(Cut(EDGE.id, "peer", APP.id, "sends")) == ([sends], [])
    assert cut(Cut(EDGE.id, "peer", APP.id, "gets")) == ([gets], [])
    for scope in ("aws", "all"):
        arriving, leaving = cut(Cut(EDGE.id, scope))
        assert cut(Cut(EDGE.id, scope, direction="sends")) == (arriving[:1], [])
        assert cut(Cut(EDGE.id, scope, direction="gets")) == (arriving[1:], leaving)


def test_a_machine_cut_from_all_keeps_what_is_on_its_own_host() -> None:
    arriving, leaving = cut(Cut(EDGE.id, "all"))
    assert arriving == [
        "ip saddr { 10.0.0.4 } ip daddr != 169.254.0.0/16 drop",
        "ip daddr { 10.0.0.4 } drop",
    ]
    assert len(leaving) == 1


def test_a_cut_comes_before_connection_tracking() -> None:
    ruleset = render_cuts(ACCOUNT, frozenset({Cut(EDGE.id, "aws")}))
    for chain in ("arriving", "leaving"):
        assert "priority -310" in block(ruleset, "chain", chain)[0]


def test_a_cut_of_a_machine_that_is_gone_cuts_nothing() -> None:
    assert cut(Cut("i-gone", "all"), Cut(EDGE.id, "peer", "i-gone")) == ([], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="nft reads rules only as root")
@pytest.mark.parametrize(
    "ruleset",
    [
        firewall.render(Facts()),
        firewall.render(ACCOUNT),
        firewall.render(with_acl(*ALLOW_ALL[:1])),
        render_cuts(ACCOUNT, frozenset()),
        render_cuts(ACCOUNT, frozenset({Cut(EDGE.id, "all"), Cut(EDGE.id, "peer", APP.id)})),
    ],
    ids=["empty", "account", "acl", "no cuts", "cuts"],
)
def test_nft_takes_the_rules_twice(ruleset: str) -> None:
    load = "nft -f - <<EOF\n" + ruleset + "EOF\n"
    subprocess.run(["unshare", "--net", "sh", "-euc", load * 2], check=True, timeout=10)
