"""Machines follow the account: what is done, in which order, and what the account says of it.

The machines, cables and volumes here only note what is asked of them.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import boto3
import pytest
from moto import mock_aws

from lab import account, lives, reconcile
from lab.api import Api
from lab.machines import Machine, MachineError
from lab.reconcile import Reconciler
from lab.volumes import VolumeError

pytestmark = pytest.mark.usefixtures("corrected")

T = TypeVar("T")
REGION = "eu-west-1"


class Ground:
    """What the reconciler drives: notes every deed, and fails where it is told to."""

    def __init__(self) -> None:
        self.deeds: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.failures: list[str] = []
        self.exits: dict[str, Callable[[str], None]] = {}

    def does(self, name: str) -> Callable[..., None]:
        def deed(*arguments: Any, **_: Any) -> None:
            what = arguments[0]
            subject = getattr(what, "id", None) or getattr(what, "instance", None) or what
            if name in self.failing:
                self.failures.append(name)
                raise self.failing[name]
            self.deeds.append(f"{name} {subject}")

        return deed

    def does_nothing(self, *_: object) -> None: ...

    def on_exit(self, instance: str, callback: Callable[[str], None]) -> None:
        self.exits[instance] = callback

    def about(self, subject: str) -> list[str]:
        return [deed.removesuffix(f" {subject}") for deed in self.deeds if subject in deed]


class Silent:
    """Stands for the resolver and the forwarder."""

    failed: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, *_: object) -> None: ...

    def serve(self, _: object) -> None: ...

    def want(self, _: object) -> None: ...

    def stop(self) -> None: ...


class Lab:
    """A reconciler, its ground and the account it follows."""

    def __init__(self, ground: Ground, state: Path) -> None:
        self.ground = ground
        self.ec2 = cast("Any", boto3).client("ec2", region_name=REGION)
        self._api = Api()
        self.reconciler = Reconciler(self._api, Path("/image"), state)
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(
            VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=f"{REGION}a"
        )["Subnet"]["SubnetId"]
        self.reconciler.start()

    def run(self, **more: Any) -> str:
        answer = self.ec2.run_instances(
            ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=self.subnet, **more
        )
        self.reconciler.wake()
        return str(answer["Instances"][0]["InstanceId"])

    def running(self) -> str:
        instance = self.run()
        self.until(instance, "running")
        return instance

    def call(self, operation: str, **arguments: Any) -> Any:
        answer = getattr(self.ec2, operation)(**arguments)
        self.reconciler.wake()
        return answer

    def described(self, instance: str) -> dict[str, Any]:
        found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]
        described: dict[str, Any] = found["Instances"][0]
        return described

    def until(self, instance: str, state: str) -> None:
        eventually(lambda: self.described(instance)["State"]["Name"] == state)

    def volume(self) -> str:
        answer = self.ec2.create_volume(Size=2, AvailabilityZone=f"{REGION}a")
        return str(answer["VolumeId"])


def eventually(condition: Callable[[], T]) -> T:
    deadline = time.monotonic() + 10
    while True:
        outcome = condition()
        if outcome:
            return outcome
        assert time.monotonic() < deadline, "not within 10 s"
        time.sleep(0.005)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    ground = Ground()
    for module, names in {
        "lab.lives.machines": ("start", "stop"),
        "lab.lives.network": ("plug", "unplug", "reroute", "answer_at"),
        "lab.disks.volumes": ("create", "attach", "detach", "grow", "delete"),
    }.items():
        for name in names:
            monkeypatch.setattr(f"{module}.{name}", ground.does(name))
    monkeypatch.setattr(lives.machines, "on_exit", ground.on_exit)
    monkeypatch.setattr(reconcile, "Resolver", Silent)
    monkeypatch.setattr(reconcile, "Forwarding", Silent)
    monkeypatch.setattr(Reconciler, "_load", ground.does_nothing)
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        lab = Lab(ground, tmp_path)
        yield lab
        lab.reconciler.close()
        lab.reconciler.finish()


def test_an_instance_becomes_a_machine_on_the_network(lab: Lab) -> None:
    instance = lab.running()
    assert lab.ground.about(instance) == ["plug", "start"]


def test_a_machine_is_named_as_ec2_names_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Machine] = []
    monkeypatch.setattr(lives.machines, "start", started.append)
    instance = lab.running()
    (machine,) = started
    assert (machine.id, machine.name, machine.netns) == (instance, "ip-10-0-0-4", None)
    assert machine.image == Path("/image")


def test_what_was_read_before_a_boot_ended_does_not_begin_another(lab: Lab) -> None:
    lab.ground.failing["plug"] = VolumeError("not yet")
    instance = lab.run()
    early = lab.reconciler.read()
    assert early.instances[instance].state == "pending"
    del lab.ground.failing["plug"]
    lab.until(instance, "running")
    lab.reconciler.lives.follow(early)
    lab.call("reboot_instances", InstanceIds=[instance])
    eventually(lambda: "stop" in lab.ground.about(instance))
    assert lab.ground.about(instance)[:3] == ["plug", "start", "stop"]


def test_what_does_not_start_is_terminated_with_the_reason(lab: Lab) -> None:
    lab.ground.failing["start"] = MachineError("it has no init")
    instance = lab.run()
    lab.until(instance, "terminated")
    reason = lab.described(instance)["StateReason"]
    assert reason["Code"] == "Server.InternalError"
    assert "it has no init" in reason["Message"]
    assert lab.ground.about(instance) == ["plug", "stop", "unplug"]


def test_a_termination_ends_with_the_network(lab: Lab) -> None:
    instance = lab.running()
    volume = lab.volume()
    lab.call("attach_volume", VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    eventually(lambda: f"attach {volume}" in lab.ground.deeds)
    lab.ground.deeds.clear()
    lab.call("terminate_instances", InstanceIds=[instance])
    lab.until(instance, "terminated")
    assert lab.ground.deeds == [f"stop {instance}", f"detach {volume}", f"unplug {instance}"]


def test_a_stopped_machine_starts_again_where_it_was(lab: Lab) -> None:
    instance = lab.running()
    address = lab.described(instance)["PrivateIpAddress"]
    lab.call("stop_instances", InstanceIds=[instance])
    lab.until(instance, "stopped")
    lab.call("start_instances", InstanceIds=[instance])
    lab.until(instance, "running")
    assert lab.ground.about(instance) == [
        *("plug", "start"),
        *("stop", "unplug"),
        *("plug", "start"),
    ]
    assert lab.described(instance)["PrivateIpAddress"] == address


def test_a_reboot_is_a_stop_and_a_start_that_the_account_does_not_see(lab: Lab) -> None:
    instance = lab.running()
    lab.call("reboot_instances", InstanceIds=[instance])
    eventually(lambda: lab.ground.about(instance) == ["plug", "start", "stop", "start"])
    assert lab.described(instance)["State"]["Name"] == "running"


def test_a_machine_that_powers_itself_off_is_stopped(lab: Lab) -> None:
    instance = lab.running()
    lab.ground.exits[instance](instance)
    lab.until(instance, "stopped")
    assert lab.described(instance)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_or_terminated_if_it_was_asked_to_be(lab: Lab) -> None:
    instance = lab.run(InstanceInitiatedShutdownBehavior="terminate")
    lab.until(instance, "running")
    lab.ground.exits[instance](instance)
    lab.until(instance, "terminated")


def test_a_volume_is_there_before_the_instance_is_said_to_run(lab: Lab) -> None:
    lab.ground.failing["plug"] = VolumeError("not yet")  # holds the boot up
    instance, volume = lab.run(), lab.volume()
    lab.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    del lab.ground.failing["plug"]
    lab.until(instance, "running")
    assert f"attach {volume}" in lab.ground.deeds


def test_a_volume_moves_once_the_machine_that_had_it_has_let_go(lab: Lab) -> None:
    first, second, volume = lab.running(), lab.running(), lab.volume()
    lab.call("attach_volume", VolumeId=volume, InstanceId=first, Device="/dev/sdf")
    eventually(lambda: f"attach {volume}" in lab.ground.deeds)
    lab.ground.failing["detach"] = VolumeError("it is mounted")
    lab.call("detach_volume", VolumeId=volume, InstanceId=first)
    lab.call("attach_volume", VolumeId=volume, InstanceId=second, Device="/dev/sdf")
    eventually(lambda: lab.ground.failures.count("detach") > 1)
    assert lab.ground.about(volume).count("attach") == 1
    del lab.ground.failing["detach"]
    eventually(lambda: lab.ground.about(volume) == ["create", "attach", "detach", "attach"])


def test_a_deleted_volume_is_removed(lab: Lab) -> None:
    instance, volume = lab.running(), lab.volume()
    lab.call("attach_volume", VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    eventually(lambda: f"attach {volume}" in lab.ground.deeds)
    lab.call("detach_volume", VolumeId=volume, InstanceId=instance)
    eventually(lambda: f"detach {volume}" in lab.ground.deeds)
    lab.call("delete_volume", VolumeId=volume)
    eventually(lambda: f"delete {volume}" in lab.ground.deeds)


def test_a_secondary_address_is_routed_when_it_comes(lab: Lab) -> None:
    instance = lab.running()
    interface = lab.described(instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    lab.call(
        "assign_private_ip_addresses",
        NetworkInterfaceId=interface,
        PrivateIpAddresses=["10.0.0.99"],
    )
    eventually(lambda: f"reroute {instance}" in lab.ground.deeds)


def test_vpcs_that_overlap_are_refused_with_the_reason(lab: Lab) -> None:
    lab.running()
    vpc = lab.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    lab.subnet = lab.ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=f"{REGION}a"
    )["Subnet"]["SubnetId"]
    second = lab.run()
    lab.until(second, "terminated")
    assert "VPCs must not overlap" in lab.described(second)["StateReason"]["Message"]


def test_a_failure_of_the_rules_keeps_no_machine_from_starting(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: object, table: str, _rules: str) -> None:
        if table == "lab":
            raise reconcile.network.NetworkError("nft refused")

    monkeypatch.setattr(Reconciler, "_load", refuse)
    lab.running()
    assert lab.reconciler.trouble()["firewall"] == "nft refused"
    assert account.read().instances
