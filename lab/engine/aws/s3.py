"""S3 buckets."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, AwsResource
from lab.engine.aws.cloud import Client, tag_list, tag_map
from lab.engine.plugin import Call
from lab.engine.schema import Properties, Property
from lab.engine.values import Props

BUCKET_NAME_LIMIT = 63


class S3Resource(AwsResource):
    """A type of the S3 API."""

    @property
    def s3(self) -> Client:
        return self.cloud.client("s3")


class Bucket(S3Resource):
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


TYPES = (Bucket,)
