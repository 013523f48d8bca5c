"""What a deployed stack looks like, read from its own state: machines by subnet, and the arrows.

Pure: `read` takes the JSON of `pulumi stack export` and knows nothing of how it is drawn.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from scripts.command import NotDoneError

INSTANCE = "aws:ec2/instance:Instance"
SUBNET = "aws:ec2/subnet:Subnet"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
ADDRESS = "aws:ec2/eip:Eip"
NAT = "aws:ec2/natGateway:NatGateway"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
VOLUME = "aws:ec2/volumeAttachment:VolumeAttachment"


class PictureError(NotDoneError):
    """There is nothing to draw; the message says why."""


@dataclass(frozen=True)
class Machine:
    name: str
    role: str
    kind: str
    zone: str
    public: bool
    volume: bool


@dataclass(frozen=True)
class Arrow:
    """Traffic that a security group lets in; `source` is a role, or None for the internet."""

    source: str | None
    target: str
    ports: str


@dataclass(frozen=True)
class Picture:
    stack: str
    machines: tuple[Machine, ...]
    arrows: tuple[Arrow, ...]
    addresses: tuple[str, ...]
    nat_zones: tuple[str, ...]
    endpoints: tuple[str, ...]

    def by_role(self, role: str) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.role == role)


def read(export: dict[str, Any]) -> Picture:
    """The picture of one stack.

    Raises PictureError when this is no stack export, or holds no instance.
    """
    if "deployment" not in export:
        message = "This is not what `pulumi stack export` writes: it has no `deployment`."
        raise PictureError(message)
    resources: list[dict[str, Any]] = export["deployment"].get("resources", [])
    by_type: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for resource in resources:
        if not resource.get("delete"):  # waiting to be deleted: already replaced
            outputs: dict[str, Any] = resource.get("outputs") or {}
            by_type[resource["type"]].append(outputs | {"id": resource.get("id", "")})
    if not by_type[INSTANCE]:
        message = "The stack has no machines yet: deploy it first (make up, or pulumi up)."
        raise PictureError(message)

    zone_of = {subnet["id"]: subnet["availabilityZone"] for subnet in by_type[SUBNET]}
    with_volume = {attachment["instanceId"] for attachment in by_type[VOLUME]}
    machines = tuple(
        sorted(
            (
                Machine(
                    name=_short_name(instance["tags"]),
                    role=instance["tags"]["Role"],
                    kind=instance["instanceType"],
                    zone=zone_of[instance["subnetId"]],
                    public=bool(instance.get("associatePublicIpAddress")),
                    volume=instance["id"] in with_volume,
                )
                for instance in by_type[INSTANCE]
            ),
            key=lambda machine: machine.name,
        )
    )
    role_of = {
        group: instance["tags"]["Role"]
        for instance in by_type[INSTANCE]
        for group in instance["vpcSecurityGroupIds"]
    }
    return Picture(
        stack=resources[0]["urn"].split("::")[0].removeprefix("urn:pulumi:"),
        machines=machines,
        arrows=_arrows(by_type[INGRESS], role_of),
        # NAT gateways have addresses too; clients do not know those.
        addresses=tuple(
            sorted(
                address["publicIp"]
                for address in by_type[ADDRESS]
                if _role(address) == "load-balancer"
            )
        ),
        nat_zones=tuple(sorted(zone_of[nat["subnetId"]] for nat in by_type[NAT])),
        endpoints=tuple(sorted(e["serviceName"].rsplit(".", 1)[1] for e in by_type[ENDPOINT])),
    )


def _role(outputs: dict[str, Any]) -> str:
    tags: Any = outputs.get("tags")
    return str(tags.get("Role", "")) if tags else ""


def _short_name(tags: dict[str, str]) -> str:
    return tags["Name"].removeprefix(f"{tags['Project']}-{tags['Stack']}-")


def _arrows(rules: list[dict[str, Any]], role_of: dict[str, str]) -> tuple[Arrow, ...]:
    ports: dict[tuple[str | None, str], set[int]] = defaultdict(set)
    for rule in rules:
        target = role_of.get(rule["securityGroupId"])
        if target is None:
            continue
        source = role_of.get(rule.get("referencedSecurityGroupId") or "")
        ports[source, target].add(int(rule["fromPort"]))
    return tuple(
        Arrow(source, target, ", ".join(str(port) for port in sorted(numbers)))
        for (source, target), numbers in sorted(ports.items(), key=str)
    )
