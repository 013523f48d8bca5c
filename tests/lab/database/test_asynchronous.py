"""The pair without waiting for anybody: who takes over then, and that mode changes in service."""

from collections.abc import Iterator

import pytest

from lab import faults
from tests.lab.database.load import load
from tests.lab.database.ordeal import steady
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import LEASE, SOON
from tests.lab.site import eventually

pytestmark = pytest.mark.timeout(300)

FOLLOWED = 30.0
"""Seconds within which running machines follow a setting."""


@pytest.fixture
def asynchronous(pair: Pair) -> Iterator[Pair]:
    """In asynchronous mode, and back again afterwards."""
    outcome = pair.site.up({"database.replication": "asynchronous"})
    assert outcome.status == 0, outcome.text
    assert set(outcome.changes) == {"database-settings"}, "no machine is touched"
    eventually("it is asynchronous", lambda: pair.record()["mode"] == "asynchronous", FOLLOWED)
    yield pair
    pair.undo()
    outcome = pair.site.up()
    assert outcome.status == 0, outcome.text
    eventually("it is not", lambda: pair.record()["mode"] == "semi-synchronous", FOLLOWED)
    pair.recover()


def test_a_replica_that_is_close_enough_takes_over(asynchronous: Pair) -> None:
    pair = asynchronous
    primary = eventually("there is a primary", pair.primary, SOON)
    assert pair.in_sync() == {primary}, "nobody is waited for"
    with load(pair.site) as seen:
        steady(seen, SOON)
        faults.power_off(pair.id(primary))
        heir = eventually("another one leads", lambda: other(pair, primary), LEASE)
        steady(seen, SOON)
        pair.power_on(primary)
        eventually("the former one follows", lambda: pair.says(primary, "replica"), 60)
    assert pair.primary() == heir
    # What was acknowledged in the last moment may be gone; nothing is there twice.
    assert not [line for line in pair.verdict(seen).complaints if "times in the table" in line]


def other(pair: Pair, than: str) -> str:
    found = pair.primary()
    return "" if found == than else found
