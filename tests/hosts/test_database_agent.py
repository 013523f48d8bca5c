"""How far behind a replica is."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.database.lag import KEPT, Kept, Lag


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


def test_an_agent_that_starts_anew_knows_the_lag_at_the_last_sign_of_life(tmp_path: Path) -> None:
    file = tmp_path / "lag.json"
    before = Kept(file)
    assert before.at("database-1 7 41", 0.7) == 0.7
    assert before.at("database-1 7 42", 0.4) == 0.4
    anew = Kept(file)
    assert anew.at("database-1 7 42", math.inf) == 0.4
    assert anew.at("database-1 7 43", math.inf) == math.inf, "it lived on, and wrote perhaps"


@pytest.mark.parametrize("content", ["", "[]", "{}", '["database-1 7 42"]', '["a", "b"]'])
def test_what_was_not_kept_whole_is_not_known(tmp_path: Path, content: str) -> None:
    file = tmp_path / "lag.json"
    file.write_text(content)
    assert Kept(file).at("database-1 7 42", math.inf) == math.inf
    assert Kept(tmp_path / "nowhere" / "lag.json").at("a", 1.0) == 1.0
