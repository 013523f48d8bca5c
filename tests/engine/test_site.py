"""The site's own program by real Pulumi, for every stack file; the machines' part is played."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.rotate import Rotation
from tests.engine.conftest import Cloud
from tests.engine.harness import Outcome, Workspace, copy_project
from tests.engine.machines import Machines

STACKS = ("lab", "dev", "prod")
MACHINES = {"lab": 5, "dev": 5, "prod": 10}
APP_SERVERS = ("app-server-1", "app-server-2")
DATABASES = ("database-1", "database-2")
LAB = (*APP_SERVERS, *DATABASES, "load-balancer-1")


ONLY_LAB = pytest.mark.parametrize("site", ["lab"], indirect=True)
ONLY_PROD = pytest.mark.parametrize("site", ["prod"], indirect=True)


@dataclass(frozen=True)
class Site:
    """A deployed stack, and what each step of deploying it did."""

    stack: str
    workspace: Workspace
    cloud: Cloud
    machines: Machines
    preview: Outcome
    nothing_made: bool
    up: Outcome

    def instances(self) -> list[str]:
        """Names of the running instances."""
        filters = [{"Name": "instance-state-name", "Values": ["running"]}]
        reservations = self.cloud.client("ec2").describe_instances(Filters=filters)["Reservations"]
        found = [instance for item in reservations for instance in item["Instances"]]
        tags = [{tag["Key"]: tag["Value"] for tag in instance["Tags"]} for instance in found]
        return sorted(tag["Name"].removeprefix(f"site-{self.stack}-") for tag in tags)


@pytest.fixture(scope="module", params=STACKS)
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pulumi_home: Path,
    whole_cloud: Cloud,
) -> Iterator[Site]:
    """The program deployed as a stack file says. The lab's first `up` is killed on its way."""
    stack: str = request.param
    cloud = whole_cloud
    cloud.reset()
    folder = tmp_path_factory.mktemp(stack) / "site"
    copy_project(folder)
    workspace = Workspace(folder, pulumi_home, cloud.endpoint, name="site")
    workspace.init(stack)
    preview = workspace.must(workspace.preview())
    nothing_made = what_is_left(cloud) == []
    machines = Machines(cloud.client("ec2"), cloud.client("dynamodb"))
    if stack == "lab":
        kill_on_the_way(workspace, stack)
    machines.start()
    up = workspace.must(workspace.up())
    yield Site(stack, workspace, cloud, machines, preview, nothing_made, up)
    machines.end()


def kill_on_the_way(workspace: Workspace, stack: str) -> None:
    """Start `up`, and kill the engine when all it still does is wait for machines."""
    engine = workspace.start("up", "--yes", "--skip-preview")
    deadline = time.monotonic() + 120
    waiting_since: float | None = None
    try:
        while waiting_since is None or time.monotonic() - waiting_since < 1:
            assert time.monotonic() < deadline, "up never came to wait for its machines"
            assert engine.poll() is None, "up ended although no machine was ready"
            pending = set(workspace.pending(stack))
            if pending != {"command:local:Command"}:
                waiting_since = None
            elif waiting_since is None:
                waiting_since = time.monotonic()
            time.sleep(0.1)
    finally:
        engine.kill()
        engine.wait()
    workspace.unlock()


def what_is_left(cloud: Cloud) -> list[str]:
    """Everything in the account that a stack could have made."""
    ec2, iam = cloud.client("ec2"), cloud.client("iam")
    kept = {"default"}
    alive = ["pending", "running", "stopping", "stopped"]
    filters = [{"Name": "instance-state-name", "Values": alive}]
    reservations = ec2.describe_instances(Filters=filters)["Reservations"]
    nats = ec2.describe_nat_gateways()["NatGateways"]
    found = {
        "vpc": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]],
        "instance": [i["InstanceId"] for item in reservations for i in item["Instances"]],
        "volume": [volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]],
        "address": [item["PublicIp"] for item in ec2.describe_addresses()["Addresses"]],
        "gateway": [item["NatGatewayId"] for item in nats if item["State"] != "deleted"],
        "endpoint": [
            item["VpcEndpointId"]
            for item in ec2.describe_vpc_endpoints()["VpcEndpoints"]
            if item["State"] != "deleted"
        ],
        "group": [
            group["GroupName"]
            for group in ec2.describe_security_groups()["SecurityGroups"]
            if group["GroupName"] not in kept
        ],
        "role": [role["RoleName"] for role in iam.list_roles()["Roles"]],
        "profile": [
            p["InstanceProfileName"] for p in iam.list_instance_profiles()["InstanceProfiles"]
        ],
        "bucket": [item["Name"] for item in cloud.client("s3").list_buckets()["Buckets"]],
        "table": cloud.client("dynamodb").list_tables()["TableNames"],
        "zone": [
            item["Name"] for item in cloud.client("route53").list_hosted_zones()["HostedZones"]
        ],
        "parameter": [p["Name"] for p in cloud.client("ssm").describe_parameters()["Parameters"]],
    }
    return [f"{kind} {name}" for kind, names in found.items() for name in names]


