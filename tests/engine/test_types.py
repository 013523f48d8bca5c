"""Every type of the table through its whole life, by one program with all of them."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from lab.engine.aws.cloud import Cloud as ProviderCloud
from lab.engine.aws.table import resource_types
from tests.engine.conftest import Cloud
from tests.engine.harness import Workspace

PROGRAM = Path(__file__).with_name("everything.py")

UPDATED = {
    "Vpc net",
    "Subnet near",
    "InternetGateway internet",
    "Route out",
    "RouteTableAssociation near",
    "NetworkAcl guests",
    "VpcEndpoint s3",
    "SecurityGroup web",
    "SecurityGroupIngressRule in",
    "SecurityGroupEgressRule out",
    "Role role",
    "RolePolicy may",
    "InstanceProfile profile",
    "Instance machine",
    "NetworkInterface standing",
    "Volume data",
    "Bucket bucket",
    "BucketPublicAccessBlock bucket",
    "BucketServerSideEncryptionConfiguration bucket",
    "BucketVersioning bucket",
    "BucketLifecycleConfiguration bucket",
    "Vault vault",
    "Plan plan",
    "LogGroup logs",
    "Topic topic",
    "TopicSubscription people",
    "MetricAlarm alarm",
    "Dashboard board",
    "BucketOwnershipControls bucket",
    "BucketPolicy bucket",
    "BucketObjectv2 archive",
    "Parameter word",
    "Table table",
    "Zone zone",
    "Record name",
    "Record public-1",
    "Record public-2",
    "HealthCheck check",
    "Command command",
}
REPLACED = {
    "Subnet far",
    "Route out",
    "SecurityGroup second",
    "VpcEndpoint ssm",
    "SecurityGroupIngressRule in",
    "Role other",
    "RolePolicyAttachment session",
    "Instance machine",
    "Instance standing",
    "Volume data",
    "VolumeAttachment data",
    "BucketObjectv2 file",
    "Parameter word",
    "Table table",
    "Record name",
    "HealthCheck check",
    "Plan plan",
    "Selection selection",
    "LogGroup logs",
    "Topic topic",
    "TopicSubscription people",
    "MetricAlarm alarm",
    "Dashboard board",
    "Command command",
}


@pytest.fixture(scope="module")
def everything(
    tmp_path_factory: pytest.TempPathFactory, pulumi_home: Path, whole_cloud: Cloud
) -> Workspace:
    """The program, deployed. The tests of this module take it further, in their order."""
    whole_cloud.reset()
    space = Workspace(tmp_path_factory.mktemp("all") / "p", pulumi_home, whole_cloud.endpoint)
    shutil.copy(PROGRAM, space.folder / "__main__.py")
    space.write("file.txt", "one")
    space.init()
    made = space.must(space.up())
    assert {name.split()[0] for name in made.changes} >= {
        token.rsplit(":", 1)[-1] for token in resource_types(ProviderCloud())
    }
    return space


def settled(space: Workspace) -> None:
    """Neither the program nor reality differs from the state."""
    refreshed = space.must(space.refresh())
    assert refreshed.changes == {}, refreshed.reasons
    again = space.must(space.up())
    assert again.changes == {}, again.reasons


def test_what_is_made_is_as_it_was_asked_for(everything: Workspace) -> None:
    settled(everything)
    assert everything.outputs()["said"] == "made one\ngiven"


def test_new_content_of_a_file_is_uploaded(everything: Workspace, whole_cloud: Cloud) -> None:
    everything.write("file.txt", "other")
    assert everything.must(everything.up()).changes == {"BucketObjectv2 file": "update"}
    s3, bucket = whole_cloud.client("s3"), everything.outputs()["bucket"]
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"other"
    packed = s3.get_object(Bucket=bucket, Key="a.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile("x")
        assert member is not None
        assert member.read() == b"one"


def test_what_can_be_updated_is_updated(everything: Workspace) -> None:
    everything.set("variant", "update")
    preview = everything.must(everything.preview())
    assert preview.changes == dict.fromkeys(UPDATED, "update")
    assert everything.must(everything.up()).changes == preview.changes
    settled(everything)
    assert everything.outputs()["said"] == "updated two after made one\ngiven"


def test_what_cannot_be_updated_is_replaced(everything: Workspace) -> None:
    everything.set("variant", "none")
    everything.must(everything.up())
    everything.set("variant", "replace")
    address = everything.outputs()["address"]
    replaced = everything.must(everything.up())
    assert replaced.only("replace") == REPLACED
    assert everything.outputs()["address"] == address
    assert (everything.folder / "deleted").read_text().startswith("updated one after updated two")
    settled(everything)


def test_all_of_it_can_be_destroyed(everything: Workspace, whole_cloud: Cloud) -> None:
    everything.must(everything.destroy())
    ec2 = whole_cloud.client("ec2")
    assert [vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]] == []
    assert ec2.describe_volumes()["Volumes"] == []
    assert whole_cloud.client("s3").list_buckets()["Buckets"] == []
    assert whole_cloud.client("route53").list_hosted_zones()["HostedZones"] == []
