"""How a site is: read from an AWS in this process, and shown."""

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from scripts import status
from scripts.command import DONE, NO, UNASKED
from scripts.deployed import Deployed
from scripts.facts import Facts
from scripts.findings import findings
from scripts.look import Looker
from tests.scripts.aws_site import REGION, TABLE, TOLD, AwsSite
from tests.scripts.sites import FIGURES, NAMES, WELL, instance, report, with_report

Said = pytest.CaptureFixture[str]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsSite]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        made = AwsSite()
        made.back_up()
        yield made


class Time:
    """A clock of the test's own; leases are renewed as it moves, of those that are alive."""

    def __init__(self, site: AwsSite, *dead: str) -> None:
        self.now = 0.0
        self._site = site
        names = ["database", *(f"address-{one}" for one in site.allocations)]
        self._alive = [name for name in names if name not in dead]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._site.renew(*self._alive)


def looked(site: AwsSite, *dead: str) -> tuple[Facts, float]:
    """The facts, and the seconds that it took on the test's clock."""
    clock = Time(site, *dead)
    looker = Looker(site.deployed(), clock=lambda: clock.now, sleep=clock.sleep)
    return looker.look(), clock.now


def wrong(facts: Facts) -> list[str]:
    return [finding.what for finding in findings(facts)]


def test_a_site_that_is_well_is_read_whole(site: AwsSite) -> None:
    facts, took = looked(site)
    assert took < 0.5
    assert wrong(facts) == []
    assert [one.name for one in facts.machines] == sorted(NAMES)
    assert all(one.instance and one.report and one.ready for one in facts.machines)
    assert {one.holder for one in facts.addresses} == {
        site.ids["load-balancer-1"],
        site.ids["load-balancer-2"],
    }
    assert facts.primary == "database-1"
    assert facts.in_sync == {"database-1", "database-2"}
    assert facts.max_replica_lag == 5
    assert facts.backups
    assert facts.backups.newest == facts.backups.good
    assert facts.backups.settings
    assert facts.backups.settings.every == 24


def test_another_stack_whose_name_begins_alike_is_another_site(site: AwsSite) -> None:
    site.run("app-server-9", stack="prod-2")
    facts, _ = looked(site)
    assert [one.name for one in facts.machines] == sorted(NAMES)


def test_a_lease_that_is_not_renewed_is_waited_for_as_long_as_it_lasts(site: AwsSite) -> None:
    facts, took = looked(site, "database")
    assert 2.5 < took < 5
    assert wrong(facts) == [
        "database-1 led the databases and does not renew its lease: writes fail"
    ]
    facts, _ = looked(site, f"address-{site.allocations[0]}")
    (said,) = wrong(facts)
    assert "load-balancer-1 holds" in said


def test_a_released_lease_is_not_waited_for(site: AwsSite) -> None:
    assert site.table.write("database", {"generation": 7}, {"released": True})
    facts, took = looked(site, "database")
    assert took < 0.5
    assert wrong(facts) == ["nobody leads the databases: writes fail"]


def test_a_stopped_machine_and_one_that_is_no_more(site: AwsSite) -> None:
    site.ec2.stop_instances(InstanceIds=[site.ids["app-server-1"]])
    site.ec2.terminate_instances(InstanceIds=[site.ids["app-server-2"]])
    facts, _ = looked(site)
    said = wrong(facts)
    assert "app-server-1 is stopped" in said
    assert f"app-server-2 ({site.ids['app-server-2']}) is gone, and was never drained" in said


def test_an_alarm_of_this_site_and_of_no_other_is_told(site: AwsSite) -> None:
    cloudwatch = site.client("cloudwatch")
    for stack in ("prod", "prod-eu", "test"):
        name = f"site-{stack}-monitoring-sign-of-life"
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            AlarmDescription="Prometheus says nothing any more",
            ComparisonOperator="LessThanThreshold",
            EvaluationPeriods=1,
            MetricName="m",
            Namespace="n",
            Period=60,
            Statistic="Maximum",
            Threshold=1,
            Tags=[{"Key": "Project", "Value": "site"}, {"Key": "Stack", "Value": stack}],
        )
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    facts, _ = looked(site)
    assert wrong(facts) == [
        "alert site-prod-monitoring-sign-of-life: Prometheus says nothing any more"
    ]


def test_settings_that_cannot_be_read_are_not_known(site: AwsSite) -> None:
    for name in ("database/settings", "database/backups"):
        site.ssm.put_parameter(Name=f"/site/prod/{name}", Value="{}", Overwrite=True)
    facts, _ = looked(site)
    assert facts.max_replica_lag is None
    assert facts.backups
    assert facts.backups.settings is None
    assert wrong(facts) == []


def test_a_backup_that_is_not_finished_is_none(site: AwsSite) -> None:
    site.s3.put_object(Bucket="backups", Key="database/full/zzz/data.sql.gz")
    facts, _ = looked(site)
    assert facts.backups
    assert facts.backups.newest
    assert facts.backups.newest.id != "zzz"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, site: AwsSite) -> AwsSite:
    """The command line on a site whose leases are renewed whenever it waits."""

    def looker(found: Any) -> Looker:
        clock = Time(site)
        return Looker(found, clock=lambda: clock.now, sleep=clock.sleep)

    monkeypatch.setattr(status, "Looker", looker)
    return site


