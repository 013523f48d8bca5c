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

from scripts import bill, leftovers
from scripts.leftovers import Cost, Left
from scripts.rotate import Rotation
from tests.engine.conftest import Cloud
from tests.engine.harness import POLICIES, Outcome, Workspace, copy_project
from tests.engine.machines import Machines

STACKS = ("lab", "dev", "prod")
MACHINES = {"lab": 7, "dev": 5, "prod": 12}
APP_SERVERS = ("app-server-1", "app-server-2")
DATABASES = ("database-1", "database-2")
BALANCERS = ("load-balancer-1", "load-balancer-2")
MONITORING = "monitoring-1"
LAB = (*APP_SERVERS, *DATABASES, *BALANCERS, MONITORING)
ROLES = ("app-server", "database", "load-balancer", "monitoring")


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
    preview = workspace.must(workspace.preview("--policy-pack", str(POLICIES)))
    nothing_made = what_is_left(cloud) == []
    machines = Machines(cloud.client("ec2"), cloud.client("dynamodb"))
    if stack == "lab":
        kill_on_the_way(workspace, stack)
    machines.start()
    up = workspace.must(workspace.up("--policy-pack", str(POLICIES)))
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
        "parameter": parameters(cloud.client("ssm")),
        "log group": [
            item["logGroupName"] for item in cloud.client("logs").describe_log_groups()["logGroups"]
        ],
        "topic": [item["TopicArn"] for item in cloud.client("sns").list_topics()["Topics"]],
        "alarm": [
            item["AlarmName"]
            for item in cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
        ],
    }
    return [f"{kind} {name}" for kind, names in found.items() for name in names]


def test_the_site_keeps_the_rules(site: Site) -> None:
    for outcome in (site.preview, site.up):
        assert "site@v1.0.0" in outcome.output, "the policy pack was not asked"
        assert "[mandatory]" not in outcome.output


def test_what_a_stack_is_billed_for_is_counted_from_its_state(site: Site) -> None:
    found = bill.read(site.workspace.checkpoint())
    machines = {item.type: n for item, n in found.items.items() if item.kind == bill.INSTANCE}
    assert sum(machines.values()) == MACHINES[site.stack]
    public = found.items[bill.Item(bill.Unit.HOUR, bill.ADDRESS)]
    balancers = len([name for name in site.instances() if name.startswith("load-balancer")])
    nats = found.items[bill.Item(bill.Unit.HOUR, bill.NAT)]
    assert public == balancers + nats + len(site.workspace.outputs()["addresses"])
    assert (found.stack, found.region) == (site.stack, "eu-central-1")


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


