"""Least privilege, shown by trying: what a machine of one role may not do in AWS."""

import json
from typing import Any

import pytest

from tests.lab.site import Site

CALL = """
import json, sys
import boto3
from botocore.exceptions import ClientError

facts = json.load(open("/etc/site/machine.json"))
service, operation, arguments = json.load(sys.stdin)
call = getattr(boto3.client(service, region_name=facts["region"]), operation)
try:
    call(**json.loads(json.dumps(arguments).replace("TABLE", facts["table"])))
except ClientError as error:
    print(error.response["Error"]["Code"])
else:
    print("done")
"""


def attempt(site: Site, name: str, service: str, operation: str, arguments: dict[str, Any]) -> str:
    """Make a call on a machine, as the machine; give the error's code, or `done`."""
    endpoints = site.run(name, "cat", "/etc/environment").split()
    given = json.dumps([service, operation, arguments])
    return site.run(name, "env", *endpoints, "python3", "-c", CALL, given=given).strip()


TABLE = {"TableName": "TABLE"}
PARAMETERS = "/site/lab/database"
APP_SERVERS = "/site/lab/app-server"
EDGE = "/site/lab/edge/certificate"
Call = tuple[str, str, dict[str, Any]]


def item(key: str) -> dict[str, Any]:
    return {**TABLE, "Key": {"id": {"S": key}}}


def named(value: str | Call) -> str:
    return value if isinstance(value, str) else " ".join(value[:2])


@pytest.mark.parametrize("name", ["load-balancer-1", "app-server-1", "database-1"])
def test_a_machine_knows_who_it_is_and_reads_its_own_kind_of_items(site: Site, name: str) -> None:
    if name == "load-balancer-1":  # the others' way to STS depends on the stack's NAT
        assert attempt(site, name, "sts", "get_caller_identity", {}) == "done"
    own = item(f"machine/{site.machine(name).id}")
    assert attempt(site, name, "dynamodb", "get_item", own) == "done"


FORBIDDEN: list[tuple[str, Call]] = [
    # Only the load balancers share the leases of the public addresses.
    ("app-server-1", ("dynamodb", "get_item", item("lease/address-x"))),
    ("load-balancer-1", ("dynamodb", "delete_item", item("machine/x"))),
    ("app-server-1", ("dynamodb", "scan", TABLE)),
    # Only the databases sign certificates and know each other's passwords.
    ("app-server-1", ("ssm", "get_parameter", {"Name": f"{PARAMETERS}/certificate-authority"})),
    ("app-server-1", ("ssm", "get_parameter", {"Name": f"{PARAMETERS}/replication-password"})),
    (
        "load-balancer-1",
        ("ssm", "get_parameter", {"Name": f"{PARAMETERS}/application-password"}),
    ),
    # Nobody but the application servers signs their certificates, nobody but the load balancers has
    # the key of the one that clients see, and without ACME nobody writes it.
    ("load-balancer-1", ("ssm", "get_parameter", {"Name": f"{APP_SERVERS}/certificate-authority"})),
    ("database-1", ("ssm", "get_parameter", {"Name": f"{APP_SERVERS}/certificate-authority"})),
    ("app-server-1", ("ssm", "get_parameter", {"Name": EDGE})),
    (
        "load-balancer-1",
        ("ssm", "put_parameter", {"Name": EDGE, "Value": "x", "Type": "SecureString"}),
    ),
    ("database-1", ("ssm", "delete_parameter", {"Name": f"{PARAMETERS}/monitor-password"})),
    # Whom a machine lets in is its own business, and not for it to say.
    ("app-server-1", ("ssm", "get_parameters_by_path", {"Path": "/site/lab/machines/database"})),
    (
        "app-server-1",
        ("ssm", "put_parameter", {"Name": "/site/lab/machines/app-server/arrows/x", "Value": "x"}),
    ),
    ("app-server-1", ("s3", "list_buckets", {})),
    ("load-balancer-1", ("ec2", "describe_instances", {})),
    (
        "load-balancer-1",
        ("ec2", "terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
    ),
    ("load-balancer-1", ("iam", "list_roles", {})),
    # Of addresses: to claim them, never to let go of one or to have more.
    ("load-balancer-1", ("ec2", "disassociate_address", {"PublicIp": "127.0.0.1"})),
    ("load-balancer-1", ("ec2", "allocate_address", {"Domain": "vpc"})),
    ("app-server-1", ("ec2", "describe_addresses", {})),
]


@pytest.mark.parametrize(("name", "call"), FORBIDDEN, ids=named)
def test_what_a_role_is_not_for_it_may_not_do(site: Site, name: str, call: Call) -> None:
    assert attempt(site, name, *call) in (
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
    )
