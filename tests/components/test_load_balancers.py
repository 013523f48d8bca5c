"""One load balancer or two, their addresses, and the name that leads to them."""

from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from tests import certificates
from tests.components import recorder
from tests.components.recorder import Recording
from tests.components.test_roles import facts, may

DOMAIN = {"domain": "www.example.org", "hostedZone": "example.org"}


def deployed(an_app: Path, **given: Any) -> Recording:
    """With these settings of `site:loadBalancers`."""
    return recorder.site(recorder.with_app({"loadBalancers": given}, an_app))


def allocations(site: Recording) -> list[str]:
    """Of the load balancers' Elastic IPs, by name."""
    found = [r for r in site.every("Eip") if r.name.startswith("load-balancer")]
    return [r.outputs["allocationId"] for r in sorted(found, key=lambda r: r.name)]


@pytest.mark.parametrize(
    ("mode", "machines", "own"),
    [("single", 1, [0]), ("active-passive", 2, [None, None]), ("active-active", 2, [0, 1])],
)
def test_a_mode_is_so_many_machines_and_each_knows_its_own_address(
    an_app: Path, mode: str, machines: int, own: list[int | None]
) -> None:
    site = deployed(an_app, mode=mode)
    known = allocations(site)
    assert len(known) == (2 if mode == "active-active" else 1)
    told = [facts(site, f"load-balancer-{n}")["options"] for n in range(1, machines + 1)]
    assert [options["addresses"] for options in told] == [known] * machines
    assert [options["own"] for options in told] == [
        "" if index is None else known[index] for index in own
    ]
    assert len([m for m in site.every("Instance") if m.name.startswith("load")]) == machines


def test_each_may_claim_every_address_and_get_a_private_one_for_it(an_app: Path) -> None:
    site = deployed(an_app, mode="active-active")
    allowed = may(site, "load-balancer")
    claimed = [arn.rpartition("/")[2] for arn in allowed["ClaimAddresses"]["Resource"]]
    assert claimed == allocations(site)
    assigned = allowed["PrivateAddresses"]
    assert assigned["Action"] == "ec2:AssignPrivateIpAddresses"
    assert assigned["Condition"] == allowed["ClaimForInterfaces"]["Condition"]


def test_without_a_domain_there_is_no_public_name(an_app: Path) -> None:
    site = deployed(an_app, mode="active-active")
    assert not site.of("HealthCheck")
    assert site.exports["url"] == f"https://{site.exports['addresses'][0]}"


def test_a_domain_whose_records_are_kept_elsewhere_is_only_told(an_app: Path) -> None:
    site = deployed(an_app, domain="www.example.org")
    assert not site.of("HealthCheck")
    assert site.exports["url"] == "https://www.example.org"


def test_a_domain_has_a_record_for_each_address_that_counts_while_it_is_well(an_app: Path) -> None:
    site = deployed(an_app, mode="active-active", **DOMAIN)
    for number, address in enumerate(site.exports["addresses"], 1):
        check = site.one("HealthCheck", f"public-{number}")
        assert (check.inputs["ipAddress"], check.inputs["port"]) == (address, 80)
        record = site.one("Record", f"public-{number}")
        assert record.inputs["name"] == "www.example.org"
        assert record.inputs["records"] == [address]
        assert record.inputs["multivalueAnswerRoutingPolicy"] is True
        assert record.inputs["healthCheckId"] == site.ids[check.urn]
        served = site.one("Record", "load-balancer").urn
        assert served in record.dependencies, "clients are sent there when it is served"


def test_a_zone_that_is_not_there_is_said_with_the_ways_out(
    an_app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise ValueError("no matching Route 53 Hosted Zone found")

    monkeypatch.setattr(aws.route53, "get_zone", refuse)
    with pytest.raises(pulumi.RunError, match=r"no public hosted zone example\.org .*hostedZone"):
        deployed(an_app, **DOMAIN)


def test_a_certificate_with_more_names_than_user_data_holds_is_refused(an_app: Path) -> None:
    key, made = certificates.server(*(f"{number}.example.org" for number in range(200)))
    given = {"loadBalancers": {"tls": {"certificate": certificates.pem(made), "key": key}}}
    with pytest.raises(pulumi.RunError, match=r"the user data of load-balancer-1 is \d+ bytes"):
        recorder.site(recorder.with_app(given, an_app), secret=["site:loadBalancers"])


def test_two_load_balancers_share_the_threads_that_a_server_has_for_requests(an_app: Path) -> None:
    def most(mode: str) -> object:
        given = {"loadBalancers": {"mode": mode}, "appServers": {"threads": 16}}
        site = recorder.site(recorder.with_app(given, an_app))
        return facts(site, "load-balancer-1")["options"]["connections_per_server"]

    assert [most(m) for m in ("single", "active-passive", "active-active")] == [15, 15, 7]
