"""The claim to a public address: held with the lease, given up with a dead HAProxy."""

import pytest

from hosts.base.lease import Lease, Times
from hosts.load_balancer.claim_address import AddressError, Claim
from tests.hosts.fakes import Clock, MemoryTable

ADDRESS = "eipalloc-1"


class Ec2:
    """Where the address is."""

    def __init__(self) -> None:
        self.at = ""
        self.error = ""
        self.calls = 0


class Addresses:
    """EC2 as one machine sees it."""

    def __init__(self, ec2: Ec2, me: str) -> None:
        self.ec2, self.me = ec2, me

    def is_ours(self, allocation: str) -> bool:
        assert allocation == ADDRESS
        return self.ec2.at == self.me

    def associate(self, allocation: str) -> None:
        assert allocation == ADDRESS
        self.ec2.calls += 1
        if self.ec2.error:
            raise AddressError(self.ec2.error)
        self.ec2.at = self.me


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


@pytest.fixture
def ec2() -> Ec2:
    return Ec2()


def claim(table: MemoryTable, ec2: Ec2, me: str, clock: Clock) -> Claim:
    lease = Lease(table, f"address-{ADDRESS}", me, Times(4.0, 1.0, 2.5), clock)
    return Claim(ADDRESS, lease, Addresses(ec2, me), clock, run=lambda work: work())


def test_the_holder_of_the_lease_associates_the_address_once(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    one = claim(table, ec2, "i-1", clock)
    assert not one.settled
    for _ in range(30):
        one.step(well=True)
        clock.advance(1)
    assert ec2.at == "i-1"
    assert one.settled
    assert ec2.calls == 1


def test_an_address_that_is_here_already_is_not_moved_again(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    claim(table, ec2, "i-1", clock).step(well=True)
    anew = claim(table, ec2, "i-1", clock)
    anew.step(well=True)
    assert anew.settled
    assert ec2.calls == 1


def test_a_second_machine_is_settled_without_the_address(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    one, other = claim(table, ec2, "i-1", clock), claim(table, ec2, "i-2", clock)
    for _ in range(10):
        one.step(well=True)
        other.step(well=True)
        clock.advance(1)
    assert other.settled
    assert ec2.at == "i-1"


def test_an_address_is_taken_over_when_its_machine_is_silent(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    one, other = claim(table, ec2, "i-1", clock), claim(table, ec2, "i-2", clock)
    one.step(well=True)
    for _ in range(6):
        other.step(well=True)
        clock.advance(1)
    assert ec2.at == "i-2"
    one.step(well=True)
    assert one.settled
    assert ec2.at == "i-2", "the lost lease needs no undoing"


def test_a_machine_whose_haproxy_is_silent_gives_the_address_up(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    one, other = claim(table, ec2, "i-1", clock), claim(table, ec2, "i-2", clock)
    one.step(well=True)
    for _ in range(4):
        one.step(well=False)
        other.step(well=True)
        clock.advance(1)
    assert ec2.at == "i-2"


def test_a_moment_of_silence_moves_nothing(table: MemoryTable, ec2: Ec2, clock: Clock) -> None:
    one, other = claim(table, ec2, "i-1", clock), claim(table, ec2, "i-2", clock)
    for turn in range(12):
        one.step(well=turn % 3 != 1)
        other.step(well=True)
        clock.advance(1)
    assert ec2.at == "i-1"
    assert ec2.calls == 1


def test_an_address_that_a_late_request_moved_is_taken_back(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    one = claim(table, ec2, "i-1", clock)
    one.step(well=True)
    ec2.at = "i-2"
    for _ in range(12):
        clock.advance(1)
        one.step(well=True)
    assert ec2.at == "i-1"


def test_without_the_table_the_address_stays_where_it_is(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    one, other = claim(table, ec2, "i-1", clock), claim(table, ec2, "i-2", clock)
    one.step(well=True)
    other.step(well=True)
    table.unreachable = True
    for _ in range(60):
        clock.advance(1)
        one.step(well=True)
        other.step(well=True)
    table.unreachable = False
    one.step(well=True)
    other.step(well=True)
    assert ec2.at == "i-1"


def test_what_keeps_a_machine_from_its_address_is_said_when_it_lasts(
    table: MemoryTable, ec2: Ec2, clock: Clock
) -> None:
    ec2.error = "UnauthorizedOperation"
    one = claim(table, ec2, "i-1", clock)
    one.step(well=True)
    assert one.error == ""
    assert not one.settled
    for _ in range(6):
        clock.advance(1)
        one.step(well=True)
    assert one.error == f"the address {ADDRESS} cannot be claimed: UnauthorizedOperation"
    ec2.error = ""
    for _ in range(3):
        clock.advance(1)
        one.step(well=True)
    assert one.error == ""
    assert one.settled


def test_a_drain_hands_the_address_over(table: MemoryTable, ec2: Ec2, clock: Clock) -> None:
    one, other = claim(table, ec2, "i-1", clock), claim(table, ec2, "i-2", clock)
    one.step(well=True)
    one.release()
    assert not one.taken_over
    one.step(well=True)
    assert table.records[f"address-{ADDRESS}"].released, "a turn that came late takes nothing back"
    other.step(well=True)
    assert one.taken_over
    assert ec2.at == "i-2"
