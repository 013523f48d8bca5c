"""What an S3 bucket is set to: each setting is a resource of its own."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.cloud import given, items, mapping, only
from lab.engine.aws.s3 import S3Resource
from lab.engine.plugin import Call
from lab.engine.schema import Properties, Property, same_json
from lab.engine.values import Props


class _BucketSetting(S3Resource):
    """A setting of one bucket: its id is the bucket's name."""

    def put(self, bucket: str, inputs: Props) -> None:
        raise NotImplementedError

    def create(self, inputs: Props, call: Call) -> str:
        self.put(inputs["bucket"], inputs)
        return str(inputs["bucket"])

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        self.put(resource_id, inputs)


PUBLIC_ACCESS = {
    "blockPublicAcls": "BlockPublicAcls",
    "blockPublicPolicy": "BlockPublicPolicy",
    "ignorePublicAcls": "IgnorePublicAcls",
    "restrictPublicBuckets": "RestrictPublicBuckets",
}


class BucketPublicAccessBlock(_BucketSetting):
    """aws_s3_bucket_public_access_block."""

    token = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"  # noqa: S105
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "skipDestroy": Property(),
        **{name: Property(default=False) for name in PUBLIC_ACCESS},
    }

    def put(self, bucket: str, inputs: Props) -> None:
        settings = {key: inputs[name] for name, key in PUBLIC_ACCESS.items()}
        self.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=settings)

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.s3.get_public_access_block(Bucket=resource_id)[
            "PublicAccessBlockConfiguration"
        ]
        return {"bucket": resource_id, **{name: found[key] for name, key in PUBLIC_ACCESS.items()}}

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if not state.get("skipDestroy"):
            self.s3.delete_public_access_block(Bucket=resource_id)


class BucketServerSideEncryptionConfiguration(_BucketSetting):
    """aws_s3_bucket_server_side_encryption_configuration."""

    token = (
        "aws:s3/bucketServerSideEncryptionConfiguration"  # noqa: S105
        ":BucketServerSideEncryptionConfiguration"
    )
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "rules": Property(
            required=True,
            unordered=True,
            fields={
                "applyServerSideEncryptionByDefault": Property(
                    fields={
                        "sseAlgorithm": Property(
                            required=True, choices=("AES256", "aws:kms", "aws:kms:dsse")
                        ),
                        "kmsMasterKeyId": Property(),
                    }
                ),
                "bucketKeyEnabled": Property(),
            },
        ),
    }

    def put(self, bucket: str, inputs: Props) -> None:
        rules: list[dict[str, Any]] = []
        for rule in inputs["rules"]:
            default = given(
                mapping(rule.get("applyServerSideEncryptionByDefault")),
                {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"},
            )
            rules.append(
                {
                    **({"ApplyServerSideEncryptionByDefault": default} if default else {}),
                    **given(rule, {"bucketKeyEnabled": "BucketKeyEnabled"}),
                }
            )
        self.s3.put_bucket_encryption(
            Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules}
        )

    def read(self, resource_id: str, state: Props) -> Props:
        response = self.s3.get_bucket_encryption(Bucket=resource_id)
        asked = items(state.get("rules"))
        rules: list[Props] = []
        for index, rule in enumerate(response["ServerSideEncryptionConfiguration"]["Rules"]):
            default = mapping(rule.get("ApplyServerSideEncryptionByDefault"))
            names = {"SSEAlgorithm": "sseAlgorithm", "KMSMasterKeyID": "kmsMasterKeyId"}
            found: Props = {}
            if default:
                found["applyServerSideEncryptionByDefault"] = given(default, names)
            before = mapping(asked[index] if index < len(asked) else None)
            if rule.get("BucketKeyEnabled") or "bucketKeyEnabled" in before:
                found["bucketKeyEnabled"] = bool(rule.get("BucketKeyEnabled"))
            rules.append(found)
        return {"bucket": resource_id, "rules": rules}

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.s3.delete_bucket_encryption(Bucket=resource_id)


class BucketVersioning(_BucketSetting):
    """aws_s3_bucket_versioning; deleting it suspends versioning."""

    token = "aws:s3/bucketVersioning:BucketVersioning"  # noqa: S105
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "versioningConfiguration": Property(
            required=True,
            fields={
                "status": Property(required=True, choices=("Enabled", "Suspended", "Disabled"))
            },
        ),
    }

    def put(self, bucket: str, inputs: Props) -> None:
        status = inputs["versioningConfiguration"]["status"]
        if status != "Disabled":
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def read(self, resource_id: str, state: Props) -> Props:
        status = self.s3.get_bucket_versioning(Bucket=resource_id).get("Status", "Disabled")
        return {"bucket": resource_id, "versioningConfiguration": {"status": status}}

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state["versioningConfiguration"]["status"] == "Enabled":
            self.put(resource_id, {"versioningConfiguration": {"status": "Suspended"}})


