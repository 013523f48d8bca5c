"""What holds data: buckets are closed to the world, and production loses nothing by accident."""

import json
from typing import Any

from policies.rule import LOAD_BALANCER, Found, FoundInStack, Resource, Stack, rule, stack_rule

BUCKET = "aws:s3/bucket:Bucket"
BUCKETS = (BUCKET, "aws:s3/bucketV2:BucketV2")
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
INSTANCE = "aws:ec2/instance:Instance"
EIP = "aws:ec2/eip:Eip"
KEPT = ("aws:ebs/volume:Volume", "aws:dynamodb/table:Table", *BUCKETS)

FOUR = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
PRODUCTION = frozenset({"prod"})
"""Stacks whose data must be protected."""


@rule(BLOCK)
def buckets_block_public_access(block: Resource) -> Found:
    """Nothing makes a bucket or an object in it public."""
    for name in FOUR:
        if block.get(name) is not True:
            yield f"{name} has to be true"


@stack_rule(*BUCKETS)
def every_bucket_is_closed_and_encrypted(stack: Stack) -> FoundInStack:
    """Each bucket blocks public access, encrypts what it stores and insists on TLS."""
    wanted = {BLOCK: "public access", ENCRYPTION: "encryption", POLICY: "TLS"}
    for bucket in (resource for resource in stack if resource.type in BUCKETS):
        for kind, what in wanted.items():
            mine = [
                resource
                for resource in stack
                if resource.type == kind and bucket.urn in resource.refers.get("bucket", ())
            ]
            if not mine:
                yield bucket, f"it has no {kind.rpartition(':')[2]}, which settles {what}"
            elif kind == POLICY and not any(map(_refuses_plain_http, mine)):
                yield mine[0], "no statement denies requests with aws:SecureTransport false"


def _refuses_plain_http(policy: Resource) -> bool:
    statements: list[dict[str, Any]] = json.loads(policy.get("policy", "{}")).get("Statement", [])
    return any(
        statement["Effect"] == "Deny"
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in statements
    )


@rule(*KEPT, EIP, INSTANCE)
def production_loses_nothing_by_accident(resource: Resource) -> Found:
    """In production, what holds data or an address that clients know is protected from deletion."""
    if resource.stack not in PRODUCTION:
        return
    if resource.type == INSTANCE:
        if resource.get("disableApiTermination") is not True:
            yield "disableApiTermination has to be true: set site:deletionProtection true"
    elif (resource.type != EIP or resource.role == LOAD_BALANCER) and not resource.protected:
        yield "it is not protected: set site:deletionProtection true"
