"""A failover as the site's visitors see it, through the load balancer."""

import pytest

from tests.lab import traffic
from tests.lab.database.load import load
from tests.lab.database.ordeal import suffer
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import scenario
from tests.lab.test_failures import assert_no_page_lost_and_no_entry_twice

pytestmark = pytest.mark.timeout(300)


def mixed(number: int) -> traffic.Request:
    return traffic.entry() if number % 3 == 0 else traffic.page()


@pytest.mark.parametrize("fault", ["mysqld killed", "powered off"])
def test_pages_go_on_and_writes_are_put_off(pair: Pair, fault: str) -> None:
    url = pair.site.url
    with (
        traffic.load(url, mixed, clients=6, pause=0.05) as visitors,
        load(pair.site, writers=2) as seen,
    ):
        suffer(pair, seen, scenario(fault))
    assert not pair.verdict(seen).complaints
    assert_no_page_lost_and_no_entry_twice(pair.site, visitors)
    for answer in visitors.failed("POST"):
        assert answer.status == 503, answer
        assert answer.headers.get("retry-after"), answer
