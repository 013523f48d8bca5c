"""Every single fault under load: writes go again, nothing is lost or doubled, all heals."""

import pytest

from tests.lab.database.load import load
from tests.lab.database.ordeal import suffer
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.timeout(300)


def named(scenario: Scenario) -> str:
    return f"{scenario.target}: {scenario.name}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_after(pair: Pair, scenario: Scenario) -> None:
    with load(pair.site) as seen:
        suffer(pair, seen, scenario)
    assert not pair.verdict(seen).complaints