def test_the_load_balancers_addresses_belong_to_no_machine_yet(site: Site) -> None:
    """Whose they are is the machines' own affair; nobody plays that part here."""
    filters = [{"Name": "tag:Role", "Values": ["load-balancer"]}]
    found = site.cloud.client("ec2").describe_addresses(Filters=filters)["Addresses"]
    assert len(found) == (1 if site.stack == "dev" else 2)
    assert {one["PublicIp"] for one in found} == set(site.workspace.outputs()["addresses"])
    assert not [one for one in found if one.get("InstanceId") or one.get("AssociationId")]


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
    names = parameters(ssm)
    secrets = {
        found["Value"]
        for name in names
        if (found := ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"])["Type"]
        == "SecureString"
    }
    assert len(secrets) == 6
    # A certificate is no secret, and is in the state in the clear.
    keys = {line for secret in secrets for line in secret.partition(CERTIFICATE)[0].splitlines()}
    keys = {line for line in keys if "PRIVATE" not in line}
    kept = [(path.name, path.read_text()) for path in site.workspace.state_files()]
    assert [name for name, text in kept for key in keys if key in text] == []


def parameters(ssm: Any) -> list[str]:
    """The names of all there are."""
    pages = ssm.get_paginator("describe_parameters").paginate()
    return [item["Name"] for page in pages for item in page["Parameters"]]


BOARD = {"Dashboard site": "update"}


def replaced(*machines: str) -> dict[str, str]:
    """What a machine's replacement is, but for its role's record."""
    changes = {f"Instance {name}": "replace" for name in machines}
    changes |= {f"Command {name}-ready": "replace" for name in machines}
    changes |= {f"VolumeAttachment {m}": "replace" for m in machines if m.startswith("database")}
    return changes | {f"MetricAlarm {m}-status": "update" for m in machines} | BOARD


def made(*machines: str, how: str = "create") -> dict[str, str]:
    """What a machine that was not there is, or one that is there no more."""
    changes = {f"Instance {name}": how for name in machines}
    changes |= {f"Command {name}-ready": how for name in machines}
    return changes | {f"MetricAlarm {m}-status": how for m in machines} | BOARD


def records(*roles: str) -> dict[str, str]:
    return {f"Record {role}": "update" for role in roles}


CERTIFICATE = "-----BEGIN CERTIFICATE-----"
ALL_RECORDS = records(*ROLES)
FOLLOWED = {"Parameter database-settings": "update"}
# The self-signed one is for the addresses.
ANOTHER_CERTIFICATE = {
    "Command edge-self-signed-certificate": "replace",
    "Parameter edge-certificate": "update",
}
ASKED = [
    *(("app-server", 9100), ("app-server", 8405), ("load-balancer", 9100)),
    *(("load-balancer", 8404), ("database", 9100), ("database", 9104)),
]
TO = ["aws-443", "packages-80", *(f"{role}-{port}" for role, port in ASKED)]
FROM_MONITORING = [f"{role}-from-monitoring-{port}" for role, port in ASKED]
WITHOUT_MONITORING = dict.fromkeys(
    [
        *(f"{kind} monitoring" for kind in ("InstanceProfile", "Role", "RolePolicy", "Record")),
        *(
            f"{kind} monitoring-to-{to}"
            for kind in ("SecurityGroupEgressRule", "Parameter")
            for to in TO
        ),
        *(
            f"{kind} {name}"
            for kind in ("SecurityGroupIngressRule", "Parameter")
            for name in FROM_MONITORING
        ),
        *(f"MetricAlarm {name}-status" for name in LAB),
        *("SecurityGroup monitoring", "Instance monitoring-1", "Command monitoring-1-ready"),
        *("BucketObjectv2 monitoring-programs", "Parameter monitoring-maintenance", "Topic alerts"),
        *("MetricAlarm monitoring-sign-of-life", "Dashboard site"),
    ],
    "delete",
)
SETTINGS: dict[str, dict[str, str]] = {
    "appServers.count=3": {
        **made("app-server-3"),
        **records("app-server"),
    },
    "appServers.count=1": {
        **made("app-server-2", how="delete"),
        **records("app-server"),
    },
    "appServers.instanceType=t3.medium": {**replaced(*APP_SERVERS), **records("app-server")},
    "appServers.environment.GREETING=hello": {**replaced(*APP_SERVERS), **records("app-server")},
    "appServers.workers=2": {**replaced(*APP_SERVERS), **records("app-server")},
    # What the load balancer has to know as well.
    "appServers.healthPath=/": {
        **replaced(*APP_SERVERS, *BALANCERS),
        **records("app-server", "load-balancer"),
    },
    "appServers.requestTimeout=20": {
        **replaced(*APP_SERVERS, *BALANCERS),
        **records("app-server", "load-balancer"),
    },
    "appServers.authorities=[1, 2]": {
        "Command app-server-certificate-authority-2": "create",
        "Parameter app-server-certificate-authority-certificate": "update",
    },
    "appServers.memoryMax=256M": {**replaced(*APP_SERVERS), **records("app-server")},
    # HAProxy sends a server no more requests than it has threads for.
    "appServers.threads=8": {
        **replaced(*APP_SERVERS, *BALANCERS),
        **records("app-server", "load-balancer"),
    },
    "loadBalancers.mode=active-passive": {
        "Eip load-balancer-2": "delete",
        **ANOTHER_CERTIFICATE,
        "RolePolicy load-balancer": "update",
        **replaced(*BALANCERS),
        **records("load-balancer"),
    },
    "loadBalancers.mode=single": {
        "Eip load-balancer-2": "delete",
        **ANOTHER_CERTIFICATE,
        "RolePolicy load-balancer": "update",
        **replaced("load-balancer-1"),
        **made("load-balancer-2", how="delete"),
        **records("load-balancer"),
    },
    "loadBalancers.distribution=least-connections": {
        **replaced(*BALANCERS),
        **records("load-balancer"),
    },
    # By ACME: the machines write the parameter from now on, and nobody sets it back.
    "loadBalancers.domain=www.example.org": {
        "Command edge-acme-account": "create",
        "Command edge-self-signed-certificate": "replace",
        "Parameter edge-acme-account": "create",
        "RolePolicy load-balancer": "update",
        **replaced(*BALANCERS),
        **records("load-balancer"),
    },
    "loadBalancers.instanceType=t3.medium": {
        **replaced(*BALANCERS),
        **records("load-balancer"),
    },
    "loadBalancers.connections=3000": {**replaced(*BALANCERS), **records("load-balancer")},
    "loadBalancers.connectTimeout=0.5": {
        **replaced(*BALANCERS),
        **records("load-balancer"),
    },
    "loadBalancers.clientTimeout=20": {**replaced(*BALANCERS), **records("load-balancer")},
    "loadBalancers.keepAliveTimeout=20": {
        **replaced(*BALANCERS),
        **records("load-balancer"),
    },
    "loadBalancers.queueTimeout=4": {**replaced(*BALANCERS), **records("load-balancer")},
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
        **made("database-3"),
        "VolumeAttachment database-3": "create",
        **records("database"),
    },
    "database.replicas=0": {
        "Volume database-2": "delete",
        "NetworkInterface database-2": "delete",
        **made("database-2", how="delete"),
        "VolumeAttachment database-2": "delete",
        **records("database"),
    },
    "machines.image=site-other-*": {
        "Stash image": "replace",
        **replaced(*LAB),
        **ALL_RECORDS,
    },
    # Half of the disk is Prometheus's to fill, and its unit says so.
    "machines.rootVolumeSize=12": {
        **{f"Instance {name}": "update" for name in LAB},
        **replaced(MONITORING),
        **records("monitoring"),
    },
    "machines.readyWithin=130": {f"Command {name}-ready": "update" for name in LAB},
    "machines.drainWithin=41": {f"Command {name}-ready": "update" for name in LAB},
    "network.nat=none": {  # and AWS by endpoints instead
        "Eip nat-1": "delete",
        "NatGateway nat-1": "delete",
        "Route private-1-internet": "delete",
        "Route private-2-internet": "delete",
        "SecurityGroup endpoints": "create",
        **{
            f"VpcEndpoint {service}": "create"
            for service in ("logs", "monitoring", "sns", "ssm", "ssmmessages")
        },
        # Both ends of an arrow are a rule and, for the machines' own firewalls, a parameter.
        **{
            f"{kind} {role}-to-packages-80": "delete"
            for role in ("app-server", "database", "monitoring")
            for kind in ("SecurityGroupEgressRule", "Parameter")
        },
        **{
            f"{kind} {role}-to-endpoints-443": "create"
            for role in ROLES
            for kind in ("SecurityGroupEgressRule", "Parameter")
        },
        **{f"SecurityGroupIngressRule endpoints-from-{role}-443": "create" for role in ROLES},
    },
    'network.blockedNetworks=["203.0.113.0/24"]': {"NetworkAcl public": "update"},
    "machines.maintenanceWindow=Sun 03:00-05:00": {
        f"Parameter {role}-maintenance": "update" for role in ROLES
    },
    "monitoring.enabled=false": WITHOUT_MONITORING,
    "monitoring.instanceType=t3.large": {**replaced(MONITORING), **records("monitoring")},
    "monitoring.retentionDays=30": {**replaced(MONITORING), **records("monitoring")},
    "monitoring.email=a@b.example": {"TopicSubscription alerts": "create"},
    "monitoring.webhook=https://hooks.example/x": {
        "Parameter monitoring-webhook": "create",
        "RolePolicy monitoring": "update",
        **replaced(MONITORING),
        **records("monitoring"),
    },
    "logs.retentionDays=60": {"LogGroup logs": "update"},
    "loadBalancers.tunnelTimeout=9": {**replaced(*BALANCERS), **records("load-balancer")},
    "loadBalancers.hsts=0": {**replaced(*BALANCERS), **records("load-balancer")},
    **{
        f"loadBalancers.limits.{limit}": {**replaced(*BALANCERS), **records("load-balancer")}
        for limit in ("requestsPerSecond=50", "connections=9", "uploads=9", "body=9")
    },
    "appServers.module=wsgi:other": {**replaced(*APP_SERVERS), **records("app-server")},
    **{
        f"backups.{chosen}": {"Parameter backups-settings": "update"}
        for chosen in ("every=12", "shipEvery=9", "verify=false")
    },
    "backups.at=04:00": {"Parameter backups-settings": "update", "Plan backups": "update"},
    "backups.retentionDays=9": {
        "BucketLifecycleConfiguration backups": "update",
        "Plan backups": "update",
    },
    "backups.finalBackup=true": {"Command final-backup": "update", "Bucket backups": "update"},
    "backups.snapshots=false": {
        f"{kind} backups": "delete"
        for kind in ("Vault", "Plan", "Selection", "Role", "RolePolicyAttachment")
    },
    "network.zones=3": {
        "Subnet public-3": "create",
        "Subnet private-3": "create",
        "RouteTable private-3": "create",
        "Route private-3-internet": "create",
        "RouteTableAssociation public-3": "create",
        "RouteTableAssociation private-3": "create",
        "VpcEndpoint dynamodb": "update",
        "VpcEndpoint s3": "update",
        "NetworkAcl public": "update",
        "RolePolicy load-balancer": "update",
    },
    "deletionProtection=true": {
        "Table coordination": "update",
        "Vault backups": "update",
        **{f"Instance {name}": "update" for name in LAB},
    },
}


