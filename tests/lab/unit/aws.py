"""A small account to decide about: a public and a private subnet, one machine in each."""

import dataclasses
from typing import Any

from lab import network
from lab.facts import (
    AclEntry,
    Elastic,
    Endpoint,
    Facts,
    Group,
    Instance,
    Private,
    Route,
    Rule,
    Subnet,
)

ALLOW_ALL = (
    AclEntry(100, allow=True, egress=True, protocol="-1", ports=None, cidr="0.0.0.0/0"),
    AclEntry(100, allow=True, egress=False, protocol="-1", ports=None, cidr="0.0.0.0/0"),
)
LOCAL = Route("10.0.0.0/16", "local")
EDGE = Instance(
    id="i-0000000000000000e",
    name="load-balancer-1",
    role="load-balancer",
    state="running",
    region="eu-west-1",
    subnet="subnet-public",
    vpc="vpc-1",
    mac="02:00:00:00:00:0e",
    addresses=(Private("10.0.0.4", "54.214.0.1"),),
    groups=("sg-edge",),
)
APP = dataclasses.replace(
    EDGE,
    id="i-0000000000000000a",
    name="app-server-1",
    role="app-server",
    subnet="subnet-private",
    mac="02:00:00:00:00:0a",
    addresses=(Private("10.0.16.4"),),
    groups=("sg-app",),
)
ACCOUNT = Facts(
    vpcs={"vpc-1": "10.0.0.0/16"},
    subnets={
        "subnet-public": Subnet(
            "subnet-public", "vpc-1", "10.0.0.0/24", "rtb-public", ALLOW_ALL
        ),
        "subnet-private": Subnet(
            "subnet-private", "vpc-1", "10.0.16.0/24", "rtb-private", ALLOW_ALL
        ),
    },
    groups={
        "sg-edge": Group(
            "sg-edge",
            ingress=(Rule("tcp", (80, 80), cidr="0.0.0.0/0"),),
            egress=(Rule("tcp", (8000, 8000), group="sg-app"),
                    Rule("tcp", (443, 443), cidr="0.0.0.0/0")),
        ),
        "sg-app": Group(
            "sg-app",
            ingress=(Rule("tcp", (8000, 8000), group="sg-edge"),),
            egress=(Rule("tcp", (443, 443), prefix_list="pl-s3"),),
        ),
    },
    prefix_lists={"pl-s3": (f"{network.S3}/32",), "pl-dynamodb": (f"{network.DYNAMODB}/32",)},
    tables={
        "rtb-public": (LOCAL, Route("0.0.0.0/0", "igw-1")),
        "rtb-private": (LOCAL, Route("pl-s3", "vpce-s3")),
    },
    internet_gateways={"igw-1": "vpc-1"},
    endpoints={"vpce-s3": Endpoint("vpce-s3", "vpc-1", "s3", gateway=True)},
    instances={EDGE.id: EDGE, APP.id: APP},
    elastic=(Elastic("127.1.2.3", "eipalloc-1", EDGE.id, "10.0.0.4"),),
)  # fmt: skip


def account(**changes: Any) -> Facts:
    """The account, changed."""
    return dataclasses.replace(ACCOUNT, **changes)


def with_tables(**tables: tuple[Route, ...]) -> Facts:
    """The account with other route tables: `private=(...)` for `rtb-private`."""
    return account(
        tables=ACCOUNT.tables | {f"rtb-{name}": (LOCAL, *routes) for name, routes in tables.items()}
    )


def with_instance(instance: Instance, **changes: Any) -> Facts:
    """The account with one instance changed."""
    changed = dataclasses.replace(instance, **changes)
    return account(instances=ACCOUNT.instances | {instance.id: changed})
