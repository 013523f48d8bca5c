"""The machine's own firewall, with the image's nft and real packets from everywhere."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from hosts.base.cloud_config import CLOSED
from hosts.base.firewall import Arrow, rules
from lab import image

INSIDE = Path(__file__).parent / "inside"
RESOLVER, RESOLVERS = "10.0.0.2", ("10.0.0.2", "169.254.169.253")
METADATA, TIME = "169.254.169.254", "169.254.169.123"
PRIVATE, PUBLIC, ANYWHERE = "10.0.0.0/17", "10.0.128.0/17", "0.0.0.0/0"
WAYS_OUT = [Arrow("out", 443, ANYWHERE, "https to aws")]
PACKAGES = Arrow("out", 80, ANYWHERE, "http to packages")
ARROWS = {
    "load-balancer": [
        Arrow("in", 443, ANYWHERE, "https from internet"),
        Arrow("in", 80, ANYWHERE, "http from internet"),
        Arrow("out", 8443, PRIVATE, "gunicorn to app-server"),
        *WAYS_OUT,
        PACKAGES,
    ],
    "app-server": [
        Arrow("in", 8443, PUBLIC, "gunicorn from load-balancer"),
        Arrow("out", 3306, PRIVATE, "mysql to database"),
        Arrow("out", 8008, PRIVATE, "guard to database"),
        *WAYS_OUT,
        PACKAGES,
    ],
    # As without a NAT gateway: endpoints within the VPC instead.
    "database": [
        Arrow("in", 3306, PRIVATE, "mysql from app-server"),
        Arrow("in", 8008, PRIVATE, "guard from app-server"),
        Arrow("in", 3306, PRIVATE, "mysql from database"),
        Arrow("in", 8009, PRIVATE, "agents from database"),
        Arrow("out", 3306, PRIVATE, "mysql to database"),
        Arrow("out", 8009, PRIVATE, "agents to database"),
        Arrow("out", 443, PRIVATE, "https to endpoints"),
        *WAYS_OUT,
    ],
}
"""The picture's, as machines of each role are told of them."""

HERE = "10.0.0.20"
SOURCES = {
    "outside": "203.0.113.9",
    "load balancer": "10.0.128.10",
    "private": "10.0.16.10",
    "private, same subnet": "10.0.0.30",
    "another network": "192.168.7.7",
    "link-local": "169.254.7.7",
}
USUAL = (22, 53, 80, 111, 123, 323, 443, 3306, 5353, 8000, 8008, 8009, 8404, 8443, 33060)
PLACES = ("203.0.113.9", "10.0.128.10", "10.0.16.10", *RESOLVERS, METADATA, TIME, "169.254.1.1")

pytestmark = [
    pytest.mark.usefixtures("machine_image"),
    pytest.mark.timeout(120),
]


