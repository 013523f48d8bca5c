"""A machine gets a private address for each Elastic IP, and keeps it: with the image's own `ip`."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hosts.load_balancer import interface
from hosts.load_balancer.elastic_addresses import AddressError
from hosts.load_balancer.interface import Interface
from lab import image
from tests.hosts.inside import private
from tests.hosts.test_guard import COPY, HOSTS, INSIDE

ADDRESSES = ["10.0.128.20", "10.0.128.100"]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the interface had."""
    done = image.run(
        ["sh", "-ec", f"{COPY} exec python3 /srv/inside/private.py"],
        {INSIDE: "/srv/inside", HOSTS: "/srv/hosts"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.usefixtures("machine_image")
def test_ec2_is_asked_for_what_is_missing_and_once(found: dict[str, Any]) -> None:
    request = {"NetworkInterfaceId": "eni-1", "SecondaryPrivateIpAddressCount": 2}
    assert found["asked"] == [request]


@pytest.mark.usefixtures("machine_image")
def test_they_are_always_the_same_in_the_same_order(found: dict[str, Any]) -> None:
    assert found["first"] == ADDRESSES
    assert found["started anew, before the metadata tell"] == ADDRESSES
    assert found["after a boot"] == ADDRESSES


@pytest.mark.usefixtures("machine_image")
def test_the_machine_answers_at_them(found: dict[str, Any]) -> None:
    assert found["local"] == [True, True, False]
    assert found["local after a boot"] == [True, True]


@pytest.mark.usefixtures("machine_image")
def test_one_that_the_image_has_configured_is_left_alone(found: dict[str, Any]) -> None:
    assert sorted(found["shown"]) == [
        "10.0.128.100/32",
        "10.0.128.20/20",
        "10.0.128.5/20",
        "172.17.0.1/16",
    ]


def test_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses:
        def assign_private_ip_addresses(self, **_: Any) -> dict[str, Any]:
            error: Any = {
                "Error": {"Code": "PrivateIpAddressLimitExceeded", "Message": "2 at most"}
            }
            raise ClientError(error, "AssignPrivateIpAddresses")

    client: Any = Refuses
    monkeypatch.setattr(interface, "metadata", lambda: private.KNOWN.__getitem__)
    monkeypatch.setattr(Interface, "_configured", list[str])
    with pytest.raises(AddressError, match=r"no more private addresses: .* 2 at most"):
        Interface(client).secondary(2)
