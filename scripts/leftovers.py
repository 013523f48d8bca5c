"""List what of a stack is still in the account, and by what it costs: for after `pulumi destroy`.

python -m scripts.leftovers [--stack S] [--region R] [--json]

Found by the tags Project and Stack, and CloudWatch's dashboard by its name. While a stack is
deployed, that is all of it. After a destroy with backups.finalBackup the bucket of the backups is
left on purpose.

Exit status: 0 nothing is left; 1 something is; 2 AWS could not be asked, or the options were not
understood.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import boto3
import yaml
from botocore.config import Config

from scripts import columns, deployed
from scripts.command import DONE, NO, attempt, teller
from scripts.deployed import DeployedError

PROJECT = Path(__file__).parents[1]
_CONFIG = Config(connect_timeout=3, read_timeout=30, retries={"total_max_attempts": 3})


class Cost(StrEnum):
    """By what AWS bills it, the most urgent first."""

    HOUR = "by the hour"
    MONTH = "by the month"
    STORAGE = "by storage"
    UNKNOWN = "unknown: look"
    FREE = "free"


COSTS = {
    "backup:backup-plan": Cost.FREE,
    "backup:backup-vault": Cost.STORAGE,  # of the snapshots in it
    "backup:recovery-point": Cost.STORAGE,
    "cloudwatch:alarm": Cost.MONTH,
    "cloudwatch:dashboard": Cost.MONTH,
    "dynamodb:table": Cost.STORAGE,
    "ec2:elastic-ip": Cost.HOUR,
    "ec2:instance": Cost.HOUR,
    "ec2:internet-gateway": Cost.FREE,
    "ec2:natgateway": Cost.HOUR,
    "ec2:network-acl": Cost.FREE,
    "ec2:network-interface": Cost.FREE,
    "ec2:route-table": Cost.FREE,
    "ec2:security-group": Cost.FREE,
    "ec2:security-group-rule": Cost.FREE,
    "ec2:snapshot": Cost.STORAGE,
    "ec2:subnet": Cost.FREE,
    "ec2:volume": Cost.STORAGE,
    "ec2:vpc": Cost.FREE,
    "ec2:vpc-endpoint": Cost.HOUR,  # an interface endpoint; a gateway endpoint costs nothing
    "iam:instance-profile": Cost.FREE,
    "iam:role": Cost.FREE,
    "logs:log-group": Cost.STORAGE,
    "route53:healthcheck": Cost.MONTH,
    "route53:hostedzone": Cost.MONTH,
    "s3:bucket": Cost.STORAGE,
    "sns": Cost.FREE,
    "ssm:parameter": Cost.FREE,
}


# EC2's own calls: they filter by tags, know a state, and do not go on about what is gone, as the
# common API does for hours. By kind: the call, where its answer lists, and which field is the id.
EC2 = {
    "ec2:elastic-ip": ("describe_addresses", "Addresses", "AllocationId"),
    "ec2:instance": ("describe_instances", "Reservations", "InstanceId"),
    "ec2:internet-gateway": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "ec2:natgateway": ("describe_nat_gateways", "NatGateways", "NatGatewayId"),
    "ec2:network-acl": ("describe_network_acls", "NetworkAcls", "NetworkAclId"),
    "ec2:network-interface": (
        "describe_network_interfaces",
        "NetworkInterfaces",
        "NetworkInterfaceId",
    ),
    "ec2:route-table": ("describe_route_tables", "RouteTables", "RouteTableId"),
    "ec2:security-group": ("describe_security_groups", "SecurityGroups", "GroupId"),
    "ec2:snapshot": ("describe_snapshots", "Snapshots", "SnapshotId"),
    "ec2:subnet": ("describe_subnets", "Subnets", "SubnetId"),
    "ec2:volume": ("describe_volumes", "Volumes", "VolumeId"),
    "ec2:vpc": ("describe_vpcs", "Vpcs", "VpcId"),
    "ec2:vpc-endpoint": ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
}
GONE = {"shutting-down", "terminated", "deleting", "deleted"}
PARTS = {"ec2:security-group-rule"}
"""Kinds that are gone with what they are parts of."""

Tags = Mapping[str, str]
Connect = Callable[[str], Any]
"""A client of a service."""


@dataclass(frozen=True)
class Left:
    """One resource that is still there."""

    kind: str
    """Service and type as in its ARN: `ec2:volume`."""
    id: str
    name: str
    """The tag Name."""
    cost: Cost


def left(connect: Connect, wanted: Tags) -> list[Left]:
    """What is there with these tags, the most urgent first.

    Raises:
        BotoCoreError, ClientError: AWS does not answer, or refuses.
    """
    there = [
        *_ec2(connect("ec2"), wanted),
        *_others(connect, wanted),
        *_iam(connect("iam"), wanted),
        *_route53(connect("route53"), wanted),
        *_dashboards(connect("cloudwatch"), wanted),
    ]
    order = list(Cost)
    return sorted(there, key=lambda one: (order.index(one.cost), one.kind, one.name, one.id))


def _ec2(client: Any, wanted: Tags) -> Iterator[Left]:
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]
    for kind, (call, listed, id_) in EC2.items():
        for found in _every(client, call, listed, Filters=filters):
            # An instance is in a reservation, with others that need not be meant.
            for one in found.get("Instances", [found]):
                tags = _by_key(one.get("Tags") or one.get("TagSet", ()))
                if wanted.items() <= tags.items() and _state(one) not in GONE:
                    yield Left(kind, one[id_], tags.get("Name", ""), _ec2_cost(kind, one))


def _state(one: Mapping[str, Any]) -> str:
    state: Any = one.get("State", "")
    return (state if isinstance(state, str) else state["Name"]).lower()


def _ec2_cost(kind: str, one: Mapping[str, Any]) -> Cost:
    if kind == "ec2:vpc-endpoint" and one.get("VpcEndpointType") == "Gateway":
        return Cost.FREE
    if kind == "ec2:instance" and _state(one) == "stopped":
        return Cost.STORAGE  # its disks
    return COSTS[kind]


def _others(connect: Connect, wanted: Tags) -> Iterator[Left]:
    """What the common API knows, but for what is asked for where it is known better."""
    filters = [{"Key": key, "Values": [value]} for key, value in wanted.items()]
    client = connect("resourcegroupstaggingapi")
    for item in _every(client, "get_resources", "ResourceTagMappingList", TagFilters=filters):
        kind, id_ = kind_and_id(item["ResourceARN"])
        elsewhere = kind in EC2 or kind.startswith(("iam:", "route53:"))
        if not elsewhere and kind not in PARTS and _exists(connect, kind, id_):
            name = _by_key(item["Tags"]).get("Name", "")
            yield Left(kind, id_, name, COSTS.get(kind, Cost.UNKNOWN))


def kind_and_id(arn: str) -> tuple[str, str]:
    """Of `…:volume/vol-1`, `…:backup-vault:site`, or a service's only kind: a bucket, a topic."""
    _, _, service, _, _, resource = arn.split(":", 5)
    if service == "s3":
        return "s3:bucket", resource
    slash, colon = resource.partition("/"), resource.partition(":")
    kind, mark, id_ = min(slash, colon, key=lambda parts: len(parts[0]))
    if not mark:
        return service, resource
    return f"{service}:{kind}", f"/{id_}" if kind == "parameter" and "/" in id_ else id_


