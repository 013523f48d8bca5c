"""The monitoring machine's own programs, real ones, with the files that the machine would have."""

import json
import time
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from hosts.monitoring import Options, firing, render
from hosts.monitoring.relay import SUBJECT, Message, Relay, message
from lab import image
from tests import certificates
from tests.hosts import values

pytestmark = pytest.mark.usefixtures("machine_image")

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).parent / "inside"
UNITS = "root/etc/systemd/system"
FACTS = values.facts("monitoring")
OPTIONS = values.monitoring_options()


def files(folder: Path, options: Options = OPTIONS) -> dict[Path, str]:
    """What the machine would have, in a folder, and where it would be."""
    folder.chmod(0o755)
    content = {
        "prometheus.yml": render.prometheus_yml(FACTS),
        "alertmanager.yml": render.alertmanager_yml(options),
        "unit.conf": render.unit(options),
    }
    for name, text in content.items():
        (folder / name).write_text(text)
    return {
        folder / "prometheus.yml": "/etc/prometheus/prometheus.yml",
        folder / "alertmanager.yml": "/etc/prometheus/alertmanager.yml",
        ROOT / "hosts": "/opt/site/hosts",
    }


def test_promtool_accepts_the_configuration_and_the_rules(tmp_path: Path) -> None:
    command = ["promtool", "check", "config", "--lint=all", "/etc/prometheus/prometheus.yml"]
    done = image.run(command, files(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


@pytest.mark.parametrize("webhook", [False, True])
def test_amtool_accepts_whom_to_tell(webhook: bool, tmp_path: Path) -> None:
    options = values.monitoring_options(webhook=webhook)
    command = ["amtool", "check-config", "/etc/prometheus/alertmanager.yml"]
    done = image.run(command, files(tmp_path, options))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """See `tests/hosts/inside/watching.py`."""
    folder = tmp_path_factory.mktemp("watched")
    binds = files(folder)
    _, certificate = certificates.server("www.example.org")
    (folder / "certificate.pem").write_text(certificates.pem(certificate))
    units = "/srv/units"
    alertmanager = ROOT / f"hosts/monitoring/{UNITS}/prometheus-alertmanager.service.d"
    exporter = ROOT / f"hosts/base/{UNITS}/prometheus-node-exporter.service.d"
    binds |= {
        INSIDE: "/srv/inside",
        folder / "certificate.pem": "/srv/certificate.pem",
        folder / "unit.conf": f"{units}/prometheus.service.d/site.conf",
        alertmanager: f"{units}/{alertmanager.name}",
        exporter: f"{units}/{exporter.name}",
    }
    done = image.run(["python3", "/srv/inside/watching.py"], binds, timeout=300)
    assert done.returncode == 0, done.stderr[-6000:]
    return cast("dict[str, Any]", json.loads(done.stdout))


def test_machines_are_found_by_the_names_of_their_roles(watched: dict[str, Any]) -> None:
    assert watched["up"] == [
        ["app-server", "10.0.0.2", "1"],
        ["app-server", "10.0.0.4", "0"],
        ["database", "10.0.0.3", "1"],
        ["load-balancer", "10.0.0.1", "1"],
    ]
    assert watched["own"]["prometheus"] == watched["own"]["alertmanager"] == "1"
    assert watched["alive"] == [None, None, None]


def test_what_an_agent_writes_is_measured(watched: dict[str, Any]) -> None:
    assert watched["quantile"] == "8", "five, and three that took longer"


def test_the_page_is_served_with_all_its_parts(watched: dict[str, Any]) -> None:
    assert 'src="page.js"' in watched["page"]
    assert len(watched["panels"]["charts"]) > 5
    assert "javascript" in watched["script"], "or no browser runs it as a module"


def test_a_machine_that_is_gone_is_said_to_people_with_its_address(watched: dict[str, Any]) -> None:
    assert "MachineNotReporting" in watched["firing"]
    told = [one for one in watched["sent"] if "MachineNotReporting" in one.get("Subject", "")]
    assert told[0]["TopicArn"] == "arn:topic"
    assert told[0]["Subject"] == "[site/lab] FIRING: MachineNotReporting (1)"
    assert "at 10.0.0.4, role app-server" in told[0]["Message"]
    assert "docs/operations.md#machinenotreporting" in told[0]["Message"]


def test_what_fires_goes_into_the_machines_report(watched: dict[str, Any]) -> None:
    names = [alert["name"] for alert in watched["reported"]]
    assert names == [name for name in watched["firing"] if name != firing.SIGN_OF_LIFE]
    assert all(alert["summary"] for alert in watched["reported"])


def test_an_alert_of_several_machines_is_reported_once() -> None:
    alerts = [
        {"labels": {"alertname": name, "instance": where}, "annotations": {"summary": name.lower()}}
        for name in ("Watchdog", "B", "A")
        for where in ("10.0.0.1", "10.0.0.2")
    ]
    assert firing.firing(alerts) == [
        {"name": "A", "summary": "a"},
        {"name": "B", "summary": "b"},
    ]


def test_the_sign_of_life_goes_to_cloudwatch_and_not_to_people(watched: dict[str, Any]) -> None:
    alive = [one for one in watched["sent"] if "Namespace" in one]
    assert alive[0]["Namespace"] == "site-lab-monitoring"
    assert not [one for one in watched["sent"] if "Watchdog" in one.get("Subject", "")]


ALERT = {
    "status": "firing",
    "labels": {"alertname": "ErrorRate", "severity": "critical"},
    "annotations": {"summary": "Too many.", "description": "7 %", "runbook": "docs/x.md#y"},
    "startsAt": "2026-11-22T21:30:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
}
SAID: dict[str, Any] = {
    "groupLabels": {"alertname": "ErrorRate"},
    "commonLabels": {"project": "site", "stack": "prod"},
    "alerts": [ALERT],
}


def test_a_message_says_what_since_when_and_what_to_do() -> None:
    assert message(SAID) == Message(
        "[site/prod] FIRING: ErrorRate (1)",
        "FIRING: ErrorRate (critical)\nToo many.\n7 %\nsince 2026-11-22T21:30:00Z\n"
        "what to do: docs/x.md#y",
    )
    over = {**ALERT, "status": "resolved", "endsAt": "2026-11-22T21:40:00Z"}
    text = message({**SAID, "alerts": [over]})
    assert text.subject == "[site/prod] resolved: ErrorRate"
    assert "until 2026-11-22T21:40:00Z" in text.body


def test_a_subject_is_what_sns_takes() -> None:
    long = message({**SAID, "groupLabels": {"alertname": "Größe" * 40}})
    assert len(long.subject) == SUBJECT
    assert long.subject.isascii()


@mock_aws
def test_an_alert_arrives_at_the_topic_and_life_in_cloudwatch() -> None:
    client = cast("Any", boto3).client
    where = {"region_name": "eu-central-1"}
    sns, sqs = client("sns", **where), client("sqs", **where)
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="people")["QueueUrl"]
    asked = {"QueueUrl": queue, "AttributeNames": ["QueueArn"]}
    arn = sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    cloudwatch = client("cloudwatch", **where)
    relay = Relay(lambda: sns, lambda: cloudwatch, topic, "mine")
    assert relay.take("/alerts", json.dumps(SAID).encode()) == 200
    (heard,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(heard["Body"])["Subject"] == "[site/prod] FIRING: ErrorRate (1)"
    assert relay.take("/sign-of-life", json.dumps(SAID).encode()) == 200
    (metric,) = cloudwatch.list_metrics(Namespace="mine")["Metrics"]
    assert metric["MetricName"] == "SignOfLife"
    assert (relay.sent, relay.failed) == (2, 0)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/other", b"{}", 404),
        ("/alerts", b"no json", 400),
        ("/alerts", b"[]", 400),
        ("/alerts", b'{"alerts": [{}]}', 400),
        ("/alerts", json.dumps(SAID).encode(), 502),
    ],
)
def test_what_aws_did_not_take_is_an_error_so_that_it_is_sent_again(
    path: str, body: bytes, status: int
) -> None:
    class Refuses:
        def publish(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": "Throttled", "Message": "no"}}, "Publish")

    relay = Relay(Refuses, Refuses, "arn:topic", "mine")
    began = time.monotonic()
    assert relay.take(path, body) == status
    assert time.monotonic() - began < 5
    assert relay.failed == (status != 404)
