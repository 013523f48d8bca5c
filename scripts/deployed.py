"""A deployed stack as an operator's script finds it: by its outputs, or by what it is told.

Credentials are the operator's, as for Pulumi and the `aws` command.
"""

import argparse
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from hosts.database.pair import NAME
from scripts.command import NotAskedError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ssm import SSMClient

_client: Any = cast("Any", boto3).client
_CONFIG = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3})


class DeployedError(NotAskedError):
    """The stack cannot be found; the message is for the operator."""


@dataclass(frozen=True)
class Owner:
    """A stack of a project."""

    project: str
    stack: str

    @property
    def log_group(self) -> str:
        """Where its machines' journals are in CloudWatch Logs, a stream for each:
        ``<name>/<instance id>``."""
        return f"/{self.project}/{self.stack}"


@dataclass(frozen=True)
class Deployed:
    """Where a stack's machines meet."""

    region: str
    table: str
    """The DynamoDB table `coordination`."""
    line: str = NAME
    """The record of the databases in it: another one once they were restored."""
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """The stack's, if it was found by them."""

    @property
    def prefix(self) -> str:
        """What the names of all that the stack has in AWS begin with: ``site-prod``."""
        return self.table.removesuffix("-coordination")

    def owner(self) -> "Owner":
        """Whose the table is, by its tags. Raises `DeployedError`."""
        client: Any = self.dynamodb()
        arn = client.describe_table(TableName=self.table)["Table"]["TableArn"]
        listed = client.list_tags_of_resource(ResourceArn=arn)["Tags"]
        tags = {tag["Key"]: tag["Value"] for tag in listed}
        try:
            return Owner(tags["Project"], tags["Stack"])
        except KeyError as error:
            msg = f"the table {self.table} has no tag {error}: is it a stack's coordination table?"
            raise DeployedError(msg) from error

    def client(self, service: str) -> Any:
        """Of boto3, for the stack's region."""
        return _client(service, region_name=self.region, config=_CONFIG)

    def dynamodb(self) -> "DynamoDBClient":
        """For the table."""
        return self.client("dynamodb")

    def ec2(self) -> "EC2Client":
        """For the machines."""
        return self.client("ec2")

    def ssm(self) -> "SSMClient":
        """For the stack's parameters."""
        return self.client("ssm")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options by which a script is told of its stack."""
    parser.add_argument("--stack", help="the stack; without it the one that is selected")
    parser.add_argument("--table", help="its coordination table, where Pulumi's state is not")
    parser.add_argument("--region", help="and the AWS region of that")
    parser.add_argument(
        "--record",
        default=NAME,
        help="and, after a restore, the output backups.line: the lease of the databases now",
    )


def find(asked: argparse.Namespace) -> Deployed:
    """The stack that the options mean.

    Raises:
        DeployedError: there is no such stack, or it has not been deployed yet.
    """
    if asked.table and asked.region:
        return Deployed(region=asked.region, table=asked.table, line=asked.record)
    if asked.table or asked.region:
        msg = "--table and --region belong together: give both, or neither"
        raise DeployedError(msg)
    found = outputs(asked.stack)
    missing = [name for name in ("region", "table") if not found.get(name)]
    if missing:
        msg = (
            f"the stack {asked.stack or 'that is selected'} has no output"
            f" {' and no '.join(missing)}: `pulumi up` makes them"
        )
        raise DeployedError(msg)
    line = found.get("backups", {}).get("line", NAME)
    return Deployed(found["region"], found["table"], line, found)


def outputs(stack: str | None) -> dict[str, Any]:
    """The outputs of a stack, of the selected one if None. Raises `DeployedError`."""
    return json.loads(pulumi("stack", "output", "--json", *(["--stack", stack] if stack else [])))


def pulumi(*arguments: str) -> str:
    """What Pulumi's CLI says. Raises `DeployedError` with its own words if it fails."""
    command = ["pulumi", "--non-interactive", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        msg = (
            'there is no pulumi on PATH: for the lab\'s, `eval "$(.venv/bin/python -m lab env)"`;'
            " without any, name --table and --region"
        )
        raise DeployedError(msg) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().removeprefix("error: ")
        msg = f"`pulumi {' '.join(arguments)}` failed: {said}"
        raise DeployedError(msg)
    return done.stdout