# For `make soak`: the way back from another one, or what is not likely to become another change.
RARELY = (
    *("appServers.count=1", "database.replicas=0", "database.volumeSize", "appServers.authorities"),
    *("machines.readyWithin", "machines.maintenanceWindow", "network.zones"),
    *("monitoring.instanceType", "monitoring.email", "logs.", "backups."),
)


def preview_with(site: Site, setting: str) -> Outcome:
    """The preview of one setting's change, in a stack file of its own."""
    key, _, value = setting.partition("=")
    other = site.workspace.folder / f"Pulumi.{key}-{list(SETTINGS).index(setting)}.yaml"
    shutil.copy(site.workspace.folder / "Pulumi.lab.yaml", other)
    where = ["--config-file", str(other)]
    done = site.workspace.pulumi("config", "set", *where, "--path", f"site:{key}", "--", value)
    assert done.returncode == 0, done.stderr
    return site.workspace.preview(*where)


def settings() -> Iterator[Any]:
    """Of those that change the same, the first is enough for `make test`."""
    seen: list[dict[str, str]] = []
    for setting, changes in SETTINGS.items():
        later = changes in seen or setting.startswith(RARELY)
        yield pytest.param(setting, marks=[pytest.mark.thorough] if later else [])
        seen.append(changes)


