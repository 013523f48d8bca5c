"""The picture of a stack, read from what `pulumi stack export` writes."""

import copy
import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from scripts.picture import Arrow, PictureError, read

PROJECT = Path(__file__).parents[2]


def instance(name: str, role: str, subnet: str, *, public: bool = False) -> dict[str, Any]:
    return {
        "urn": f"urn:pulumi:dev::site::aws:ec2/instance:Instance::{name}",
        "type": "aws:ec2/instance:Instance",
        "id": f"i-{name}",
        "outputs": {
            "tags": {"Project": "site", "Stack": "dev", "Role": role, "Name": f"site-dev-{name}"},
            "instanceType": "t3.small",
            "subnetId": subnet,
            "associatePublicIpAddress": public,
            "vpcSecurityGroupIds": [f"sg-{role}"],
        },
    }


def resource(kind: str, id: str = "x", **outputs: object) -> dict[str, Any]:  # noqa: A002
    urn = f"urn:pulumi:dev::site::{kind}::{id}"
    return {"urn": urn, "type": kind, "id": id, "outputs": outputs}


def rule(target: str, port: int, source: str | None) -> dict[str, Any]:
    return resource(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        securityGroupId=f"sg-{target}",
        fromPort=port,
        referencedSecurityGroupId=f"sg-{source}" if source else "",
    )


EXPORT: dict[str, Any] = {
    "deployment": {
        "resources": [
            resource("aws:ec2/subnet:Subnet", id="public-1", availabilityZone="eu-central-1a"),
            resource("aws:ec2/subnet:Subnet", id="private-2", availabilityZone="eu-central-1b"),
            instance("load-balancer-1", "load-balancer", "public-1", public=True),
            instance("database-1", "database", "private-2"),
            resource("aws:ec2/volumeAttachment:VolumeAttachment", instanceId="i-database-1"),
            resource("aws:ec2/eip:Eip", publicIp="203.0.113.7", tags={"Role": "load-balancer"}),
            resource("aws:ec2/eip:Eip", publicIp="203.0.113.8", tags={"Name": "site-dev-nat-1"}),
            rule("load-balancer", 80, None),
            rule("database", 3306, "load-balancer"),
            rule("database", 8008, "load-balancer"),
        ]
    }
}


def test_machines_are_drawn_in_their_zones_with_their_volumes() -> None:
    database, balancer = read(EXPORT).machines
    assert (database.name, database.zone, database.volume) == ("database-1", "eu-central-1b", True)
    assert (balancer.name, balancer.zone, balancer.public) == (
        "load-balancer-1",
        "eu-central-1a",
        True,
    )


def test_arrows_are_the_security_groups_rules_by_role() -> None:
    assert set(read(EXPORT).arrows) == {
        Arrow(None, "load-balancer", "80"),
        Arrow("load-balancer", "database", "3306, 8008"),
    }


def test_clients_know_the_load_balancers_addresses_alone() -> None:
    assert read(EXPORT).addresses == ("203.0.113.7",)


def test_what_waits_to_be_deleted_is_not_drawn() -> None:
    export = copy.deepcopy(EXPORT)
    export["deployment"]["resources"].append(
        instance("database-1", "database", "private-2") | {"delete": True}
    )
    assert len(read(export).machines) == 2


@pytest.mark.parametrize("export", [{}, {"deployment": {}}, {"deployment": {"resources": []}}])
def test_nothing_to_draw_is_said_in_a_sentence(export: dict[str, Any]) -> None:
    with pytest.raises(PictureError, match=r"\.$|\)\.$"):
        read(export)


def test_the_command_refuses_what_is_no_export_without_a_traceback(tmp_path: Path) -> None:
    file = tmp_path / "not-an-export.json"
    file.write_text(json.dumps([1, 2]))
    command = [sys.executable, "-m", "scripts.diagram", "--export", str(file)]
    done = run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("diagram: ")
    assert "Traceback" not in done.stderr
