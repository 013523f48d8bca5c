"""Every resource type that the stand-in knows."""

from lab.engine.aws import (
    backup,
    cloudwatch,
    dynamodb,
    gateways,
    iam,
    instances,
    interfaces,
    network,
    network_acls,
    route53,
    s3,
    s3_objects,
    s3_settings,
    security_groups,
    sns,
    ssm,
    volumes,
)
from lab.engine.aws.base import AwsResource
from lab.engine.aws.cloud import Cloud

MODULES = (
    network,
    network_acls,
    gateways,
    security_groups,
    instances,
    interfaces,
    volumes,
    iam,
    s3,
    s3_objects,
    s3_settings,
    ssm,
    dynamodb,
    route53,
    backup,
    cloudwatch,
    sns,
)


def resource_types(cloud: Cloud) -> dict[str, AwsResource]:
    """The types by their tokens."""
    return {kind.token: kind(cloud) for module in MODULES for kind in module.TYPES}
