"""DynamoDB tables."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, AwsResource, retag
from lab.engine.aws.cloud import Client, given, mapping, tag_list, tag_map, wait_until
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Failure, Properties, Property
from lab.engine.values import Props

HALF_AN_HOUR = 1800.0  # seconds, the real provider's limit
SWITCH: Properties = {"enabled": Property(required=True)}


class Table(AwsResource):
    """aws_dynamodb_table, without secondary indexes, streams and replicas."""

    token = "aws:dynamodb/table:Table"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "attributes": Property(
            computed=True,
            unordered=True,
            fields={
                "name": Property(required=True),
                "type": Property(required=True, choices=("S", "N", "B")),
            },
        ),
        "billingMode": Property(default="PROVISIONED", choices=("PROVISIONED", "PAY_PER_REQUEST")),
        "deletionProtectionEnabled": Property(),
        "hashKey": Property(required=True, replaces=True),
        "name": Property(computed=True, replaces=True, autoname=255),
        "pointInTimeRecovery": Property(computed=True, fields=SWITCH),
        "rangeKey": Property(replaces=True),
        "readCapacity": Property(computed=True),
        "serverSideEncryption": Property(
            computed=True, fields={**SWITCH, "kmsKeyArn": Property(computed=True)}
        ),
        "tableClass": Property(computed=True, choices=("STANDARD", "STANDARD_INFREQUENT_ACCESS")),
        "ttl": Property(
            computed=True,
            fields={"attributeName": Property(), "enabled": Property(default=False)},
        ),
        "writeCapacity": Property(computed=True),
        **TAGS,
    }
    outputs = ("arn", "streamArn", "streamLabel")

    @property
    def dynamodb(self) -> Client:
        return self.cloud.client("dynamodb")

    def validate(self, inputs: Props) -> list[Failure]:
        capacity = {"readCapacity", "writeCapacity"}
        if inputs["billingMode"] == "PROVISIONED" and not capacity <= set(inputs):
            reason = "billingMode PROVISIONED needs readCapacity and writeCapacity"
            return [Failure("readCapacity", reason)]
        keys = [inputs[name] for name in ("hashKey", "rangeKey") if name in inputs]
        described = {item.get("name") for item in inputs.get("attributes", [])}
        if missing := [key for key in keys if isinstance(key, str) and key not in described]:
            reason = f"attributes does not describe the key {missing[0]}"
            return [Failure("attributes", reason)]
        return []

    @staticmethod
    def _capacity(inputs: Props) -> dict[str, Any]:
        if inputs["billingMode"] == "PAY_PER_REQUEST":
            return {}
        return {
            "ProvisionedThroughput": {
                "ReadCapacityUnits": inputs["readCapacity"],
                "WriteCapacityUnits": inputs["writeCapacity"],
            }
        }

    @staticmethod
    def _encryption(inputs: Props) -> dict[str, Any]:
        encryption = inputs.get("serverSideEncryption")
        if encryption is None:
            return {}
        key = given(encryption, {"kmsKeyArn": "KMSMasterKeyId"})
        kind = {"SSEType": "KMS"} if encryption["enabled"] else {}
        return {"SSESpecification": {"Enabled": encryption["enabled"], **kind, **key}}

    def create(self, inputs: Props, call: Call) -> str:
        schema = [{"AttributeName": inputs["hashKey"], "KeyType": "HASH"}]
        if "rangeKey" in inputs:
            schema.append({"AttributeName": inputs["rangeKey"], "KeyType": "RANGE"})
        self.dynamodb.create_table(
            TableName=inputs["name"],
            BillingMode=inputs["billingMode"],
            KeySchema=schema,
            AttributeDefinitions=[
                {"AttributeName": item["name"], "AttributeType": item["type"]}
                for item in inputs["attributes"]
            ],
            Tags=tag_list(inputs["tagsAll"]),
            **given(
                inputs,
                {
                    "deletionProtectionEnabled": "DeletionProtectionEnabled",
                    "tableClass": "TableClass",
                },
            ),
            **self._capacity(inputs),
            **self._encryption(inputs),
        )
        return str(inputs["name"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        self._wait(resource_id)
        if mapping(inputs.get("pointInTimeRecovery")).get("enabled"):
            self._set_recovery(resource_id, inputs)
        if mapping(inputs.get("ttl")).get("enabled"):
            self._set_ttl(resource_id, inputs["ttl"])

    def _describe(self, resource_id: str) -> dict[str, Any]:
        return self.dynamodb.describe_table(TableName=resource_id)["Table"]

    def _wait(self, resource_id: str) -> None:
        what = f"table {resource_id} to be active"
        wait_until(
            what, HALF_AN_HOUR, lambda: self._describe(resource_id)["TableStatus"] == "ACTIVE"
        )

    def _set_recovery(self, resource_id: str, inputs: Props) -> None:
        enabled = bool(mapping(inputs.get("pointInTimeRecovery")).get("enabled"))
        self.dynamodb.update_continuous_backups(
            TableName=resource_id,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled},
        )

    def _set_ttl(self, resource_id: str, ttl: Props) -> None:
        self.dynamodb.update_time_to_live(
            TableName=resource_id,
            TimeToLiveSpecification={
                "AttributeName": ttl["attributeName"],
                "Enabled": ttl["enabled"],
            },
        )

    def read(self, resource_id: str, state: Props) -> Props:
        table = self._describe(resource_id)
        keys = {item["KeyType"]: item["AttributeName"] for item in table["KeySchema"]}
        backups = self.dynamodb.describe_continuous_backups(TableName=resource_id)
        recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        ttl = self.dynamodb.describe_time_to_live(TableName=resource_id)["TimeToLiveDescription"]
        encryption = mapping(table.get("SSEDescription"))
        tags = self.dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        throughput = mapping(table.get("ProvisionedThroughput"))
        mode = mapping(table.get("BillingModeSummary")).get("BillingMode", "PROVISIONED")
        protected = bool(table.get("DeletionProtectionEnabled"))
        return {
            "attributes": [
                {"name": item["AttributeName"], "type": item["AttributeType"]}
                for item in table["AttributeDefinitions"]
            ],
            "billingMode": mode,
            "deletionProtectionEnabled": protected,
            "hashKey": keys["HASH"],
            "rangeKey": keys.get("RANGE"),
            "name": table["TableName"],
            "pointInTimeRecovery": {
                "enabled": recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
            },
            "readCapacity": throughput.get("ReadCapacityUnits", 0),
            "writeCapacity": throughput.get("WriteCapacityUnits", 0),
            "serverSideEncryption": {
                "enabled": encryption.get("Status") == "ENABLED",
                **given(encryption, {"KMSMasterKeyArn": "kmsKeyArn"}),
            },
            "tableClass": mapping(table.get("TableClassSummary")).get("TableClass", "STANDARD"),
            "ttl": {
                "enabled": ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"),
                **given(ttl, {"AttributeName": "attributeName"}),
            },
            "arn": table["TableArn"],
            "streamArn": table.get("LatestStreamArn") or "",
            "streamLabel": table.get("LatestStreamLabel") or "",
            **self.tags_found(tag_map(tags), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        request: dict[str, Any] = {}
        if changed & {"billingMode", "readCapacity", "writeCapacity"}:
            request |= {"BillingMode": inputs["billingMode"], **self._capacity(inputs)}
        if "deletionProtectionEnabled" in changed:
            enabled = bool(inputs.get("deletionProtectionEnabled"))
            request["DeletionProtectionEnabled"] = enabled
        if "serverSideEncryption" in changed:
            request |= self._encryption(inputs)
        if "tableClass" in changed:
            request["TableClass"] = inputs["tableClass"]
        if request:
            self.dynamodb.update_table(TableName=resource_id, **request)
            self._wait(resource_id)
        if "pointInTimeRecovery" in changed:
            self._set_recovery(resource_id, inputs)
        if "ttl" in changed:
            self._set_ttl(resource_id, inputs["ttl"])
        if "tagsAll" in changed:
            retag(self.dynamodb, state, inputs, ResourceArn=state["arn"])

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.dynamodb.delete_table(TableName=resource_id)

        def gone() -> bool:
            from botocore.exceptions import ClientError  # noqa: PLC0415

            try:
                self._describe(resource_id)
            except ClientError as error:
                if "ResourceNotFoundException" in str(error):
                    return True
                raise
            except Gone:
                return True
            return False

        wait_until(f"table {resource_id} to be deleted", HALF_AN_HOUR, gone)


TYPES = (Table,)
