"""What can be set: camelCase in the configuration, snake_case here, described in `Pulumi.yaml`.

The defaults are here and nowhere else, but for `deletionProtection`: the CLI can type it, so its
default is in `Pulumi.yaml`. A validator says what is allowed; `read` adds key, value and command.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from components.settings.backups import Backups, Restore
from components.settings.edge import Mode, check_domain, check_room, check_threads
from components.settings.model import WORDED, InstanceType, Model, matching
from components.settings.monitoring import Logs, Monitoring
from components.settings.tls import DOMAIN, Tls, refuse_other_domain
from hosts.base import maintenance

HostName = Annotated[str, matching(DOMAIN, "a host name in small letters such as www.example.org")]
Architecture = Literal["x86_64", "arm64"]


def _vpc_cidr(value: str) -> str:
    allowed = "a private IPv4 network of /16 to /24 such as 10.0.0.0/16"
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise ValueError(allowed) from None
    # /16 is the largest VPC; a sixteenth of a /24 is the smallest subnet.
    if not network.is_private or not 16 <= network.prefixlen <= 24:  # noqa: PLR2004
        raise ValueError(allowed)
    return value


BLOCKED = 18
"""Networks. AWS takes 20 rules each way: one is ours, for everyone else, and the last AWS's own."""


def _blocked_networks(value: list[str]) -> list[str]:
    """In the order in which they were given; none that is within another."""
    networks = dict.fromkeys(_blocked_network(text) for text in value)
    kept = [
        network
        for network in networks
        if not any(network != other and network.subnet_of(other) for other in networks)
    ]
    if len(kept) > BLOCKED:
        msg = f"{BLOCKED} networks at most, all that a network ACL has room for"
        raise ValueError(msg)
    return [str(network) for network in kept]


