"""The claim to a public address: held with the lease, given up with a dead HAProxy, handed over."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hosts.base.lease import Lease, Record
from hosts.load_balancer.claim_address import GIVEN_TO, HOPELESS, Claim
from hosts.load_balancer.decide import STEADY, Belongs
from hosts.load_balancer.elastic_addresses import AddressError, ElasticAddresses
from hosts.load_balancer.role import TIMES, belongs
from hosts.load_balancer.wish import ASKED, ASKED_FOR, Wish
from tests.hosts.fakes import Clock, MemoryTable

ADDRESS = "eipalloc-1"
NAME = f"address-{ADDRESS}"
TURN = 0.2


class Ec2:
    """Where the address is."""

    def __init__(self) -> None:
        self.at = ""
        self.error = ""
        self.calls = 0
        self.looks = 0


class Addresses:
    """EC2 as one machine sees it."""

    def __init__(self, ec2: Ec2, me: str) -> None:
        self.ec2, self.me = ec2, me

    def is_ours(self, allocation: str) -> bool:
        assert allocation == ADDRESS
        self.ec2.looks += 1
        if self.ec2.error:
            raise AddressError(self.ec2.error)
        return self.ec2.at == self.me

    def associate(self, allocation: str) -> None:
        assert allocation == ADDRESS
        self.ec2.calls += 1
        if self.ec2.error:
            raise AddressError(self.ec2.error)
        self.ec2.at = self.me


class Pulse:
    """HAProxy's, as the test has it."""

    def __init__(self) -> None:
        self.well, self.well_for, self.recovered = True, 1000.0, False


class Door:
    """The connections to the address, as the test has them."""

    def __init__(self) -> None:
        self.is_shut = False
        self.is_empty = False

    def shut(self) -> None:
        self.is_shut = True

    def empty(self) -> bool:
        return self.is_empty

    def reopen(self) -> None:
        self.is_shut = False


def at_once(work: Callable[[], None]) -> None:
    work()


class Machine:
    """One machine's claim, and what it sees."""

    def __init__(self, edge: "Edge", name: str, belongs: Belongs, run: Any = at_once) -> None:
        self.name, self.pulse, self.door = name, Pulse(), Door()
        self.lease = Lease(edge.table, NAME, name, TIMES, edge.clock)
        self.claim = Claim(
            ADDRESS,
            self.lease,
            addresses=Addresses(edge.ec2, name),
            pulse=self.pulse,
            door=self.door,
            clock=edge.clock,
            belongs=belongs,
            run=run,
        )


class Edge:
    """A table, EC2 and a clock, and the machines that were made in them."""

    def __init__(self) -> None:
        self.clock, self.table, self.ec2 = Clock(), MemoryTable(), Ec2()
        self.machines: list[Machine] = []

    def machine(self, name: str, belongs: Belongs = "anywhere", **more: Any) -> Machine:
        self.machines.append(Machine(self, name, belongs, **more))
        return self.machines[-1]

    def pass_time(self, seconds: float, *only: Machine) -> None:
        """Every machine takes its turns, or only these."""
        for _ in range(round(seconds / TURN)):
            for machine in only or self.machines:
                while machine.claim.step():
                    pass
            self.clock.advance(TURN)

    @property
    def record(self) -> Record:
        return self.table.records[NAME]


@pytest.fixture
def edge() -> Edge:
    return Edge()


def test_the_holder_of_the_lease_associates_the_address_once(edge: Edge) -> None:
    one = edge.machine("i-1")
    assert not one.claim.settled
    edge.pass_time(60)
    assert edge.ec2.at == "i-1"
    assert one.claim.settled
    assert edge.ec2.calls == 1


def test_an_address_that_was_just_taken_is_not_looked_for_first(edge: Edge) -> None:
    one = edge.machine("i-1")
    edge.pass_time(TURN)
    assert (edge.ec2.at, edge.ec2.looks) == ("i-1", 0)
    assert one.claim.settled


def test_it_looks_often_at_first_and_then_from_time_to_time(edge: Edge) -> None:
    edge.machine("i-1")
    edge.pass_time(10)
    soon = edge.ec2.looks
    edge.pass_time(10)
    later = edge.ec2.looks
    edge.pass_time(60)
    assert soon >= 7
    assert 10 <= edge.ec2.looks - later <= 14


