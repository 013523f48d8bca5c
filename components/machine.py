"""The one place that makes an EC2 instance, and waits until what it runs is ready."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws
from pulumi_command import local

from components.foundation import Foundation
from components.network import Subnet
from components.site import Site

DATA_DEVICE = "/dev/sdf"


@dataclass(frozen=True)
class Identity:
    """What the machines of a role share: who they are to IAM and to the firewall."""

    role: str
    profile: pulumi.Input[str]
    security_group: pulumi.Input[str]
    needs: Sequence[pulumi.Resource]
    """What must be there from a machine's start to its end: policies, ways out, programs."""


@dataclass(frozen=True)
class InSubnet:
    """Wherever there is a free address."""

    subnet: Subnet
    public: bool = False

    def of(self, identity: Identity) -> dict[str, Any]:
        """See `Place`."""
        return {
            "subnet_id": self.subnet.id,
            "vpc_security_group_ids": [identity.security_group],
            "associate_public_ip_address": self.public,
        }


@dataclass(frozen=True)
class AtInterface:
    """An address of its own, which the next machine there will have too."""

    interface: aws.ec2.NetworkInterface

    def of(self, identity: Identity) -> dict[str, Any]:
        """See `Place`. The interface has the role's security group."""
        _ = identity
        return {"primary_network_interface": {"network_interface_id": self.interface.id}}


Place = InSubnet | AtInterface
"""Where in the network a machine is; `of` says so in `aws.ec2.Instance`'s words."""


class Machine(pulumi.ComponentResource):
    """An instance, its data volume's attachment, and the wait until it reports itself ready.

    `ready` is created after the instance, and deleted before it, which drains the machine. Depend
    on it to come after the machine is in service.

    Args:
        after: What must be there before the instance is made.
        ready_after: What must be there before it can be ready; it boots meanwhile.
    """

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        foundation: Foundation,
        identity: Identity,
        place: Place,
        instance_type: str,
        user_data: pulumi.Input[str],
        volume: aws.ebs.Volume | None = None,
        replace: Literal["create-first", "delete-first"] = "create-first",
        after: Sequence[pulumi.Resource] = (),
        ready_after: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:machine:Machine", name, None, opts)
        self.name = name
        tags = site.tags(name, identity.role)
        delete_first = replace == "delete-first"
        instance = aws.ec2.Instance(
            name,
            ami=foundation.image_id,
            instance_type=instance_type,
            **place.of(identity),
            iam_instance_profile=identity.profile,
            user_data=user_data,
            user_data_replace_on_change=True,
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            root_block_device={
                "volume_type": "gp3",
                "volume_size": foundation.settings.root_volume_size,
                "encrypted": True,
                "delete_on_termination": True,
                "tags": tags,
            },
            disable_api_termination=site.deletion_protection,
            force_destroy=site.deletion_protection,  # the program itself may still replace it
            tags=tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*identity.needs, *after],
                delete_before_replace=delete_first,
                # EC2 would stop and start the machine in place, undrained and all at once.
                replace_on_changes=["instanceType"],
            ),
        )
        self.id = instance.id
        self.private_ip = instance.private_ip
        needs = [*ready_after, *([self._attach(volume)] if volume else [])]
        self.ready = self._ready(site, foundation, needs, delete_first=delete_first)
        self.register_outputs({"id": self.id, "private_ip": self.private_ip})

    def _attach(self, volume: aws.ebs.Volume) -> pulumi.Resource:
        return aws.ec2.VolumeAttachment(
            self.name,
            device_name=DATA_DEVICE,
            instance_id=self.id,
            volume_id=volume.id,
            # Drained, it is unmounted already. If that failed, a volume in use would never detach.
            stop_instance_before_detaching=True,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )

    def _ready(
        self,
        site: Site,
        foundation: Foundation,
        needs: Sequence[pulumi.Resource],
        *,
        delete_first: bool,
    ) -> local.Command:
        environment: dict[str, pulumi.Input[str]] = {
            "SITE_TABLE": foundation.table,
            "SITE_REGION": site.region,
            "SITE_MACHINE": self.name,
            "SITE_INSTANCE": self.id,
            "SITE_READY_WITHIN": str(foundation.settings.ready_within),
            "SITE_DRAIN_WITHIN": str(foundation.settings.drain_within),
        }
        if profile := aws.config.profile:
            environment["AWS_PROFILE"] = profile
        return local.Command(
            f"{self.name}-ready",
            create=".venv/bin/python -m scripts.await_ready",
            delete=".venv/bin/python -m scripts.drain",
            triggers=[self.id],
            environment=environment,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=needs, delete_before_replace=delete_first
            ),
        )
