"""EBS volumes and their attachments."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import binascii
from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import given, only, tag_map, wait_until
from lab.engine.plugin import Call, Gone, PluginError
from lab.engine.schema import Failure, Properties, Property
from lab.engine.values import Props

FIVE_MINUTES = 300.0  # seconds, the real provider's limit

CAN_CHANGE = {"size": "Size", "type": "VolumeType", "iops": "Iops", "throughput": "Throughput"}


class Volume(Ec2Resource):
    """aws_ebs_volume: size, type, iops and throughput change online."""

    token = "aws:ebs/volume:Volume"  # noqa: S105  a type's token
    kind = "volume"
    properties: ClassVar[Properties] = {
        "availabilityZone": Property(required=True, replaces=True),
        "encrypted": Property(computed=True, replaces=True),
        "finalSnapshot": Property(default=False),
        "iops": Property(computed=True),
        "kmsKeyId": Property(computed=True, replaces=True),
        "size": Property(computed=True),
        "snapshotId": Property(computed=True, replaces=True),
        "throughput": Property(computed=True),
        "type": Property(computed=True),
        **TAGS,
    }
    outputs = ("arn", "createTime")

    def validate(self, inputs: Props) -> list[Failure]:
        if "size" in inputs or "snapshotId" in inputs:
            return []
        return [Failure("size", "a volume needs size or snapshotId")]

    def create(self, inputs: Props, call: Call) -> str:
        response = self.ec2.create_volume(
            TagSpecifications=self.specification(inputs),
            **given(
                inputs,
                {
                    **CAN_CHANGE,
                    "availabilityZone": "AvailabilityZone",
                    "encrypted": "Encrypted",
                    "kmsKeyId": "KmsKeyId",
                    "snapshotId": "SnapshotId",
                },
            ),
        )
        return str(response["VolumeId"])

    def _find(self, resource_id: str) -> dict[str, Any]:
        return only(self.ec2.describe_volumes(VolumeIds=[resource_id])["Volumes"], resource_id)

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        what = f"volume {resource_id} to be available"
        wait_until(
            what, FIVE_MINUTES, lambda: self._find(resource_id)["State"] in ("available", "in-use")
        )

    def read(self, resource_id: str, state: Props) -> Props:
        volume = self._find(resource_id)
        return {
            "availabilityZone": volume["AvailabilityZone"],
            "encrypted": bool(volume.get("Encrypted")),
            "iops": volume.get("Iops") or state.get("iops", 0),
            "kmsKeyId": volume.get("KmsKeyId") or "",
            "size": volume["Size"],
            "snapshotId": volume.get("SnapshotId") or "",
            "throughput": volume.get("Throughput") or state.get("throughput", 0),
            "type": volume["VolumeType"],
            "arn": self.cloud.arn("ec2", f"volume/{resource_id}"),
            "createTime": str(volume.get("CreateTime", "")),
            **self.tags_found(tag_map(volume.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        changes = {name: inputs[name] for name in CAN_CHANGE if name in changed and name in inputs}
        if changes:
            self.ec2.modify_volume(VolumeId=resource_id, **given(changes, CAN_CHANGE))

            def modified() -> bool:
                response = self.ec2.describe_volumes_modifications(VolumeIds=[resource_id])
                states = [item["ModificationState"] for item in response["VolumesModifications"]]
                return not states or states[-1] in ("optimizing", "completed")

            wait_until(f"volume {resource_id} to be modified", FIVE_MINUTES, modified)
        super().update(resource_id, state, inputs, changed, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state.get("finalSnapshot"):
            self.ec2.create_snapshot(
                VolumeId=resource_id, Description=f"final snapshot of {resource_id}"
            )
        what = f"volume {resource_id} to be free"
        wait_until(what, 2 * FIVE_MINUTES, lambda: self._find(resource_id)["State"] == "available")
        self.ec2.delete_volume(VolumeId=resource_id)


class VolumeAttachment(Ec2Resource):
    """aws_volume_attachment: another device, instance or volume is another attachment."""

    token = "aws:ec2/volumeAttachment:VolumeAttachment"  # noqa: S105
    taggable = False
    properties: ClassVar[Properties] = {
        "deviceName": Property(required=True, replaces=True),
        "instanceId": Property(required=True, replaces=True),
        "volumeId": Property(required=True, replaces=True),
        "forceDetach": Property(),
        "skipDestroy": Property(),
        "stopInstanceBeforeDetaching": Property(),
    }

    def create(self, inputs: Props, call: Call) -> str:
        device, instance = inputs["deviceName"], inputs["instanceId"]
        volume = inputs["volumeId"]
        if self._status(inputs) == "":
            what = f"instance {instance} to take a volume"
            wait_until(
                what, FIVE_MINUTES, lambda: self._instance_state(instance) in ("running", "stopped")
            )
            self._refuse_if_in_use(volume)
            self.ec2.attach_volume(Device=device, InstanceId=instance, VolumeId=volume)
        text = f"{device}-{instance}-{volume}-"
        return f"vai-{binascii.crc32(text.encode())}"

    def _refuse_if_in_use(self, volume: str) -> None:
        """EC2 attaches a volume to one instance; moto would to a second."""
        for found in self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"]:
            for attachment in found.get("Attachments", []):
                holder = attachment["InstanceId"]
                message = f"AttachVolume: VolumeInUse: {volume} is already attached to {holder}"
                raise PluginError(message)

    def _instance_state(self, instance: str) -> str:
        found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        return str(only(found, instance)["Instances"][0]["State"]["Name"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        what = f"volume {inputs['volumeId']} to be attached to {inputs['instanceId']}"
        wait_until(what, FIVE_MINUTES, lambda: self._status(inputs) == "attached")

    def _status(self, state: Props) -> str:
        """`attaching`, `attached`, `detaching`, or nothing."""
        volume = state["volumeId"]
        for found in self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"]:
            for attachment in found.get("Attachments", []):
                same = attachment["InstanceId"] == state["instanceId"]
                if same and attachment["Device"] == state["deviceName"]:
                    return str(attachment["State"])
        return ""

    def read(self, resource_id: str, state: Props) -> Props:
        if self._status(state) in ("", "detached"):
            raise Gone(resource_id)
        return {name: state[name] for name in ("deviceName", "instanceId", "volumeId")}

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state.get("skipDestroy") or self._status(state) in ("", "detached"):
            return
        instance = state["instanceId"]
        if state.get("stopInstanceBeforeDetaching"):
            self.ec2.stop_instances(InstanceIds=[instance])
            what = f"instance {instance} to be stopped"
            wait_until(
                what,
                2 * FIVE_MINUTES,
                lambda: self._instance_state(instance) in ("stopped", "terminated"),
            )
        self.ec2.detach_volume(
            Device=state["deviceName"],
            InstanceId=instance,
            VolumeId=state["volumeId"],
            Force=bool(state.get("forceDetach")),
        )
        what = f"volume {state['volumeId']} to be detached"
        wait_until(what, FIVE_MINUTES, lambda: self._status(state) in ("", "detached"))


TYPES = (Volume, VolumeAttachment)
