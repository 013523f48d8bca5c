"""The daemon from outside, without one."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import paths, service
from lab.usererror import UserError


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    monkeypatch.delenv("LAB_PORT", raising=False)


def test_the_port_is_5555_unless_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.endpoint() == "http://127.0.0.1:5555"
    monkeypatch.setenv("LAB_PORT", "6000")
    assert service.endpoint() == "http://127.0.0.1:6000"


@pytest.mark.parametrize("port", ["http", "", "80", "70000", "-1", "55.5"])
def test_a_port_that_is_none_is_refused_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    monkeypatch.setenv("LAB_PORT", port)
    with pytest.raises(UserError, match="1024 to 65535") as refused:
        service.wanted_port()
    assert repr(port) in str(refused.value)


def test_a_process_that_got_the_daemon_s_old_id_is_not_the_daemon() -> None:
    assert service.running() is None
    paths.daemon_pid().write_text(f"{os.getpid()}\n")
    assert service.running() is None
    paths.daemon_pid().write_text("what?\n")
    assert service.running() is None


def test_a_lab_that_does_not_run_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PORT", "1024")  # nothing listens there
    with pytest.raises(UserError, match="not running: `make up` starts it"):
        service.get("ready")


def _is_refused() -> None:
    try:
        with service.exclusively():
            os._exit(1)
    except UserError as error:
        os._exit(0 if "Another command is at work" in str(error) else 2)


def test_one_command_at_a_time_changes_the_lab() -> None:
    other = multiprocessing.get_context("spawn").Process(target=_is_refused)
    with service.exclusively():
        other.start()
        other.join()
    assert other.exitcode == 0
    with service.exclusively():
        pass


def test_what_is_dear_survives_and_the_rest_goes() -> None:
    for name in ("cache", "failures", "machines", "backend", "home"):
        (paths.state() / name / "something").mkdir(parents=True)
    paths.daemon_log().touch()
    service.remove_files()
    assert sorted(entry.name for entry in paths.state().iterdir()) == ["cache", "failures"]


def test_what_a_killed_engine_left_is_found_and_the_user_s_shell_is_not() -> None:
    ours = os.environ | {"PULUMI_HOME": str(paths.home())}
    asleep = "import time; time.sleep(60)  # "
    started = [
        subprocess.Popen([sys.executable, "-c", asleep + what], env=environment)
        for what, environment in (
            ("lab.engine.language_host", ours),
            ("the user's own", ours),
            ("lab.engine.language_host of another lab", dict(os.environ)),
        )
    ]
    try:
        assert service.engines() == [started[0].pid]
    finally:
        for process in started:
            process.kill()
            process.wait()