def test_a_program_that_was_started_anew_does_not_move_its_address_again(edge: Edge) -> None:
    one = edge.machine("i-1")
    edge.pass_time(1)
    edge.machines.remove(one)
    anew = edge.machine("i-1")
    edge.pass_time(1)
    assert anew.claim.settled
    assert edge.ec2.calls == 1


def test_a_second_machine_is_settled_without_the_address(edge: Edge) -> None:
    edge.machine("i-1")
    edge.pass_time(1)
    other = edge.machine("i-2")
    edge.pass_time(10)
    assert other.claim.settled
    assert edge.ec2.at == "i-1"


def test_an_address_is_taken_over_when_its_machine_is_silent(edge: Edge) -> None:
    one, other = edge.machine("i-1"), edge.machine("i-2")
    edge.pass_time(1)
    edge.pass_time(2.2, other)
    assert edge.ec2.at == "i-1"
    edge.pass_time(1.0, other)
    assert edge.ec2.at == "i-2"
    edge.pass_time(2)
    assert one.claim.settled
    assert edge.ec2.at == "i-2", "the lost lease needs no undoing"
    assert edge.ec2.calls == 2


def test_a_machine_whose_haproxy_is_gone_gives_the_address_up_at_once(edge: Edge) -> None:
    one, _ = edge.machine("i-1"), edge.machine("i-2")
    edge.pass_time(1)
    one.pulse.well = False
    edge.pass_time(2 * TURN)
    assert edge.ec2.at == "i-2"


def test_a_machine_alone_takes_back_what_it_released(edge: Edge) -> None:
    one = edge.machine("i-1")
    edge.pass_time(1)
    one.pulse.well = False
    edge.pass_time(1)
    assert edge.record.released
    one.pulse.well, one.pulse.recovered, one.pulse.well_for = True, True, 0.0
    edge.pass_time(1)
    assert edge.record.released, "its servers are not up again yet"
    one.pulse.well_for = 2.0
    edge.pass_time(1)
    assert one.claim.settled
    assert edge.ec2.calls == 1, "the address never went"


def test_an_address_that_a_late_request_moved_is_taken_back(edge: Edge) -> None:
    edge.machine("i-1")
    edge.pass_time(30)
    edge.ec2.at = "i-2"
    edge.pass_time(5.2)
    assert edge.ec2.at == "i-1"


def test_a_machine_that_slept_past_its_lease_moves_nothing(edge: Edge) -> None:
    """It took the lease, and was frozen before it could associate the address."""
    later: list[Any] = []
    one, other = edge.machine("i-1", run=later.append), edge.machine("i-2")
    edge.pass_time(TURN, one)
    (work,) = later
    edge.pass_time(5, other)
    assert edge.ec2.at == "i-2"
    work()
    assert edge.ec2.at == "i-2"
    assert edge.ec2.calls == 1


def test_without_the_table_the_address_stays_where_it_is(edge: Edge) -> None:
    edge.machine("i-1")
    edge.machine("i-2")
    edge.pass_time(1)
    edge.table.unreachable = True
    edge.pass_time(60)
    edge.table.unreachable = False
    edge.pass_time(10)
    assert edge.ec2.at == "i-1"
    assert edge.ec2.calls == 1


def test_without_ec2_nobody_lets_go_of_an_address_that_is_with_its_holder(edge: Edge) -> None:
    one, _ = edge.machine("i-1"), edge.machine("i-2")
    edge.pass_time(1)
    edge.ec2.error = "RequestLimitExceeded"
    edge.pass_time(60)
    assert edge.record.holder == "i-1"
    assert one.claim.error == ""
    edge.ec2.error = ""
    edge.pass_time(10)
    assert (edge.ec2.at, edge.ec2.calls) == ("i-1", 1)


def test_a_refusal_is_met_with_patience(edge: Edge) -> None:
    edge.ec2.error = "RequestLimitExceeded"
    edge.machine("i-1")
    edge.pass_time(10)
    assert edge.ec2.calls <= 6


