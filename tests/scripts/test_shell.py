"""A shell in a machine, or a command: which machine, by which way, with which exit status."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from moto import mock_aws

from scripts import shell
from scripts.command import DONE, NO, UNASKED
from scripts.commands import Commands, Ended
from scripts.deployed import Deployed
from tests.scripts.aws_site import REGION, TOLD, AwsSite

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsSite]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        with mock_aws():
            yield AwsSite()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was run in which instance; it says "there" and ends with 3."""
    seen: list[tuple[str, str]] = []

    def run(_: Commands, instance: str, script: str, seconds: float = 60.0) -> Ended:
        assert seconds == shell.WITHIN
        seen.append((instance, script))
        return Ended(3, "there\n", "and a complaint\n")

    monkeypatch.setattr(Commands, "run", run)
    return seen


def test_a_command_runs_in_the_machine_of_the_name_and_gives_its_status(
    aws: AwsSite, ran: list[tuple[str, str]], capsys: Said
) -> None:
    assert shell.main(["database-1", *TOLD, "--", "uptime", "--pretty"]) == 3
    assert ran == [(aws.ids["database-1"], "uptime --pretty")]
    assert capsys.readouterr() == ("there\n", "and a complaint\n")


def test_for_programs_the_outcome_is_json_and_the_status_is_that_it_was_run(
    aws: AwsSite, ran: list[tuple[str, str]], capsys: Said
) -> None:
    assert shell.main([aws.ids["database-2"], "--json", *TOLD, "--", "id"]) == DONE
    assert json.loads(capsys.readouterr().out) == {
        "instance": aws.ids["database-2"],
        "status": 3,
        "out": "there\n",
        "err": "and a complaint\n",
    }
    assert len(ran) == 1


@pytest.mark.usefixtures("aws")
def test_a_machine_that_is_not_there_is_told_with_those_that_are(capsys: Said) -> None:
    assert shell.main(["database-7", *TOLD]) == NO
    said = capsys.readouterr().err
    assert (
        "there is no machine database-7; there are app-server-1, app-server-2, database-1" in said
    )


def test_one_that_does_not_run_is_told_with_where_its_words_are(aws: AwsSite, capsys: Said) -> None:
    other = aws.run("app-server-9")
    aws.ec2.stop_instances(InstanceIds=[other])
    assert shell.main(["app-server-9", *TOLD]) == NO
    assert (
        "app-server-9 is stopped: `python -m scripts.logs app-server-9`" in capsys.readouterr().err
    )


def test_of_a_machine_and_the_one_that_replaces_it_the_newer_is_meant(aws: AwsSite) -> None:
    newer = aws.run("load-balancer-1")
    assert shell.find(aws.deployed(), "load-balancer-1") == newer
    aws.ec2.terminate_instances(InstanceIds=[newer])
    assert shell.find(aws.deployed(), "load-balancer-1") == aws.ids["load-balancer-1"]


@pytest.mark.usefixtures("aws")
def test_without_the_plugin_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: Said, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shell.main(["database-1", *TOLD]) == UNASKED
    assert "session-manager-plugin is not on PATH" in capsys.readouterr().err


class Ssm:
    """Session Manager, which moto has not."""

    def __init__(self, endpoint: str) -> None:
        self.meta = SimpleNamespace(endpoint_url=endpoint)

    def start_session(self, Target: str) -> dict[str, Any]:  # noqa: N803 AWS's name
        return {"SessionId": "s-1", "TokenValue": "secret", "StreamUrl": f"wss://{Target}", "X": 1}


def with_ssm(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    def ssm(_: Deployed) -> Ssm:
        return Ssm(endpoint)

    monkeypatch.setattr(Deployed, "ssm", ssm)


@pytest.mark.usefixtures("aws")
def test_another_aws_has_no_sessions_and_the_labs_way_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    with_ssm(monkeypatch, "http://127.0.0.1:5555")
    assert shell.main(["database-1", *TOLD]) == UNASKED
    said = capsys.readouterr().err
    assert "the AWS at http://127.0.0.1:5555 has no Session Manager" in said
    assert "`make shell NAME=database-1`" in said


def test_the_plugin_gets_the_session_and_no_token_among_its_arguments(
    aws: AwsSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint = f"https://ssm.{REGION}.amazonaws.com"
    with_ssm(monkeypatch, endpoint)
    plugin = tmp_path / "session-manager-plugin"
    plugin.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$AWS_SSM_START_SESSION_RESPONSE" "$@" >"$0.told"\nexit 5\n'
    )
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert shell.main(["database-1", *TOLD]) == 5
    session, *arguments = Path(f"{plugin}.told").read_text().split("\n")
    instance = aws.ids["database-1"]
    assert json.loads(session) == {
        "SessionId": "s-1",
        "TokenValue": "secret",
        "StreamUrl": f"wss://{instance}",
    }
    assert arguments[:6] == [
        *("AWS_SSM_START_SESSION_RESPONSE", REGION, "StartSession", ""),
        *(json.dumps({"Target": instance}), endpoint),
    ]


def test_json_is_for_a_command(capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        shell.main(["database-1", "--json"])
    assert ended.value.code == UNASKED
    assert "--json is for a command" in capsys.readouterr().err
