"""The command line, read but not run."""

import subprocess

import pytest

from lab import commands, fleet, paths
from lab.__main__ import COMMANDS, parse
from lab.stack import Stack, exports


@pytest.fixture(autouse=True)
def no_stack_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STACK", raising=False)


def test_the_lab_is_the_stack_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(["up"]).stack == "lab"
    assert parse(["--stack", "dev", "up"]).stack == "dev"
    monkeypatch.setenv("STACK", "prod")
    assert parse(["up"]).stack == "prod"


def test_an_empty_stack_variable_is_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK", "")
    assert parse(["status"]).stack == "lab"


def test_what_we_do_not_know_is_for_pulumi() -> None:
    assert parse(["preview", "--diff", "--refresh"]).rest == ["--diff", "--refresh"]
    assert parse(["up", "--", "--target", "urn:x"]).rest == ["--target", "urn:x"]


def test_down_knows_destroy() -> None:
    assert parse(["down", "--destroy"]).destroy
    assert not parse(["down"]).destroy


@pytest.mark.parametrize("between", [[], ["--"]])
def test_a_shell_takes_a_whole_command_with_its_options(between: list[str]) -> None:
    asked = parse(["shell", "database-1", *between, "ls", "-l", "/"])
    assert (asked.name, asked.rest) == ("database-1", ["ls", "-l", "/"])


def test_logs_takes_options_of_journalctl() -> None:
    assert parse(["logs", "app-server-1", "-u", "site-app", "-f"]).rest == ["-u", "site-app", "-f"]


@pytest.mark.parametrize(
    "arguments", [["url", "--no"], ["ca", "x"], ["status", "x"], ["shell"], [], ["fly"]]
)
def test_what_nobody_knows_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2
    assert "usage: python -m lab" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parse([command, "--help"])
    assert left.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert " ".join((COMMANDS[command].__doc__ or "?").split()) in said


def test_exports_survive_a_shell_and_hide_what_would_lead_elsewhere() -> None:
    base = {"AWS_PROFILE": "production", "PULUMI_ACCESS_TOKEN": "x", "HOME": "/h"}
    lines = exports({"AWS_REGION": "eu-west-1", "ODD": "it's $HOME"}, base)
    assert lines == [
        "unset AWS_PROFILE",
        "unset PULUMI_ACCESS_TOKEN",
        "export AWS_REGION='eu-west-1'",
        "export ODD='it'\\''s $HOME'",
    ]


def test_a_shell_finds_the_scripts_python_and_keeps_the_credentials_for_aws(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("AWS_PROFILE", "production")
    assert commands.env(Stack("dev"), parse(["--stack", "dev", "env"])) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"export PATH='{paths.PROJECT}/.venv/bin:/usr/bin'",
        "export AWS_REGION='eu-central-1'",
        "export AWS_DEFAULT_REGION='eu-central-1'",
    ]


@pytest.mark.parametrize(("status", "shown"), [(0, False), (1, False), (2, True)])
def test_the_status_is_the_operators_own_and_machines_are_shown_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, status: int, shown: bool
) -> None:
    ran: list[list[str]] = []
    asked: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command[1:])
        return subprocess.CompletedProcess(command, status)

    def machines(stack: Stack) -> list[fleet.Row]:
        asked.append(stack.name)
        return []

    monkeypatch.setattr(commands.subprocess, "run", run)
    monkeypatch.setattr(fleet, "machines", machines)
    found = commands.status(Stack("dev"), parse(["--stack", "dev", "status"]))
    assert ran == [["-m", "scripts.status", "--stack", "dev"]]
    assert (found, asked) == ((0, ["dev"]) if shown else (status, []))
