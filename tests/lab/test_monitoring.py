"""The monitoring of real machines: all are measured, people hear of a fault and of its end."""

import json
import re
import uuid
from collections.abc import Generator
from typing import Any
from urllib.request import urlopen

import pytest

from tests.lab.conftest import lab
from tests.lab.prometheus import MACHINE, firing, query
from tests.lab.site import Site, eventually

ASKED_OF_EACH = {
    "node": ("load-balancer", "app-server", "database", "monitoring"),
    "load-balancer": ("load-balancer",),
    "way-to-database": ("app-server",),
    "mysqld": ("database",),
}


@pytest.fixture
def people(site: Site) -> Generator[Any]:
    """Subjects of the messages to people, each once, as they come."""
    sns, sqs = site.client("sns"), site.client("sqs")
    (topic,) = [t["TopicArn"] for t in sns.list_topics()["Topics"] if "alerts" in t["TopicArn"]]
    queue = sqs.create_queue(QueueName=f"people-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    asked = {"QueueUrl": queue, "AttributeNames": ["QueueArn"]}
    arn = sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
    subscribed = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    heard: list[str] = []

    def subjects() -> list[str]:
        for one in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            heard.append(json.loads(one["Body"])["Subject"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
        return heard

    yield subjects
    sns.unsubscribe(SubscriptionArn=subscribed)
    sqs.delete_queue(QueueUrl=queue)


def test_every_machine_is_measured_in_every_respect(site: Site) -> None:
    expected = {
        (job, machine.address)
        for job, roles in ASKED_OF_EACH.items()
        for machine in site.machines()
        if machine.role in roles
    }

    def all_up() -> bool:
        found = {
            (one["metric"]["job"], one["metric"]["instance"]) for one in query(site, "up == 1")
        }
        return expected <= found

    eventually("everything answers Prometheus", all_up, 60)


def test_what_agents_say_is_there(site: Site) -> None:
    machines = {machine.name for machine in site.machines()}
    eventually(
        "every agent's machine is known",
        lambda: {o["metric"]["machine"] for o in query(site, "site:machine")} >= machines,
        60,
    )
    machine = "* on (instance) group_left (machine) site:machine"

    def said(expr: str) -> list[str]:
        return sorted(one["metric"]["machine"] for one in query(site, f"({expr} == 1) {machine}"))

    # Both at once: machines are asked at different moments, and just after an address or the lead
    # went from one to another two are on record with it.
    eventually(
        "one machine leads, and each load balancer has an address",
        lambda: (
            said("site_database_primary") in (["database-1"], ["database-2"])
            and said("site_address_held") == ["load-balancer-1", "load-balancer-2"]
        ),
        60,
    )


def test_its_page_is_where_up_says_and_nowhere_else(site: Site) -> None:
    up = lab("up")
    assert up.returncode == 0, up.stderr
    (url,) = re.findall(r"monitoring: (\S+)", up.stdout + up.stderr)
    with urlopen(url, timeout=10) as answer:  # noqa: S310 the lab's own
        assert "page.js" in answer.read().decode()
    address = site.machine(MACHINE).address
    for name in ("app-server-1", "load-balancer-1", MACHINE):
        with pytest.raises(AssertionError, match="curl"):
            site.run(name, "curl", "-sS", "--max-time", "3", f"http://{address}:9090/user/")


def test_nothing_is_said_of_a_site_that_is_well(site: Site) -> None:
    # The first backup, and its trial, take their time.
    eventually("only the sign of life", lambda: firing(site) == {"Watchdog"}, 420)

    def alive() -> bool:
        metrics = site.client("cloudwatch").list_metrics(Namespace="site-lab-monitoring")["Metrics"]
        return {one["MetricName"] for one in metrics} == {"SignOfLife"}

    eventually("CloudWatch hears it", alive, 120)


def test_people_hear_of_a_server_that_hangs_and_that_it_is_well_again(
    site: Site, people: Any
) -> None:
    eventually("nothing is wrong", lambda: firing(site) == {"Watchdog"}, 420)
    site.run("app-server-1", "systemctl", "kill", "-s", "STOP", "site-app.service")
    try:
        eventually(
            "it is said",
            lambda: any("FIRING: ApplicationServerEjected" in one for one in people()),
            90,
        )
    finally:
        site.run("app-server-1", "systemctl", "kill", "-s", "CONT", "site-app.service")
    eventually(
        "it is said to be over",
        lambda: any("resolved: ApplicationServerEjected" in one for one in people()),
        180,
    )


def test_what_a_machine_says_can_be_read_elsewhere(site: Site) -> None:
    word = uuid.uuid4().hex
    machine = site.machine("app-server-2")
    site.run(machine.name, "logger", "--tag", "a-test", word)
    logs = site.client("logs")

    def shipped() -> bool:
        asked = {"logGroupName": "/site/lab", "logStreamName": f"{machine.name}/{machine.id}"}
        events = logs.get_log_events(**asked, limit=1000)["events"]
        return any(word in one["message"] for one in events)

    eventually("it is in CloudWatch Logs", shipped, 30)
