"""The three roles: their machines, what they are told, what they may do, when they come and go."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components import settings
from components.database import changing
from hosts.database import tunables
from tests.components import recorder
from tests.components.recorder import Recording


def facts(site: Recording, name: str) -> dict[str, Any]:
    """What a machine's user data puts into /etc/site/machine.json."""
    config = yaml.safe_load(site.one("Instance", name).inputs["userData"])
    (content,) = [
        file["content"] for file in config["write_files"] if file["path"].endswith("machine.json")
    ]
    return json.loads(content)


def files(site: Recording, name: str) -> dict[str, str]:
    """The other files of a machine's user data."""
    config = yaml.safe_load(site.one("Instance", name).inputs["userData"])
    found = {file["path"]: file["content"] for file in config["write_files"]}
    return {path: text for path, text in found.items() if not path.endswith("machine.json")}


def may(site: Recording, role: str) -> dict[str, dict[str, Any]]:
    """The statements of a role's policy."""
    policy = json.loads(site.one("RolePolicy", role).inputs["policy"])
    return {statement["Sid"]: statement for statement in policy["Statement"]}


@pytest.fixture(scope="module")
def site(an_app: Path) -> Recording:
    """Two replicas and three application servers of two processes."""
    servers = {"count": 3, "workers": 2, "threads": 8}
    given = {"appServers": servers, "database": {"replicas": 2}}
    return recorder.site(recorder.with_app(given, an_app), {"aws:profile": "operator"})


def test_there_are_as_many_machines_as_the_settings_say(site: Recording) -> None:
    assert sorted(machine.name for machine in site.every("Instance")) == [
        "app-server-1",
        "app-server-2",
        "app-server-3",
        "database-1",
        "database-2",
        "database-3",
        "load-balancer-1",
        "monitoring-1",
    ]


@pytest.mark.parametrize("name", ["load-balancer-1", "app-server-2", "database-3", "monitoring-1"])
def test_a_machine_is_told_who_it_is_and_where_its_programs_are(site: Recording, name: str) -> None:
    told = facts(site, name)
    role = name.rpartition("-")[0]
    assert (told["name"], told["role"]) == (name, role)
    assert told["table"] == site.one("Table", "coordination").inputs["name"]
    assert told["bucket"] == site.one("Bucket", "programs").inputs["bucket"]
    assert told["zone"] == site.one("Zone", "private").inputs["name"]
    stored = {o.inputs["key"] for o in site.every("BucketObjectv2")}
    assert {bundle["key"] for bundle in told["bundles"]} <= stored
    assert all(bundle["sha256"] in bundle["key"] for bundle in told["bundles"])
    paths = ["/opt/site/hosts", *(["/opt/site/app"] if role == "app-server" else [])]
    assert [bundle["path"] for bundle in told["bundles"]] == paths


def test_a_role_may_fetch_its_own_programs_only(site: Recording) -> None:
    for role in ("load-balancer", "app-server", "database", "monitoring"):
        keys = {bundle["key"] for bundle in facts(site, f"{role}-1")["bundles"]}
        bucket = site.one("Bucket", "programs").inputs["bucket"]
        allowed = may(site, role)["Programs"]
        assert allowed["Action"] == "s3:GetObject"
        assert set(allowed["Resource"]) == {f"arn:aws:s3:::{bucket}/{key}" for key in keys}


def test_a_role_reads_the_secrets_that_it_needs_only(site: Recording) -> None:
    def parameters(role: str) -> set[str]:
        named = may(site, role)["Parameters"]["Resource"]
        return {arn.rpartition(":parameter/site/test/")[2] for arn in named}

    assert parameters("load-balancer") == {
        "edge/certificate",
        "app-server/certificate-authority-certificate",
    }
    assert parameters("app-server") == {
        "database/application-password",
        "database/certificate-authority-certificate",
        "app-server/certificate-authority",
        "app-server/certificate-authority-certificate",
    }
    assert parameters("database") == {
        "database/application-password",
        "database/replication-password",
        "database/monitor-password",
        "database/certificate-authority",
        "database/certificate-authority-certificate",
        "database/settings",
        "database/backups",
    }
    made = {parameter.inputs["name"] for parameter in site.every("Parameter")}
    roles = ("load-balancer", "app-server", "database")
    followed = {name for name in made if name.startswith("/site/test/machines/")}
    assert made - followed == {f"/site/test/{name}" for role in roles for name in parameters(role)}
    assert not [role for role in roles if "WriteParameter" in may(site, role)]


@pytest.mark.parametrize("role", ["load-balancer", "app-server", "database", "monitoring"])
def test_a_machine_follows_the_parameters_of_its_role_only(site: Recording, role: str) -> None:
    allowed = may(site, role)["Followed"]
    assert allowed["Action"] == "ssm:GetParametersByPath"
    below = f"/site/test/machines/{role}"
    assert allowed["Resource"] == f"arn:aws:ssm:eu-central-1:123456789012:parameter{below}"
    assert site.one("Parameter", f"{role}-maintenance").inputs["name"] == f"{below}/maintenance"


