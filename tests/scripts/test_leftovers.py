"""What a stack leaves in an account, against an AWS of this process's own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from scripts import leftovers
from scripts.leftovers import kind_and_id

REGION = "eu-central-1"
TOLD = ["--stack", "gone", "--region", REGION]
Said = pytest.CaptureFixture[str]


def client(service: str) -> Any:
    return cast("Any", boto3).client(service, region_name=REGION)


def tags(name: str, stack: str = "gone", project: str = "site") -> list[dict[str, str]]:
    pairs = {"Project": project, "Stack": stack, "Name": f"{project}-{stack}-{name}"}
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def tagged(kind: str, name: str, **whose: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(name, **whose)}]


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account that is empty, but for what every new one has."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield


def found(capsys: Said) -> dict[str, str]:
    """How each thing that is left is billed, by its kind and name."""
    status = leftovers.main([*TOLD, "--json"])
    left = json.loads(capsys.readouterr().out)["left"]
    assert status == (1 if left else 0)
    return {f"{one['kind']} {one['name']}": one["cost"] for one in left}


def volume(name: str, **whose: str) -> str:
    return client("ec2").create_volume(
        AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=tagged("volume", name, **whose)
    )["VolumeId"]


def test_of_an_empty_account_nothing_is_left(capsys: Said) -> None:
    assert leftovers.main(TOLD) == 0
    assert capsys.readouterr().out == "nothing is left of gone in eu-central-1\n"
    assert found(capsys) == {}


def test_what_is_left_is_listed_with_the_most_urgent_first(capsys: Said) -> None:
    volume_id = volume("database-1")
    client("ssm").put_parameter(Name="/site/gone/a", Value="x", Type="String", Tags=tags("a"))
    address = client("ec2").allocate_address(
        Domain="vpc", TagSpecifications=tagged("elastic-ip", "load-balancer-1")
    )["AllocationId"]
    assert leftovers.main(TOLD) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["BILLED", "KIND", "NAME", "ID"],
        ["by", "the", "hour", "ec2:elastic-ip", "site-gone-load-balancer-1", address],
        ["by", "storage", "ec2:volume", "site-gone-database-1", volume_id],
        ["free", "ssm:parameter", "site-gone-a", "/site/gone/a"],
    ]


def test_what_is_another_stacks_or_projects_is_not_listed(capsys: Said) -> None:
    volume("mine", stack="dev")
    volume("theirs", project="other")
    client("ec2").create_volume(AvailabilityZone=f"{REGION}a", Size=1)
    assert found(capsys) == {}


def test_the_network_is_found_by_what_it_costs(capsys: Said) -> None:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc", "vpc"))
    vpc_id = vpc["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(
        VpcId=vpc_id, CidrBlock="10.0.1.0/24", TagSpecifications=tagged("subnet", "public-1")
    )["Subnet"]["SubnetId"]
    ec2.create_nat_gateway(SubnetId=subnet, TagSpecifications=tagged("natgateway", "nat-1"))
    for service, kind in (("s3", "Gateway"), ("ssm", "Interface")):
        ec2.create_vpc_endpoint(
            VpcId=vpc_id,
            ServiceName=f"com.amazonaws.{REGION}.{service}",
            VpcEndpointType=kind,
            TagSpecifications=tagged("vpc-endpoint", service),
        )
    assert found(capsys) == {
        "ec2:natgateway site-gone-nat-1": "by the hour",
        "ec2:vpc-endpoint site-gone-ssm": "by the hour",
        "ec2:vpc-endpoint site-gone-s3": "free",
        "ec2:subnet site-gone-public-1": "free",
        "ec2:vpc site-gone-vpc": "free",
    }


def test_a_machine_that_was_ended_is_not_left_and_one_that_stands_still_is_its_disks(
    capsys: Said,
) -> None:
    ec2 = client("ec2")
    ids: dict[str, str] = {}
    for name in ("running", "stopped", "ended"):
        made = ec2.run_instances(
            ImageId="ami-12c6146b",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=tagged("instance", name),
        )
        ids[name] = made["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[ids["stopped"]])
    ec2.terminate_instances(InstanceIds=[ids["ended"]])
    assert found(capsys) == {
        "ec2:instance site-gone-running": "by the hour",
        "ec2:instance site-gone-stopped": "by storage",
    }


def test_what_the_tagging_api_does_not_know_is_found_too(capsys: Said) -> None:
    iam, route53 = client("iam"), client("route53")
    for whose in ("gone", "gone-too"):
        iam.create_role(
            RoleName=f"site-{whose}-database",
            AssumeRolePolicyDocument="{}",
            Tags=tags("database", stack=whose),
        )
    iam.create_instance_profile(InstanceProfileName="site-gone-database", Tags=tags("database"))
    zone = route53.create_hosted_zone(Name="gone.site.internal", CallerReference="1")
    check = route53.create_health_check(
        CallerReference="2",
        HealthCheckConfig={"Type": "HTTP", "IPAddress": "203.0.113.1", "Port": 80},
    )
    for kind, id_ in (
        ("hostedzone", zone["HostedZone"]["Id"].rpartition("/")[2]),
        ("healthcheck", check["HealthCheck"]["Id"]),
    ):
        route53.change_tags_for_resource(ResourceType=kind, ResourceId=id_, AddTags=tags("names"))
    assert found(capsys) == {
        "route53:healthcheck site-gone-names": "by the month",
        "route53:hostedzone site-gone-names": "by the month",
        "iam:instance-profile site-gone-database": "free",
        "iam:role site-gone-database": "free",
    }


def test_buckets_tables_and_vaults_are_billed_by_what_is_in_them(capsys: Said) -> None:
    s3 = client("s3")
    s3.create_bucket(
        Bucket="site-gone-backups", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    s3.put_bucket_tagging(Bucket="site-gone-backups", Tagging={"TagSet": tags("backups")})
    client("dynamodb").create_table(
        TableName="site-gone-coordination",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=tags("coordination"),
    )
    client("backup").create_backup_vault(
        BackupVaultName="site-gone-vault",
        BackupVaultTags={tag["Key"]: tag["Value"] for tag in tags("backups")},
    )
    assert found(capsys) == {
        "backup:backup-vault site-gone-backups": "by storage",
        "dynamodb:table site-gone-coordination": "by storage",
        "s3:bucket site-gone-backups": "by storage",
    }


class Ghosts:
    """The tagging API, which goes on about what is gone; everything else as it is."""

    def __init__(self, *arns: str) -> None:
        self.arns = arns

    def connect(self, service: str) -> Any:
        return self if service == "resourcegroupstaggingapi" else client(service)

    def can_paginate(self, call: str) -> bool:
        assert call == "get_resources"
        return False

    def get_resources(self, TagFilters: Any) -> dict[str, Any]:  # noqa: N803
        assert [one["Key"] for one in TagFilters] == ["Project", "Stack"]
        return {
            "ResourceTagMappingList": [
                {"ResourceARN": arn, "Tags": tags("ghost")} for arn in self.arns
            ]
        }


def test_what_the_tagging_api_has_not_forgotten_yet_is_not_left() -> None:
    wanted = {"Project": "site", "Stack": "gone"}
    here = f"arn:aws:%s:{REGION}:1:"
    ghosts = Ghosts(
        here % "ec2" + "volume/vol-1",
        here % "ec2" + "security-group-rule/sgr-1",
        here % "dynamodb" + "table/site-gone-coordination",
        here % "backup" + "backup-vault:site-gone-vault",
        "arn:aws:s3:::site-gone-backups",
        "arn:aws:route53:::hostedzone/Z1",
    )
    assert leftovers.left(ghosts.connect, wanted) == []


def test_a_kind_that_nobody_thought_of_is_shown_as_such() -> None:
    ghosts = Ghosts(f"arn:aws:ec2:{REGION}:1:fleet/f-1", f"arn:aws:sqs:{REGION}:1:queue")
    left = leftovers.left(ghosts.connect, {"Project": "site", "Stack": "gone"})
    assert [one.cost for one in left] == ["unknown: look"] * 2


@pytest.mark.parametrize(
    ("resource", "kind", "id_"),
    [
        ("arn:aws:ec2:r:1:volume/vol-1", "ec2:volume", "vol-1"),
        ("arn:aws:ssm:r:1:parameter/site/gone/a", "ssm:parameter", "/site/gone/a"),
        ("arn:aws:ssm:r:1:parameter/plain", "ssm:parameter", "plain"),
        ("arn:aws:backup:r:1:backup-vault:one", "backup:backup-vault", "one"),
        ("arn:aws:logs:r:1:log-group:/site/gone", "logs:log-group", "/site/gone"),
        ("arn:aws:sns:r:1:alarms", "sns", "alarms"),
        ("arn:aws:s3:::site-gone-backups", "s3:bucket", "site-gone-backups"),
    ],
)
def test_a_resource_is_known_by_its_arn(resource: str, kind: str, id_: str) -> None:
    assert kind_and_id(resource) == (kind, id_)


def test_an_account_that_cannot_be_asked_is_no_empty_one(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise leftovers.DeployedError("no credentials")

    monkeypatch.setattr(leftovers, "left", refused)
    assert leftovers.main(TOLD) == 2
    assert capsys.readouterr().err == "no credentials\n"


def test_without_a_region_it_is_said_where_one_could_be(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert leftovers.main(["--stack", "gone"]) == 2
    assert "no Pulumi.gone.yaml that names the stack's region: give --region" in (
        capsys.readouterr().err
    )


def test_the_help_says_what_the_exit_status_means() -> None:
    command = [sys.executable, "-m", "scripts.leftovers", "--help"]
    said = subprocess.run(
        command, cwd=leftovers.PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert "Exit status: 0 nothing is left; 1 something is; 2" in said
