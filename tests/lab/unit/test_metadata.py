"""The instance metadata service, asked as cloud-init and botocore ask it."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from werkzeug.test import Client

from lab.imds import Service, access_key
from lab.metadata import Identity

ME = "10.0.0.4"
IDENTITY = Identity(
    id="i-0123456789abcdef0",
    account="123456789012",
    region="eu-west-1",
    zone="eu-west-1a",
    image="ami-1",
    type="t3.small",
    architecture="x86_64",
    reservation="r-1",
    launched=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    mac="02:00:00:00:00:11",
    interface="eni-1",
    subnet="subnet-1",
    subnet_cidr="10.0.0.0/24",
    vpc="vpc-1",
    vpc_cidr="10.0.0.0/16",
    private_name="ip-10-0-0-4.eu-west-1.compute.internal",
    addresses=((ME, "54.214.0.1"), ("10.0.0.9", "127.1.2.3")),
    groups=(("sg-1", "edge"),),
    profile=("arn:aws:iam::123456789012:instance-profile/edge", "AIPA1", "edge-role"),
    user_data=b"\x1f\x8b not text \xff",
)


class Machine:
    """A machine that asks."""

    def __init__(self, address: str = ME, **changes: Any) -> None:
        identity = dataclasses.replace(IDENTITY, **changes)
        self._client = Client(Service({ME: identity}.get))
        self._from = {"REMOTE_ADDR": address}

    def token(self, seconds: str | None = "60", **headers: str) -> tuple[int, str]:
        if seconds is not None:
            headers["X-aws-ec2-metadata-token-ttl-seconds"] = seconds
        answer = self._client.put(
            "/latest/api/token", headers=headers, environ_overrides=self._from
        )
        return answer.status_code, answer.text

    def get(self, path: str, token: str | None = "") -> tuple[int, bytes]:
        """With a fresh token, unless another is given, or None."""
        if token == "":
            _, token = self.token()
        headers = {"X-aws-ec2-metadata-token": token} if token else {}
        answer = self._client.get(path, headers=headers, environ_overrides=self._from)
        return answer.status_code, answer.data

    def text(self, path: str) -> str:
        status, data = self.get(path)
        assert status == 200, (path, status)
        return data.decode()

    def everything(self, path: str) -> dict[str, str]:
        """All values below a directory, found by following its listings as cloud-init does."""
        found: dict[str, str] = {}
        for name in self.text(path).splitlines():
            below = f"{path}{name}"
            found |= self.everything(below) if name.endswith("/") else {below: self.text(below)}
        return found


def test_without_a_token_nothing_is_told_where_tokens_are_required() -> None:
    machine = Machine()
    assert machine.get("/latest/meta-data/", None)[0] == 401
    assert machine.get("/latest/user-data", None)[0] == 401
    assert machine.get("/latest/meta-data/", "made-up")[0] == 401


def test_where_tokens_are_optional_version_1_works() -> None:
    machine = Machine(tokens_required=False)
    assert machine.get("/latest/meta-data/instance-id", None) == (200, b"i-0123456789abcdef0")
    assert machine.get("/latest/meta-data/instance-id", "made-up")[0] == 401


@pytest.mark.parametrize("seconds", [None, "", "0", "21601", "-1", "1.5", "ten", "٣"])
def test_a_token_needs_a_life_between_1_second_and_6_hours(seconds: str | None) -> None:
    assert Machine().token(seconds)[0] == 400


@pytest.mark.parametrize("seconds", ["1", "21600"])
def test_a_token_is_given_for_up_to_6_hours(seconds: str) -> None:
    assert Machine().token(seconds)[0] == 200


def test_a_token_is_not_given_through_a_proxy() -> None:
    assert Machine().token("60", **{"X-Forwarded-For": "192.0.2.1"})[0] == 403


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("lab.imds.time.monotonic", lambda: now)
    machine = Machine()
    _, token = machine.token("60")
    assert machine.get("/latest/meta-data/", token)[0] == 200
    now += 61
    assert machine.get("/latest/meta-data/", token)[0] == 401


def test_a_switched_off_service_tells_nothing() -> None:
    machine = Machine(enabled=False)
    assert machine.token()[0] == 403
    assert machine.get("/latest/meta-data/", "any")[0] == 403


def test_a_stranger_is_told_nothing() -> None:
    assert Machine("10.0.0.99").token()[0] == 404


def test_user_data_are_the_very_bytes() -> None:
    assert Machine().get("/latest/user-data") == (200, b"\x1f\x8b not text \xff")
    assert Machine(user_data=None).get("/latest/user-data")[0] == 404


def test_every_listing_leads_to_values() -> None:
    told = Machine().everything("/latest/meta-data/")
    mac = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:11"
    expected = {
        "/latest/meta-data/instance-id": "i-0123456789abcdef0",
        "/latest/meta-data/local-ipv4": ME,
        "/latest/meta-data/public-ipv4": "54.214.0.1",
        "/latest/meta-data/placement/availability-zone": "eu-west-1a",
        "/latest/meta-data/placement/region": "eu-west-1",
        "/latest/meta-data/security-groups": "edge",
        f"{mac}/local-ipv4s": f"{ME}\n10.0.0.9",
        f"{mac}/public-ipv4s": "54.214.0.1\n127.1.2.3",
        f"{mac}/ipv4-associations/127.1.2.3": "10.0.0.9",
        f"{mac}/subnet-ipv4-cidr-block": "10.0.0.0/24",
        f"{mac}/vpc-id": "vpc-1",
    }
    assert expected.items() <= told.items()
    assert all(told.values())


@pytest.mark.parametrize("version", ["latest", "2021-03-23", "2009-04-04"])
def test_the_versions_that_cloud_init_asks_for_are_there(version: str) -> None:
    assert Machine().text(f"/{version}/meta-data/instance-id") == "i-0123456789abcdef0"


@pytest.mark.parametrize(
    "path", ["/1.0/meta-data/", "/latest/meta-data/nothing", "/latest/meta-data/instance-id/x"]
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert Machine().get(path)[0] == 404


def test_a_private_machine_has_no_public_address() -> None:
    told = Machine(addresses=((ME, None),)).everything("/latest/meta-data/")
    assert not [path for path in told if "public" in path]


def test_the_identity_document_says_who_it_is() -> None:
    document = json.loads(Machine().text("/latest/dynamic/instance-identity/document"))
    assert document["instanceId"] == "i-0123456789abcdef0"
    assert document["pendingTime"] == "2026-01-02T03:04:05Z"
    assert document["privateIp"] == ME


def test_credentials_are_the_role_s_and_name_the_machine() -> None:
    machine = Machine()
    folder = "/latest/meta-data/iam/security-credentials/"
    assert machine.text(folder) == "edge-role"
    first, again = (json.loads(machine.text(f"{folder}edge-role")) for _ in range(2))
    assert first["Code"] == "Success"
    assert first["AccessKeyId"] == access_key("i-0123456789abcdef0")
    assert first["SecretAccessKey"] == again["SecretAccessKey"]
    assert first["Expiration"] > first["LastUpdated"]


def test_without_a_profile_there_are_no_credentials() -> None:
    assert "iam/" not in Machine(profile=None).text("/latest/meta-data/").splitlines()


def test_tags_are_told_only_where_that_is_switched_on() -> None:
    assert Machine().get("/latest/meta-data/tags/instance/Name")[0] == 404
    tagged = Machine(tags={"Name": "site-lab-load-balancer-1"})
    assert tagged.text("/latest/meta-data/tags/instance/Name") == "site-lab-load-balancer-1"
