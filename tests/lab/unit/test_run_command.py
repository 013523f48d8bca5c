"""Run Command, as the lab has it: the script runs, and what became of it is told."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws
from moto.ssm.models import SimpleSystemManagerBackend

from lab import account, command_model, machines
from scripts.command import NotDoneError
from scripts.commands import Commands

RUNS, STOPPED = "i-0123456789abcdef0", "i-0123456789abcdef1"


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    states = {RUNS: "running", STOPPED: "stopped"}

    def instance(instance_id: str) -> object:
        return SimpleNamespace(state=states[instance_id]) if instance_id in states else None

    def entering(instance_id: str, command: Sequence[str]) -> list[str]:
        return ["env", f"WHERE={instance_id}", *command]

    monkeypatch.setattr(account, "instance", instance)
    monkeypatch.setattr(machines, "entering", entering)
    # What `install` does is undone with the rest.
    monkeypatch.setattr(
        SimpleSystemManagerBackend, "send_command", SimpleSystemManagerBackend.send_command
    )
    command_model.install()
    command_model.install()
    with mock_aws():
        yield cast("Any", boto3).client("ssm", region_name="eu-central-1")


def test_a_script_runs_in_its_machine_and_its_output_and_status_come_back(ssm: Any) -> None:
    ended = Commands(ssm).run(RUNS, 'echo "in $WHERE"; echo no >&2; exit 7')
    assert (ended.status, ended.out, ended.err) == (7, f"in {RUNS}\n", "no\n")
    assert Commands(ssm).run(RUNS, "true").status == 0


def test_a_machine_that_does_not_run_takes_no_command(ssm: Any) -> None:
    for one in (STOPPED, "i-0123456789abcdef9"):
        with pytest.raises(NotDoneError, match=f"does not reach {one}"):
            Commands(ssm).run(one, "true")


def test_one_that_ended_in_between_did_not_run_it(
    ssm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entering(instance_id: str, _: object) -> list[str]:
        raise machines.MachineError(f"{instance_id} is not running.")

    monkeypatch.setattr(machines, "entering", entering)
    with pytest.raises(NotDoneError, match=r"Undeliverable .* is not running"):
        Commands(ssm).run(RUNS, "true")


def test_a_script_that_takes_too_long_is_ended(ssm: Any) -> None:
    with pytest.raises(NotDoneError, match=f"{RUNS} did not"):
        Commands(ssm).run(RUNS, "sleep 60", seconds=1)


def test_another_document_is_refused(ssm: Any) -> None:
    with pytest.raises(ssm.exceptions.InvalidDocument, match="runs AWS-RunShellScript alone"):
        ssm.send_command(InstanceIds=[RUNS], DocumentName="AWS-RunPatchBaseline")