EXPIRY = {
    "expiration": ("Expiration", {"days": "Days"}),
    "noncurrentVersionExpiration": (
        "NoncurrentVersionExpiration",
        {"noncurrentDays": "NoncurrentDays"},
    ),
    "abortIncompleteMultipartUpload": (
        "AbortIncompleteMultipartUpload",
        {"daysAfterInitiation": "DaysAfterInitiation"},
    ),
}


class BucketLifecycleConfiguration(_BucketSetting):
    """aws_s3_bucket_lifecycle_configuration of rules that expire things; moto expires nothing."""

    token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"  # noqa: S105
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "rules": Property(
            required=True,
            fields={
                "id": Property(required=True),
                "status": Property(required=True, choices=("Enabled", "Disabled")),
                "filter": Property(fields={"prefix": Property()}),
                "expiration": Property(fields={"days": Property()}),
                "noncurrentVersionExpiration": Property(fields={"noncurrentDays": Property()}),
                "abortIncompleteMultipartUpload": Property(
                    fields={"daysAfterInitiation": Property()}
                ),
            },
        ),
        "transitionDefaultMinimumObjectSize": Property(computed=True),
    }

    def put(self, bucket: str, inputs: Props) -> None:
        rules = [
            {
                "ID": rule["id"],
                "Status": rule["status"],
                "Filter": {"Prefix": mapping(rule.get("filter")).get("prefix", "")},
                **{
                    api: given(mapping(rule[name]), fields)
                    for name, (api, fields) in EXPIRY.items()
                    if rule.get(name)
                },
            }
            for rule in items(inputs["rules"])
        ]
        self.s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
        )

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.s3.get_bucket_lifecycle_configuration(Bucket=resource_id)
        rules = [
            {
                "id": rule["ID"],
                "status": rule["Status"],
                "filter": {"prefix": mapping(rule.get("Filter")).get("Prefix", "")},
                **{
                    name: given(rule[api], {key: field for field, key in fields.items()})
                    for name, (api, fields) in EXPIRY.items()
                    if rule.get(api)
                },
            }
            for rule in found["Rules"]
        ]
        size = found.get("TransitionDefaultMinimumObjectSize", "all_storage_classes_128K")
        return {
            "bucket": resource_id,
            "rules": rules,
            "transitionDefaultMinimumObjectSize": size,
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.s3.delete_bucket_lifecycle(Bucket=resource_id)


class BucketOwnershipControls(_BucketSetting):
    """aws_s3_bucket_ownership_controls."""

    token = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"  # noqa: S105
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "rule": Property(
            required=True,
            fields={
                "objectOwnership": Property(
                    required=True,
                    choices=("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"),
                )
            },
        ),
    }

    def put(self, bucket: str, inputs: Props) -> None:
        rule = {"ObjectOwnership": inputs["rule"]["objectOwnership"]}
        self.s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [rule]})

    def read(self, resource_id: str, state: Props) -> Props:
        rules = self.s3.get_bucket_ownership_controls(Bucket=resource_id)["OwnershipControls"][
            "Rules"
        ]
        return {
            "bucket": resource_id,
            "rule": {"objectOwnership": only(rules, resource_id)["ObjectOwnership"]},
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.s3.delete_bucket_ownership_controls(Bucket=resource_id)


class BucketPolicy(_BucketSetting):
    """aws_s3_bucket_policy."""

    token = "aws:s3/bucketPolicy:BucketPolicy"  # noqa: S105
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "policy": Property(required=True, same=same_json),
    }

    def put(self, bucket: str, inputs: Props) -> None:
        self.s3.put_bucket_policy(Bucket=bucket, Policy=inputs["policy"])

    def read(self, resource_id: str, state: Props) -> Props:
        return {
            "bucket": resource_id,
            "policy": self.s3.get_bucket_policy(Bucket=resource_id)["Policy"],
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.s3.delete_bucket_policy(Bucket=resource_id)


TYPES = (
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    BucketVersioning,
    BucketLifecycleConfiguration,
    BucketOwnershipControls,
    BucketPolicy,
)
