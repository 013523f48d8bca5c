"""Which way out of its VPC a machine has."""

import dataclasses

import pytest

from lab import network
from lab.facts import Endpoint, Facts, Instance, Private, Route, entered_from_outside, leaves
from tests.lab.unit.aws import ACCOUNT, APP, EDGE, account, with_instance, with_tables

TO_NAT = (Route("0.0.0.0/0", "nat-1"),)


def reaches(facts: Facts, instance: Instance, destination: str) -> bool:
    found = facts.instances[instance.id]
    return leaves(facts, found, found.addresses[0], destination)


@pytest.mark.parametrize("destination", [network.AWS, network.S3, network.DYNAMODB, network.CLIENT])
def test_a_public_machine_leaves_by_the_internet_gateway(destination: str) -> None:
    assert reaches(ACCOUNT, EDGE, destination)


def test_without_a_public_address_the_internet_gateway_leads_nowhere() -> None:
    facts = with_instance(EDGE, addresses=(Private("10.0.0.4"),))
    assert not reaches(facts, EDGE, network.AWS)


def test_a_detached_internet_gateway_leads_nowhere() -> None:
    assert not reaches(account(internet_gateways={}), EDGE, network.AWS)


def test_an_internet_gateway_of_another_vpc_leads_nowhere() -> None:
    assert not reaches(account(internet_gateways={"igw-1": "vpc-2"}), EDGE, network.AWS)


def test_a_private_machine_reaches_s3_by_its_gateway_endpoint_and_nothing_else() -> None:
    assert reaches(ACCOUNT, APP, network.S3)
    assert not reaches(ACCOUNT, APP, network.DYNAMODB)
    assert not reaches(ACCOUNT, APP, network.AWS)
    assert not reaches(ACCOUNT, APP, network.CLIENT)


def test_a_deleted_endpoint_leads_nowhere() -> None:
    assert not reaches(account(endpoints={}), APP, network.S3)


def test_a_nat_gateway_leads_out_where_its_own_subnet_does() -> None:
    facts = with_tables(private=TO_NAT)
    assert not reaches(facts, APP, network.AWS)
    available = dataclasses.replace(facts, nat_gateways={"nat-1": "subnet-public"})
    assert reaches(available, APP, network.AWS)
    misplaced = dataclasses.replace(facts, nat_gateways={"nat-1": "subnet-private"})
    assert not reaches(misplaced, APP, network.AWS)


def test_the_longest_prefix_wins() -> None:
    routes = (Route("0.0.0.0/0", "igw-1"), Route("198.18.0.0/24", "nat-gone"))
    facts = with_tables(public=routes)
    assert not reaches(facts, EDGE, network.AWS)
    assert reaches(facts, EDGE, network.CLIENT)


def test_an_interface_endpoint_is_no_route() -> None:
    interface = {"vpce-1": Endpoint("vpce-1", "vpc-1", "ssm", gateway=False)}
    assert not reaches(account(endpoints=interface), APP, network.AWS)


def test_only_a_public_address_behind_an_internet_gateway_is_entered_from_outside() -> None:
    def entered(facts: Facts, instance: Instance) -> bool:
        found = facts.instances[instance.id]
        return entered_from_outside(facts, found, found.addresses[0], network.CLIENT)

    assert entered(ACCOUNT, EDGE)
    assert not entered(ACCOUNT, APP)
    assert not entered(with_instance(EDGE, addresses=(Private("10.0.0.4"),)), EDGE)
    assert not entered(with_tables(public=()), EDGE)
    nat = {"nat-1": "subnet-public"}
    assert not entered(dataclasses.replace(with_tables(private=TO_NAT), nat_gateways=nat), APP)
