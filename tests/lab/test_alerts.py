"""Each alert reaches people when its fault is there, and again when it is over."""

from collections.abc import Generator

import pytest
import yaml

from tests.lab import alarming
from tests.lab.site import PROJECT, Site

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(1200)]

CANNOT_BE_MADE = {"DatabaseTwoPrimaries"}
"""What the lease is there to prevent: its rule is tested by promtool alone."""


@pytest.fixture(scope="module")
def heard(running_site: Site) -> Generator[Site]:
    """People hear of what is wrong."""
    alarming.subscribe(running_site)
    yield running_site
    outcome = running_site.up()
    assert outcome.status == 0, outcome.text


def test_every_alert_has_its_fault() -> None:
    rules = yaml.safe_load((PROJECT / "hosts/monitoring/rules/site.yml").read_text())
    named = {
        rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    }
    made = {alert for fault in alarming.FAULTS for alert in fault.alerts}
    assert made | CANNOT_BE_MADE | {"Watchdog"} == named


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("fault", alarming.FAULTS, ids=lambda fault: fault.what)
def test_people_hear_of_it_and_of_its_end(site: Site, fault: alarming.Fault) -> None:
    told = alarming.measure(site, fault)
    assert {one.alert for one in told} == set(fault.alerts)
