"""Runs the real `pulumi` on a project in a folder of its own, and tells what it did.

An `Outcome` holds what the engine's event log says, not what the screen shows: for each resource
that something happened to, `"Instance web": "replace"`.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.engine import home

ROOT = Path(__file__).parents[2]
STACK = "test"
POLICIES = ROOT / "policies"
PROJECT_FILE = """\
name: {name}
runtime:
  name: python
  options:
    virtualenv: {virtualenv}
"""
REPLACING = {"replace", "create-replacement", "delete-replaced", "discard-replaced"}
UNCHANGED = {"same", "read", "refresh"}


@dataclass(frozen=True)
class Outcome:
    """What one run of `pulumi` did or would do."""

    exit_code: int
    output: str
    changes: Mapping[str, str]
    """By type and name: create, update, replace or delete. What stays the same is left out."""
    reasons: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By type and name: the inputs that made the change."""

    @property
    def errors(self) -> str:
        """The screen from where it speaks of what went wrong."""
        return self.output[self.output.find("Diagnostics:") :]

    def only(self, kind: str) -> set[str]:
        """The resources that a kind of change happened to."""
        return {name for name, change in self.changes.items() if change == kind}


def short_name(urn: str) -> str:
    """`Instance web` of `urn:pulumi:test::site::…$aws:ec2/instance:Instance::web`."""
    parts = urn.split("::")
    return f"{parts[2].rsplit(':', 1)[-1]} {parts[-1]}"


def read_events(path: Path, *, refresh: bool) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Changes and their reasons, of an event log."""
    changes: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        found = event.get("resOutputsEvent" if refresh else "resourcePreEvent")
        if found is None:
            continue
        metadata = found["metadata"]
        operation = str(metadata["op"])
        resource: dict[str, Any] = metadata.get("new") or metadata.get("old") or {}
        if operation in UNCHANGED or not resource.get("custom"):
            continue  # a component is what its resources are
        if metadata["type"].startswith("pulumi:providers:"):
            continue
        name = short_name(metadata["urn"])
        changes[name] = "replace" if operation in REPLACING else operation
        if metadata.get("diffs"):
            reasons[name] = sorted(metadata["diffs"])
    return changes, reasons


class Workspace:
    """A project, its stack and the cloud it is deployed to."""

    def __init__(self, folder: Path, pulumi_home: Path, endpoint: str, name: str = "tiny") -> None:
        self.folder = folder
        self._logs = folder.parent / f"{folder.name}-logs"
        self._state = folder.parent / f"{folder.name}-state"
        self._logs.mkdir(parents=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._runs = itertools.count(1)
        ours = home.environment(pulumi_home, self._state, endpoint)
        self.environment = home.complete({**ours, "PULUMI_DEBUG_COMMANDS": "true"})
        if not (folder / "Pulumi.yaml").exists():
            text = PROJECT_FILE.format(name=name, virtualenv=sys.prefix)
            self.write("Pulumi.yaml", text)

    def write(self, name: str, text: str) -> None:
        """Put a file into the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def program(self, body: str) -> None:
        """Make this the project's program."""
        imports = ["import pulumi", "import pulumi_aws as aws", "from pulumi_command import local"]
        self.write("__main__.py", "\n".join([*imports, body]))

    def pulumi(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run any pulumi command."""
        return subprocess.run(
            ["pulumi", "--non-interactive", *arguments],
            check=False,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def init(self, stack: str = STACK) -> None:
        """Make the stack, or take it if it is there."""
        done = self.pulumi("stack", "select", stack, "--create")
        assert done.returncode == 0, done.stdout + done.stderr

    def set(self, key: str, value: object, *, path: bool = False) -> None:
        """Set a setting of the stack, as a user would."""
        text = value if isinstance(value, str) else json.dumps(value)
        flags = ["--path"] if path else []
        done = self.pulumi("config", "set", *flags, key, "--", text)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a pulumi command and do not wait for it."""
        return subprocess.Popen(
            ["pulumi", "--non-interactive", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _run(self, command: str, *arguments: str) -> Outcome:
        log = self._logs / f"{next(self._runs):02}-{command}.jsonl"
        done = self.pulumi(command, *arguments, "--event-log", str(log), "--suppress-progress")
        changes: dict[str, str] = {}
        reasons: dict[str, list[str]] = {}
        if log.exists():
            changes, reasons = read_events(log, refresh=command == "refresh")
        return Outcome(done.returncode, done.stdout + done.stderr, changes, reasons)

    def preview(self, *arguments: str) -> Outcome:
        """`pulumi preview`."""
        return self._run("preview", *arguments)

    def up(self, *arguments: str) -> Outcome:
        """`pulumi up`, as it would be without a preview first."""
        return self._run("up", "--yes", "--skip-preview", *arguments)

    def unlock(self) -> None:
        """Take the lock of an engine that was killed, as `pulumi` tells its user to."""
        self.pulumi("cancel", "--yes")

    def pending(self, stack: str = STACK) -> list[str]:
        """Types of the resources that an engine is at work on, as its state says now."""
        path = self._state / ".pulumi" / "stacks" / self._name / f"{stack}.json"
        try:
            checkpoint: dict[str, Any] = json.loads(path.read_text())["checkpoint"]["latest"]
        except (OSError, TypeError, ValueError):
            return []  # not there yet, or half written
        operations: list[dict[str, Any]] = checkpoint.get("pending_operations") or []
        return [operation["resource"]["type"] for operation in operations]

    def refresh(self) -> Outcome:
        """`pulumi refresh`."""
        return self._run("refresh", "--yes", "--skip-preview")

    def destroy(self, *, preview: bool = False) -> Outcome:
        """`pulumi destroy`. The preview before it is where a protected resource stops it."""
        return self._run("destroy", "--yes", *([] if preview else ["--skip-preview"]))

    def must(self, outcome: Outcome) -> Outcome:
        """The outcome, which must be a success."""
        assert outcome.exit_code == 0, outcome.output
        return outcome

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets shown."""
        done = self.pulumi("stack", "output", "--json", "--show-secrets")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def checkpoint(self) -> dict[str, Any]:
        """The stack's whole state, secrets kept encrypted."""
        done = self.pulumi("stack", "export")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def state_files(self) -> list[Path]:
        """Every file that Pulumi keeps of the stack, backups and history too."""
        return [path for path in self._state.rglob("*") if path.is_file()]


def copy_project(target: Path) -> None:
    """Copy the site's program with an application that needs no packages; link its virtualenv."""
    target.mkdir(parents=True)
    for name in ("components", "hosts", "scripts"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "app").mkdir()
    (target / "app" / "wsgi.py").write_text("application = None\n")
    (target / "app" / "requirements.txt").write_text("")
    for path in [ROOT / "__main__.py", *ROOT.glob("Pulumi*.yaml")]:
        shutil.copy(path, target)
    (target / ".venv").symlink_to(os.path.realpath(sys.prefix))
