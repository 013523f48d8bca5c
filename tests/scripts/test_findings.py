"""What is wrong with a site, in words: a row for each thing that can be."""

from dataclasses import replace
from typing import Any

import pytest

from hosts.database.backup.board import Entry
from scripts.facts import Address, Alarm, Facts
from scripts.findings import findings, span
from tests.scripts.sites import (
    BACKUPS,
    FIGURES,
    HOUR,
    NOW,
    PAIR,
    SERVED,
    WELL,
    full,
    instance,
    report,
    with_instance,
    with_report,
    without,
)

ONE, TWO = WELL.addresses


def paired(**changes: Any) -> Facts:
    return replace(WELL, pair=replace(PAIR, **changes))


def addressed(**changes: Any) -> Facts:
    return replace(WELL, addresses=(replace(ONE, **changes), TWO))


def backed_up(**changes: Any) -> Facts:
    return replace(WELL, backups=replace(BACKUPS, **changes))


def figured(name: str, **figures: Any) -> Facts:
    role = name.rpartition("-")[0]
    return with_report(report(name, figures={**FIGURES[role], **figures}))


def served(**servers: dict[str, Any]) -> dict[str, Any]:
    return {address.replace("_", "."): server for address, server in servers.items()}


WRONG: list[tuple[str, Facts, str, str]] = [
    # addresses
    ("address-of-nobody", addressed(instance=""), "nobody has 203.0.113.1", "within seconds"),
    ("lease-of-nobody", addressed(holder=""), "nobody holds the lease of 203.0.113.1", "logs"),
    (
        "lease-not-renewed",
        addressed(renewed=False),
        "load-balancer-1 holds 203.0.113.1 and does not renew its lease",
        "a load balancer takes it",
    ),
    (
        "address-elsewhere",
        addressed(instance="i-lb2"),
        "203.0.113.1 leads to load-balancer-2, and load-balancer-1 holds its lease",
        "load-balancer-1 moves it",
    ),
    # who leads
    ("no-primary-yet", replace(WELL, pair=None), "have no primary yet", "logs database-1"),
    ("released", paired(released=True), "nobody leads the databases: writes fail", "Both machines"),
    (
        "not-renewed",
        replace(WELL, renewed=False),
        "database-1 led the databases and does not renew its lease",
        "a replica in sync takes over",
    ),
    ("switchover", paired(switchover_to="database-2"), "a change of primary to database-2", "look"),
    # machines
    (
        "no-machines",
        Facts(site="site-prod", region="r", now=NOW),
        "site-prod has no machines",
        "`pulumi up`",
    ),
    (
        "missing",
        replace(
            without("app-server-2", instance=True, report=True), expected={"app-server-2": "i-app2"}
        ),
        "app-server-2 is missing",
        "pulumi up --refresh",
    ),
    (
        "gone",
        without("database-2", instance=True),
        "database-2 (i-db2) is gone, and was never drained",
        "scripts.logs database-2",
    ),
    (
        "terminated",
        with_instance(instance("app-server-1", state="terminated")),
        "app-server-1 (i-app1) is gone",
        "pulumi up --refresh",
    ),
    (
        "stopped",
        with_instance(instance("load-balancer-2", state="stopped")),
        "load-balancer-2 is stopped",
        "aws ec2 start-instances --region eu-central-1 --instance-ids i-lb2",
    ),
    (
        "stopping",
        with_instance(instance("load-balancer-2", state="stopping")),
        "load-balancer-2 is stopping",
        "look again",
    ),
    (
        "never-reported",
        without("database-2", report=True),
        "database-2 runs and never reported",
        "get-console-output --latest --region eu-central-1 --instance-id i-db2",
    ),
    (
        "young",
        replace(
            without("app-server-2", report=True),
            instances=(
                *without("app-server-2", instance=True).instances,
                instance("app-server-2", launched=NOW - 20),
            ),
        ),
        "app-server-2 has not reported yet",
        "it boots",
    ),
    (
        "silent",
        with_report(report("app-server-1", ago=95)),
        "app-server-1 has not been heard of for 95 s",
        "aws ec2 reboot-instances",
    ),
    (
        "failed",
        with_report(report("app-server-1", state="failed", detail="does not start\nTraceback")),
        "app-server-1 is failed: does not start",
        "scripts.logs app-server-1",
    ),
    ("booting", with_report(report("app-server-1", state="booting")), "is booting", "logs"),
    ("draining", with_report(report("app-server-1", state="draining")), "on its way out", "pulumi"),
    (
        "trouble-of-an-application-server",
        with_report(report("app-server-1", detail="the secrets stay as they are: denied")),
        "app-server-1: the secrets stay as they are: denied",
        "logs",
    ),
    (
        "trouble-of-a-database",
        with_report(report("database-2", detail="replica\nthe settings stay")),
        "database-2: the settings stay",
        "logs",
    ),
    (
        "no-application-server",
        with_report(
            report("load-balancer-1", detail="certificate: 80 days left\nno application s")
        ),
        "load-balancer-1: no application s",
        "logs",
    ),
    (
        "check-fails",
        with_instance(instance("database-1", troubles=("its check of its host fails",))),
        "EC2 says of database-1: its check of its host fails",
        "gets another host",
    ),
    # replicas
    (
        "not-in-sync",
        paired(in_sync=frozenset({"database-1/vol-1"})),
        "database-2 is not in sync: it may not take over",
        "joins by itself",
    ),
    ("lagging", figured("database-2", lag=7.2), "database-2 is 7 s behind: it takes no", "catches"),
    # traffic
    (
        "ejected",
        figured("load-balancer-1", servers={**SERVED, "10.0.1.2": {"requests": 0, "up": False}}),
        "load-balancer-1 sends nothing to app-server-2",
        "the way between",
    ),
    (
        "unknown-to-a-load-balancer",
        figured("load-balancer-2", servers=served(**{"10_0_1_1": SERVED["10.0.1.1"]})),
        "load-balancer-2 does not know of app-server-2",
        "private zone",
    ),
    (
        "releases-differ",
        figured("app-server-2", release="dddddddd"),
        "different releases: bbbbbbbb on app-server-1; dddddddd on app-server-2",
        "run it again",
    ),
    # certificates
    (
        "certificate-ends",
        figured("load-balancer-1", certificate_days=9.6),
        "the site's certificate on load-balancer-1 ends in 10 days",
        "docs/certificates.md",
    ),
    ("certificate-ended", figured("load-balancer-1", certificate_days=-1), "has ended", "docs"),
    # backups
    ("no-backup", backed_up(newest=None, good=None), "there is no backup", "scripts.backup now"),
    (
        "old-backup",
        backed_up(newest=full(30 * HOUR), good=full(30 * HOUR)),
        "the newest backup is 30 h old",
        "scripts.backup now",
    ),
    (
        "bad-backup",
        backed_up(newest=full(good=False, detail="site.entries has 3 rows, not 4")),
        "the newest backup cannot be restored: site.entries has 3 rows, not 4",
        "scripts.backup now",
    ),
    (
        "unverified",
        backed_up(newest=full(good=None), good=full(27 * HOUR)),
        "the newest backup (at-10800) was not verified; one of 27 h ago was",
        "scripts.backup verify",
    ),
    (
        "order-failed",
        backed_up(last=Entry(what="full", outcome="failed", result="no room", updated=NOW - 60)),
        "the backup that was ordered last (full) failed: no room",
        "scripts.backup now",
    ),
    (
        "not-shipped",
        backed_up(shipped=NOW - 0.5 * HOUR),
        "writes of the last 30 min are in no backup",
        "site-backup",
    ),
    # alerts
    (
        "alarm",
        replace(WELL, alarms=(Alarm("site-prod-database-1-status", "EC2's checks fail"),)),
        "alert site-prod-database-1-status: EC2's checks fail",
        "docs/operations.md",
    ),
]


