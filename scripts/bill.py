"""What of a stack is billed for as long as it is there, read from the stack's own state.

Pure: `read` takes the JSON of `pulumi stack export`. Prices are no business of this module.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Outputs = Mapping[str, Any]


class Unit(StrEnum):
    """What one of a quantity is billed by, as long as it is there."""

    HOUR = "hour"
    GIB_MONTH = "GiB and month"
    MONTH = "month"


@dataclass(frozen=True, order=True)
class Item:
    """Something with one price, whatever its quantity."""

    unit: Unit
    kind: str
    type: str = ""
    """Which of its kind: an instance type, a volume type."""

    def __str__(self) -> str:
        return f"{self.kind} {self.type}".strip()


INSTANCE = "instance"
VOLUME = "disk"
ADDRESS = "public IPv4 address"
NAT = "NAT gateway"
ENDPOINT = "interface endpoint in a zone"
ZONE = "hosted zone"
CHECK = "health check"
ALARM = "alarm"
DASHBOARD = "CloudWatch dashboard"


class BillError(Exception):
    """There is nothing to count; the message says why."""


@dataclass(frozen=True)
class Bill:
    """Of one stack."""

    stack: str
    region: str
    items: Mapping[Item, int]
    by_use: tuple[str, ...]
    """What besides is billed by what goes through it, in words."""


def _instance(of: Outputs) -> Iterator[tuple[Item, int]]:
    yield Item(Unit.HOUR, INSTANCE, of["instanceType"]), 1
    disk = of["rootBlockDevice"]
    yield Item(Unit.GIB_MONTH, VOLUME, disk["volumeType"]), int(disk["volumeSize"])
    if of.get("associatePublicIpAddress"):
        yield Item(Unit.HOUR, ADDRESS), 1  # its own; Elastic IPs come on top of that


def _volume(of: Outputs) -> Iterator[tuple[Item, int]]:
    yield Item(Unit.GIB_MONTH, VOLUME, of["type"]), int(of["size"])


def _endpoint(of: Outputs) -> Iterator[tuple[Item, int]]:
    if of.get("vpcEndpointType") == "Interface":
        yield Item(Unit.HOUR, ENDPOINT), len(of["subnetIds"])


def _each(unit: Unit, kind: str) -> Callable[[Outputs], Iterator[tuple[Item, int]]]:
    return lambda _: iter([(Item(unit, kind), 1)])


COUNTED: dict[str, Callable[[Outputs], Iterator[tuple[Item, int]]]] = {
    "aws:ec2/instance:Instance": _instance,
    "aws:ebs/volume:Volume": _volume,
    "aws:ec2/eip:Eip": _each(Unit.HOUR, ADDRESS),
    "aws:ec2/natGateway:NatGateway": _each(Unit.HOUR, NAT),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:route53/zone:Zone": _each(Unit.MONTH, ZONE),
    "aws:route53/healthCheck:HealthCheck": _each(Unit.MONTH, CHECK),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _each(Unit.MONTH, ALARM),
    "aws:cloudwatch/dashboard:Dashboard": _each(Unit.MONTH, DASHBOARD),
}
BY_USE = {
    "aws:ec2/instance:Instance": (
        "machines: traffic to the internet and between zones; of burstable types (t…), processor"
        " time beyond what they earn"
    ),
    "aws:ec2/natGateway:NatGateway": "NAT gateway: every GB through it, either way",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "interface endpoints: every GB through them",
    "aws:dynamodb/table:Table": "DynamoDB: every read and write (leases are renewed all the time)",
    "aws:s3/bucket:Bucket": "S3: what is stored, backups above all, and every request",
    "aws:backup/vault:Vault": "AWS Backup: what its snapshots hold",
    "aws:route53/zone:Zone": "Route 53: every query of a name",
    "aws:cloudwatch/logGroup:LogGroup": "CloudWatch Logs: every GB said, and keeping it",
    "aws:sns/topic:Topic": "SNS: every message",
}


def read(export: Mapping[str, Any]) -> Bill:
    """The bill of one stack.

    Raises:
        BillError: this is no stack export, or nothing in it is billed.
    """
    if not isinstance(export.get("deployment"), dict):
        msg = "this is not what `pulumi stack export` writes: it has no `deployment`"
        raise BillError(msg)
    # What waits to be deleted is not counted: `pulumi up` is about to.
    there = [one for one in export["deployment"].get("resources") or () if not one.get("delete")]
    items: Counter[Item] = Counter()
    for resource in there:
        count = COUNTED.get(resource["type"])
        for item, quantity in count(resource["outputs"]) if count else ():
            items[item] += quantity
    if not items:
        msg = "nothing in the stack is billed by time: deploy it first (`pulumi up`)"
        raise BillError(msg)
    kinds = {resource["type"] for resource in there}
    if Item(Unit.HOUR, ENDPOINT) not in items:
        kinds -= {"aws:ec2/vpcEndpoint:VpcEndpoint"}  # those of gateways cost nothing
    itself = next(one for one in there if one["type"] == "pulumi:pulumi:Stack")
    return Bill(
        stack=itself["urn"].split("::")[0].removeprefix("urn:pulumi:"),
        region=itself.get("outputs", {}).get("region", ""),
        items=dict(sorted(items.items(), key=_order)),
        by_use=tuple(words for kind, words in BY_USE.items() if kind in kinds),
    )


def _order(counted: tuple[Item, int]) -> tuple[int, Item]:
    return list(Unit).index(counted[0].unit), counted[0]
