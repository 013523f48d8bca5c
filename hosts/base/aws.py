"""AWS's API from a machine, with its own role. Endpoints come from the environment, if set."""

from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ssm import SSMClient

_client: Any = cast(Any, boto3).client

PATIENT = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 8})
PROMPT = Config(
    # Whoever holds a lease must know soon that a renewal did not arrive, and repeats it itself.
    connect_timeout=0.4,
    read_timeout=0.6,
    retries={"total_max_attempts": 1},
    parameter_validation=False,
    tcp_keepalive=True,
)


def dynamodb(region: str) -> "DynamoDBClient":
    """For `coordination`: answers or fails within about a second."""
    return _client("dynamodb", region_name=region, config=PROMPT)


def ec2(region: str) -> "EC2Client":
    """Patient: what it asks for is repeated over seconds."""
    return _client("ec2", region_name=region, config=PATIENT)


def ssm(region: str) -> "SSMClient":
    """Patient: what it asks for is repeated over seconds."""
    return _client("ssm", region_name=region, config=PATIENT)