def test_preview_shows_the_whole_site_and_makes_nothing(site: Site) -> None:
    assert set(site.preview.changes.values()) == {"create"}
    instances = [name for name in site.preview.changes if name.startswith("Instance ")]
    assert len(instances) == MACHINES[site.stack]
    assert site.nothing_made


def test_up_makes_every_machine_once(site: Site) -> None:
    names = site.instances()
    assert len(names) == MACHINES[site.stack]
    assert len(set(names)) == len(names)
    if site.stack != "lab":  # whose first up was killed
        assert site.up.changes == site.preview.changes


@ONLY_LAB
def test_a_killed_up_is_carried_on_by_the_next(site: Site) -> None:
    assert set(site.up.changes.values()) == {"create"}
    assert set(site.up.changes) < set(site.preview.changes)


def test_a_second_up_changes_nothing(site: Site) -> None:
    assert site.workspace.must(site.workspace.up()).changes == {}


def test_refresh_finds_nothing_changed(site: Site) -> None:
    assert site.workspace.must(site.workspace.refresh()).changes == {}


def test_no_secret_is_in_a_file_that_pulumi_keeps(site: Site) -> None:
    ssm = site.cloud.client("ssm")
    names = [item["Name"] for item in ssm.describe_parameters()["Parameters"]]
    secrets = {
        found["Value"]
        for name in names
        if (found := ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"])["Type"]
        == "SecureString"
    }
    assert len(secrets) == 4
    keys = {line for secret in secrets for line in secret.splitlines() if "PRIVATE" not in line}
    kept = [(path.name, path.read_text()) for path in site.workspace.state_files()]
    public = certificate_lines(ssm)
    assert [name for name, text in kept for key in keys - public if key in text] == []


def certificate_lines(ssm: Any) -> set[str]:
    """Lines of the certificate, which is no secret and is in the state in the clear."""
    names = [item["Name"] for item in ssm.describe_parameters()["Parameters"]]
    name = next(name for name in names if name.endswith("authority-certificate"))
    value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    return set(value.splitlines())


def replaced(*machines: str) -> dict[str, str]:
    """What a machine's replacement is, but for its role's record."""
    changes = {f"Instance {name}": "replace" for name in machines}
    changes |= {f"Command {name}-ready": "replace" for name in machines}
    changes |= {f"VolumeAttachment {m}": "replace" for m in machines if m.startswith("database")}
    return changes


def records(*roles: str) -> dict[str, str]:
    return {f"Record {role}": "update" for role in roles}


ALL_RECORDS = records("app-server", "database", "load-balancer")
FOLLOWED = {"Parameter database-settings": "update"}
SETTINGS: dict[str, dict[str, str]] = {
    "appServers.count=3": {
        "Instance app-server-3": "create",
        "Command app-server-3-ready": "create",
        **records("app-server"),
    },
    "appServers.count=1": {
        "Instance app-server-2": "delete",
        "Command app-server-2-ready": "delete",
        **records("app-server"),
    },
    "appServers.instanceType=t3.medium": {**replaced(*APP_SERVERS), **records("app-server")},
    "appServers.environment.GREETING=hello": {**replaced(*APP_SERVERS), **records("app-server")},
    "appServers.workers=2": {**replaced(*APP_SERVERS), **records("app-server")},
    # What the load balancer has to know as well.
    "appServers.healthPath=/": {
        **replaced(*APP_SERVERS, "load-balancer-1"),
        **records("app-server", "load-balancer"),
    },
    "appServers.requestTimeout=20": {
        **replaced(*APP_SERVERS, "load-balancer-1"),
        **records("app-server", "load-balancer"),
    },
    "appServers.memoryMax=256M": {**replaced(*APP_SERVERS), **records("app-server")},
    # HAProxy sends a server no more requests than it has threads for.
    "appServers.threads=8": {
        **replaced(*APP_SERVERS, "load-balancer-1"),
        **records("app-server", "load-balancer"),
    },
    "loadBalancers.distribution=least-connections": {
        **replaced("load-balancer-1"),
        **records("load-balancer"),
    },
    "loadBalancers.instanceType=t3.medium": {
        **replaced("load-balancer-1"),
        **records("load-balancer"),
    },
    "loadBalancers.connections=3000": {**replaced("load-balancer-1"), **records("load-balancer")},
    "loadBalancers.connectTimeout=0.5": {
        **replaced("load-balancer-1"),
        **records("load-balancer"),
    },
    "loadBalancers.clientTimeout=20": {**replaced("load-balancer-1"), **records("load-balancer")},
    "loadBalancers.keepAliveTimeout=20": {
        **replaced("load-balancer-1"),
        **records("load-balancer"),
    },
    "loadBalancers.queueTimeout=4": {**replaced("load-balancer-1"), **records("load-balancer")},
    "database.instanceType=t3.large": {**replaced(*DATABASES), **records("database")},
    "database.volumeSize=3": {f"Volume {name}": "update" for name in DATABASES},
    # What running machines follow.
    "database.replication=asynchronous": FOLLOWED,
    "database.lease=5": FOLLOWED,
    "database.maxReplicaLag=3": FOLLOWED,
    "database.maxFailoverLag=3": FOLLOWED,
    "database.bufferPool=65": FOLLOWED,
    "database.maxConnections=120": FOLLOWED,
    "database.authorities=[1, 2]": {
        "Command certificate-authority-2": "create",
        "Parameter certificate-authority-certificate": "update",
    },
    "database.replicas=2": {
        "Volume database-3": "create",
        "NetworkInterface database-3": "create",
        "Instance database-3": "create",
        "VolumeAttachment database-3": "create",
        "Command database-3-ready": "create",
        **records("database"),
    },
    "database.replicas=0": {
        "Volume database-2": "delete",
        "NetworkInterface database-2": "delete",
        "Instance database-2": "delete",
        "VolumeAttachment database-2": "delete",
        "Command database-2-ready": "delete",
        **records("database"),
    },
    "machines.image=site-other-*": {
        "Stash image": "replace",
        **replaced(*LAB),
        **ALL_RECORDS,
    },
    "machines.rootVolumeSize=12": {f"Instance {name}": "update" for name in LAB},
    "machines.readyWithin=130": {f"Command {name}-ready": "update" for name in LAB},
    "machines.drainWithin=41": {f"Command {name}-ready": "update" for name in LAB},
    "network.nat=none": {  # and AWS by endpoints instead
        "Eip nat-1": "delete",
        "NatGateway nat-1": "delete",
        "Route private-1-internet": "delete",
        "Route private-2-internet": "delete",
        "SecurityGroup endpoints": "create",
        "VpcEndpoint ssm": "create",
        "VpcEndpoint ssmmessages": "create",
        **{
            f"SecurityGroupEgressRule {role}-to-packages-80": "delete"
            for role in ("app-server", "database")
        },
        **{
            f"SecurityGroupEgressRule {role}-to-endpoints-443": "create"
            for role in ("app-server", "database", "load-balancer")
        },
        **{
            f"SecurityGroupIngressRule endpoints-from-{role}-443": "create"
            for role in ("app-server", "database", "load-balancer")
        },
    },
    "deletionProtection=true": {
        "Table coordination": "update",
        "Vault backups": "update",
        **{f"Instance {name}": "update" for name in LAB},
    },
}


def preview_with(site: Site, setting: str) -> Outcome:
    """The preview of one setting's change, in a stack file of its own."""
    key, _, value = setting.partition("=")
    other = site.workspace.folder / f"Pulumi.{key}-{list(SETTINGS).index(setting)}.yaml"
    shutil.copy(site.workspace.folder / "Pulumi.lab.yaml", other)
    where = ["--config-file", str(other)]
    done = site.workspace.pulumi("config", "set", *where, "--path", f"site:{key}", "--", value)
    assert done.returncode == 0, done.stderr
    return site.workspace.preview(*where)


@pytest.fixture(scope="module")
def previews(site: Site) -> dict[str, Outcome]:
    """Every setting's preview; two at a time, since each waits as much as it works."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(partial(preview_with, site), SETTINGS)
        return dict(zip(SETTINGS, found, strict=True))


@ONLY_LAB
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_changes_exactly_this(
    site: Site, previews: dict[str, Outcome], setting: str
) -> None:
    assert site.workspace.must(previews[setting]).changes == SETTINGS[setting]


@ONLY_LAB
def test_a_machine_terminated_behind_pulumis_back_is_found_and_made_anew(site: Site) -> None:
    ec2 = site.cloud.client("ec2")
    machine = site.workspace.outputs()["machines"]["app-server-2"]
    ec2.terminate_instances(InstanceIds=[machine])
    assert site.workspace.must(site.workspace.refresh()).changes == {
        "Instance app-server-2": "delete"
    }
    repaired = site.workspace.must(site.workspace.up())
    # moto gives the address of the old machine again, EC2 hardly would.
    assert {**repaired.changes} | records("app-server") == {
        "Instance app-server-2": "create",
        "Command app-server-2-ready": "replace",
        **records("app-server"),
    }
    assert len(site.instances()) == MACHINES["lab"]
    assert site.workspace.must(site.workspace.refresh()).changes == {}


class Nobody:
    """No machine that would have to know."""

    def machines(self, _: str) -> list[Any]:
        return []


def rotation(site: Site, outcomes: list[Outcome]) -> Rotation:
    """Exchanging secrets of this stack; what each `up` did is added to `outcomes`."""

    def pulumi(*arguments: str) -> str:
        done = site.workspace.pulumi(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(arguments: list[str]) -> int:
        assert arguments[:3] == ["up", "--yes", "--skip-preview"]
        outcomes.append(site.workspace.up(*arguments[3:]))
        return outcomes[-1].exit_code

    def sleep(_: float) -> None:
        """Nobody is waited for."""

    coordination: Any = Nobody()
    return Rotation(site.stack, coordination, lambda _: None, pulumi, up, sleep=sleep)


IN_TWO_STACKS = pytest.mark.parametrize("site", ["lab", "prod"], indirect=True)


@IN_TWO_STACKS
def test_a_password_is_exchanged_and_nothing_else(site: Site) -> None:
    def value() -> str:
        name = f"/site/{site.stack}/database/application-password"
        ssm = site.cloud.client("ssm")
        return ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]

    before, outcomes = value(), list[Outcome]()
    rotation(site, outcomes).password("application")
    assert outcomes[0].changes == {
        "Command application-password": "replace",
        "Parameter application-password": "update",
    }
    assert value() != before
    assert site.workspace.must(site.workspace.preview()).changes == {}


@IN_TWO_STACKS
def test_the_authority_is_exchanged_step_by_step_and_nothing_else(site: Site) -> None:
    outcomes: list[Outcome] = []
    rotation(site, outcomes).authority()
    trusted = {"Parameter certificate-authority-certificate": "update"}
    assert [outcome.changes for outcome in outcomes] == [
        {"Command certificate-authority-2": "create", **trusted},
        {"Parameter certificate-authority": "update", **trusted},
        trusted,
    ]
    former = {"Command certificate-authority": "delete"}
    assert site.workspace.must(site.workspace.up()).changes == former


@ONLY_PROD
def test_destroy_is_refused_where_deletion_is_protected_against(site: Site) -> None:
    before = site.instances()
    refused = site.workspace.destroy(preview=True)
    assert refused.exit_code != 0
    assert "protected" in refused.output
    assert site.instances() == before
    site.workspace.set("site:deletionProtection", "false")
    lifted = site.workspace.must(site.workspace.up())
    assert set(lifted.changes.values()) == {"update"}
    # These machines are played, and could take no final backup.
    site.workspace.set("site:backups.finalBackup", value=False, path=True)
    without = site.workspace.must(site.workspace.up())
    assert without.changes["Command final-backup"] == "update"


def test_destroy_drains_every_machine_and_leaves_nothing(site: Site) -> None:
    machines = set(site.workspace.outputs()["machines"].values())
    site.workspace.must(site.workspace.destroy())
    assert what_is_left(site.cloud) == []
    assert machines <= site.machines.drained
