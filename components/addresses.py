"""Which addresses a subnet gets: pure arithmetic. More zones never move other zones' subnets."""

import ipaddress
from dataclasses import dataclass

ZONES = 8
"""Room for this many: private subnets in the lower half of the VPC, public ones in the upper."""


@dataclass(frozen=True)
class Blocks:
    """CIDR blocks of one availability zone, or of all that there may be."""

    private: str
    public: str


def zone_subnets(vpc: str, zones: int) -> list[Blocks]:
    """The subnets of the first `zones` zones of a VPC, each a sixteenth of it.

    Raises:
        ValueError: more zones than there is room for, or a VPC too small to divide.
    """
    if not 1 <= zones <= ZONES:
        msg = f"a VPC is divided among 1 to {ZONES} zones, not {zones}"
        raise ValueError(msg)
    blocks = list(ipaddress.IPv4Network(vpc).subnets(prefixlen_diff=4))
    return [
        Blocks(private=str(blocks[zone]), public=str(blocks[ZONES + zone])) for zone in range(zones)
    ]


def halves(vpc: str) -> Blocks:
    """Where all private and all public subnets of a VPC are, however many zones it has."""
    private, public = ipaddress.IPv4Network(vpc).subnets()
    return Blocks(private=str(private), public=str(public))


def resolver(vpc: str) -> str:
    """The address of a VPC's own resolver: the third one."""
    return str(ipaddress.IPv4Network(vpc)[2])