def test_what_keeps_a_machine_from_its_address_is_said_when_it_lasts(edge: Edge) -> None:
    edge.ec2.error = "UnauthorizedOperation"
    one = edge.machine("i-1")
    edge.pass_time(1)
    assert one.claim.error == ""
    assert not one.claim.settled
    edge.pass_time(15)
    assert one.claim.error == f"the address {ADDRESS} cannot be claimed: UnauthorizedOperation"
    edge.ec2.error = ""
    edge.pass_time(15)
    assert one.claim.error == ""
    assert one.claim.settled


def test_a_machine_that_cannot_have_the_address_leaves_it_to_another(edge: Edge) -> None:
    later: list[Any] = []
    one = edge.machine("i-1", run=later.append)

    def refused() -> None:
        edge.ec2.error = "UnauthorizedOperation"
        later.pop()()
        edge.ec2.error = ""

    edge.pass_time(TURN)
    edge.machine("i-2")
    for _ in range(HOPELESS):
        assert edge.record.holder == "i-1"
        refused()
        edge.pass_time(5)
    assert edge.ec2.at == "i-2"
    assert one.claim.settled


def test_a_drain_hands_over_an_address_that_nobody_is_connected_to(edge: Edge) -> None:
    one, _ = edge.machine("i-1"), edge.machine("i-2")
    edge.pass_time(1)
    one.claim.drain()
    edge.pass_time(TURN)
    assert one.door.is_shut
    assert not one.claim.gone
    edge.pass_time(3)
    assert edge.ec2.at == "i-1", "somebody is still connected"
    one.door.is_empty = True
    edge.pass_time(1)
    assert edge.ec2.at == "i-2"
    assert one.claim.gone
    edge.pass_time(5)
    assert not one.door.is_shut
    assert edge.ec2.at == "i-2"


def test_a_drain_ends_where_there_is_nobody_to_hand_over_to(edge: Edge) -> None:
    one = edge.machine("i-1")
    edge.pass_time(1)
    one.claim.drain()
    one.door.is_empty = True
    edge.pass_time(1)
    assert edge.record.released
    assert not one.claim.gone
    edge.pass_time(3)
    assert one.claim.gone
    assert edge.record.released


def test_a_drain_waits_until_ec2_has_moved_the_address(edge: Edge) -> None:
    later: list[Any] = []
    one = edge.machine("i-1")
    edge.pass_time(1)
    edge.machine("i-2", run=later.append)
    one.claim.drain()
    one.door.is_empty = True
    edge.pass_time(8)
    assert edge.record.holder == "i-2"
    assert not one.claim.gone
    later.pop()()
    assert one.claim.gone


def test_a_machine_without_the_address_drains_at_once(edge: Edge) -> None:
    edge.machine("i-1")
    edge.pass_time(1)
    other = edge.machine("i-2")
    edge.pass_time(1)
    other.claim.drain()
    edge.pass_time(TURN)
    assert other.claim.gone


def test_an_own_address_comes_back_once_its_machine_has_been_well_for_long(edge: Edge) -> None:
    other = edge.machine("i-2", "elsewhere")
    edge.pass_time(130)
    assert edge.ec2.at == "i-2"
    one = edge.machine("i-1", "here")
    one.pulse.well_for = STEADY - 1
    edge.pass_time(10)
    assert not other.door.is_shut
    one.pulse.well_for = STEADY
    edge.pass_time(1.2)
    assert other.door.is_shut
    other.door.is_empty = True
    edge.pass_time(1)
    assert edge.ec2.at == "i-1"
    assert edge.record.extra == {}
    edge.pass_time(30)
    assert edge.ec2.calls == 2
    assert not other.door.is_shut


def test_an_own_address_is_not_given_back_to_a_machine_that_falls_silent(edge: Edge) -> None:
    other = edge.machine("i-2", "elsewhere")
    edge.pass_time(130)
    one = edge.machine("i-1", "here")
    one.pulse.well_for = STEADY
    edge.pass_time(1.2)
    assert other.door.is_shut
    edge.pass_time(4, other)
    other.door.is_empty = True
    edge.pass_time(4, other)
    assert edge.record.holder == "i-2"
    assert not other.door.is_shut


