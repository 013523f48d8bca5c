"""A certificate by ACME for the deployed site: the authority is somebody else's, on the internet.

What the authority may answer, and what the load balancers make of it, is in tests/hosts
(test_acme.py, test_renewal.py); here are the ways between them: names, firewalls, two machines.
"""

import socket
import ssl
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab import clients, internet, traffic
from tests.lab.balancers import Balancers
from tests.lab.site import Site, eventually
from tests.lab.test_failures import mixed

ZONE = "site.test"
DOMAIN = f"www.{ZONE}"
URL = f"https://{DOMAIN}"
LIFETIME = 240
"""Seconds of a certificate. A new one is due after two thirds; machines look every 30 s, whether it
is time and then whether there is one, and the last third is to be enough for both."""
ORDERED = 120.0
"""Seconds within which there is the first one, once the name leads to the site."""


@pytest.fixture
def names(site: Site) -> Iterator[None]:
    """The public zones that are there before the site: its own, and the authority's."""
    route53 = site.client("route53")

    def zone(name: str) -> str:
        made = route53.create_hosted_zone(Name=name, CallerReference=uuid.uuid4().hex)
        return str(made["HostedZone"]["Id"])

    own, authority = zone(ZONE), zone(internet.NAME.partition(".")[2])
    record = {
        "Name": internet.NAME,
        "Type": "A",
        "TTL": 60,
        "ResourceRecords": [{"Value": internet.ADDRESS}],
    }

    def change(action: str) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        route53.change_resource_record_sets(HostedZoneId=authority, ChangeBatch=batch)

    change("CREATE")
    try:
        yield
    finally:
        change("DELETE")
        for made in (own, authority):
            route53.delete_hosted_zone(Id=made)


def shown(address: str, root: Path) -> bytes:
    """The certificate that a client of the authority's gets; empty if he does not trust it."""
    context = ssl.create_default_context(cafile=root)
    try:
        with (
            socket.create_connection((address, 443), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=DOMAIN) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def shown_by_all(addresses: Sequence[str], root: Path, former: bytes = b"") -> bytes:
    """The one certificate of all of them, if it is not the former one; empty until it is so."""
    found = {shown(address, root) for address in addresses}
    return found.pop() if len(found) == 1 and former not in found else b""


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("names")
def test_one_load_balancer_orders_for_all_and_a_renewal_loses_no_connection(
    as_before: Site, tmp_path: Path
) -> None:
    site = as_before
    assert site.url.startswith("https://127."), "known by its address, before and after"
    addresses = [address.public for address in Balancers(site).addresses.values()]
    with internet.acme(tmp_path, {DOMAIN: addresses}, LIFETIME) as authority, ExitStack() as stack:
        outcome = site.up(
            {
                "loadBalancers.domain": DOMAIN,
                "loadBalancers.hostedZone": ZONE,
                "loadBalancers.tls": {
                    "acme": {"directory": authority.directory, "authority": authority.trust}
                },
            }
        )
        assert outcome.status == 0, outcome.text
        assert site.output("url") == URL
        first = eventually(
            "every load balancer shows the certificate that one of them ordered",
            lambda: shown_by_all(addresses, authority.root),
            ORDERED,
        )
        assert authority.orders() == 1
        assert clients.judged(DOMAIN, authority.root, addresses[0])["issues"] == {}

        held = [
            stack.enter_context(
                traffic.Client(URL, keep_alive=True, authority=authority.root, at=address)
            )
            for address in addresses
        ]
        answers: list[traffic.Answer] = []

        def renewed() -> bytes:
            answers.extend(client.send(traffic.page()) for client in held)
            return shown_by_all(addresses, authority.root, former=first)

        with ExitStack() as loads:
            seen = [
                loads.enter_context(
                    traffic.load(
                        URL, mixed, clients=3, pause=0.05, authority=authority.root, at=address
                    )
                )
                for address in addresses
            ]
            eventually("every load balancer shows the next certificate", renewed, LIFETIME)
            answers += [client.send(traffic.page()) for client in held]
        assert authority.orders() == 2
        assert [answer for answer in answers if not answer.ok] == []
        assert [client.connections for client in held] == [1, 1]
        for load in seen:
            assert not load.failed(), load.report()
            assert len(load.sent("POST")) > 100
