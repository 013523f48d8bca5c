"""S3 buckets, their settings, and objects."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import base64
import io
import mimetypes
import tarfile
import urllib.parse
import zipfile
from pathlib import Path
from typing import Any, ClassVar, cast

from lab.engine.aws.base import TAGS, AwsResource
from lab.engine.aws.cloud import Client, given, items, mapping, only, tag_list, tag_map
from lab.engine.plugin import Call, Gone, PluginError
from lab.engine.schema import Failure, Properties, Property, same_json
from lab.engine.values import Asset, Props

BUCKET_NAME_LIMIT = 63


class _S3(AwsResource):
    @property
    def s3(self) -> Client:
        return self.cloud.client("s3")


class Bucket(_S3):
    """aws_s3_bucket; what belongs to it is declared with resources of their own."""

    token = "aws:s3/bucket:Bucket"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "bucket": Property(
            computed=True, replaces=True, autoname=BUCKET_NAME_LIMIT, lowercase=True
        ),
        "forceDestroy": Property(default=False),
        "objectLockEnabled": Property(computed=True, replaces=True),
        **TAGS,
    }
    outputs = (
        "arn",
        "bucketDomainName",
        "bucketRegion",
        "bucketRegionalDomainName",
        "hostedZoneId",
    )

    def create(self, inputs: Props, call: Call) -> str:
        name = inputs["bucket"]
        place: dict[str, Any] = {}
        if self.cloud.region != "us-east-1":
            place = {"CreateBucketConfiguration": {"LocationConstraint": self.cloud.region}}
        self.s3.create_bucket(
            Bucket=name,
            ObjectLockEnabledForBucket=bool(inputs.get("objectLockEnabled")),
            **place,
        )
        return str(name)

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        tags = inputs["tagsAll"]
        if tags:
            self.s3.put_bucket_tagging(Bucket=resource_id, Tagging={"TagSet": tag_list(tags)})
        else:
            self.s3.delete_bucket_tagging(Bucket=resource_id)

    def read(self, resource_id: str, state: Props) -> Props:
        self.s3.head_bucket(Bucket=resource_id)
        return {
            "bucket": resource_id,
            "objectLockEnabled": bool(state.get("objectLockEnabled")),
            "arn": f"arn:aws:s3:::{resource_id}",
            "bucketDomainName": f"{resource_id}.s3.amazonaws.com",
            "bucketRegion": self.cloud.region,
            "bucketRegionalDomainName": f"{resource_id}.s3.{self.cloud.region}.amazonaws.com",
            **self.tags_found(self._tags(resource_id), state),
        }

    def _tags(self, resource_id: str) -> dict[str, str]:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            return tag_map(self.s3.get_bucket_tagging(Bucket=resource_id)["TagSet"])
        except ClientError as error:
            if "NoSuchTagSet" in str(error):
                return {}
            raise

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "tagsAll" in changed:
            self.settle(resource_id, inputs, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state.get("forceDestroy"):
            self._empty(resource_id)
        self.s3.delete_bucket(Bucket=resource_id)

    def _empty(self, resource_id: str) -> None:
        while True:
            page = self.s3.list_object_versions(Bucket=resource_id)
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            if not found:
                return
            for item in found:
                self.s3.delete_object(
                    Bucket=resource_id, Key=item["Key"], VersionId=item["VersionId"]
                )


class _BucketSetting(_S3):
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


HEADERS = {
    "cacheControl": "CacheControl",
    "contentDisposition": "ContentDisposition",
    "contentEncoding": "ContentEncoding",
    "contentType": "ContentType",
    "metadata": "Metadata",
    "serverSideEncryption": "ServerSideEncryption",
    "storageClass": "StorageClass",
}


class BucketObjectv2(_S3):
    """aws_s3_object: new content is uploaded under the same key, another key is another object."""

    token = "aws:s3/bucketObjectv2:BucketObjectv2"  # noqa: S105
    taggable = True
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "key": Property(computed=True, replaces=True, autoname=1024),
        "content": Property(),
        "contentBase64": Property(),
        "source": Property(),
        "sourceHash": Property(),
        "etag": Property(computed=True),
        "forceDestroy": Property(default=False),
        **{name: Property(computed=True) for name in HEADERS},
        **TAGS,
    }
    outputs = ("arn", "versionId")

    def validate(self, inputs: Props) -> list[Failure]:
        given_here = [name for name in ("content", "contentBase64", "source") if name in inputs]
        if len(given_here) > 1:
            return [Failure(given_here[0], f"give one of {', '.join(given_here)}")]
        return []

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        content = {"content", "contentBase64", "source", "sourceHash", "etag"}
        return ("versionId", "etag") if changed & content else ()

    def create(self, inputs: Props, call: Call) -> str:
        self._upload(inputs)
        return f"{inputs['bucket']}/{inputs['key']}"

    def _upload(self, inputs: Props) -> None:
        headers = given(inputs, HEADERS)
        guessed, _ = mimetypes.guess_type(inputs["key"])
        if "ContentType" not in headers and guessed:
            headers["ContentType"] = guessed
        tags = "&".join(
            f"{urllib.parse.quote(key)}={urllib.parse.quote(value)}"
            for key, value in inputs["tagsAll"].items()
        )
        self.s3.put_object(
            Bucket=inputs["bucket"],
            Key=inputs["key"],
            Body=_content(inputs),
            **({"Tagging": tags} if tags else {}),
            **headers,
        )

    def read(self, resource_id: str, state: Props) -> Props:
        bucket, _, key = resource_id.partition("/")
        head = self.s3.head_object(Bucket=bucket, Key=key)
        tags = self.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        version = head.get("VersionId")
        return {
            "bucket": bucket,
            "key": key,
            "etag": head["ETag"].strip('"'),
            "contentType": head.get("ContentType"),
            "storageClass": head.get("StorageClass", "STANDARD"),
            **given(
                {parameter: head.get(parameter) for parameter in HEADERS.values()},
                {
                    "CacheControl": "cacheControl",
                    "ContentDisposition": "contentDisposition",
                    "ContentEncoding": "contentEncoding",
                    "ServerSideEncryption": "serverSideEncryption",
                },
            ),
            **({"metadata": head["Metadata"]} if head.get("Metadata") else {}),
            "arn": f"arn:aws:s3:::{bucket}/{key}",
            "versionId": version if version not in (None, "null") else "",
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
        if changed - {"tags", "tagsAll", "forceDestroy"}:
            self._upload(inputs)
        elif "tagsAll" in changed:
            bucket, _, key = resource_id.partition("/")
            self.s3.put_object_tagging(
                Bucket=bucket, Key=key, Tagging={"TagSet": tag_list(inputs["tagsAll"])}
            )

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        bucket, _, key = resource_id.partition("/")
        page = self.s3.list_object_versions(Bucket=bucket, Prefix=key)
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        mine = [item for item in found if item["Key"] == key]
        if not mine:
            raise Gone(resource_id)
        for item in mine:
            self.s3.delete_object(Bucket=bucket, Key=key, VersionId=item["VersionId"])


def _content(inputs: Props) -> bytes:
    if "content" in inputs:
        return str(inputs["content"]).encode()
    if "contentBase64" in inputs:
        return base64.b64decode(inputs["contentBase64"])
    source = inputs.get("source")
    if source is None:
        return b""
    if not isinstance(source, Asset):
        message = "source of aws:s3/bucketObjectv2:BucketObjectv2 must be an asset or an archive"
        raise PluginError(message)
    return _archive(source, inputs["key"]) if source.is_archive else _asset(source)


def _asset(asset: Asset) -> bytes:
    if path := asset.get("path"):
        try:
            return Path(path).read_bytes()
        except OSError as error:
            message = f"cannot read the object's source {path}: {error.strerror}"
            raise PluginError(message) from error
    if uri := asset.get("uri"):
        message = f"the lab's aws plugin does not fetch remote assets such as {uri}"
        raise PluginError(message)
    return asset.get("text").encode()


def _archive(archive: Asset, key: str) -> bytes:
    """An archive as it is when it is one file; else packed, as zip unless the key says tar."""
    path = archive.get("path")
    if path and Path(path).is_file():
        return _asset(archive)
    members = dict(_members(archive, Path()))
    buffer = io.BytesIO()
    if key.endswith((".tar", ".tar.gz", ".tgz")):
        mode = "w" if key.endswith(".tar") else "w:gz"
        with tarfile.open(fileobj=buffer, mode=cast("Any", mode)) as tar:
            for name, data in sorted(members.items()):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    else:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in sorted(members.items()):
                packed.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _members(archive: Asset, below: Path) -> list[tuple[str, bytes]]:
    path = archive.get("path")
    if path:
        folder = Path(path)
        files = [item for item in sorted(folder.rglob("*")) if item.is_file()]
        return [(str(below / item.relative_to(folder)), item.read_bytes()) for item in files]
    found: list[tuple[str, bytes]] = []
    for name, item in cast("Props", dict(archive.fields).get("assets", {})).items():
        if not isinstance(item, Asset):
            continue
        inner = below / name
        found += _members(item, inner) if item.is_archive else [(str(inner), _asset(item))]
    return found


TYPES = (
    Bucket,
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    BucketVersioning,
    BucketLifecycleConfiguration,
    BucketOwnershipControls,
    BucketPolicy,
    BucketObjectv2,
)