def test_an_address_that_is_given_back_and_not_taken_is_held_again(edge: Edge) -> None:
    other = edge.machine("i-2", "elsewhere")
    edge.pass_time(130)
    one = edge.machine("i-1", "here")
    one.pulse.well_for = STEADY
    other.door.is_empty = True
    while not edge.record.released:
        edge.pass_time(TURN, one, other)
    assert edge.record.extra[GIVEN_TO] == "i-1"
    edge.pass_time(3, other)
    assert edge.record.holder == "i-2"
    assert not other.door.is_shut
    assert (edge.ec2.at, edge.ec2.calls) == ("i-2", 1)


def test_of_three_the_replacement_gets_the_address_of_the_one_it_replaces(edge: Edge) -> None:
    one = edge.machine("i-1", "here")
    edge.pass_time(1)
    edge.machine("i-2", "elsewhere")
    new = edge.machine("i-3", "here")
    edge.pass_time(60)
    assert edge.ec2.at == "i-1", "until it is to go"
    assert new.claim.settled
    one.claim.drain()
    one.door.is_empty = True
    edge.pass_time(2)
    assert edge.ec2.at == "i-3"
    assert edge.ec2.calls == 2


def record(text: str) -> Record:
    return Record("i-2", 1, 1, released=False, lease=2.5, extra={ASKED_FOR: text} if text else {})


def test_a_wish_counts_while_it_is_repeated() -> None:
    wish = Wish("i-2")
    wish.read(record(Wish.text("i-1", 40.2, 1)), 0.0)
    assert wish.by(0.0) is None, "it may have stood there for long"
    wish.read(record(Wish.text("i-1", 40.7, 2)), 0.5)
    assert wish.by(0.5) == ("i-1", 41.0)
    wish.read(record(Wish.text("i-1", 40.7, 2)), 2.0)
    assert wish.by(0.5 + ASKED) == ("i-1", 41.0)
    assert wish.by(0.6 + ASKED) is None


@pytest.mark.parametrize("text", ["", "i-1", "i-1/x/1", "i-1/-3/1", Wish.text("i-2", 40, 2)])
def test_what_is_no_wish_of_another_machine_is_none(text: str) -> None:
    wish = Wish("i-2")
    wish.read(record(""), 0.0)
    wish.read(record(text), 0.5)
    assert wish.by(0.5) is None


def test_a_wish_for_ever_is_a_number() -> None:
    assert Wish.text("i-1", float("inf"), 1) == "i-1/1000000/1"


@pytest.mark.parametrize(
    ("own", "place"), [("", "anywhere"), (ADDRESS, "here"), ("eipalloc-2", "elsewhere")]
)
def test_where_an_address_belongs(own: str, place: str) -> None:
    assert belongs(ADDRESS, own) == place


class Client:
    """boto3's, with one address."""

    def __init__(self, **address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error = ""

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> dict[str, Any]:
            self.asked.append((operation, request))
            if self.error:
                raise ClientError({"Error": {"Code": self.error}}, operation)
            return {"Addresses": [self.address]}

        return call


def elastic(client: Client) -> ElasticAddresses:
    made: Any = lambda: client  # noqa: E731
    return ElasticAddresses(made, "i-1", {ADDRESS: "10.0.128.9"})


@pytest.mark.parametrize(
    ("place", "ours"),
    [
        ({"InstanceId": "i-1", "PrivateIpAddress": "10.0.128.9"}, True),
        ({"InstanceId": "i-1", "PrivateIpAddress": "10.0.128.5"}, False),
        ({"InstanceId": "i-2", "PrivateIpAddress": "10.0.128.9"}, False),
        ({}, False),
    ],
)
def test_an_address_is_ours_if_it_stands_for_the_private_address_that_it_is_to(
    place: dict[str, str], ours: bool
) -> None:
    assert elastic(Client(**place)).is_ours(ADDRESS) is ours


def test_an_address_is_associated_with_the_private_address_of_its_own() -> None:
    client = Client()
    elastic(client).associate(ADDRESS)
    assert client.asked == [
        (
            "associate_address",
            {
                "AllocationId": ADDRESS,
                "InstanceId": "i-1",
                "PrivateIpAddress": "10.0.128.9",
                "AllowReassociation": True,
            },
        )
    ]


def test_what_ec2_refuses_is_an_error_of_its_own() -> None:
    client = Client()
    client.error = "RequestLimitExceeded"
    with pytest.raises(AddressError, match="RequestLimitExceeded"):
        elastic(client).associate(ADDRESS)
