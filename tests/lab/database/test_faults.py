"""Every single fault under load: writes go again, nothing is lost or doubled, all heals.

Those that vary another one are `thorough`: `make soak` runs them, `make test` has half an hour.
"""

import pytest

from tests.lab.database.load import load
from tests.lab.database.ordeal import suffer
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.timeout(300)


VARIANTS = frozenset(
    {
        ("primary", "switchover"),
        ("primary", "cut off from its peer"),
        ("primary", "not heard by its peer"),
        ("primary", "not answered by AWS"),
        ("primary", "cut off from both"),
        ("primary", "agent restarted"),
        ("replica", "mysqld hung"),
        ("replica", "frozen"),
        ("replica", "agent killed"),
        ("replica", "volume full"),
    }
)


def case(scenario: Scenario) -> object:
    varies = (scenario.target, scenario.name) in VARIANTS
    marks = [pytest.mark.thorough] if varies else []
    return pytest.param(scenario, id=f"{scenario.target}: {scenario.name}", marks=marks)


@pytest.mark.parametrize("scenario", [case(scenario) for scenario in SCENARIOS])
def test_after(pair: Pair, scenario: Scenario) -> None:
    with load(pair.site) as seen:
        suffer(pair, seen, scenario)
    assert not pair.verdict(seen).complaints
