"""A release that cannot serve is reported with its own error, and hurts nobody."""

import pytest

from tests.lab import traffic
from tests.lab.site import Site, eventually
from tests.lab.test_failures import assert_no_page_lost_and_no_entry_twice, mixed


def test_a_release_that_fails_to_start_fails_up_with_its_traceback(as_before: Site) -> None:
    site = as_before
    with traffic.load(site.url, lambda _: traffic.page(), clients=4) as load:
        broken = site.up({"appServers.folder": "tests/lab/sites/broken"})
        eventually("answers after the failed release", lambda: len(load.answers) > 100, 30)
    assert broken.status != 0
    assert "the guest book's ink has run dry" in broken.text, broken.text
    assert not load.failed(), load.report()

    mended = site.up()
    assert mended.status == 0, mended.text
    eventually("both servers answer", lambda: len(site.in_turn()) == 2, 30)


@pytest.mark.thorough
def test_a_release_whose_health_check_fails_gets_no_request_and_up_says_why(
    as_before: Site,
) -> None:
    """Until `readyWithin` has passed it might get well. The setting of before is the way back."""
    site = as_before
    with traffic.load(site.url, mixed, clients=8) as load:
        sick = site.up({"appServers.folder": "tests/lab/sites/sick"})
        before = len(load.answers)
        eventually("answers afterwards", lambda: len(load.answers) > before + 100, 30)
        mended = site.up()
        before = len(load.answers)
        eventually("answers with the old one", lambda: len(load.answers) > before + 100, 30)
    assert sick.status != 0
    assert "GET /healthz answers 503" in sick.text, sick.text
    assert "the guest book has lost its pen" in sick.text, sick.text
    assert mended.status == 0, mended.text
    assert [answer for answer in load.answers if answer.body == b"sick\n"] == []
    assert not load.failed(), load.report()
    assert_no_page_lost_and_no_entry_twice(site, load)


@pytest.mark.thorough
def test_somebody_elses_django_application_deploys_by_settings_alone(as_before: Site) -> None:
    site = as_before
    outcome = site.up(
        {
            "appServers.folder": "tests/lab/sites/slow",
            "appServers.module": "service:site",
            "appServers.healthPath": "/health",
        }
    )
    assert outcome.status == 0, outcome.text
    answer = eventually("its own page", lambda: ready(site), 30)
    assert answer.server in {"app-server-1", "app-server-2"}


def ready(site: Site) -> traffic.Answer | None:
    answer = traffic.send(site.url)
    return answer if answer.body == b"ready\n" else None
