"""What EC2 lets through, as one nftables ruleset for the router. Pure: facts in, text out.

A packet passes, in this order: the source's network ACL, the destination's network ACL
(both stateless, and not within a subnet), the source's security groups, the route out
of the VPC if it leaves, the destination's security groups. Replies to what passed are
let through by connection tracking, as security groups do. What does not pass is
dropped in silence.
"""

from collections.abc import Iterable

from lab import dns, network
from lab.facts import AclEntry, Facts, Instance, Rule, Subnet, entered_from_outside, leaves

TABLE = "lab"
_CHAIN_END = "\t\tdrop"
_ANYWHERE = "0.0.0.0/0"
_MAX_PORT = 65535


def render(facts: Facts) -> str:
    """The whole ruleset; `nft -f` puts it in place of the last one in one step."""
    instances = sorted(facts.instances.values(), key=lambda instance: instance.id)
    groups = sorted({instance.groups for instance in instances})
    lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    lines += _group_sets(facts, instances)
    lines += _reach_sets(facts, instances)
    for number, members in enumerate(groups):
        lines += _chain(facts, f"out-{number}", members, egress=True)
        lines += _chain(facts, f"in-{number}", members, egress=False)
    for way, name in (("out", "outgoing"), ("in", "incoming")):
        verdicts = [
            f"{private.address} : jump {way}-{groups.index(instance.groups)}"
            for instance in instances
            for private in instance.addresses
        ]
        lines += _container("map", name, "ipv4_addr : verdict", verdicts)
    lines += _acl_chains(facts)
    lines += _forward(facts)
    lines += _input(facts)
    lines += _output(facts)
    return "\n".join([*lines, "}", ""])


def _container(kind: str, name: str, of: str, elements: Iterable[str]) -> list[str]:
    listed = list(elements)
    body = [f"\t{kind} {name} {{", f"\t\ttype {of}"]
    if listed:
        body.append(f"\t\telements = {{ {', '.join(listed)} }}")
    return [*body, "\t}"]


def _group_sets(facts: Facts, instances: list[Instance]) -> list[str]:
    lines: list[str] = []
    for group in sorted(facts.groups):
        members = [
            private.address
            for instance in instances
            if group in instance.groups
            for private in instance.addresses
        ]
        lines += _container("set", group, "ipv4_addr", members)
    return lines


def _reach_sets(facts: Facts, instances: list[Instance]) -> list[str]:
    """Which addresses have a way out of their VPC, and which are reached from outside."""
    privates = [(instance, private) for instance in instances for private in instance.addresses]
    lines: list[str] = []
    for name, destination in _WAYS.items():
        able = [p.address for i, p in privates if leaves(facts, i, p, destination)]
        lines += _container("set", name, "ipv4_addr", able)
    public = [p.address for i, p in privates if entered_from_outside(facts, i, p, network.CLIENT)]
    lines += _container("set", "public", "ipv4_addr", public)
    plugged = [f"{p.address} . {network.interface(i.id)}" for i, p in privates]
    lines += _container("set", "plugged", "ipv4_addr . ifname", plugged)
    return lines


_WAYS = {
    "to-internet": network.CLIENT,
    "to-aws": network.AWS,
    "to-s3": network.S3,
    "to-dynamodb": network.DYNAMODB,
}


def _chain(facts: Facts, name: str, groups: tuple[str, ...], *, egress: bool) -> list[str]:
    """The rules of these groups together: what matches returns, the rest is dropped."""
    rules = [_line(match, "return") for match in _matches(facts, groups, egress=egress)]
    return [f"\tchain {name} {{", *rules, _CHAIN_END, "\t}"]


def _matches(facts: Facts, groups: tuple[str, ...], *, egress: bool) -> list[str]:
    """What these groups let through, as nftables matches; the empty one matches all."""
    found: set[str] = set()
    for group in (facts.groups[name] for name in groups if name in facts.groups):
        for rule in group.egress if egress else group.ingress:
            where = _peer(facts, rule, "ip daddr" if egress else "ip saddr")
            if where is not None:
                found.add(f"{where} {protocol(rule.protocol, rule.ports)}".strip())
    return sorted(found)


def _line(*parts: str) -> str:
    return "\t\t" + " ".join(part for part in parts if part)


def _peer(facts: Facts, rule: Rule, peer: str) -> str | None:
    """The match on the other side; nothing to match is empty, nobody at all is None."""
    if rule.group:
        return f"{peer} @{rule.group}" if rule.group in facts.groups else None
    if rule.prefix_list:
        blocks = facts.prefix_lists.get(rule.prefix_list)
        return f"{peer} {{ {', '.join(blocks)} }}" if blocks else None
    if rule.cidr is None:  # IPv6, which the lab does not have
        return None
    return "" if rule.cidr == _ANYWHERE else f"{peer} {rule.cidr}"


def protocol(name: str, ports: tuple[int, int] | None) -> str:
    """The match on a protocol, by name or number, and a range of ports (icmp: type and code)."""
    name = {"6": "tcp", "17": "udp", "1": "icmp"}.get(name, name)
    if name == "-1":
        return ""
    if name == "icmp":
        kind, code = ports or (-1, -1)
        if kind < 0:
            return "meta l4proto icmp"
        return f"icmp type {kind}" if code < 0 else f"icmp type {kind} icmp code {code}"
    if name not in ("tcp", "udp") or ports is None or ports == (0, _MAX_PORT):
        return f"meta l4proto {name}"
    first, last = ports
    return f"{name} dport {first}" if first == last else f"{name} dport {first}-{last}"


