"""Stacks: where they are, and what an engine that died leaves of them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import paths
from lab.stack import Stack
from lab.usererror import UserError


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))


def test_a_stack_s_region_is_the_one_of_its_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  aws:region: eu-north-1\n")
    (tmp_path / "Pulumi.bare.yaml").write_text("")
    assert Stack("dev").region == "eu-north-1"
    assert Stack("bare").region is None
    assert Stack("absent").region is None


def test_the_lab_sees_nothing_of_the_user_s_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "secret")
    environment = Stack("lab").environment()
    assert "AWS_PROFILE" not in environment
    assert "PULUMI_ACCESS_TOKEN" not in environment
    assert environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert environment["PULUMI_BACKEND_URL"].startswith("file://")


def test_a_stack_on_aws_has_the_user_s_environment_untouched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    assert Stack("dev").environment() == dict(os.environ)


def test_a_stack_on_aws_needs_the_user_s_own_pulumi(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Stack dev is on AWS, and there is no pulumi on PATH"):
        Stack("dev").pulumi()


def answering(monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any] | None) -> None:
    """Puts another pulumi in its place, which knows the outputs of one stack or of none."""

    def ask(_: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
        assert arguments == ("stack", "output", "--json")
        said = "error: no stack named 'lab' found" if outputs is None else ""
        return subprocess.CompletedProcess([], bool(said), json.dumps(outputs), said)

    monkeypatch.setattr(Stack, "_ask", ask)


def test_what_a_client_has_to_trust_is_kept_in_a_file_as_it_is_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for certificate in ("one", "another"):
        answering(monkeypatch, {"url": "https://127.1.2.3", "certificate": certificate})
        file = Stack("lab").authority()
        assert file == paths.authority("lab")
        assert paths.authority("lab").read_text() == certificate
    assert paths.authority("lab") != paths.authority("dev")


def test_a_site_that_clients_trust_already_has_no_such_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(monkeypatch, {"url": "https://www.example.org"})
    assert Stack("dev").authority() is None
    assert not paths.authority("dev").exists()


@pytest.mark.parametrize("outputs", [{}, None])
def test_where_there_is_no_site_there_is_nothing_to_trust(
    monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any] | None
) -> None:
    answering(monkeypatch, outputs)
    with pytest.raises(UserError, match="Stack lab has no url yet: `make up` deploys it"):
        Stack("lab").authority()


def test_the_lock_of_an_engine_that_died_is_taken_away_and_no_other() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    locks = paths.backend() / ".pulumi/locks/organization/site/lab"
    locks.mkdir(parents=True)
    for name, pid in (("dead", ended.pid), ("alive", os.getpid())):
        (locks / f"{name}.json").write_text(json.dumps({"pid": pid, "username": "root"}))
    (locks / "odd.json").write_text("not json")
    stack = paths.backend() / ".pulumi/stacks/site"
    stack.mkdir(parents=True)
    (stack / "lab.json").touch()

    Stack("lab").select()

    assert sorted(lock.stem for lock in locks.iterdir()) == ["alive", "odd"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"checkpoint": {"latest": {"pending_operations": [{"type": "creating"}]}}}, True),
        ({"checkpoint": {"latest": {"pending_operations": []}}}, False),
        ({"checkpoint": {"latest": {}}}, False),
        ({"checkpoint": {"latest": None}}, False),
        (None, False),
    ],
)
def test_a_state_tells_of_an_engine_that_died_at_work(content: object, *, expected: bool) -> None:
    stack = paths.backend() / ".pulumi/stacks/site"
    stack.mkdir(parents=True)
    if content is not None:
        (stack / "lab.json").write_text(json.dumps(content))
    assert Stack("lab").interrupted() is expected
