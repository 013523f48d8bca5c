"""Who an instance is, read from moto for the metadata service."""

import base64
from typing import Any, cast

from lab import account, dns
from lab.ec2_model import LabInstance
from lab.facts import Instance
from lab.metadata import Identity


def identity(instance: Instance) -> Identity | None:
    """What the metadata service tells this instance. Whoever calls holds EC2's lock."""
    found = account.instance(instance.id)
    if found is None:
        return None
    model = cast("Any", found)
    nic, backend = model.nics[0], model.ec2_backend
    vpc = backend.vpcs[nic.subnet.vpc_id]
    options = model.metadata_options
    tags = {tag["key"]: tag["value"] for tag in model.get_tags()}
    reservation = next(r.id for r in backend.reservations.values() if found in r.instances)
    return Identity(
        id=instance.id,
        account=backend.account_id,
        region=instance.region,
        zone=model.availability_zone,
        image=model.image_id,
        type=model.instance_type,
        architecture=model.architecture,
        reservation=reservation,
        launched=model.launch_time,
        mac=instance.mac,
        interface=nic.id,
        subnet=instance.subnet,
        subnet_cidr=nic.subnet.cidr_block,
        vpc=instance.vpc,
        vpc_cidr=vpc.cidr_block,
        private_name=dns.host_name(instance.address, instance.region),
        addresses=tuple((private.address, private.public) for private in instance.addresses),
        groups=tuple((group.id, group.name) for group in nic.group_set),
        root_device=model.root_device_name,
        devices=tuple(device for device in model.block_device_mapping
                      if device not in (model.root_device_name, "/dev/sda1")),
        profile=profile(found),
        tags=tags if options.instance_metadata_tags == "enabled" else None,
        user_data=user_data(found),
        enabled=options.http_endpoint == "enabled",
        tokens_required=options.http_tokens == "required",
        hop_limit=options.http_put_response_hop_limit,
        launch_index=int(model.ami_launch_index),
    )  # fmt: skip


def profile(instance: LabInstance) -> tuple[str, str, str] | None:
    """The instance profile's ARN and id, and its role's name."""
    backend: Any = instance.ec2_backend
    association = backend.iam_instance_profile_associations.get(instance.id)
    if association is None:
        return None
    held = association.iam_instance_profile
    roles: list[Any] = list(held.roles)
    return (held.arn, held.id, roles[0].name) if roles else None


def user_data(instance: LabInstance) -> bytes | None:
    """The user data as the machine gets them: decoded, whatever bytes they are."""
    return base64.b64decode(str(instance.user_data)) if instance.user_data else None
