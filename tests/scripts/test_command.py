"""What the scripts have in common: how they end."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from hosts.base.coordination import UnreachableError
from scripts import (
    backup,
    costs,
    deployed,
    diagram,
    drill,
    leftovers,
    logs,
    restore,
    rotate,
    shell,
    status,
    switchover,
)
from scripts.command import DONE, NO, UNASKED, NotAskedError, NotDoneError, attempt, teller
from scripts.deployed import DeployedError

Said = pytest.CaptureFixture[str]


def ends(error: BaseException) -> tuple[int, str]:
    """The status, and what is told, of work that ends with this error."""
    told: list[str] = []

    def work() -> int:
        raise error

    status = attempt(
        work, told.append, interrupted="interrupted", refusals=(KeyError,), silences=(IndexError,)
    )
    return status, "".join(told)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (NotDoneError("not in sync"), NO, "not in sync"),
        (KeyError("b"), NO, "'b'"),
        (KeyboardInterrupt(), NO, "interrupted"),
        (EOFError(), NO, "interrupted"),
        (NotAskedError("no such file"), UNASKED, "no such file"),
        (DeployedError("no stack"), UNASKED, "no stack"),
        (IndexError("s3 is away"), UNASKED, "s3 is away"),
        (UnreachableError("timed out"), UNASKED, "AWS does not answer as it should: timed out"),
        (EndpointConnectionError(endpoint_url="http://x"), UNASKED, "Could not connect to the"),
        (ClientError({"Error": {"Code": "Denied"}}, "Scan"), UNASKED, "(Denied) when calling"),
    ],
)
def test_an_error_is_a_sentence_and_a_status(error: Exception, status: int, told: str) -> None:
    found, said = ends(error)
    assert found == status
    assert told in said


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ends(ZeroDivisionError())


def test_whoever_reads_no_further_is_no_trouble() -> None:
    program = (
        "import sys; from scripts.command import attempt, teller\n"
        "work = lambda: print('line\\n' * 100_000) or 1\n"
        "sys.exit(attempt(work, teller(as_json=True), interrupted='', refusals=(OSError,)))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as done:
        assert done.stdout
        assert done.stderr
        assert done.stdout.readline() == b"line\n"
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == DONE


def test_programs_are_told_why_on_stdout_and_people_on_stderr(capsys: Said) -> None:
    teller(as_json=True, prefix="not done: ")("it is full")
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": "it is full"}
    assert said.err == "not done: it is full\n"


SCRIPTS: dict[str, Callable[[list[str]], int]] = {
    "backup": lambda more: backup.main(["list", *more]),
    "costs": costs.main,
    "diagram": diagram.main,
    "drill": lambda more: drill.main(["--yes", *more]),
    "leftovers": leftovers.main,
    "logs": lambda more: logs.main(["app-server-1", *more]),
    "restore": lambda more: restore.main(["--to", "2026-11-22T21:30:00Z", *more]),
    "rotate": lambda more: rotate.main(["authority", "--yes", *more]),
    "shell": lambda more: shell.main(["app-server-1", *more]),
    "status": status.main,
    "switchover": lambda more: switchover.main(["--yes", *more]),
}


@pytest.mark.parametrize("name", sorted({*SCRIPTS} - {"leftovers"}))  # that is for one that is gone
def test_a_stack_that_is_not_there_is_status_2_of_every_script(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    def nowhere(*arguments: str) -> str:
        raise DeployedError(f"`pulumi {' '.join(arguments)}` failed: no stack named 'x' found")

    monkeypatch.setattr(deployed, "pulumi", nowhere)
    assert SCRIPTS[name](["--stack", "x"]) == UNASKED
    said = capsys.readouterr().err
    assert "no stack named 'x' found" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_not_understood_is_status_2_of_every_script(name: str, capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        SCRIPTS[name](["--fly"])
    assert ended.value.code == UNASKED
    assert "--fly" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_takes(name: str, capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        SCRIPTS[name](["--help"])
    assert ended.value.code == DONE
    said = capsys.readouterr().out
    assert f"python -m scripts.{name}" in said
    assert "--stack" in said
    assert "--json" in said or name == "backup", "its commands have it"
