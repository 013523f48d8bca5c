"""The machines of a stack, by what AWS's API says; the same for the lab and for AWS."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from lab.stack import Stack
from lab.usererror import UserError

_GONE = ("terminated", "shutting-down")


@dataclass(frozen=True)
class Row:
    """One machine."""

    name: str
    """What the program calls it: `app-server-1`."""
    role: str
    id: str
    address: str
    public: str
    """Its public address, if it has one."""
    state: str
    """What the machine says of itself (ready, failed ...); EC2's word when it says nothing."""
    detail: str
    """Why it failed, as the machine's own log has it."""
    launched: str

    def shown(self) -> dict[str, str]:
        """As a plain mapping."""
        return asdict(self)


def machines(stack: Stack, *, gone: bool = False) -> list[Row]:
    """Every machine of the stack by name, of one name the newest last.

    `gone`: those too that AWS still remembers.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - 0.3 s

    try:
        return sorted(
            (row for row in _read(stack) if gone or row.state not in _GONE),
            key=lambda row: (row.name, row.launched),
        )
    except (BotoCoreError, ClientError) as error:
        msg = f"AWS does not tell which machines stack {stack.name} has: {error}"
        raise UserError(msg) from error


def find(stack: Stack, name: str, *, gone: bool = False) -> Row:
    """The machine with that name or instance id; of several (one replaces another) the newest."""
    rows = machines(stack, gone=gone)
    known = [row for row in rows if name in (row.name, row.id)]
    if not known:
        names = ", ".join(dict.fromkeys(row.name for row in rows))
        msg = f"There is no machine {name!r} in stack {stack.name}; " + (
            f"there are: {names}." if names else "it has none."
        )
        raise UserError(msg)
    return known[-1]


def _read(stack: Stack) -> list[Row]:
    import boto3  # noqa: PLC0415 - 0.3 s, and the environment says where AWS is

    stack.adopt()
    if not (stack.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        msg = (
            f"Stack {stack.name} names no region: is that its name? If it is, "
            f"`pulumi config set aws:region eu-central-1 --stack {stack.name}`."
        )
        raise UserError(msg)
    make = cast("Any", boto3.session.Session(region_name=stack.region)).client
    ec2, dynamodb = make("ec2"), make("dynamodb")
    wanted = {"Project": stack.project, "Stack": stack.name}
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]
    instances = [
        instance
        for page in ec2.get_paginator("describe_instances").paginate(Filters=filters)
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]
    if not instances:
        return []
    reports = _reports(dynamodb, f"{stack.project}-{stack.name}-coordination")
    prefix = f"{stack.project}-{stack.name}-"
    return [
        row(instance, reports.get(instance["InstanceId"], {}), prefix) for instance in instances
    ]


def _reports(dynamodb: Any, table: str) -> dict[str, Mapping[str, str]]:
    """What each machine last said of itself, by instance id."""
    try:
        items = [
            item
            for page in dynamodb.get_paginator("scan").paginate(TableName=table)
            for item in page["Items"]
        ]
    except dynamodb.exceptions.ResourceNotFoundException:
        return {}
    plain = [{key: next(iter(value.values())) for key, value in item.items()} for item in items]
    return {
        item["id"].partition("/")[2]: item for item in plain if item["id"].startswith("machine/")
    }


def row(instance: Mapping[str, Any], report: Mapping[str, str], prefix: str) -> Row:
    """One machine, of what EC2 says and what it says itself. Pure."""
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    ec2 = str(instance["State"]["Name"])
    return Row(
        name=tags.get("Name", instance["InstanceId"]).removeprefix(prefix),
        role=tags.get("Role", ""),
        id=instance["InstanceId"],
        address=instance.get("PrivateIpAddress") or "",
        public=_elastic(instance),
        state=report.get("state", ec2) if ec2 == "running" else ec2,
        detail=report.get("detail", ""),
        launched=str(instance.get("LaunchTime", "")),
    )


def _elastic(instance: Mapping[str, Any]) -> str:
    """The public addresses that clients use: its Elastic IPs, else its automatic address."""
    associations = [
        private["Association"]
        for interface in instance.get("NetworkInterfaces", [])
        for private in interface.get("PrivateIpAddresses", [])
        if private.get("Association", {}).get("PublicIp")
    ]
    # Amazon owns an automatic address; an Elastic IP has the account as its owner.
    elastic = [one["PublicIp"] for one in associations if one.get("IpOwnerId") != "amazon"]
    return ", ".join(elastic) or str(instance.get("PublicIpAddress") or "")
