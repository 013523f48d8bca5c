"""SSM parameters."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import ClassVar

from lab.engine.aws.base import TAGS, AwsResource, added_and_removed
from lab.engine.aws.cloud import Client, given, only, tag_list, tag_map
from lab.engine.plugin import Call
from lab.engine.schema import Failure, Properties, Property
from lab.engine.values import Props


class Parameter(AwsResource):
    """aws_ssm_parameter. The SDK marks `value` secret; the engine keeps it so."""

    token = "aws:ssm/parameter:Parameter"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "allowedPattern": Property(),
        "dataType": Property(computed=True, replaces=True, choices=("text", "aws:ec2:image")),
        "description": Property(),
        "insecureValue": Property(computed=True),
        "keyId": Property(computed=True),
        "name": Property(computed=True, replaces=True, autoname=2048),
        "overwrite": Property(),
        "tier": Property(computed=True, choices=("Standard", "Advanced", "Intelligent-Tiering")),
        "type": Property(required=True, choices=("String", "StringList", "SecureString")),
        "value": Property(computed=True),
        **TAGS,
    }
    outputs = ("arn", "version", "hasValueWo")

    @property
    def ssm(self) -> Client:
        return self.cloud.client("ssm")

    def validate(self, inputs: Props) -> list[Failure]:
        if ("value" in inputs) == ("insecureValue" in inputs):
            return [Failure("value", "a parameter has exactly one of value and insecureValue")]
        if inputs["type"] == "SecureString" and "insecureValue" in inputs:
            return [Failure("insecureValue", "a SecureString takes value, not insecureValue")]
        return []

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        return ("version",) if changed & {"value", "insecureValue", "description"} else ()

    def _put(self, inputs: Props, **extra: object) -> None:
        self.ssm.put_parameter(
            Name=inputs["name"],
            Type=inputs["type"],
            Value=inputs.get("value", inputs.get("insecureValue")),
            **given(
                inputs,
                {
                    "allowedPattern": "AllowedPattern",
                    "dataType": "DataType",
                    "description": "Description",
                    "keyId": "KeyId",
                    "tier": "Tier",
                },
            ),
            **extra,
        )

    def create(self, inputs: Props, call: Call) -> str:
        if inputs.get("overwrite"):
            self._put(inputs, Overwrite=True)
            self._tag(inputs["name"], {}, inputs)
        else:
            self._put(inputs, Tags=tag_list(inputs["tagsAll"]))
        return str(inputs["name"])

    def _tag(self, resource_id: str, state: Props, inputs: Props) -> None:
        added, removed = added_and_removed(state, inputs)
        target = {"ResourceType": "Parameter", "ResourceId": resource_id}
        if added:
            self.ssm.add_tags_to_resource(Tags=tag_list(added), **target)
        if removed:
            self.ssm.remove_tags_from_resource(TagKeys=removed, **target)

    def read(self, resource_id: str, state: Props) -> Props:
        parameter = self.ssm.get_parameter(Name=resource_id, WithDecryption=True)["Parameter"]
        filters = [{"Key": "Name", "Option": "Equals", "Values": [resource_id]}]
        detail = only(
            self.ssm.describe_parameters(ParameterFilters=filters)["Parameters"], resource_id
        )
        tags = self.ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=resource_id)
        holder = "insecureValue" if "insecureValue" in state else "value"
        return {
            "name": parameter["Name"],
            "type": parameter["Type"],
            holder: parameter["Value"],
            "allowedPattern": detail.get("AllowedPattern") or None,
            "dataType": parameter.get("DataType", "text"),
            "description": detail.get("Description") or None,
            "keyId": detail.get("KeyId") or "",
            "tier": detail.get("Tier", "Standard"),
            "arn": parameter["ARN"],
            "version": parameter["Version"],
            **self.tags_found(tag_map(tags["TagList"]), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed - {"overwrite", "tags", "tagsAll"}:
            self._put(inputs, Overwrite=True)
        if "tagsAll" in changed:
            self._tag(resource_id, state, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.ssm.delete_parameter(Name=resource_id)


TYPES = (Parameter,)
