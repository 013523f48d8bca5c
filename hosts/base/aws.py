"""AWS's API from a machine, with its own role. Endpoints come from the environment, if set."""

import threading
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ssm import SSMClient

_making = threading.Lock()


def _client(service: str, **how: object) -> Any:
    """A client may be used by several threads at once, but not be made by them."""
    with _making:
        return cast(Any, boto3).client(service, **how)


PATIENT = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 8})
PROMPT = Config(
    # Whoever holds a lease must know soon that a renewal did not arrive, and repeats it itself.
    connect_timeout=0.4,
    read_timeout=0.6,
    retries={"total_max_attempts": 1},
    parameter_validation=False,
    tcp_keepalive=True,
)


ONCE = Config(
    # What must not be done late is asked for once, and again by whoever knows whether it still may.
    connect_timeout=1,
    read_timeout=4,
    retries={"total_max_attempts": 1},
)


def dynamodb(region: str) -> "DynamoDBClient":
    """For `coordination`: answers or fails within about a second."""
    return _client("dynamodb", region_name=region, config=PROMPT)


def ec2(region: str) -> "EC2Client":
    """Asks once: answers or fails within seconds."""
    return _client("ec2", region_name=region, config=ONCE)


def logs(region: str) -> Any:
    """As `sns`."""
    return _client("logs", region_name=region, config=ONCE)


def sns(region: str) -> Any:
    """Asks once: who asked is told, and comes again."""
    return _client("sns", region_name=region, config=ONCE)


def cloudwatch(region: str) -> Any:
    """As `sns`."""
    return _client("cloudwatch", region_name=region, config=ONCE)


def ssm(region: str) -> "SSMClient":
    """Patient: what it asks for is repeated over seconds."""
    return _client("ssm", region_name=region, config=PATIENT)