def test_of_a_site_that_is_well_nothing_is_said() -> None:
    assert findings(WELL) == []


@pytest.mark.parametrize(
    ("facts", "what", "todo"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_what_is_wrong_is_said_once_and_what_to_do(facts: Facts, what: str, todo: str) -> None:
    (found,) = findings(facts)
    assert what in found.what
    assert todo in found.todo
    assert not found.what.endswith(".")


WELL_TOO: list[tuple[str, Facts]] = [
    (
        "one address with the other machine, whose lease it has too",
        addressed(instance="i-lb2", holder="i-lb2"),
    ),
    ("asynchronous, where nobody is in sync", paired(mode="asynchronous", in_sync=frozenset())),
    ("behind as far as it may be", figured("database-2", lag=4.9)),
    ("a lag that is not known yet", figured("database-2", lag=None)),
    (
        "a load balancer that could not read its counters",
        with_report(report("load-balancer-1", figures={})),
    ),
    (
        "a former machine that was replaced and is being ended",
        replace(
            WELL,
            instances=(*WELL.instances, instance("app-server-1", 9, state="shutting-down")),
        ),
    ),
    ("a backup that is being verified", backed_up(newest=full(0.5 * HOUR, good=None))),
    (
        "an order that failed before the newest backup",
        backed_up(last=Entry(what="full", outcome="failed", updated=NOW - 5 * HOUR)),
    ),
    ("backups that nobody asked about", replace(WELL, backups=None)),
]


@pytest.mark.parametrize("facts", [row[1] for row in WELL_TOO], ids=[row[0] for row in WELL_TOO])
def test_what_is_as_it_should_be_is_no_finding(facts: Facts) -> None:
    assert findings(facts) == []


def test_a_machine_that_was_just_made_is_not_known_to_every_load_balancer_yet() -> None:
    servers = {"10.0.1.1": SERVED["10.0.1.1"]}
    known = with_report(
        *(
            report(name, figures={**FIGURES["load-balancer"], "servers": servers})
            for name in ("load-balancer-1", "load-balancer-2")
        )
    )
    assert len(findings(known)) == 2
    assert findings(with_instance(instance("app-server-2", launched=NOW - 60), facts=known)) == []


def test_what_hurts_clients_comes_first() -> None:
    facts = replace(
        addressed(instance=""), renewed=False, backups=replace(BACKUPS, newest=None, good=None)
    )
    said = [finding.what for finding in findings(facts)]
    assert [said[0][:10], said[1][:10], said[2][:10]] == ["nobody has", "database-1", "there is n"]


def test_alerts_of_the_monitoring_machine_come_with_its_report() -> None:
    alert = {"name": "SlowAnswers", "summary": "half of the pages take more than 1 s"}
    machine = replace(
        report("app-server-1"), id="i-mon", name="monitoring-1", role="monitoring", detail="",
        figures={"alerts": [alert]},
    )  # fmt: skip
    seen = replace(instance("app-server-1"), id="i-mon", name="monitoring-1", role="monitoring")
    facts = replace(WELL, instances=(*WELL.instances, seen), reports=(*WELL.reports, machine))
    assert facts.alerts == (Alarm("SlowAnswers", "half of the pages take more than 1 s"),)
    (found,) = findings(facts)
    assert found.what.startswith("alert SlowAnswers: half of")


def test_an_address_that_nobody_has_and_nobody_holds_is_one_finding() -> None:
    nobody = Address(public="203.0.113.9", instance="", holder="")
    assert len(findings(replace(WELL, addresses=(nobody,)))) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")],
)
def test_times_for_people(seconds: float, said: str) -> None:
    assert span(seconds) == said