def test_the_command_is_0_when_all_is_well_and_1_when_not(quick: AwsSite, capsys: Said) -> None:
    assert status.main(TOLD) == DONE
    assert "site-prod in eu-central-1" in (said := capsys.readouterr().out)
    assert ": all is well\n" in said
    quick.report("app-server-2", "failed", "the application does not start")
    assert status.main(TOLD) == NO
    said = capsys.readouterr().out
    assert ": 1 wrong\n" in said
    assert "1. app-server-2 is failed: the application does not start\n" in said


@pytest.mark.usefixtures("quick")
def test_for_programs_it_is_one_line_of_json(capsys: Said) -> None:
    assert status.main(["--json", *TOLD]) == DONE
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["well"], said["primary"], said["wrong"]) == (True, "database-1", [])
    assert said["shares"] == {"app-server-1": 0.5, "app-server-2": 0.5}
    assert len(said["machines"]) == len(NAMES)


def test_watching_looks_again_until_it_is_interrupted(
    quick: AwsSite, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    looks = 0

    def pause(seconds: float) -> None:
        nonlocal looks
        looks += 1
        assert seconds == status.EVERY
        quick.report("database-2", "booting")
        if looks == 2:
            raise KeyboardInterrupt

    # Not the module's own function, which threads of others may be in.
    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=pause))
    assert status.main(["--watch", "--json", *TOLD]) == DONE
    assert [json.loads(line)["well"] for line in capsys.readouterr().out.splitlines()[:2]] == [
        True,
        False,
    ]


def test_watching_goes_on_where_aws_does_not_answer(
    quick: AwsSite, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    looker = status.Looker(quick.deployed())
    facts, pauses = looker.look(), 0

    class Flaky:
        looks = 0

        def look(self) -> Facts:
            self.looks += 1
            if self.looks == 2:
                raise EndpointConnectionError(endpoint_url="http://x")
            return facts

    def flaky(_: object) -> Flaky:
        return Flaky()

    def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status, "Looker", flaky)
    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=pause))
    assert status.main(["--watch", *TOLD]) == DONE
    said = capsys.readouterr()
    assert said.out.count("all is well") == 2
    assert "Could not connect" in said.err
    assert "what stands above is of 20" in said.err


@pytest.mark.usefixtures("site")
def test_a_table_that_is_not_there_is_status_2_in_one_line(capsys: Said) -> None:
    assert status.main(["--table", "nowhere", "--region", REGION]) == UNASKED
    said = capsys.readouterr().err
    assert "AWS does not answer as it should" in said
    assert said.count("\n") == 1


def test_a_bucket_that_does_not_answer_is_status_2_in_one_line(
    quick: AwsSite, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    outputs = {**quick.deployed().outputs, "backups": {"bucket": "nowhere", "line": "database"}}

    def find(_: object) -> Deployed:
        return Deployed(REGION, TABLE, outputs=outputs)

    monkeypatch.setattr(status.deployed, "find", find)
    assert status.main([]) == UNASKED
    said = capsys.readouterr().err
    assert "could not list s3://nowhere/database/" in said
    assert said.count("\n") == 1


def line(facts: Facts, name: str) -> str:
    return next(one for one in status.screen(facts, []).splitlines() if one.startswith(name))


def test_the_screen_says_what_each_machine_does() -> None:
    assert "ready  has 203.0.113.1 " in line(WELL, "load-balancer-1")
    assert "50% of requests" in line(WELL, "app-server-2")
    assert " primary " in line(WELL, "database-1")
    assert "replica, in sync, 0.0 s behind" in line(WELL, "database-2")
    assert "12 s ago" in line(WELL, "database-2")


def test_shares_are_of_all_load_balancers_and_by_name() -> None:
    servers = {"10.0.1.1": {"requests": 0, "up": True}, "10.0.1.9": {"requests": 60, "up": True}}
    figures = {**FIGURES["load-balancer"], "servers": servers}
    facts = with_report(report("load-balancer-2", figures=figures))
    shares = status.shares(facts)
    assert {name: round(share, 2) for name, share in shares.items()} == {
        "10.0.1.9": 0.33,
        "app-server-1": 0.33,
        "app-server-2": 0.33,
    }
    assert status.shares(replace(facts, reports=())) == {}


def test_the_screen_fits_a_screen() -> None:
    text = status.screen(WELL, findings(WELL))
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 130


def test_a_machine_that_is_not_there_is_shown_as_gone() -> None:
    facts = replace(WELL, instances=tuple(i for i in WELL.instances if i.name != "database-2"))
    assert line(facts, "database-2").split()[1] == "gone"
    stopped = replace(instance("database-2"), state="stopped")
    facts = replace(facts, instances=(*facts.instances, stopped))
    assert line(facts, "database-2").split()[1] == "stopped"


def test_what_the_summary_says() -> None:
    said = dict(status.summary(WELL))
    assert said["databases"].startswith("semi-synchronous, generation 7, database-1 leads; in sync")
    assert said["backups"] == "the newest 3 h ago, verified; the binary log up to 20 s ago"
    assert said["certificate"] == "80 days left"
    assert said["alerts"] == status.NO_MONITORING


def test_with_monitoring_no_alerts_are_none() -> None:
    watcher = replace(WELL.instances[0], id="i-mon", name="monitoring-1", role="monitoring")
    facts = replace(WELL, instances=(*WELL.instances, watcher))
    assert dict(status.summary(facts))["alerts"] == "none"
