"""What the lab's AWS account holds now, as plain values.

`lab.account` reads them from moto; everything that decides (firewall, names,
addresses, metadata) is a pure function of them.
"""

import ipaddress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """One rule of a security group, to or from exactly one kind of peer."""

    protocol: str
    """`tcp`, `udp`, `icmp`, a protocol number, or `-1` for all."""
    ports: tuple[int, int] | None
    """First and last port; for `icmp`, type and code, where -1 is any."""
    cidr: str | None = None
    group: str | None = None
    prefix_list: str | None = None


@dataclass(frozen=True)
class Group:
    """A security group."""

    id: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class AclEntry:
    """One rule of a network ACL."""

    number: int
    allow: bool
    egress: bool
    protocol: str
    ports: tuple[int, int] | None
    cidr: str


@dataclass(frozen=True)
class Subnet:
    """A subnet with what is associated with it, explicitly or by default."""

    id: str
    vpc: str
    cidr: str
    table: str
    acl: tuple[AclEntry, ...] = ()
    """In the order of their numbers."""


@dataclass(frozen=True)
class Route:
    """One route of a route table."""

    destination: str
    """A CIDR block, or the id of a prefix list."""
    target: str
    """`local`, or the id of a gateway."""


@dataclass(frozen=True)
class Endpoint:
    """A VPC endpoint: S3's and DynamoDB's gateways, or an interface to another service."""

    id: str
    vpc: str
    service: str
    """The last part of its name: `s3`, `ssm` and so on."""
    gateway: bool
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Private:
    """A private address of an instance, and its public one if it has any."""

    address: str
    public: str | None = None


@dataclass(frozen=True)
class Instance:
    """An EC2 instance that is not terminated."""

    id: str
    name: str
    """What the program calls it, as `app-server-1`."""
    role: str
    state: str
    region: str
    subnet: str
    vpc: str
    mac: str
    addresses: tuple[Private, ...]
    """The primary one first."""
    groups: tuple[str, ...]
    volumes: tuple[str, ...] = ()
    """Attached data volumes; the root device is not one."""
    reboots: int = 0
    """How often a reboot has been asked for."""

    @property
    def address(self) -> str:
        """Its primary private address."""
        return self.addresses[0].address

    @property
    def public(self) -> str | None:
        """The public address of its primary private one, else any other."""
        return next((private.public for private in self.addresses if private.public), None)


@dataclass(frozen=True)
class Elastic:
    """An Elastic IP."""

    address: str
    allocation: str
    instance: str | None = None
    private: str | None = None
    """The private address that it stands for; None while nobody holds it."""


@dataclass(frozen=True)
class Record:
    """One record set of a zone."""

    name: str
    """Absolute, without the last dot."""
    type: str
    ttl: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Zone:
    """A Route 53 zone."""

    name: str
    records: tuple[Record, ...] = ()
    public: bool = False


@dataclass(frozen=True)
class Facts:
    """All of it, at one moment."""

    vpcs: dict[str, str] = field(default_factory=dict[str, str])
    """VPC id to CIDR block."""
    subnets: dict[str, Subnet] = field(default_factory=dict[str, Subnet])
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    prefix_lists: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    tables: dict[str, tuple[Route, ...]] = field(default_factory=dict[str, tuple[Route, ...]])
    internet_gateways: dict[str, str] = field(default_factory=dict[str, str])
    """Attached internet gateways: id to VPC id."""
    nat_gateways: dict[str, str] = field(default_factory=dict[str, str])
    """Available public NAT gateways: id to subnet id."""
    endpoints: dict[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    """Available VPC endpoints."""
    instances: dict[str, Instance] = field(default_factory=dict[str, Instance])
    elastic: tuple[Elastic, ...] = ()
    volumes: dict[str, int] = field(default_factory=dict[str, int])
    """Every EBS volume that exists, root devices not: id to GiB."""
    zones: tuple[Zone, ...] = ()

    def at(self, address: str) -> Instance | None:
        """The instance that has this private address."""
        for instance in self.instances.values():
            if any(private.address == address for private in instance.addresses):
                return instance
        return None


def target(facts: Facts, subnet: Subnet, destination: str) -> str | None:
    """Where the subnet's route table sends what is for `destination`: the longest prefix wins."""
    wanted = ipaddress.ip_address(destination)
    best: tuple[int, str] | None = None
    for route in facts.tables.get(subnet.table, ()):
        for block in facts.prefix_lists.get(route.destination, (route.destination,)):
            network = ipaddress.ip_network(block)
            if wanted in network and (best is None or network.prefixlen > best[0]):
                best = (network.prefixlen, route.target)
    return best[1] if best else None


def leaves(facts: Facts, instance: Instance, private: Private, destination: str) -> bool:
    """Whether the VPC has a way from this address of the instance to `destination` outside it.

    The ways are AWS's: an internet gateway for an address that has a public one, a NAT
    gateway that itself has such a way, a gateway endpoint for its own service.
    """
    subnet = facts.subnets.get(instance.subnet)
    if subnet is None:
        return False
    hop = target(facts, subnet, destination)
    if hop is None:
        return False
    if hop in facts.nat_gateways:
        beyond = facts.subnets.get(facts.nat_gateways[hop])
        hop = target(facts, beyond, destination) if beyond else None
        return facts.internet_gateways.get(hop or "") == instance.vpc
    if hop in facts.internet_gateways:
        return facts.internet_gateways[hop] == instance.vpc and private.public is not None
    return hop in facts.endpoints


def entered_from_outside(facts: Facts, instance: Instance, private: Private, client: str) -> bool:
    """Whether a connection from `client` in the internet arrives at this address."""
    subnet = facts.subnets.get(instance.subnet)
    if subnet is None or private.public is None:
        return False
    hop = target(facts, subnet, client)
    return facts.internet_gateways.get(hop or "") == instance.vpc
