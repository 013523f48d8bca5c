"""Machines as EC2 and they themselves tell of them."""

from typing import Any

from lab.fleet import row

INSTANCE: dict[str, Any] = {
    "InstanceId": "i-1",
    "State": {"Name": "running"},
    "PrivateIpAddress": "10.0.1.10",
    "PublicIpAddress": "54.0.0.1",
    "LaunchTime": "2026-01-01",
    "Tags": [
        {"Key": "Name", "Value": "site-lab-load-balancer-1"},
        {"Key": "Role", "Value": "load-balancer"},
    ],
}


def address(public: str, owner: str) -> dict[str, Any]:
    return {"Association": {"PublicIp": public, "IpOwnerId": owner}}


def test_a_machine_has_the_name_that_the_program_gave_it() -> None:
    found = row(INSTANCE, {}, "site-lab-")
    assert (found.name, found.role, found.address) == (
        "load-balancer-1",
        "load-balancer",
        "10.0.1.10",
    )


def test_a_running_machine_says_itself_how_it_is() -> None:
    assert row(INSTANCE, {}, "site-lab-").state == "running"
    failed = row(INSTANCE, {"state": "failed", "detail": "haproxy: no"}, "site-lab-")
    assert (failed.state, failed.detail) == ("failed", "haproxy: no")


def test_what_a_stopped_machine_last_said_is_no_longer_true() -> None:
    stopped = INSTANCE | {"State": {"Name": "stopped"}}
    assert row(stopped, {"state": "ready"}, "site-lab-").state == "stopped"


def test_the_elastic_address_on_a_secondary_one_is_shown_before_the_automatic_one() -> None:
    addresses = [address("54.0.0.1", "amazon"), {}, address("127.1.2.3", "123456789012")]
    interfaces = [{"PrivateIpAddresses": addresses}]
    assert row(INSTANCE | {"NetworkInterfaces": interfaces}, {}, "").public == "127.1.2.3"
    assert row(INSTANCE, {}, "").public == "54.0.0.1"
