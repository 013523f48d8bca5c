"""Application servers come and go under load; what is not theirs is not touched."""

from tests.lab import traffic
from tests.lab.site import Site, eventually
from tests.lab.test_failures import assert_no_page_lost_and_no_entry_twice, mixed


def test_scaling_out_and_in_loses_no_request_and_touches_only_its_own(as_before: Site) -> None:
    site = as_before
    with traffic.load(site.url, mixed, clients=8) as load:
        out = site.up({"appServers.count": 3})
        assert out.status == 0, out.text
        eventually("three servers answer", lambda: len(site.in_turn()) == 3, 20)
        back = site.up({"appServers.count": 2})
        assert back.status == 0, back.text
        eventually("two servers answer", lambda: len(site.in_turn()) == 2, 20)
    assert not load.failed(), load.report()
    assert_no_page_lost_and_no_entry_twice(site, load)

    made = out.touched("create")
    assert {name for name in made if "app-server-3" not in name} == set()
    assert made == back.touched("delete")
    for outcome in (out, back):
        others = set(outcome.changes) - made - {"site"}  # CloudWatch's board, which shows them
        assert all("app-server" in name for name in others if "site-lab" not in name), others
        assert not outcome.touched("replace")