def _blocked_network(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        pass
    try:
        meant = f"would be {ipaddress.IPv4Network(text, strict=False)}"
    except ValueError:
        meant = "is none"
    msg = f"IPv4 networks such as 203.0.113.0/24, and single addresses ({text} {meant})"
    raise ValueError(msg)


def _maintenance_window(value: str) -> str:
    maintenance.parse(value)
    return value


def _instance_architecture(instance_type: str) -> Architecture:
    """Graviton's have a g after the generation: t4g, m7gd, c6gn, x2gd. The first was a1."""
    family = instance_type.partition(".")[0]
    return (
        "arm64" if family == "a1" or re.fullmatch(r"[a-z]+\d+[a-z]*g[a-z]*", family) else "x86_64"
    )


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            msg = "names of environment variables: letters, digits and underscores"
            raise ValueError(msg)
    for name, text in value.items():
        if "\n" in text or "\0" in text:
            msg = f"values of one line; {name} has several"
            raise ValueError(msg)
    return value


def _listed(value: object) -> object:
    """`pulumi config set --path` stores a list in one word as text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _authorities(value: list[int]) -> list[int]:
    if not 1 <= len(value) <= 2 or len({*value}) < len(value) or min(value) < 1:  # noqa: PLR2004
        msg = "one number, or two different ones while the authority changes"
        raise ValueError(msg)
    return value


Authorities = Annotated[list[int], BeforeValidator(_listed), AfterValidator(_authorities)]


class Network(Model):
    """`site:network`"""

    cidr: Annotated[str, AfterValidator(_vpc_cidr)] = "10.0.0.0/16"
    zones: Annotated[int, Field(ge=2, le=6)] = 2
    nat: Literal["none", "one", "one-per-zone"] = "one"
    blocked_networks: Annotated[
        list[str], BeforeValidator(_listed), AfterValidator(_blocked_networks)
    ] = Field(default_factory=list[str], examples=['["203.0.113.0/24"]'])

    @model_validator(mode="after")
    def _not_its_own(self) -> Self:
        own = ipaddress.IPv4Network(self.cidr)
        wrong = [
            blocked
            for blocked in self.blocked_networks
            if ipaddress.IPv4Network(blocked).overlaps(own)
        ]
        if wrong:
            raise PydanticCustomError(
                WORDED,
                "site:network.blockedNetworks has {listed}, where the site's own machines are"
                " (site:network.cidr {own}): the load balancers would reach nothing. Block networks"
                " that clients are in.",
                {"listed": ", ".join(wrong), "own": self.cidr},
            )
        return self


class Machines(Model):
    """`site:machines`"""

    image: Annotated[str, matching(r"[^\s]+", "a name pattern of machine images")] | None = None
    image_owner: Annotated[
        str,
        matching(r"\d{12}|self|amazon", "an account of twelve digits in quotes, self or amazon"),
    ] = "099720109477"  # Canonical
    architecture: Architecture = "x86_64"
    root_volume_size: Annotated[int, Field(ge=8, le=1024)] = 10
    ready_within: Annotated[int, Field(ge=10, le=7200)] = 900
    drain_within: Annotated[int, Field(ge=10, le=7200)] = 120
    python: Annotated[str, matching(r"3\.(9|\d\d)", 'a version such as "3.14", in quotes')] = "3.14"
    maintenance_window: Annotated[str, AfterValidator(_maintenance_window)] | None = Field(
        default=None, examples=["Sun 03:00-05:00"]
    )

    @property
    def image_name(self) -> str:
        """The name pattern to look up: the setting, else Ubuntu 26.04 LTS for the architecture."""
        if self.image:
            return self.image
        architecture = {"x86_64": "amd64", "arm64": "arm64"}[self.architecture]
        return f"ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-{architecture}-server-*"


class Limits(Model):
    """`site:loadBalancers.limits`: what one client may take. 0 is no limit."""

    requests_per_second: Annotated[float, Field(ge=0, le=100_000)] = 100
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    connections: Annotated[int, Field(ge=0, le=400_000)] = 200
    uploads: Annotated[int, Field(ge=0, le=100_000)] = 20
    body: Annotated[int, Field(ge=1, le=1_048_576)] = 100

    @field_validator("burst")
    @classmethod
    def _of_a_second_to_an_hour(cls, value: int | None, info: ValidationInfo) -> int | None:
        rate = info.data.get("requests_per_second")
        if value and rate and not rate <= value <= rate * 3600:
            least, most = math.ceil(rate), math.floor(rate * 3600)
            msg = f"{least} to {most}, a second's to an hour's worth of requestsPerSecond"
            raise ValueError(msg)
        return value


class LoadBalancers(Model):
    """`site:loadBalancers`"""

    mode: Mode = "single"
    domain: HostName | None = None
    hosted_zone: HostName | None = None
    tls: Tls = Field(default_factory=Tls)
    instance_type: InstanceType = "t3.small"
    distribution: Literal["round-robin", "least-connections", "active-passive"] = "round-robin"
    # Each takes two open files, those to port 80 included, and a process may have 2**20 of them.
    connections: Annotated[int, Field(ge=10, le=400_000)] = 10_000
    connect_timeout: Annotated[float, Field(ge=0.1, le=10)] = 1
    client_timeout: Annotated[float, Field(ge=1, le=3600)] = 30
    keep_alive_timeout: Annotated[float, Field(ge=1, le=3600)] = 60
    queue_timeout: Annotated[float, Field(ge=0.1, le=60)] = 5
    tunnel_timeout: Annotated[float, Field(ge=1, le=86_400)] = 3600
    hsts: Annotated[int, Field(ge=0, le=157_680_000)] = 63_072_000
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _certificate_of_the_domain(self) -> Self:
        if self.domain and self.tls.certificate:
            refuse_other_domain(self.tls.certificate, self.domain)
        return self

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_room(self.mode, self.instance_type)
        check_domain(self.domain, self.hosted_zone)
        return self


class AppServers(Model):
    """`site:appServers`"""

    count: Annotated[int, Field(ge=1, le=64)] = 2
    instance_type: InstanceType = "t3.small"
    folder: Annotated[str, matching(r".*\S.*", "a folder")] = "app"
    module: Annotated[
        str,
        matching(
            r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*",
            "module:name of a WSGI application such as wsgi:application",
        ),
    ] = "wsgi:application"
    health_path: Annotated[
        str, matching(r"/[A-Za-z0-9/_.~-]*", "a path such as /healthz, without a query")
    ] = "/healthz"
    request_timeout: Annotated[float, Field(ge=1, le=3600)] = 30
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=2, le=256)] = 16
    memory_max: Annotated[
        str, matching(r"[1-9]\d*[MG]|[1-9]\d?%", "as 512M, 2G or 75% of the machine's memory")
    ] = "75%"
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        default_factory=dict[str, str]
    )
    authorities: Authorities = Field(default_factory=lambda: [1])


class Database(Model):
    """`site:database`"""

    replicas: Annotated[int, Field(ge=0, le=8)] = 1
    instance_type: InstanceType = "t3.medium"
    volume_size: Annotated[int, Field(ge=1, le=16384)] = 20
    replication: Literal["semi-synchronous", "asynchronous"] = "semi-synchronous"
    lease: Annotated[float, Field(ge=2, le=60)] = 2.5
    max_replica_lag: Annotated[float, Field(ge=0.5, le=3600)] = 5
    max_failover_lag: Annotated[float, Field(ge=0.5, le=3600)] = 5
    buffer_pool: Annotated[int, Field(ge=8, le=1_048_576)] = 1024
    max_connections: Annotated[int, Field(ge=10, le=100_000)] = 300
    authorities: Authorities = Field(default_factory=lambda: [1])
    restore: Restore | None = None


class Settings(Model):
    """All of a stack's settings."""

    deletion_protection: bool
    network: Network = Field(default_factory=Network)
    machines: Machines = Field(default_factory=Machines)
    load_balancers: LoadBalancers = Field(default_factory=LoadBalancers)
    app_servers: AppServers = Field(default_factory=AppServers)
    database: Database = Field(default_factory=Database)
    backups: Backups = Field(default_factory=Backups)
    monitoring: Monitoring = Field(default_factory=Monitoring)
    logs: Logs = Field(default_factory=Logs)

    @model_validator(mode="after")
    def _enough_threads(self) -> Self:
        check_threads(self.load_balancers.mode, self.app_servers.threads)
        return self

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        wanted = self.machines.architecture
        typed: dict[str, Callable[[Self], str]] = {
            "loadBalancers": lambda s: s.load_balancers.instance_type,
            "appServers": lambda s: s.app_servers.instance_type,
            "database": lambda s: s.database.instance_type,
            "monitoring": lambda s: s.monitoring.instance_type,
        }
        wrong = {
            name: instance_type(self)
            for name, instance_type in typed.items()
            if _instance_architecture(instance_type(self)) != wanted
            and (name != "monitoring" or self.monitoring.enabled)
        }
        if wrong:
            listed = ", ".join(f"site:{name}.instanceType {value}" for name, value in wrong.items())
            raise PydanticCustomError(
                WORDED,
                "{listed}: not of the architecture of site:machines.architecture, {wanted};"
                " choose types of it ({example}), or set the architecture.",
                {
                    "listed": listed,
                    "wanted": wanted,
                    "example": "t4g.small" if wanted == "arm64" else "t3.small",
                },
            )
        return self
