"""moto's account with the lab's corrections, read as facts. In this process, without machines."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from lab import account, ec2_model, network
from lab.facts import Facts, Instance, leaves

pytestmark = pytest.mark.usefixtures("corrected")

REGION = "eu-west-1"


@dataclass
class Aws:
    """An account with a VPC and a public subnet."""

    ec2: Any
    vpc: str
    subnet: str
    group: str

    def run(self, *, public: bool = True, kind: str = "t3.small") -> str:
        interface = {
            "DeviceIndex": 0, "SubnetId": self.subnet, "Groups": [self.group],
            "AssociatePublicIpAddress": public,
        }  # fmt: skip
        answer = self.ec2.run_instances(
            ImageId="ami-1",
            InstanceType=kind,
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[interface],
        )
        return str(answer["Instances"][0]["InstanceId"])

    def secondary(self, instance: str, count: int) -> list[str]:
        """Gives its interface more private addresses."""
        interface = self.described(instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]
        answer = self.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=count
        )
        return [address["PrivateIpAddress"] for address in answer["AssignedPrivateIpAddresses"]]

    def described(self, instance: str) -> dict[str, Any]:
        answer = self.ec2.describe_instances(InstanceIds=[instance])
        found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return found

    def machine(self, instance: str) -> Instance:
        return account.read().instances[instance]

    def became_running(self, instance: str) -> None:
        found = account.instance(instance)
        assert found
        found.became(ec2_model.RUNNING)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for key in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        ec2 = cast("Any", boto3).client("ec2", region_name=REGION)
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
        yield Aws(ec2, vpc, subnet, group)


def test_an_instance_is_what_its_machine_is(aws: Aws) -> None:
    instance = aws.run()
    assert aws.described(instance)["State"]["Name"] == "pending"
    aws.became_running(instance)
    assert aws.described(instance)["State"]["Name"] == "running"
    aws.ec2.stop_instances(InstanceIds=[instance])
    assert aws.described(instance)["State"]["Name"] == "stopping"
    aws.ec2.terminate_instances(InstanceIds=[instance])
    assert aws.described(instance)["State"]["Name"] == "shutting-down"
    assert aws.machine(instance).state == "shutting-down"


def test_what_runs_has_a_status_by_its_id(aws: Aws) -> None:
    instance = aws.run()
    assert aws.ec2.describe_instance_status()["InstanceStatuses"] == []
    aws.became_running(instance)
    (status,) = aws.ec2.describe_instance_status()["InstanceStatuses"]
    assert status["InstanceId"] == instance


def test_what_is_gone_holds_nothing(aws: Aws) -> None:
    instance = aws.run()
    address = aws.ec2.allocate_address(Domain="vpc")
    aws.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    private = aws.machine(instance).address
    aws.ec2.terminate_instances(InstanceIds=[instance])
    assert account.read().elastic[0].instance == instance
    found = account.instance(instance)
    assert found
    found.ended()
    assert instance not in account.read().instances
    assert aws.described(instance)["State"]["Name"] == "terminated"
    assert account.read().elastic[0].private is None
    assert aws.ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert aws.machine(aws.run()).address == private


def test_an_address_that_moves_leaves_the_one_that_had_it(aws: Aws) -> None:
    first, second = aws.run(), aws.run()
    automatic = aws.machine(second).public
    allocation = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
    elastic = account.read().elastic[0].address
    aws.ec2.associate_address(AllocationId=allocation, InstanceId=first)
    assert (aws.machine(first).public, aws.machine(second).public) == (elastic, automatic)
    aws.ec2.associate_address(AllocationId=allocation, InstanceId=second, AllowReassociation=True)
    assert aws.machine(second).public == elastic
    assert aws.machine(first).public not in (None, elastic)
    assert aws.described(first)["PublicIpAddress"] != elastic


def test_an_address_that_is_held_is_not_taken_without_saying_so(aws: Aws) -> None:
    first, second = aws.run(), aws.run()
    allocation = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
    aws.ec2.associate_address(AllocationId=allocation, InstanceId=first)
    with pytest.raises(aws.ec2.exceptions.ClientError, match="AlreadyAssociated"):
        aws.ec2.associate_address(AllocationId=allocation, InstanceId=second)
    assert account.read().elastic[0].instance == first


def test_a_second_address_on_one_private_address_puts_the_first_off(aws: Aws) -> None:
    instance = aws.run()
    for _ in range(2):
        allocation = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
        aws.ec2.associate_address(AllocationId=allocation, InstanceId=instance)
    assert [eip.instance for eip in account.read().elastic] == [None, instance]


def test_an_address_on_a_secondary_private_address_leaves_the_primary_s(aws: Aws) -> None:
    instance = aws.run()
    automatic = aws.machine(instance).public
    interface = aws.described(instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    aws.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.0.99"]
    )
    allocation = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
    aws.ec2.associate_address(
        AllocationId=allocation, NetworkInterfaceId=interface, PrivateIpAddress="10.0.0.99"
    )
    primary, secondary = aws.machine(instance).addresses
    assert automatic
    assert primary.public == automatic
    assert (secondary.address, secondary.public) == (
        "10.0.0.99",
        account.read().elastic[0].address,
    )
    assert account.read().elastic[0].private == "10.0.0.99"


def test_addresses_on_secondary_ones_go_to_and_fro_between_two_machines(aws: Aws) -> None:
    one, other = aws.run(), aws.run()
    automatic = {instance: aws.machine(instance).public for instance in (one, other)}
    private = {instance: aws.secondary(instance, 2) for instance in (one, other)}
    allocations = [aws.ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(2)]

    def give(number: int, instance: str) -> None:
        aws.ec2.associate_address(
            AllocationId=allocations[number],
            InstanceId=instance,
            PrivateIpAddress=private[instance][number],
            AllowReassociation=True,
        )

    def shown(instance: str) -> list[tuple[str, str]]:
        listed = aws.described(instance)["NetworkInterfaces"][0]["PrivateIpAddresses"]
        found = [one["Association"] for one in listed if "Association" in one]
        return [(one["PublicIp"], one["IpOwnerId"]) for one in found]

    def places() -> list[tuple[str | None, str | None]]:
        return [(eip.instance, eip.private) for eip in account.read().elastic]

    give(0, one)
    give(1, other)
    assert places() == [(one, private[one][0]), (other, private[other][1])]
    give(0, other)
    assert places() == [(other, private[other][0]), (other, private[other][1])]
    assert [address.public for address in aws.machine(other).addresses] == [
        automatic[other],
        *(eip.address for eip in account.read().elastic),
    ]
    assert [address.public for address in aws.machine(one).addresses] == [
        automatic[one],
        None,
        None,
    ]
    assert shown(other) == [
        (automatic[other], "amazon"),
        *((eip.address, "123456789012") for eip in account.read().elastic),
    ]
    assert shown(one) == [(automatic[one], "amazon")]
    give(0, one)
    assert places() == [(one, private[one][0]), (other, private[other][1])]
    assert {instance: aws.machine(instance).public for instance in (one, other)} == automatic


def test_secondary_addresses_are_nobody_elses_and_no_more_than_the_type_has_room_for(
    aws: Aws,
) -> None:
    first = aws.run()
    given = aws.secondary(first, 2)
    assert [private.address for private in aws.machine(first).addresses][1:] == given
    later = [aws.machine(aws.run()).address for _ in range(3)]
    assert len({*given, *later, aws.machine(first).address}) == 6
    small = aws.run(kind="t3.micro")
    assert len(aws.secondary(small, 1)) == 1
    with pytest.raises(aws.ec2.exceptions.ClientError, match="PrivateIpAddressLimitExceeded"):
        aws.secondary(small, 1)


def test_a_private_address_that_is_not_there_gets_no_elastic_one(aws: Aws) -> None:
    instance = aws.run()
    allocation = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
    with pytest.raises(aws.ec2.exceptions.ClientError, match="InvalidParameterValue"):
        aws.ec2.associate_address(
            AllocationId=allocation, InstanceId=instance, PrivateIpAddress="10.0.0.77"
        )
    assert account.read().elastic[0].private is None


def test_a_machine_is_called_what_the_program_calls_it(aws: Aws) -> None:
    named, plain = aws.run(), aws.run()
    tags = {"Project": "site", "Stack": "lab", "Name": "site-lab-database-1", "Role": "database"}
    aws.ec2.create_tags(
        Resources=[named], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )
    assert (aws.machine(named).name, aws.machine(named).role) == ("database-1", "database")
    assert (aws.machine(plain).name, aws.machine(plain).role) == (plain, "")


def test_a_change_of_groups_is_a_change_of_groups(aws: Aws) -> None:
    instance = aws.run()
    other = aws.ec2.create_security_group(GroupName="h", Description="h", VpcId=aws.vpc)["GroupId"]
    aws.ec2.modify_instance_attribute(InstanceId=instance, Groups=[other])
    assert aws.machine(instance).groups == (other,)
    interface = aws.described(instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[aws.group])
    assert aws.machine(instance).groups == (aws.group,)
    assert [group["GroupId"] for group in aws.described(instance)["SecurityGroups"]] == [aws.group]


def test_the_root_volume_is_no_data_volume(aws: Aws) -> None:
    instance = aws.run()
    zone = aws.described(instance)["Placement"]["AvailabilityZone"]
    volume = aws.ec2.create_volume(Size=3, AvailabilityZone=zone)["VolumeId"]
    assert account.read().volumes == {volume: 3}
    aws.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    assert aws.machine(instance).volumes == (volume,)


def has_way(facts: Facts, instance: str, destination: str) -> bool:
    found = facts.instances[instance]
    return leaves(facts, found, found.addresses[0], destination)


def test_gateway_endpoints_are_routes_however_their_tables_came(aws: Aws) -> None:
    instance = aws.run(public=False)
    tables = [
        aws.ec2.create_route_table(VpcId=aws.vpc)["RouteTable"]["RouteTableId"] for _ in range(2)
    ]
    aws.ec2.associate_route_table(RouteTableId=tables[1], SubnetId=aws.subnet)
    endpoint = aws.ec2.create_vpc_endpoint(
        VpcId=aws.vpc, ServiceName=f"com.amazonaws.{REGION}.s3", VpcEndpointType="Gateway",
        RouteTableIds=[tables[0]],
    )["VpcEndpoint"]["VpcEndpointId"]  # fmt: skip
    assert not has_way(account.read(), instance, network.S3)
    aws.ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, AddRouteTableIds=[tables[1]])
    assert has_way(account.read(), instance, network.S3)
    assert not has_way(account.read(), instance, network.DYNAMODB)
    aws.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    assert not has_way(account.read(), instance, network.S3)


def test_an_associated_table_hides_the_main_one(aws: Aws) -> None:
    instance = aws.run()
    gateway = aws.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    aws.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=aws.vpc)
    main = aws.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [aws.vpc]}])[
        "RouteTables"
    ][0]["RouteTableId"]
    aws.ec2.create_route(RouteTableId=main, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert has_way(account.read(), instance, network.AWS)
    own = aws.ec2.create_route_table(VpcId=aws.vpc)["RouteTable"]["RouteTableId"]
    aws.ec2.associate_route_table(RouteTableId=own, SubnetId=aws.subnet)
    assert not has_way(account.read(), instance, network.AWS)


def test_rules_are_read_one_peer_each(aws: Aws) -> None:
    aws.ec2.authorize_security_group_ingress(
        GroupId=aws.group,
        IpPermissions=[
            {
                "IpProtocol": "tcp", "FromPort": 80, "ToPort": 81,
                "IpRanges": [{"CidrIp": "0.0.0.0/0"}, {"CidrIp": "10.0.0.0/8"}],
                "UserIdGroupPairs": [{"GroupId": aws.group}],
            }
        ],
    )  # fmt: skip
    rules = account.read().groups[aws.group].ingress
    assert {(rule.cidr, rule.group) for rule in rules} == {
        ("0.0.0.0/0", None),
        ("10.0.0.0/8", None),
        (None, aws.group),
    }
    assert {(rule.protocol, rule.ports) for rule in rules} == {("tcp", (80, 81))}


def test_an_interface_gives_its_address_to_one_instance_after_the_other(aws: Aws) -> None:
    made = aws.ec2.create_network_interface(SubnetId=aws.subnet, Groups=[aws.group])
    interface = str(made["NetworkInterface"]["NetworkInterfaceId"])
    address = str(made["NetworkInterface"]["PrivateIpAddress"])

    def run() -> str:
        wanted = {"DeviceIndex": 0, "NetworkInterfaceId": interface}
        answer = aws.ec2.run_instances(
            ImageId="ami-1", MinCount=1, MaxCount=1, NetworkInterfaces=[wanted]
        )
        return str(answer["Instances"][0]["InstanceId"])

    for _ in range(3):
        instance = run()
        aws.became_running(instance)
        machine = aws.machine(instance)
        assert [held.address for held in machine.addresses] == [address]
        assert (machine.subnet, machine.groups) == (aws.subnet, (aws.group,))
        with pytest.raises(ClientError, match="in use"):
            run()
        with pytest.raises(ClientError, match="in use"):
            aws.ec2.delete_network_interface(NetworkInterfaceId=interface)
        aws.ec2.terminate_instances(InstanceIds=[instance])
        found = account.instance(instance)
        assert found
        found.ended()
        # Nobody else gets the address meanwhile.
        other = aws.run()
        assert aws.described(other)["PrivateIpAddress"] != address
    aws.ec2.delete_network_interface(NetworkInterfaceId=interface)
