"""What every bucket of the site has: nobody's but ours, encrypted, over TLS only."""

import pulumi
import pulumi_aws as aws

from components.policies import document, encrypted_transport_only


def close_to_the_world(
    name: str,
    bucket: pulumi.Input[str],
    arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """Blocks public access, encrypts what is stored, and refuses requests without TLS."""
    blocked = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=opts,
    )
    aws.s3.BucketServerSideEncryptionConfiguration(
        name,
        bucket=bucket,
        rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
        opts=opts,
    )
    aws.s3.BucketPolicy(
        name,
        bucket=bucket,
        policy=pulumi.Output.from_input(arn).apply(
            lambda arn: document([encrypted_transport_only(arn)])
        ),
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[blocked])),
    )
