"""What EC2's metadata service tells an instance about itself, as a pure function of `Identity`.

Paths and values are those of
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

Tree = dict[str, "Tree | str"]


@dataclass(frozen=True)
class Identity:
    """An instance, as its metadata tells it."""

    id: str
    account: str
    region: str
    zone: str
    image: str
    type: str
    architecture: str
    reservation: str
    launched: datetime
    mac: str
    interface: str
    subnet: str
    subnet_cidr: str
    vpc: str
    vpc_cidr: str
    private_name: str
    addresses: tuple[tuple[str, str | None], ...]
    """Private addresses, the primary one first, each with its public one."""
    groups: tuple[tuple[str, str], ...]
    """Ids and names of the security groups."""
    root_device: str = "/dev/xvda"
    devices: tuple[str, ...] = ()
    profile: tuple[str, str, str] | None = None
    """ARN and id of the instance profile, and the name of its role."""
    tags: dict[str, str] | None = None
    """None unless the instance may read its tags here."""
    user_data: bytes | None = None
    enabled: bool = True
    tokens_required: bool = True
    hop_limit: int = 1
    launch_index: int = 0


def tree(identity: Identity) -> Tree:
    """Everything below `/latest/` but the credentials' content and the user data."""
    primary, public = identity.addresses[0]
    names = "\n".join(name for _, name in identity.groups)
    meta: Tree = {
        "ami-id": identity.image,
        "ami-launch-index": str(identity.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": _devices(identity),
        "hostname": identity.private_name,
        "instance-action": "none",
        "instance-id": identity.id,
        "instance-life-cycle": "on-demand",
        "instance-type": identity.type,
        "local-hostname": identity.private_name,
        "local-ipv4": primary,
        "mac": identity.mac,
        "network": {"interfaces": {"macs": {identity.mac: _interface(identity)}}},
        "placement": {"availability-zone": identity.zone, "region": identity.region},
        "profile": "default-hvm",
        "reservation-id": identity.reservation,
        "security-groups": names,
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if public:
        meta |= {"public-hostname": public_name(public, identity.region), "public-ipv4": public}
    if identity.profile:
        meta["iam"] = _iam(identity.profile)
    if identity.tags is not None:
        meta["tags"] = {"instance": {**identity.tags}}
    return {
        "dynamic": {"instance-identity": {"document": _document(identity)}},
        "meta-data": meta,
    }


def public_name(address: str, region: str) -> str:
    """The public name that EC2 gives to an address."""
    domain = "compute-1" if region == "us-east-1" else f"{region}.compute"
    return f"ec2-{address.replace('.', '-')}.{domain}.amazonaws.com"


def _devices(identity: Identity) -> Tree:
    extra = {f"ebs{number}": name for number, name in enumerate(identity.devices, 1)}
    return {"ami": identity.root_device, **extra, "root": identity.root_device}


def _interface(identity: Identity) -> Tree:
    _, public = identity.addresses[0]
    found: Tree = {
        "device-number": "0",
        "interface-id": identity.interface,
        "local-hostname": identity.private_name,
        "local-ipv4s": "\n".join(private for private, _ in identity.addresses),
        "mac": identity.mac,
        "owner-id": identity.account,
        "security-group-ids": "\n".join(group for group, _ in identity.groups),
        "security-groups": "\n".join(name for _, name in identity.groups),
        "subnet-id": identity.subnet,
        "subnet-ipv4-cidr-block": identity.subnet_cidr,
        "vpc-id": identity.vpc,
        "vpc-ipv4-cidr-block": identity.vpc_cidr,
        "vpc-ipv4-cidr-blocks": identity.vpc_cidr,
    }
    standing = {address: private for private, address in identity.addresses if address}
    if standing:
        found["ipv4-associations"] = {**standing}
        found["public-ipv4s"] = "\n".join(standing)
    if public:
        found["public-hostname"] = public_name(public, identity.region)
    return found


def _iam(profile: tuple[str, str, str]) -> Tree:
    arn, profile_id, role = profile
    info = {
        "Code": "Success",
        "LastUpdated": stamp(datetime.now(UTC)),
        "InstanceProfileArn": arn,
        "InstanceProfileId": profile_id,
    }
    # The credentials themselves are made when they are asked for: `lab.imds` does that.
    return {"info": json.dumps(info, indent=2), "security-credentials": {role: ""}}


def _document(identity: Identity) -> str:
    return json.dumps(
        {
            "accountId": identity.account,
            "architecture": identity.architecture,
            "availabilityZone": identity.zone,
            "billingProducts": None,
            "devpayProductCodes": None,
            "imageId": identity.image,
            "instanceId": identity.id,
            "instanceType": identity.type,
            "kernelId": None,
            "marketplaceProductCodes": None,
            "pendingTime": stamp(identity.launched),
            "privateIp": identity.addresses[0][0],
            "ramdiskId": None,
            "region": identity.region,
            "version": "2017-09-30",
        },
        indent=2,
    )


def stamp(moment: datetime) -> str:
    """A moment as AWS writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def find(top: Tree, path: str) -> str | None:
    """What a GET of `path` answers: a value, or the listing of a directory; None: not found."""
    node: Tree | str = top
    for part in (part for part in path.split("/") if part):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    return node if isinstance(node, str) else _listing(node)


def _listing(node: Tree) -> str:
    return "\n".join(
        f"{name}/" if isinstance(child, dict) else name for name, child in node.items()
    )