def scene(what: str, **given: Any) -> dict[str, Any]:
    done = image.run(
        ["python3", "/srv/inside/packets.py", what],
        {INSIDE: "/srv/inside"},
        stdin=json.dumps(given),
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def let_in(arrows: list[Arrow], source: str, port: int) -> bool:
    """From the link nobody: there are Amazon's services, which do not call."""
    return not ipaddress.IPv4Address(source).is_link_local and any(
        arrow.way == "in"
        and arrow.port == port
        and ipaddress.IPv4Address(source) in ipaddress.IPv4Network(arrow.network)
        for arrow in arrows
    )


def let_out(arrows: list[Arrow], to: str, port: int, *, root: bool) -> bool:
    if ipaddress.IPv4Address(to).is_link_local:
        return (to, port) == ("169.254.169.253", 53) or (root and (to, port) == (METADATA, 80))
    if (root and port == 443) or (to, port) == (RESOLVER, 53):
        return True
    return any(
        arrow.way == "out"
        and arrow.port == port
        and ipaddress.IPv4Address(to) in ipaddress.IPv4Network(arrow.network)
        for arrow in arrows
    )


@pytest.mark.parametrize("role", ARROWS)
def test_what_comes_in_and_goes_out_is_exactly_the_arrows(role: str) -> None:
    mine = ARROWS[role]
    ports = sorted({*USUAL, *(arrow.port for arrow in mine)})
    outward = [("", to, port) for to in PLACES for port in ports]
    seen = scene(
        "scan",
        rules=rules(mine, RESOLVER),
        ports=ports,
        sources=list(SOURCES.values()),
        outward=outward,
        **{
            "udp ports": [53, 123, 323, 5353, 8443],
            "outward udp": PLACES,
            "outward udp ports": [53, 67, 123, 443],
        },
    )
    inward = [(source, HERE, port) for source in SOURCES.values() for port in ports]
    assert seen["in"] == [list(one) for one in inward if let_in(mine, one[0], one[2])]
    assert seen["in"], "some arrow leads here"
    assert seen["in, udp"] == []
    assert seen["in, ipv6"] == []
    assert seen["dropped in"] >= len(inward) - len(seen["in"])
    assert len(seen["to itself"]) == len(ports)
    for name, root in (("root", True), ("user", False)):
        assert seen[f"out, {name}"] == [
            list(one) for one in outward if let_out(mine, one[1], one[2], root=root)
        ]
        names = [[HERE, address, 53] for address in RESOLVERS]
        dhcp = [[HERE, to, 67] for to in PLACES if not to.startswith("169.254.")] if root else []
        assert sorted(seen[f"out, udp, {name}"]) == sorted([*names, *dhcp, [HERE, TIME, 123]])


WEB = Arrow("in", 443, "0.0.0.0/0", "https from internet")
APP = Arrow("in", 8443, "10.0.128.0/17", "gunicorn from load-balancer")
KEPT = Arrow("in", 9443, "10.0.128.0/17", "another from load-balancer")


def test_a_client_behind_a_narrow_link_gets_its_answer() -> None:
    seen = scene("small path", rules=rules([WEB], RESOLVER), port=443)
    assert seen == {"got": seen["of"], "of": seen["of"], "learned": True}


def test_without_the_icmp_of_path_mtu_it_would_not() -> None:
    text = rules([WEB], RESOLVER)
    deaf = "\n".join(line for line in text.splitlines() if "icmp type" not in line)
    seen = scene("small path", rules=deaf, port=443)
    assert seen["got"] < seen["of"]


def test_rules_are_exchanged_in_one_step_and_keep_the_connections_there_are() -> None:
    seen = scene(
        "renewal",
        rules=rules([WEB, APP, KEPT], RESOLVER),
        without=rules([WEB], RESOLVER),
        source="10.0.128.10",
        port=8443,
        kept=9443,
        other=8404,
    )
    assert seen["loads"] > 10
    assert seen["tried"] > 50
    assert (seen["failed"], seen["entered"]) == (0, 0)
    assert seen["a connection from before the rules goes on"]
    assert seen["a connection outlives its arrow"], "as with a security group"
    assert seen["a new one is not made"]


def test_connections_that_anyone_may_make_take_no_room_in_the_table_of_connections() -> None:
    seen = scene(
        "untracked",
        rules=rules([WEB, APP], RESOLVER),
        source="10.0.128.10",
        open=443,
        port=8443,
    )
    assert seen == {"at first": 0, "open": 0, "port": 20, "to itself": 0}


def test_nothing_is_forwarded() -> None:
    seen = scene("forwarding", rules=rules([WEB, APP], RESOLVER))
    assert seen["dropped-forward"] > 0


def test_a_machine_is_closed_until_it_has_rules() -> None:
    seen = scene("first boot", closed=CLOSED, rules=rules([WEB], RESOLVER))
    assert len(seen["open"]) == 2
    assert seen["closed"] == []
    assert seen["out"], "it fetches its packages and programs"
    assert seen["with rules"] == seen["after a reboot"] == [["10.0.128.10", HERE, 443]]
    assert [table for table in seen["tables"] if table] == ["table inet site"]
