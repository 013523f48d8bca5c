"""EC2 instances."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import base64
from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, Ec2Resource
from lab.engine.aws.cloud import first, given, items, mapping, only, tag_list, tag_map, wait_until
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Change, Failure, Properties, Property
from lab.engine.values import Props

TEN_MINUTES = 600.0  # seconds; the real provider's limit for creating and updating
USER_DATA_LIMIT = 16384  # bytes, EC2's own

METADATA = {
    "httpEndpoint": "HttpEndpoint",
    "httpTokens": "HttpTokens",
    "httpPutResponseHopLimit": "HttpPutResponseHopLimit",
    "instanceMetadataTags": "InstanceMetadataTags",
}
ROOT_VOLUME = {
    "deleteOnTermination": "DeleteOnTermination",
    "encrypted": "Encrypted",
    "iops": "Iops",
    "kmsKeyId": "KmsKeyId",
    "throughput": "Throughput",
    "volumeSize": "VolumeSize",
    "volumeType": "VolumeType",
}
OF_THE_INTERFACE = ("associatePublicIpAddress", "privateIp", "subnetId", "vpcSecurityGroupIds")
NEED_A_STOP = {"instanceType", "userData", "userDataBase64"}


class Instance(Ec2Resource):
    """aws_instance."""

    token = "aws:ec2/instance:Instance"  # noqa: S105  a type's token
    kind = "instance"
    properties: ClassVar[Properties] = {
        "ami": Property(required=True, replaces=True),
        "instanceType": Property(required=True),
        "associatePublicIpAddress": Property(computed=True, replaces=True),
        "availabilityZone": Property(computed=True, replaces=True),
        "disableApiTermination": Property(computed=True),
        "disableApiStop": Property(computed=True),
        "forceDestroy": Property(default=False),
        "ebsOptimized": Property(computed=True, replaces=True),
        "iamInstanceProfile": Property(computed=True),
        "instanceInitiatedShutdownBehavior": Property(computed=True, choices=("stop", "terminate")),
        "keyName": Property(computed=True, replaces=True),
        "metadataOptions": Property(
            computed=True,
            fields={
                "httpEndpoint": Property(computed=True, choices=("enabled", "disabled")),
                "httpTokens": Property(computed=True, choices=("required", "optional")),
                "httpPutResponseHopLimit": Property(computed=True),
                "instanceMetadataTags": Property(computed=True, choices=("enabled", "disabled")),
            },
        ),
        "monitoring": Property(computed=True),
        "primaryNetworkInterface": Property(
            computed=True,
            fields={
                "networkInterfaceId": Property(required=True, replaces=True),
                "deleteOnTermination": Property(computed=True),
            },
        ),
        "privateIp": Property(computed=True, replaces=True),
        "rootBlockDevice": Property(
            computed=True,
            fields={
                "deleteOnTermination": Property(default=True),
                "encrypted": Property(computed=True, replaces=True),
                "iops": Property(computed=True),
                "kmsKeyId": Property(computed=True, replaces=True),
                "tags": Property(),
                "throughput": Property(computed=True),
                "volumeSize": Property(computed=True),
                "volumeType": Property(computed=True),
            },
        ),
        "sourceDestCheck": Property(default=True),
        "subnetId": Property(computed=True, replaces=True),
        "userData": Property(computed=True),
        "userDataBase64": Property(computed=True),
        "userDataReplaceOnChange": Property(default=False),
        "volumeTags": Property(),
        "vpcSecurityGroupIds": Property(computed=True, unordered=True),
        **TAGS,
    }
    outputs = (
        "arn",
        "instanceState",
        "primaryNetworkInterfaceId",
        "privateDns",
        "publicDns",
        "publicIp",
    )

    def validate(self, inputs: Props) -> list[Failure]:
        failures: list[Failure] = []
        if "userData" in inputs and "userDataBase64" in inputs:
            failures.append(Failure("userData", "give userData or userDataBase64, not both"))
        if "volumeTags" in inputs and "tags" in mapping(inputs.get("rootBlockDevice")):
            reason = "give volumeTags or rootBlockDevice.tags, not both"
            failures.append(Failure("volumeTags", reason))
        if "primaryNetworkInterface" in inputs:
            failures += [
                Failure(name, "conflicts with primaryNetworkInterface, which has it")
                for name in OF_THE_INTERFACE
                if name in inputs
            ]
        text = inputs.get("userData")
        if isinstance(text, str) and len(text.encode()) > USER_DATA_LIMIT:
            size = len(text.encode())
            reason = f"user data is {size} bytes; EC2 allows {USER_DATA_LIMIT}"
            failures.append(Failure("userData", reason))
        return failures

    def replaces(self, change: Change, inputs: Props) -> bool:
        if change.name in ("userData", "userDataBase64"):
            return bool(inputs["userDataReplaceOnChange"])
        return change.replaces

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        return ("publicIp", "publicDns") if changed & NEED_A_STOP else ()

    # ---- making it

    def create(self, inputs: Props, call: Call) -> str:
        request: dict[str, Any] = {
            "ImageId": inputs["ami"],
            "InstanceType": inputs["instanceType"],
            "MinCount": 1,
            "MaxCount": 1,
            "TagSpecifications": [
                *self.specification(inputs),
                *(
                    [{"ResourceType": "volume", "Tags": tag_list(inputs["volumeTags"])}]
                    if inputs.get("volumeTags")
                    else []
                ),
            ],
            **given(
                inputs,
                {
                    "disableApiTermination": "DisableApiTermination",
                    "disableApiStop": "DisableApiStop",
                    "ebsOptimized": "EbsOptimized",
                    "instanceInitiatedShutdownBehavior": "InstanceInitiatedShutdownBehavior",
                    "keyName": "KeyName",
                },
            ),
            **self._network(inputs),
        }
        if "userData" in inputs:
            request["UserData"] = inputs["userData"]
        elif "userDataBase64" in inputs:
            request["UserData"] = base64.b64decode(inputs["userDataBase64"])
        if "iamInstanceProfile" in inputs:
            request["IamInstanceProfile"] = {"Name": inputs["iamInstanceProfile"]}
        if "monitoring" in inputs:
            request["Monitoring"] = {"Enabled": inputs["monitoring"]}
        if "availabilityZone" in inputs:
            request["Placement"] = {"AvailabilityZone": inputs["availabilityZone"]}
        if "metadataOptions" in inputs:
            request["MetadataOptions"] = given(inputs["metadataOptions"], METADATA)
        if "rootBlockDevice" in inputs:
            image = only(
                self.ec2.describe_images(ImageIds=[inputs["ami"]])["Images"], inputs["ami"]
            )
            request["BlockDeviceMappings"] = [
                {
                    "DeviceName": image.get("RootDeviceName") or "/dev/sda1",
                    "Ebs": given(inputs["rootBlockDevice"], ROOT_VOLUME),
                }
            ]
        return str(self.ec2.run_instances(**request)["Instances"][0]["InstanceId"])

    @staticmethod
    def _network(inputs: Props) -> dict[str, Any]:
        """A public address can only be asked for with a network interface, as by the real one."""
        names = {"subnetId": "SubnetId", "privateIp": "PrivateIpAddress"}
        groups = items(inputs.get("vpcSecurityGroupIds"))
        if "primaryNetworkInterface" in inputs:
            existing = inputs["primaryNetworkInterface"]["networkInterfaceId"]
            return {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": existing}]}
        if "associatePublicIpAddress" not in inputs:
            return {
                **given(inputs, names),
                **({"SecurityGroupIds": groups} if groups else {}),
            }
        interface = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": inputs["associatePublicIpAddress"],
            "DeleteOnTermination": True,
            **given(inputs, names),
            **({"Groups": groups} if groups else {}),
        }
        return {"NetworkInterfaces": [interface]}

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        self._wait_for(resource_id, "running")
        if inputs.get("disableApiTermination"):
            # moto takes it as an attribute only, not when it runs the instance
            self._set(resource_id, disableApiTermination={"Value": True})
        if not inputs["sourceDestCheck"]:
            self._set(resource_id, SourceDestCheck={"Value": False})
        volume_tags = inputs.get("volumeTags") or mapping(inputs.get("rootBlockDevice")).get("tags")
        if volume_tags:
            volumes = self._volumes(self._find(resource_id))
            self.ec2.create_tags(Resources=volumes, Tags=tag_list(volume_tags))

    def _set(self, resource_id: str, **attribute: object) -> None:
        named = {name[0].upper() + name[1:]: value for name, value in attribute.items()}
        self.ec2.modify_instance_attribute(InstanceId=resource_id, **named)

    def _find(self, resource_id: str) -> dict[str, Any]:
        reservations = self.ec2.describe_instances(InstanceIds=[resource_id])["Reservations"]
        return only([item for found in reservations for item in found["Instances"]], resource_id)

    def _state(self, resource_id: str) -> str:
        return str(self._find(resource_id)["State"]["Name"])

    def _wait_for(self, resource_id: str, state: str) -> None:
        def arrived() -> bool:
            now = self._state(resource_id)
            if now == "terminated" and state != now:
                raise Gone(f"instance {resource_id} is terminated instead of {state}")
            return now == state

        wait_until(f"instance {resource_id} to be {state}", TEN_MINUTES, arrived)

    @staticmethod
    def _volumes(instance: dict[str, Any]) -> list[str]:
        return [item["Ebs"]["VolumeId"] for item in instance.get("BlockDeviceMappings", [])]

    # ---- reading it

    def read(self, resource_id: str, state: Props) -> Props:
        instance = self._find(resource_id)
        if instance["State"]["Name"] in ("terminated", "shutting-down"):
            raise Gone(resource_id)
        profile = mapping(instance.get("IamInstanceProfile")).get("Arn", "")
        interface = first(
            instance.get("NetworkInterfaces"),
            lambda item: item["Attachment"].get("DeviceIndex") == 0,
        )
        user_data = self._attribute(resource_id, "userData")
        found: Props = {
            "ami": instance["ImageId"],
            "instanceType": instance["InstanceType"],
            "availabilityZone": instance["Placement"]["AvailabilityZone"],
            "disableApiTermination": bool(self._attribute(resource_id, "disableApiTermination")),
            "disableApiStop": bool(self._attribute(resource_id, "disableApiStop")),
            "ebsOptimized": bool(instance.get("EbsOptimized")),
            "iamInstanceProfile": profile.rsplit("/", 1)[-1],
            "keyName": instance.get("KeyName") or "",
            "metadataOptions": {
                name: instance.get("MetadataOptions", {}).get(key)
                for name, key in METADATA.items()
                if instance.get("MetadataOptions", {}).get(key) is not None
            },
            "monitoring": mapping(instance.get("Monitoring")).get("State")
            in ("enabled", "pending"),
            "privateIp": instance.get("PrivateIpAddress") or "",
            "privateDns": instance.get("PrivateDnsName") or "",
            "publicIp": instance.get("PublicIpAddress") or "",
            "publicDns": instance.get("PublicDnsName") or "",
            "subnetId": instance.get("SubnetId") or "",
            "vpcSecurityGroupIds": sorted(
                group["GroupId"] for group in interface.get("Groups", [])
            ),
            "arn": self.cloud.arn("ec2", f"instance/{resource_id}"),
            "instanceState": instance["State"]["Name"],
            "primaryNetworkInterfaceId": interface.get("NetworkInterfaceId") or "",
            **self._root_volume(instance, state),
            **self.tags_found(tag_map(instance.get("Tags")), state),
        }
        if "sourceDestCheck" in instance or "SourceDestCheck" in instance:
            found["sourceDestCheck"] = instance.get("SourceDestCheck", True)
        if "primaryNetworkInterface" in state:
            found["primaryNetworkInterface"] = {
                "networkInterfaceId": found["primaryNetworkInterfaceId"],
                "deleteOnTermination": interface["Attachment"].get("DeleteOnTermination", False),
            }
        if "associatePublicIpAddress" not in state:
            found["associatePublicIpAddress"] = bool(found["publicIp"])
        if "userDataBase64" in state:
            found["userDataBase64"] = user_data
        elif user_data:
            found["userData"] = base64.b64decode(user_data).decode("utf-8", "replace")
        return found

    def _attribute(self, resource_id: str, name: str) -> Any:
        response = self.ec2.describe_instance_attribute(InstanceId=resource_id, Attribute=name)
        return mapping(response.get(name[0].upper() + name[1:])).get("Value")

    def _root_volume(self, instance: dict[str, Any], state: Props) -> Props:
        root = instance.get("RootDeviceName")
        attached = next(
            (
                item
                for item in instance.get("BlockDeviceMappings", [])
                if item["DeviceName"] == root
            ),
            None,
        )
        if attached is None:
            return {}
        volume_id = attached["Ebs"]["VolumeId"]
        volume = only(self.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"], volume_id)
        tags = tag_map(volume.get("Tags"))
        before = mapping(state.get("rootBlockDevice"))
        device: Props = {
            "deviceName": root,
            "volumeId": volume_id,
            "deleteOnTermination": bool(attached["Ebs"].get("DeleteOnTermination", True)),
            "encrypted": bool(volume.get("Encrypted")),
            "volumeSize": volume["Size"],
            "volumeType": volume["VolumeType"],
            **({"iops": volume["Iops"]} if volume.get("Iops") else {}),
            **({"throughput": volume["Throughput"]} if volume.get("Throughput") else {}),
            **({"kmsKeyId": volume["KmsKeyId"]} if volume.get("KmsKeyId") else {}),
            **({"tags": tags} if "tags" in before else {}),
        }
        return {
            "rootBlockDevice": device,
            **({"volumeTags": tags} if "volumeTags" in state else {}),
        }

    # ---- changing and unmaking it

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed & NEED_A_STOP:
            self._change_stopped(resource_id, inputs, changed, call)
        if "iamInstanceProfile" in changed:
            self._change_profile(resource_id, inputs)
        if "vpcSecurityGroupIds" in changed:
            self.ec2.modify_network_interface_attribute(
                NetworkInterfaceId=state["primaryNetworkInterfaceId"],
                Groups=inputs["vpcSecurityGroupIds"],
            )
        for name in ("disableApiTermination", "disableApiStop", "sourceDestCheck"):
            if name in changed and name in inputs:
                self._set(resource_id, **{name: {"Value": inputs[name]}})
        if "instanceInitiatedShutdownBehavior" in changed:
            value = inputs["instanceInitiatedShutdownBehavior"]
            self._set(resource_id, instanceInitiatedShutdownBehavior={"Value": value})
        if "metadataOptions" in changed:
            options = given(inputs["metadataOptions"], METADATA)
            self.ec2.modify_instance_metadata_options(InstanceId=resource_id, **options)
        if "monitoring" in changed:
            ec2 = self.ec2
            switch = ec2.monitor_instances if inputs["monitoring"] else ec2.unmonitor_instances
            switch(InstanceIds=[resource_id])
        if "rootBlockDevice" in changed:
            self._change_root_volume(state, inputs)
        if "volumeTags" in changed:
            self._change_volume_tags(resource_id, state, inputs)
        super().update(resource_id, state, inputs, changed, call)

    def _change_volume_tags(self, resource_id: str, state: Props, inputs: Props) -> None:
        volumes = self._volumes(self._find(resource_id))
        old, new = state.get("volumeTags", {}), inputs.get("volumeTags", {})
        if removed := sorted(set(old) - set(new)):
            self.ec2.delete_tags(Resources=volumes, Tags=[{"Key": key} for key in removed])
        if new:
            self.ec2.create_tags(Resources=volumes, Tags=tag_list(new))

    def _change_stopped(
        self, resource_id: str, inputs: Props, changed: set[str], call: Call
    ) -> None:
        call.log(f"stopping {resource_id} to change {', '.join(sorted(changed & NEED_A_STOP))}")
        self.ec2.stop_instances(InstanceIds=[resource_id])
        self._wait_for(resource_id, "stopped")
        if "instanceType" in changed:
            self._set(resource_id, instanceType={"Value": inputs["instanceType"]})
        if "userData" in changed:
            self._set(resource_id, userData={"Value": inputs["userData"]})
        if "userDataBase64" in changed:
            self._set(resource_id, userData={"Value": base64.b64decode(inputs["userDataBase64"])})
        self.ec2.start_instances(InstanceIds=[resource_id])
        self._wait_for(resource_id, "running")

    def _change_profile(self, resource_id: str, inputs: Props) -> None:
        filters = [{"Name": "instance-id", "Values": [resource_id]}]
        found = self.ec2.describe_iam_instance_profile_associations(Filters=filters)
        associations = found["IamInstanceProfileAssociations"]
        profile = {"Name": inputs["iamInstanceProfile"]}
        if associations:
            self.ec2.replace_iam_instance_profile_association(
                AssociationId=associations[0]["AssociationId"], IamInstanceProfile=profile
            )
        else:
            self.ec2.associate_iam_instance_profile(
                InstanceId=resource_id, IamInstanceProfile=profile
            )

    def _change_root_volume(self, state: Props, inputs: Props) -> None:
        before, after = state["rootBlockDevice"], inputs["rootBlockDevice"]
        names = {
            "volumeSize": "Size",
            "volumeType": "VolumeType",
            "iops": "Iops",
            "throughput": "Throughput",
        }
        different = {key: after[key] for key in names if key in after}
        different = {key: value for key, value in different.items() if before.get(key) != value}
        if different:
            self.ec2.modify_volume(VolumeId=before["volumeId"], **given(different, names))
        if "tags" in after and after["tags"] != before.get("tags"):
            self.ec2.create_tags(Resources=[before["volumeId"]], Tags=tag_list(after["tags"]))

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if self._state(resource_id) == "terminated":
            return
        if state.get("forceDestroy"):
            self._set(resource_id, disableApiTermination={"Value": False})
        self.ec2.terminate_instances(InstanceIds=[resource_id])

        def gone() -> bool:
            try:
                return self._state(resource_id) == "terminated"
            except Gone:
                return True

        wait_until(f"instance {resource_id} to be terminated", 2 * TEN_MINUTES, gone)


TYPES = (Instance,)
