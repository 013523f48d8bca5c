"""The table of types against the SDK that programs are written with."""

import importlib
import inspect
import re
from typing import Any

import pytest

from lab.engine.aws.base import AwsResource
from lab.engine.aws.cloud import Cloud
from lab.engine.aws.table import resource_types

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, on import

TYPES = resource_types(Cloud())

NEVER_SET: dict[str, set[str]] = {
    "*": {"region"},  # the provider's own region is the lab's only one
    "aws:ec2/vpc:Vpc": {"ipv6AssociationId", "ipv6CidrBlock"},
    "aws:ec2/subnet:Subnet": {"ipv6CidrBlockAssociationId"},
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": {"namePrefix"},
    "aws:ec2/eip:Eip": {"carrierIp", "customerOwnedIp", "privateDns", "ptrRecord"},
    "aws:ec2/natGateway:NatGateway": {
        "autoProvisionZones",
        "autoScalingIps",
        "regionalNatGatewayAddresses",
        "regionalNatGatewayAutoMode",
        "routeTableId",
    },
    "aws:ec2/instance:Instance": {
        "instanceLifecycle",
        "outpostArn",
        "passwordData",
        "spotInstanceRequestId",
    },
    "aws:ec2/networkInterface:NetworkInterface": {"outpostArn"},
    "aws:s3/bucket:Bucket": {"websiteDomain", "websiteEndpoint"},
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": {
        "expectedBucketOwner",
    },
    "aws:s3/bucketVersioning:BucketVersioning": {"expectedBucketOwner", "mfa"},
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": {"expectedBucketOwner"},
    "aws:s3/bucketObjectv2:BucketObjectv2": {
        "checksumCrc32",
        "checksumCrc32c",
        "checksumCrc64nvme",
        "checksumSha1",
        "checksumSha256",
    },
}
"""Outputs that the stand-in does not give: of features that the lab has not."""


def sdk_class(token: str) -> Any:
    _, module, name = token.split(":")
    return getattr(importlib.import_module(f"pulumi_aws.{module.split('/')[0]}"), name)


def camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


@pytest.fixture(params=sorted(TYPES), ids=lambda token: token.rsplit(":", 1)[-1])
def kind(request: pytest.FixtureRequest) -> AwsResource:
    return TYPES[request.param]


def test_every_property_is_one_of_the_real_types(kind: AwsResource) -> None:
    signature = inspect.signature(sdk_class(kind.token)._internal_init)
    real = {camel(name) for name in signature.parameters} | {"tagsAll"}
    assert set(kind.properties) - real == set()


def test_every_output_of_the_real_type_is_given_or_named_as_missing(kind: AwsResource) -> None:
    own = sdk_class(kind.token).__dict__
    signature = inspect.signature(sdk_class(kind.token)._internal_init)
    inputs = {camel(name) for name in signature.parameters}
    getters = {camel(name) for name, value in own.items() if isinstance(value, property)}
    given = {*kind.outputs, *kind.properties}
    missing = getters - inputs - given - NEVER_SET["*"] - NEVER_SET.get(kind.token, set())
    assert missing == set()


def test_what_the_real_type_requires_is_required(kind: AwsResource) -> None:
    own = sdk_class(kind.token)
    source = inspect.getsource(own._internal_init)
    required = {camel(name) for name in re.findall(r"Missing required property '(\w+)'", source)}
    assert {name for name in required if not kind.properties[name].required} == set()
