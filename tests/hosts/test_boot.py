"""The boot program: nothing is run that is not what the machine was told of."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hosts.base import boot, bundle


def archive(**members: str) -> bytes:
    """A bundle with these files; names may be as bad as can be."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return made.getvalue()


class Clients:
    """S3 with one object in it, and DynamoDB that keeps what it is told."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.updates: list[dict[str, Any]] = []

    def __call__(self, _service: str, **_: object) -> "Clients":
        return self

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.body)}

    def update_item(self, **request: Any) -> None:
        self.updates.append(request)

    @property
    def report(self) -> dict[str, str]:
        """The only report."""
        (request,) = self.updates
        values = request["ExpressionAttributeValues"]
        assert request["Key"] == {"id": {"S": "machine/i-0123"}}
        return {"state": values[":s"]["S"], "detail": values[":d"]["S"], "name": values[":n"]["S"]}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine that is told of one bundle."""
    told = {
        "name": "app-server-1",
        "role": "app-server",
        "region": "eu-central-1",
        "table": "coordination",
        "bucket": "programs",
        "bundles": [{"key": "x.tar.gz", "sha256": "", "path": str(tmp_path / "opt/hosts")}],
    }
    instance, log = tmp_path / "instance-id", tmp_path / "log"
    instance.write_text("i-0123\n")
    log.write_text("earlier\nE: Unable to locate package\n")
    monkeypatch.setattr(boot, "MACHINE", tmp_path / "machine.json")
    monkeypatch.setattr(boot, "INSTANCE", instance)
    monkeypatch.setattr(boot, "LOG", log)
    return told


def run(
    machine: dict[str, Any], body: bytes, monkeypatch: pytest.MonkeyPatch, sha256: str = ""
) -> Clients:
    """Runs the program's `main` with this bundle in S3."""
    machine["bundles"][0]["sha256"] = sha256 or hashlib.sha256(body).hexdigest()
    boot.MACHINE.write_text(json.dumps(machine))
    clients = Clients(body)
    monkeypatch.setattr(boot, "client", clients)
    boot.main()
    return clients


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What systemd was asked to do."""
    asked: list[list[str]] = []

    def fake(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="")

    monkeypatch.setattr(subprocess, "run", fake)
    return asked


def test_a_good_bundle_is_unpacked_and_the_agent_started(
    machine: dict[str, Any], systemctl: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Path(machine["bundles"][0]["path"])
    target.mkdir(parents=True)
    (target / "old.py").touch()
    clients = run(machine, bundle.build("app-server"), monkeypatch)
    assert clients.updates == []
    assert (target / "base/agent.py").is_file()
    assert not (target / "old.py").exists(), "what an earlier start left is gone"
    first, *others = systemctl
    assert first == ["/usr/bin/python3", "-m", "hosts.base.harden"], "before the agent"
    assert [command[1] for command in others] == ["enable", "restart"]


def failing(
    machine: dict[str, Any], body: bytes, monkeypatch: pytest.MonkeyPatch, sha256: str = ""
) -> dict[str, str]:
    """What is reported of a boot that fails."""
    clients = Clients(body)
    machine["bundles"][0]["sha256"] = sha256 or hashlib.sha256(body).hexdigest()
    boot.MACHINE.write_text(json.dumps(machine))
    monkeypatch.setattr(boot, "client", clients)
    with pytest.raises(SystemExit) as exit_:
        boot.main()
    assert exit_.value.code == 1
    return clients.report


def test_a_bundle_with_another_digest_is_not_unpacked_and_the_machine_has_failed(
    machine: dict[str, Any], systemctl: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = failing(machine, archive(program="x"), monkeypatch, sha256="0" * 64)
    assert report["state"] == "failed"
    assert report["name"] == "app-server-1"
    assert f"not {'0' * 64}" in report["detail"]
    assert "E: Unable to locate package" in report["detail"], "the tail of the log"
    assert not Path(machine["bundles"][0]["path"]).exists()
    assert systemctl == []


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside-of-it", "a/../../outside"])  # noqa: S108
def test_a_bundle_that_reaches_out_of_its_folder_is_refused(
    name: str,
    machine: dict[str, Any],
    systemctl: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # A leading slash is taken off rather than refused: the file lands inside.
    if name.startswith("/"):
        run(machine, archive(**{name: "x"}), monkeypatch)
        assert (Path(machine["bundles"][0]["path"]) / name.lstrip("/")).is_file()
    else:
        report = failing(machine, archive(**{name: "x"}), monkeypatch)
        assert "OutsideDestinationError" in report["detail"]
        assert systemctl == []
    assert not list(tmp_path.rglob("outside"))
    assert not Path("/tmp/outside-of-it").exists()  # noqa: S108


def test_a_link_out_of_the_folder_is_refused(
    machine: dict[str, Any], systemctl: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        link = tarfile.TarInfo("etc")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../../etc"
        tar.addfile(link)
    report = failing(machine, made.getvalue(), monkeypatch)
    assert "LinkOutsideDestinationError" in report["detail"]
    assert systemctl == []


def test_an_agent_that_does_not_start_is_reported_with_its_journal(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        said = "ModuleNotFoundError: hosts" if command[0] == "journalctl" else ""
        return subprocess.CompletedProcess(command, int("restart" in command), stdout=said)

    monkeypatch.setattr(subprocess, "run", fake)
    report = failing(machine, archive(program="x"), monkeypatch)
    assert "site-agent.service does not start" in report["detail"]
    assert "ModuleNotFoundError: hosts" in report["detail"]
