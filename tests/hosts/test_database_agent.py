"""What a database machine does next, and how far behind a replica is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.base.coordination import Machine
from hosts.database.agent import primary_address
from hosts.database.decide import Action, Observation, Primary, decide
from hosts.database.lag import KEPT, Lag

PRIMARY = Primary("10.0.1.5", open=True, contains_ours=True, has_what_we_lack=True)
FRESH = Observation(alive=True, primary=PRIMARY)
FOLLOWING = Observation(
    alive=True,
    empty=False,
    source="10.0.1.5",
    receiving="ON",
    applying=True,
    primary=PRIMARY,
)

REPLICAS = {
    "mysqld is dead": (Observation(alive=False), Action.START),
    "mysqld is starting": (Observation(alive=False, starting=True), Action.NOTHING),
    "it is open for writes": (replace(FOLLOWING, super_read_only=False), Action.CLOSE),
    "it is new": (FRESH, Action.CLONE),
    "it is new, the primary away": (replace(FRESH, primary=None), Action.NOTHING),
    "it is new, the primary not open": (
        replace(FRESH, primary=replace(PRIMARY, open=False)),
        Action.NOTHING,
    ),
    "it follows": (FOLLOWING, Action.NOTHING),
    "it connects": (replace(FOLLOWING, receiving="CONNECTING"), Action.NOTHING),
    "it was restarted": (replace(FOLLOWING, receiving="OFF", applying=False), Action.FOLLOW),
    "it stopped applying": (replace(FOLLOWING, applying=False), Action.FOLLOW),
    "the primary has another address": (
        replace(FOLLOWING, primary=replace(PRIMARY, address="10.0.2.9")),
        Action.FOLLOW,
    ),
    "it was restarted, the primary away": (
        replace(FOLLOWING, receiving="OFF", applying=False, primary=None),
        Action.RESUME,
    ),
    "it follows, the primary away": (
        replace(FOLLOWING, receiving="CONNECTING", primary=None),
        Action.NOTHING,
    ),
    "it was away for so long that the primary's logs are gone": (
        replace(
            FOLLOWING,
            receiving="OFF",
            primary=replace(PRIMARY, has_what_we_lack=False),
        ),
        Action.CLONE,
    ),
    "it has what the primary has not": (
        replace(FOLLOWING, receiving="OFF", primary=replace(PRIMARY, contains_ours=False)),
        Action.REFUSE,
    ),
    "it has what the primary has not, and lacks what is gone": (
        replace(
            FOLLOWING,
            receiving="OFF",
            primary=replace(PRIMARY, contains_ours=False, has_what_we_lack=False),
        ),
        Action.REFUSE,
    ),
}


@pytest.mark.parametrize("case", REPLICAS)
def test_a_replica_when(case: str) -> None:
    seen, action = REPLICAS[case]
    assert decide("replica", seen) is action


PRIMARIES = {
    "mysqld is dead": (Observation(alive=False), Action.START),
    "mysqld is starting": (Observation(alive=False, starting=True), Action.NOTHING),
    "it just started": (Observation(alive=True), Action.OPEN),
    "its accounts were not seen to": (
        Observation(alive=True, super_read_only=False, prepared=False),
        Action.OPEN,
    ),
    "it was a replica": (Observation(alive=True, super_read_only=False, source="x"), Action.OPEN),
    "it is open": (Observation(alive=True, super_read_only=False), Action.NOTHING),
}


@pytest.mark.parametrize("case", PRIMARIES)
def test_a_primary_when(case: str) -> None:
    seen, action = PRIMARIES[case]
    assert decide("primary", seen) is action


observations = st.builds(
    Observation,
    alive=st.booleans(),
    starting=st.booleans(),
    prepared=st.booleans(),
    super_read_only=st.booleans(),
    empty=st.booleans(),
    source=st.sampled_from(["", "10.0.1.5", "10.0.2.9"]),
    receiving=st.sampled_from(["ON", "CONNECTING", "OFF"]),
    applying=st.booleans(),
    primary=st.none()
    | st.builds(
        Primary,
        address=st.just("10.0.1.5"),
        open=st.booleans(),
        contains_ours=st.booleans(),
        has_what_we_lack=st.booleans(),
    ),
)


@given(observations)
def test_a_copy_never_replaces_what_exists_nowhere_else(seen: Observation) -> None:
    if decide("replica", seen) is Action.CLONE:
        assert seen.primary is not None
        assert seen.primary.open
        assert seen.primary.contains_ours
        assert seen.super_read_only


@given(observations)
def test_a_replica_is_never_opened_and_a_primary_never_made_a_replica(seen: Observation) -> None:
    assert decide("replica", seen) is not Action.OPEN
    assert decide("primary", seen) in (Action.NOTHING, Action.START, Action.OPEN)


@given(observations)
def test_a_replica_that_can_be_written_to_is_closed_before_anything_else(
    seen: Observation,
) -> None:
    if seen.alive and not seen.super_read_only:
        assert decide("replica", seen) is Action.CLOSE


def machine(name: str, address: str, updated: float, state: str = "ready") -> Machine:
    return Machine("i-" + address, name, "database", address, state, "", updated, "")


def test_the_primarys_address_is_that_of_the_machine_that_reported_last() -> None:
    machines = [
        machine("database-1", "10.0.1.5", 100),
        machine("database-1", "10.0.1.9", 200),
        machine("database-1", "10.0.1.7", 300, "drained"),
        machine("database-2", "10.0.2.5", 400),
    ]
    assert primary_address(machines, "database-1") == "10.0.1.9"
    assert primary_address(machines, "database-3") == ""


def test_a_replica_that_never_caught_up_is_infinitely_far_behind() -> None:
    lag = Lag()
    assert lag.seconds(5.0) == float("inf")
    lag.asked(5.0, "a:1-9")
    lag.executed(lambda _: False)
    assert lag.seconds(6.0) == float("inf")


def test_a_replica_is_as_far_behind_as_the_last_set_that_it_has_executed() -> None:
    lag = Lag()
    for at in range(10):
        lag.asked(float(at), str(at))
    lag.executed(lambda transactions: int(transactions) <= 6)
    assert lag.seconds(10.0) == 4.0
    lag.executed(lambda _: False)
    assert lag.seconds(11.0) == 5.0, "the bound grows while nothing more is seen"


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=300),
)
def test_the_bound_is_never_below_the_truth(steps: list[tuple[int, int]]) -> None:
    """The primary commits, the replica applies, both as they like: with the newest transaction
    that the replica has, its data is at least as new as the bound says.
    """
    lag = Lag()
    committed_at: list[float] = []
    applied = 0
    for number, (commits, applies) in enumerate(steps):
        now = float(number)
        committed_at += [now] * commits
        lag.asked(now + 0.25, str(len(committed_at)))
        applied = min(len(committed_at), applied + applies)
        replica = applied
        lag.executed(lambda transactions, have=replica: int(transactions) <= have)
        if applied < len(committed_at):
            truth = now + 0.5 - committed_at[applied]
            assert lag.seconds(now + 0.5) >= truth - 0.5 - 1e-9
        else:
            assert lag.seconds(now + 0.5) == 0.25


def test_a_replica_that_is_very_far_behind_takes_a_bounded_amount_of_memory() -> None:
    lag = Lag()
    for at in range(10 * KEPT):
        lag.asked(float(at), str(at))
    lag.executed(lambda transactions: int(transactions) <= 3)
    assert lag.seconds(1000.0) == 997.0
