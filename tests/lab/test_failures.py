"""A dying application server costs no request that was safe to repeat."""

from collections import Counter

from lab import faults
from tests.lab import traffic
from tests.lab.site import Site, eventually

VICTIM = "app-server-1"
OTHER = "app-server-2"


def mixed(number: int) -> traffic.Request:
    """Mostly pages, with an entry written now and then."""
    return traffic.entry() if number % 5 == 0 else traffic.page()


def written(site: Site) -> Counter[str]:
    def database() -> str:
        return traffic.send(site.url, traffic.entry()).headers.get("x-database", "")

    primary = eventually("a write", database, 10)
    rows = site.rows(primary, "SELECT message FROM site.entries WHERE name = 'traffic'")
    return Counter(message for (message,) in rows)


def assert_no_page_lost_and_no_entry_twice(site: Site, load: traffic.Load) -> None:
    assert not load.failed("GET"), load.report()
    entries = written(site)
    for answer in load.sent("POST"):
        times = entries[answer.request.id]
        assert times <= 1, f"{answer} was written {times} times"
        if answer.ok:
            assert times == 1, f"{answer} was acknowledged and is not in the table"


def test_a_killed_application_server_costs_no_page_and_doubles_no_entry(site: Site) -> None:
    with traffic.load(site.url, mixed, clients=8) as load:
        eventually("a first round of answers", lambda: len(load.answers) > 100, 30)
        site.run(VICTIM, "systemctl", "kill", "--signal=KILL", "site-app.service")
        eventually("it serves again", lambda: VICTIM in last_servers(load), 60)
    assert_no_page_lost_and_no_entry_twice(site, load)


def test_an_application_server_that_stays_dead_is_taken_out_of_turn(site: Site) -> None:
    """Stopped behind systemd's back, so that nothing restarts it: only the check can notice."""
    with traffic.load(site.url, mixed, clients=8) as load:
        eventually("a first round of answers", lambda: len(load.answers) > 100, 30)
        site.run(VICTIM, "systemctl", "mask", "--runtime", "--now", "site-app.service")
        try:
            eventually("only the other answers", lambda: last_servers(load) == {OTHER}, 10)
        finally:
            site.run(VICTIM, "systemctl", "unmask", "--runtime", "site-app.service")
            site.run(VICTIM, "systemctl", "start", "site-app.service")
        eventually("it serves again", lambda: VICTIM in last_servers(load), 60)
    assert_no_page_lost_and_no_entry_twice(site, load)


def test_an_application_server_without_power_costs_no_page_and_comes_back(site: Site) -> None:
    victim = site.machine(VICTIM)
    with traffic.load(site.url, mixed, clients=8) as load:
        eventually("a first round of answers", lambda: len(load.answers) > 100, 30)
        site.power_off(VICTIM)
        eventually("only the other answers", lambda: last_servers(load) == {OTHER}, 10)
        site.power_on(victim)
        eventually("it serves again", lambda: VICTIM in last_servers(load), 90)
    assert_no_page_lost_and_no_entry_twice(site, load)


def test_an_application_server_that_is_cut_off_silently_costs_no_page(site: Site) -> None:
    """Its packets vanish, as they do when a cable is cut: nobody is refused or reset."""
    victim = site.machine(VICTIM)
    with traffic.load(site.url, mixed, clients=8) as load:
        eventually("a first round of answers", lambda: len(load.answers) > 100, 30)
        with faults.partitioned(victim.id):
            eventually("only the other answers", lambda: last_servers(load) == {OTHER}, 10)
        eventually("it serves again", lambda: VICTIM in last_servers(load), 60)
    assert_no_page_lost_and_no_entry_twice(site, load)


def last_servers(load: traffic.Load) -> set[str]:
    """Who answered the latest requests."""
    return set(traffic.shares(load.answers[-40:]))
