"""What dnsmasq is told of Route 53."""

from lab import dns
from lab.facts import Elastic, Facts, Record, Zone
from tests.lab.unit.aws import ACCOUNT, EDGE, account

ZONE = "lab.site.internal"


def names(*records: Record) -> dns.Names:
    return dns.render(Facts(zones=(Zone(ZONE, records),)))


def test_a_record_has_all_its_addresses() -> None:
    values = tuple(f"10.0.1.{number}" for number in range(1, 65))
    told = names(Record(f"app-server.{ZONE}", "A", 5, values))
    assert set(told.hosts.splitlines()) == {f"{value} app-server.{ZONE}" for value in values}


def test_a_name_in_no_zone_does_not_exist_and_nobody_is_asked() -> None:
    options = names().options.splitlines()
    assert {"address=/#/", "no-resolv", "no-hosts", f"local=/{ZONE}/"} <= set(options)


def test_the_time_to_live_is_the_shortest_of_the_records() -> None:
    told = names(Record(f"a.{ZONE}", "A", 60, ("10.0.0.1",)), Record(f"b.{ZONE}", "A", 1, ("::1",)))
    assert "local-ttl=1" in told.options.splitlines()


def test_a_public_name_leads_machines_to_where_its_addresses_are_held() -> None:
    held, unheld = "127.1.2.3", "127.1.2.4"
    record = Record("www.site.test", "A", 60, (held, unheld, "203.0.113.20"))
    facts = account(
        zones=(Zone("site.test", (record,), public=True),),
        elastic=(
            Elastic(held, "eipalloc-1", EDGE.id, "10.0.0.4"),
            Elastic(unheld, "eipalloc-2"),
        ),
    )
    told = dns.render(facts).hosts.splitlines()
    assert [line for line in told if line.endswith(" www.site.test")] == [
        "10.0.0.4 www.site.test",
        "203.0.113.20 www.site.test",
    ]


def test_an_alias_has_its_own_time_to_live() -> None:
    told = names(Record(f"www.{ZONE}", "CNAME", 30, (f"load-balancer.{ZONE}.",)))
    assert f"cname=www.{ZONE},load-balancer.{ZONE},30" in told.options.splitlines()


def test_a_change_of_addresses_alone_needs_no_restart() -> None:
    before = names(Record(f"a.{ZONE}", "A", 1, ("10.0.0.1",)))
    after = names(Record(f"a.{ZONE}", "A", 1, ("10.0.0.2", "10.0.0.3")))
    assert before.hosts != after.hosts
    assert before.options == after.options


def test_what_is_not_served_is_said() -> None:
    told = names(
        Record(f"a.{ZONE}", "TXT", 1, ('"x"',)), Record(f"a.{ZONE}", "A", 1, ("10.0.0.1",))
    )
    assert told.ignored == (f"a.{ZONE} TXT",)


def test_instances_have_the_names_that_ec2_gives_them() -> None:
    assert "10.0.0.4 ip-10-0-0-4.eu-west-1.compute.internal ip-10-0-0-4" in (
        dns.render(ACCOUNT).hosts.splitlines()
    )
    assert dns.host_name("10.0.0.4", "us-east-1") == "ip-10-0-0-4.ec2.internal"


def test_each_vpc_has_a_resolver_at_its_base_plus_two() -> None:
    facts = account(vpcs={"vpc-1": "10.0.0.0/16", "vpc-2": "192.168.4.0/22"})
    assert dns.resolvers(facts) == ["169.254.169.253", "10.0.0.2", "192.168.4.2"]
    assert "listen-address=192.168.4.2" in dns.render(facts).options.splitlines()