def _exists(connect: Connect, kind: str, id_: str) -> bool:
    """The common API goes on about what is gone: ask for what would be billed."""
    match kind:
        case "s3:bucket":
            ask = ("s3", "list_buckets", "Buckets", "Name")
        case "dynamodb:table":
            return id_ in _every(connect("dynamodb"), "list_tables", "TableNames")
        case "logs:log-group":
            name = id_.removesuffix(":*")
            groups = _every(
                connect("logs"), "describe_log_groups", "logGroups", logGroupNamePrefix=name
            )
            return any(one["logGroupName"] == name for one in groups)
        case "cloudwatch:alarm":
            found = connect("cloudwatch").describe_alarms(AlarmNames=[id_])
            return bool(found["MetricAlarms"] or found["CompositeAlarms"])
        case "backup:backup-vault":
            ask = ("backup", "list_backup_vaults", "BackupVaultList", "BackupVaultName")
        case _:
            return True
    service, call, listed, name = ask
    return any(one[name] == id_ for one in _every(connect(service), call, listed))


def _iam(client: Any, wanted: Tags) -> Iterator[Left]:
    """The common API knows no roles. Ours are named for their stack."""
    begins = f"{wanted['Project']}-{wanted['Stack']}-"
    for kind, what in (("iam:role", "Role"), ("iam:instance-profile", "InstanceProfile")):
        call = kind.partition(":")[2].replace("-", "_")
        for listed in _every(client, f"list_{call}s", f"{what}s"):
            if (name := listed[f"{what}Name"]).startswith(begins):
                got = getattr(client, f"get_{call}")(**{f"{what}Name": name})[what]
                tags = _by_key(got.get("Tags", ()))
                if wanted.items() <= tags.items():
                    yield Left(kind, name, tags.get("Name", ""), COSTS[kind])