def test_a_machine_is_told_of_the_resolver(site: Recording) -> None:
    assert facts(site, "app-server-1")["resolver"] == "10.0.0.2"


def test_a_role_writes_its_own_kinds_of_items_only(site: Recording) -> None:
    keys = {
        role: may(site, role)["Coordination"]["Condition"]["ForAllValues:StringLike"]
        for role in ("load-balancer", "app-server", "database")
    }
    assert keys["load-balancer"] == {"dynamodb:LeadingKeys": ["machine/*", "lease/address-*"]}
    assert keys["app-server"] == {"dynamodb:LeadingKeys": ["machine/*"]}
    assert keys["database"] == {"dynamodb:LeadingKeys": ["machine/*", "lease/database*"]}
    scans = [r for r in keys if "dynamodb:Scan" in json.dumps(may(site, r))]
    assert scans == ["database"], "they find each other in the table; nobody else has to"


def test_an_address_can_be_claimed_by_load_balancers_only_and_no_other_address(
    site: Recording,
) -> None:
    address = site.one("Eip", "load-balancer-1").outputs["allocationId"]
    assert facts(site, "load-balancer-1")["options"]["addresses"] == [address]
    allowed = may(site, "load-balancer")
    assert [arn.rpartition("/")[2] for arn in allowed["ClaimAddresses"]["Resource"]] == [address]
    assert allowed["ClaimForMachines"]["Condition"] == {
        "StringEquals": {
            "aws:ResourceTag/Project": "site",
            "aws:ResourceTag/Stack": "test",
            "aws:ResourceTag/Role": "load-balancer",
        }
    }
    subnets = allowed["ClaimForInterfaces"]["Condition"]["ArnEquals"]["ec2:Subnet"]
    assert {site.name_of(arn.rpartition("/")[2]) for arn in subnets} == {"public-1", "public-2"}
    for role in ("app-server", "database"):
        assert "ec2:AssociateAddress" not in json.dumps(may(site, role))


def test_database_machines_differ_by_ordinal_and_volume_only(site: Recording) -> None:
    told = [facts(site, f"database-{ordinal}") for ordinal in (1, 2, 3)]
    assert [t["options"].pop("ordinal") for t in told] == [1, 2, 3]
    volumes = [t["options"].pop("volume") for t in told]
    assert [site.name_of(v) for v in volumes] == ["database-1", "database-2", "database-3"]
    assert [t.pop("name") for t in told] == ["database-1", "database-2", "database-3"]
    assert told[0] == told[1] == told[2]


def test_running_machines_are_told_what_may_change_and_their_user_data_is_not(
    an_app: Path,
) -> None:
    given = {
        "replication": "asynchronous",
        "lease": 4,
        "maxReplicaLag": 2,
        "maxFailoverLag": 7.5,
        "bufferPool": 64,
        "maxConnections": 77,
    }
    changed = recorder.site(recorder.with_app({"database": given}, an_app))
    before = recorder.site(recorder.with_app({}, an_app))
    parameter = changed.one("Parameter", "database-settings").inputs
    assert (parameter["name"], parameter["type"]) == ("/site/test/database/settings", "String")
    told = tunables.parse(parameter["value"])
    assert told == tunables.Tunables(
        replication="asynchronous",
        lease=4.0,
        max_replica_lag=2.0,
        max_failover_lag=7.5,
        variables={
            "max_connections": 77,
            "innodb_buffer_pool_size": 64 * 1024 * 1024,
            "innodb_redo_log_capacity": 100 * 1024 * 1024,
        },
    )
    assert set(told.variables) == set(json.loads(parameter["value"])["variables"])
    for name in ("database-1", "database-2"):
        told_before, told_after = (facts(made, name)["options"] for made in (before, changed))
        assert {**told_before, "volume": told_after["volume"]} == told_after
        volumes = [made.replace("-", "") for made in (told_before["volume"], told_after["volume"])]
        unmoved = {path: text.replace(*volumes) for path, text in files(before, name).items()}
        assert unmoved == files(changed, name)


def test_the_defaults_can_be_followed(site: Recording) -> None:
    told = tunables.parse(site.one("Parameter", "database-settings").inputs["value"])
    assert (told.replication, told.lease) == ("semi-synchronous", 2.5)


@pytest.mark.parametrize(("given", "mib"), [(8, 100), (1024, 1024), (1_048_576, 131_072)])
def test_the_redo_log_grows_with_the_buffer_pool_within_what_mysqld_takes(
    given: int, mib: int
) -> None:
    variables: Any = changing(settings.Database(buffer_pool=given))["variables"]
    assert variables["innodb_redo_log_capacity"] == mib * 1024 * 1024


def test_a_data_volume_is_in_its_machines_zone(site: Recording) -> None:
    for ordinal in (1, 2, 3):
        volume = site.one("Volume", f"database-{ordinal}")
        machine = site.one("Instance", f"database-{ordinal}")
        subnet = site.one("Subnet", site.name_of(site.subnet_id(machine)))
        assert volume.inputs["availabilityZone"] == subnet.inputs["availabilityZone"]
        attachment = site.one("VolumeAttachment", f"database-{ordinal}").inputs
        assert attachment["instanceId"] == site.ids[machine.urn]
        assert attachment["volumeId"] == site.ids[volume.urn]


