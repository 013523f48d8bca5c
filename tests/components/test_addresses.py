"""Pure CIDR arithmetic."""

import ipaddress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.addresses import ZONES, halves, resolver, zone_subnets


def _vpc(bits: int, prefix: int) -> str:
    return str(ipaddress.IPv4Network((0x0A000000 | bits << 8, prefix), strict=False))


VPCS = st.builds(_vpc, st.integers(0, 0xFFFF), st.integers(16, 24))


def test_a_vpc_of_sixteen_bits_gets_subnets_of_twenty() -> None:
    first, second = zone_subnets("10.0.0.0/16", 2)
    assert (first.private, first.public) == ("10.0.0.0/20", "10.0.128.0/20")
    assert (second.private, second.public) == ("10.0.16.0/20", "10.0.144.0/20")


@given(vpc=VPCS, zones=st.integers(1, ZONES))
def test_subnets_are_in_the_vpc_and_apart_from_each_other(vpc: str, zones: int) -> None:
    subnets = [
        ipaddress.IPv4Network(cidr)
        for zone in zone_subnets(vpc, zones)
        for cidr in (zone.private, zone.public)
    ]
    assert len(subnets) == 2 * zones
    assert all(subnet.subnet_of(ipaddress.IPv4Network(vpc)) for subnet in subnets)
    assert not any(a.overlaps(b) for a, b in combinations(subnets, 2))
    assert all(subnet.prefixlen <= 28 for subnet in subnets), "AWS makes no smaller ones"


@given(vpc=VPCS, zones=st.integers(1, ZONES - 1))
def test_a_zone_more_moves_no_subnet(vpc: str, zones: int) -> None:
    assert zone_subnets(vpc, zones + 1)[:zones] == zone_subnets(vpc, zones)


@pytest.mark.parametrize("zones", [0, ZONES + 1])
def test_more_zones_than_there_is_room_for_are_refused(zones: int) -> None:
    with pytest.raises(ValueError, match=f"not {zones}"):
        zone_subnets("10.0.0.0/16", zones)


@given(vpc=VPCS, zones=st.integers(1, ZONES))
def test_private_and_public_subnets_are_in_halves_of_their_own(vpc: str, zones: int) -> None:
    whole = halves(vpc)
    private, public = ipaddress.IPv4Network(whole.private), ipaddress.IPv4Network(whole.public)
    assert not private.overlaps(public)
    for zone in zone_subnets(vpc, zones):
        assert ipaddress.IPv4Network(zone.private).subnet_of(private)
        assert ipaddress.IPv4Network(zone.public).subnet_of(public)


def test_the_resolver_is_the_third_address() -> None:
    assert resolver("172.16.32.0/20") == "172.16.32.2"