def _dashboards(client: Any, wanted: Tags) -> Iterator[Left]:
    """They have no tags, and are named for their stack."""
    name = f"{wanted['Project']}-{wanted['Stack']}-site"
    for one in _every(client, "list_dashboards", "DashboardEntries"):
        if one["DashboardName"] == name:
            yield Left("cloudwatch:dashboard", name, name, COSTS["cloudwatch:dashboard"])


def _route53(client: Any, wanted: Tags) -> Iterator[Left]:
    """The common API knows these in one region alone."""
    for kind, call, listed in (
        ("hostedzone", "list_hosted_zones", "HostedZones"),
        ("healthcheck", "list_health_checks", "HealthChecks"),
    ):
        ids = [one["Id"].rpartition("/")[2] for one in _every(client, call, listed)]
        for id_ in ids:
            tagged = client.list_tags_for_resource(ResourceType=kind, ResourceId=id_)
            tags = _by_key(tagged["ResourceTagSet"]["Tags"])
            if wanted.items() <= tags.items():
                yield Left(f"route53:{kind}", id_, tags.get("Name", ""), COSTS[f"route53:{kind}"])


def _every(client: Any, call: str, listed: str, **asked: Any) -> Iterator[Any]:
    """All items of all pages."""
    if not client.can_paginate(call):
        yield from getattr(client, call)(**asked)[listed]
        return
    for page in client.get_paginator(call).paginate(**asked):
        yield from page[listed]


def _by_key(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


HEAD = ("BILLED", "KIND", "NAME", "ID")


def table(found: Sequence[Left]) -> str:
    """For people."""
    return "\n".join(columns.lines(HEAD, [(f.cost, f.kind, f.name, f.id) for f in found]))


def _stack(asked: argparse.Namespace) -> str:
    return asked.stack or deployed.pulumi("stack", "--show-name").strip()


def _project() -> str:
    return yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["name"]


def _region(asked: argparse.Namespace, stack: str) -> str:
    """As the stack's file says: the outputs are gone with the stack. Raises `DeployedError`."""
    file = PROJECT / f"Pulumi.{stack}.yaml"
    known: dict[str, Any] = {}
    if file.exists():
        known = yaml.safe_load(file.read_text()) or known
    config: dict[str, Any] = known.get("config") or {}
    region: str | None = (
        asked.region or config.get("aws:region") or cast("Any", boto3).Session().region_name
    )
    if not region:
        msg = f"there is no {file.name} that names the stack's region: give --region"
        raise DeployedError(msg)
    return region


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = _parser().parse_args(arguments)

    def work() -> int:
        stack = _stack(asked)
        region = _region(asked, stack)
        found = left(
            lambda service: cast("Any", boto3).client(service, region_name=region, config=_CONFIG),
            {"Project": _project(), "Stack": stack},
        )
        if asked.json:
            print(json.dumps({"stack": stack, "left": [asdict(one) for one in found]}, indent=1))
        elif found:
            print(table(found))
        else:
            print(f"nothing is left of {stack} in {region}")
        return NO if found else DONE

    return attempt(work, teller(as_json=asked.json), interrupted="interrupted")


def _parser() -> argparse.ArgumentParser:
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.leftovers",
        description=said[0],
        epilog="\n\n".join(said[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stack", help="the stack; without it the one that is selected")
    parser.add_argument("--region", help="where it was (what its file says)")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