@pytest.fixture(scope="module")
def previews(site: Site, request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """The previews that are asked for, two at a time: each waits as much as it works."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    asked = [call.params["setting"] for call in calls if call and "setting" in call.params]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(asked, pool.map(partial(preview_with, site), asked), strict=True))


@ONLY_LAB
@pytest.mark.parametrize("setting", [*settings()])
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
        "MetricAlarm app-server-2-status": "update",
        **BOARD,
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


IN_TWO_STACKS = pytest.mark.parametrize(
    "site", [pytest.param("lab", marks=pytest.mark.thorough), "prod"], indirect=True
)


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


def test_destroy_drains_every_machine_and_leaves_nothing(site: Site) -> None:
    machines = set(site.workspace.outputs()["machines"].values())
    assert machines <= {one.id for one in tagged(site) if one.cost == Cost.HOUR}
    if site.stack == "prod":
        site.workspace.set("site:deletionProtection", "false")
        lifted = site.workspace.must(site.workspace.up())
        assert set(lifted.changes.values()) == {"update"}
        # These machines are played, and could take no final backup.
        site.workspace.set("site:backups.finalBackup", value=False, path=True)
        without = site.workspace.must(site.workspace.up())
        assert without.changes["Command final-backup"] == "update"
    site.workspace.must(site.workspace.destroy())
    assert what_is_left(site.cloud) == []
    assert tagged(site) == []
    assert machines <= site.machines.drained


def tagged(site: Site) -> list[Left]:
    """What an operator is told that there is of the stack."""
    return leftovers.left(site.cloud.client, {"Project": "site", "Stack": site.stack})
