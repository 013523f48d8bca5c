"""A release that cannot start is reported with its own error, and hurts nobody."""

from tests.lab import traffic
from tests.lab.site import Site, eventually


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
