"""Policy documents: what the machines of a role may do in AWS. Pure functions of names and ARNs.

`*` stands only where the service authorization reference gives an action no resource to name.
"""

import json
from collections.abc import Iterable, Sequence

from components.site import Site

Statement = dict[str, object]


def document(statements: Iterable[Statement]) -> str:
    """A policy in IAM's JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def trust_ec2() -> Statement:
    """EC2 may hand this role to an instance."""
    return {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "ec2.amazonaws.com"},
    }


def encrypted_transport_only(bucket: str) -> Statement:
    """Nobody reads or writes a bucket over plain HTTP."""
    return {
        "Sid": "EncryptedTransportOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket, f"{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def session_manager(site: Site) -> list[Statement]:
    """What Session Manager's agent needs, and no more.

    AWS's AmazonSSMManagedInstanceCore also allows reading every parameter of the account: with it
    an application server could fetch the key of the database's certificate authority.
    """
    return [
        {
            "Sid": "SessionManager",
            "Effect": "Allow",
            "Action": "ssm:UpdateInstanceInformation",
            "Resource": site.arn("ec2", "instance/*"),
        },
        {
            "Sid": "SessionManagerChannels",
            "Effect": "Allow",
            "Action": [
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ],
            "Resource": "*",
        },
    ]


def read_programs(bucket: str, keys: Iterable[str]) -> Statement:
    """Reading exactly these objects."""
    return {
        "Sid": "Programs",
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": [f"{bucket}/{key}" for key in keys],
    }


def coordinate(site: Site, table: str, keys: Sequence[str]) -> Statement:
    """Items of the coordination table whose keys match.

    IAM knows which instance asks (`ec2:SourceInstanceARN`, `aws:userid`) but cannot cut the id out
    of either, so a machine is held to its role's kinds of items rather than to its own item.
    """
    return {
        "Sid": "Coordination",
        "Effect": "Allow",
        "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
        "Resource": site.arn("dynamodb", f"table/{table}"),
        "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(keys)}},
    }


def see_all_machines(site: Site, table: str) -> Statement:
    """Reading the whole coordination table, to find the machines of one's own role."""
    return {
        "Sid": "Peers",
        "Effect": "Allow",
        "Action": "dynamodb:Scan",
        "Resource": site.arn("dynamodb", f"table/{table}"),
    }


def read_parameters(site: Site, names: Iterable[str]) -> Statement:
    """Reading exactly these parameters. Their key, aws/ssm, is open to who may read them."""
    return {
        "Sid": "Parameters",
        "Effect": "Allow",
        "Action": ["ssm:GetParameter", "ssm:GetParameters"],
        "Resource": [site.arn("ssm", f"parameter{name}") for name in names],
    }


def write_parameter(site: Site, name: str) -> Statement:
    """Writing exactly this parameter, which exists."""
    return {
        "Sid": "WriteParameter",
        "Effect": "Allow",
        "Action": "ssm:PutParameter",
        "Resource": site.arn("ssm", f"parameter{name}"),
    }


def follow_parameters(site: Site, path: str) -> Statement:
    """Reading all parameters below a path: to IAM, the call is about the path itself."""
    return {
        "Sid": "Followed",
        "Effect": "Allow",
        "Action": "ssm:GetParametersByPath",
        "Resource": site.arn("ssm", f"parameter{path}"),
    }


def ship_logs(site: Site) -> Statement:
    """Writing to the stack's log group: any stream, as nothing tells IAM which is a machine's."""
    return {
        "Sid": "Logs",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": site.arn("logs", f"log-group:{site.log_group}:log-stream:*"),
    }


def publish_alerts(site: Site, topic: str, namespace: str) -> list[Statement]:
    """Publishing to one topic, and a sign of life to CloudWatch."""
    return [
        {
            "Sid": "PublishAlerts",
            "Effect": "Allow",
            "Action": "sns:Publish",
            "Resource": site.arn("sns", topic),
        },
        {
            "Sid": "SignOfLife",
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}},
        },
    ]


def claim_addresses(
    site: Site, role: str, allocations: Sequence[str], subnets: Sequence[str]
) -> list[Statement]:
    """Associating these Elastic IPs, and only with machines of this role in these subnets."""
    placed = {
        "ArnEquals": {"ec2:Subnet": [site.arn("ec2", f"subnet/{subnet}") for subnet in subnets]}
    }
    return [
        {
            "Sid": "ClaimAddresses",
            "Effect": "Allow",
            "Action": "ec2:AssociateAddress",
            "Resource": [site.arn("ec2", f"elastic-ip/{allocation}") for allocation in allocations],
        },
        {
            "Sid": "ClaimForMachines",
            "Effect": "Allow",
            "Action": "ec2:AssociateAddress",
            "Resource": site.arn("ec2", "instance/*"),
            "Condition": {
                "StringEquals": {
                    "aws:ResourceTag/Project": site.project,
                    "aws:ResourceTag/Stack": site.stack,
                    "aws:ResourceTag/Role": role,
                }
            },
        },
        {
            "Sid": "ClaimForInterfaces",
            "Effect": "Allow",
            "Action": "ec2:AssociateAddress",
            "Resource": site.arn("ec2", "network-interface/*"),
            "Condition": placed,
        },
        {
            # A private one for each public one: the machine's first stays its own.
            "Sid": "PrivateAddresses",
            "Effect": "Allow",
            "Action": "ec2:AssignPrivateIpAddresses",
            "Resource": site.arn("ec2", "network-interface/*"),
            "Condition": placed,
        },
        {
            "Sid": "SeeAddresses",
            "Effect": "Allow",
            "Action": "ec2:DescribeAddresses",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": site.region}},
        },
    ]