def test_a_database_machine_has_the_address_of_the_one_it_replaces(site: Recording) -> None:
    for ordinal in (1, 2, 3):
        interface = site.one("NetworkInterface", f"database-{ordinal}")
        machine = site.one("Instance", f"database-{ordinal}")
        given = machine.inputs["primaryNetworkInterface"]
        assert given == {"networkInterfaceId": site.ids[interface.urn]}
        assert machine.urn not in interface.dependencies
        (group,) = interface.inputs["securityGroups"]
        assert site.name_of(group) == "database"


def test_a_volume_outlives_its_machine(site: Recording) -> None:
    for volume in site.every("Volume"):
        machines = {m.urn for m in site.every("Instance")}
        assert not volume.dependencies & machines
        assert not volume.options.deleteBeforeReplace


def test_a_machine_starts_when_what_it_needs_is_there(site: Recording) -> None:
    for machine in site.every("Instance"):
        role = machine.inputs["tags"]["Role"]
        needed = {
            site.one("RolePolicy", role).urn,
            site.one("InstanceProfile", role).urn,
            site.one("BucketObjectv2", f"{role}-programs").urn,
            site.one("SecurityGroupEgressRule", f"{role}-to-aws-443").urn,
            site.one("Table", "coordination").urn,
            site.one("LogGroup", "logs").urn,
            site.one("Route", "public-internet").urn,
            site.one("Route", "private-1-internet").urn,
        }
        read = may(site, role).get("Parameters", {"Resource": []})["Resource"]
        needed |= {
            parameter.urn
            for parameter in site.every("Parameter")
            if any(arn.endswith(parameter.inputs["name"]) for arn in read)
        }
        needed.add(site.one("Parameter", f"{role}-maintenance").urn)
        if role == "app-server":
            needed.add(site.one("BucketObjectv2", "app").urn)
        assert needed <= machine.dependencies, machine.name


def test_machines_boot_while_those_they_depend_on_get_ready(site: Recording) -> None:
    ready = {c.urn for c in site.every("Command") if c.name.endswith("-ready")}
    for machine in site.every("Instance"):
        if machine.inputs["tags"]["Role"] != "database":
            assert not machine.dependencies & ready


def test_databases_are_ready_before_application_servers_before_load_balancers(
    site: Recording,
) -> None:
    for name, record in (("app-server-1", "database"), ("load-balancer-1", "app-server")):
        command = site.one("Command", f"{name}-ready")
        assert site.one("Record", record).urn in command.dependencies


def test_a_machine_is_waited_for_and_drained_by_the_operators_commands(site: Recording) -> None:
    command = site.one("Command", "app-server-2-ready").inputs
    machine = site.ids[site.one("Instance", "app-server-2").urn]
    assert command["create"] == ".venv/bin/python -m scripts.await_ready"
    assert command["delete"] == ".venv/bin/python -m scripts.drain"
    assert command["triggers"] == [machine]
    assert command["environment"] == {
        "SITE_TABLE": "site-test-coordination",
        "SITE_REGION": "eu-central-1",
        "SITE_MACHINE": "app-server-2",
        "SITE_INSTANCE": machine,
        "SITE_READY_WITHIN": "900",
        "SITE_DRAIN_WITHIN": "120",
        "AWS_PROFILE": "operator",
    }


def test_a_database_is_ready_only_with_its_volume(site: Recording) -> None:
    command = site.one("Command", "database-2-ready")
    assert site.one("VolumeAttachment", "database-2").urn in command.dependencies


def test_machines_that_are_all_alike_are_replaced_new_ones_first(site: Recording) -> None:
    for name in ("app-server-1", "load-balancer-1"):
        assert not site.one("Instance", name).options.deleteBeforeReplace
        assert not site.one("Command", f"{name}-ready").options.deleteBeforeReplace


def test_one_thread_of_a_server_is_left_for_its_health_checks(site: Recording) -> None:
    options = facts(site, "load-balancer-1")["options"]
    assert options["connections_per_server"] == 7


def test_settings_that_no_machine_could_be_told_are_refused(an_app: Path) -> None:
    servers = {"environment": {"WORDS": "x" * 12000}, "folder": str(an_app)}
    with pytest.raises(pulumi.RunError, match=r"the user data of app-server-1 is \d+ bytes long"):
        recorder.site({"appServers": servers})


def test_the_program_tells_what_helps_next(site: Recording) -> None:
    told = site.exports
    address = site.one("Eip", "load-balancer-1").outputs["publicIp"]
    assert told["url"] == f"https://{address}"
    assert told["addresses"] == [address]
    assert told["region"] == "eu-central-1"
    assert told["machines"] == {m.name: site.ids[m.urn] for m in site.every("Instance")}
    assert told["sessions"]["database-1"] == (
        f"aws ssm start-session --region eu-central-1 --target {told['machines']['database-1']}"
    )