def _trivial(entries: tuple[AclEntry, ...], *, egress: bool) -> bool:
    first = next((entry for entry in entries if entry.egress == egress), None)
    return first is not None and first.allow and first.protocol == "-1" and first.cidr == _ANYWHERE


def _acls(facts: Facts) -> list[tuple[str, Subnet, bool]]:
    """Chain name, subnet and direction of every ACL that does more than allow all."""
    used = {instance.subnet for instance in facts.instances.values()}
    return [
        (f"acl-{'out' if egress else 'in'}-{subnet.id}", subnet, egress)
        for subnet in sorted(facts.subnets.values(), key=lambda subnet: subnet.id)
        if subnet.id in used
        for egress in (True, False)
        if not _trivial(subnet.acl, egress=egress)
    ]


def _acl_chains(facts: Facts) -> list[str]:
    lines: list[str] = []
    for name, subnet, egress in _acls(facts):
        lines.append(f"\tchain {name} {{")
        for entry in subnet.acl:
            if entry.egress == egress:
                where = "" if entry.cidr == _ANYWHERE else f"ip {_far(egress)} {entry.cidr}"
                what = protocol(entry.protocol, entry.ports)
                lines.append(_line(where, what, "return" if entry.allow else "drop"))
        lines += [_CHAIN_END, "\t}"]
    return lines


def _acl_jumps(facts: Facts, *directions: bool) -> list[str]:
    return [
        f"\t\tip {_far(not egress)} {subnet.cidr} ip {_far(egress)} != {subnet.cidr} jump {name}"
        for name, subnet, egress in _acls(facts)
        if egress in directions
    ]


def _far(egress: bool) -> str:
    return "daddr" if egress else "saddr"


_NO_SPOOFING = f"\t\tiifname != {network.OUTSIDE_INTERFACE} ip saddr . iifname != @plugged drop"
_TRACKED = ["\t\tct state established,related accept", "\t\tct state invalid drop"]


def _forward(facts: Facts) -> list[str]:
    outside = network.OUTSIDE_INTERFACE
    apart = [
        f"\t\tip saddr {cidr} ip daddr != {cidr} oifname != {outside} drop"
        for cidr in sorted(set(facts.vpcs.values()))
        if len(set(facts.vpcs.values())) > 1
    ]
    return [
        "\tchain forward {",
        "\t\ttype filter hook forward priority filter; policy drop;",
        _NO_SPOOFING,
        *_acl_jumps(facts, True, False),
        *_TRACKED,
        *apart,
        "\t\tip saddr vmap @outgoing",
        f"\t\toifname {outside} ip saddr @to-internet accept",
        f"\t\tiifname {outside} ip daddr != @public drop",
        "\t\tip daddr vmap @incoming",
        f"\t\toifname != {outside} accept",
        "\t}",
    ]


def _input(facts: Facts) -> list[str]:
    """To AWS's own services, which the router stands for.

    Neither groups nor ACLs filter the metadata service and the resolver.
    """
    return [
        "\tchain input {",
        "\t\ttype filter hook input priority filter; policy drop;",
        "\t\tiifname lo accept",
        f"\t\tiifname {network.OUTSIDE_INTERFACE} drop",
        _NO_SPOOFING,
        f"\t\tip daddr {network.METADATA} tcp dport 80 accept",
        *(
            f"\t\tip daddr {{ {', '.join(dns.resolvers(facts))} }} {transport} dport 53 accept"
            for transport in ("udp", "tcp")
        ),
        *_acl_jumps(facts, True),
        *_TRACKED,
        "\t\tmeta l4proto != tcp drop",
        "\t\ttcp dport != 443 drop",
        "\t\tip saddr vmap @outgoing",
        f"\t\tip daddr {network.AWS} ip saddr @to-aws accept",
        f"\t\tip daddr {network.S3} ip saddr @to-s3 accept",
        f"\t\tip daddr {network.DYNAMODB} ip saddr @to-dynamodb accept",
        *_interface_endpoints(facts),
        "\t}",
    ]


def _interface_endpoints(facts: Facts) -> list[str]:
    """An interface endpoint is in its VPC and has security groups of its own."""
    lines: list[str] = []
    for endpoint in sorted(facts.endpoints.values(), key=lambda endpoint: endpoint.id):
        if not endpoint.gateway and endpoint.vpc in facts.vpcs:
            here = f"ip daddr {network.AWS} ip saddr {facts.vpcs[endpoint.vpc]}"
            matches = _matches(facts, endpoint.groups, egress=False)
            lines += [_line(here, match, "accept") for match in matches]
    return lines


def _output(facts: Facts) -> list[str]:
    jumps = _acl_jumps(facts, False)
    if not jumps:
        return []
    return [
        "\tchain output {",
        "\t\ttype filter hook output priority filter; policy accept;",
        "\t\tip saddr 169.254.0.0/16 accept",
        *jumps,
        "\t}",
    ]
