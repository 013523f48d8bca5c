"""The site under test: its machines by name, commands in them, `pulumi up` with other settings."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import boto3
import yaml

from lab import faults
from lab.stack import LAB, Stack
from tests.lab import traffic

PROJECT = Path(__file__).parents[2]
SLOWNESS = float(os.environ.get("LAB_SLOWNESS", "1"))
"""Multiplies every deadline, for a machine slower than two cores of today."""


T = TypeVar("T")


def eventually(what: str, condition: Callable[[], T | None], seconds: float) -> T:
    """Wait until `condition` gives something true; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while True:
        outcome = condition()
        if outcome:
            return outcome
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * SLOWNESS:.0f} s: {what}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Machine:
    id: str
    name: str
    role: str
    address: str
    netns: str
    pid: int


@dataclass
class Outcome:
    """What one run of the engine did."""

    status: int
    text: str
    changes: dict[str, str] = field(default_factory=dict[str, str])
    """Resource name to operation, for every resource that did not stay the same."""

    def touched(self, operation: str) -> set[str]:
        return {name for name, done in self.changes.items() if done == operation}


class Site:
    def __init__(self, environment: dict[str, str], api: str, scratch: Path) -> None:
        self.environment = environment
        self._api = api
        self._config = scratch / "Pulumi.lab.yaml"

    @cached_property
    def url(self) -> str:
        return self.output("url")

    def output(self, name: str) -> Any:
        """What the stack exports under a name."""
        run = self._pulumi("stack", "output", name, "--json", "--stack", "lab")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def machines(self, role: str | None = None) -> list[Machine]:
        """Those that run, by name."""
        with urlopen(f"{self._api}/lab/status", timeout=10) as answer:  # noqa: S310
            rows: list[dict[str, Any]] = json.load(answer)["machines"]
        found = [
            Machine(**{key: row[key] for key in Machine.__dataclass_fields__})
            for row in rows
            if row["state"] == "running" and row["pid"] and role in (None, row["role"])
        ]
        return sorted(found, key=lambda machine: machine.name)

    def machine(self, name: str) -> Machine:
        (found,) = [machine for machine in self.machines() if machine.name == name]
        return found

    def run(self, name: str, *command: str, given: str = "") -> str:
        """Run a command in a machine, `given` on its standard input; give what it printed."""
        pid = self.machine(name).pid
        run = subprocess.run(
            ["nsenter", f"--target={pid}", "--all", "--", *command],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise AssertionError(f"{name}: {command}: {run.returncode}: {run.stderr}")
        return run.stdout

    def rows(self, database: str, query: str) -> list[list[str]]:
        """Ask one database machine's own MySQL, as its administrator."""
        lines = self.run(database, "mysql", "-N", "-B", "-e", query).splitlines()
        return [line.split("\t") for line in lines]

    def up(self, settings: dict[str, Any] | None = None, *, refresh: bool = False) -> Outcome:
        """`pulumi up` with settings that differ from the lab's, by dotted key.

        With `refresh`, AWS is asked first what is there.
        """
        more = ["--refresh"] if refresh else []
        run = self._engine("up", "--yes", "--skip-preview", "--json", *more, settings=settings)
        outcome = _outcome(run)
        # With other addresses there is another certificate to trust.
        Stack(LAB).authority()
        return outcome

    def preview(self, settings: dict[str, Any] | None = None) -> Outcome:
        """`pulumi preview` with such settings; it makes nothing."""
        run = self._engine("preview", settings=settings)
        return Outcome(run.returncode, run.stdout + run.stderr)

    def _engine(
        self, *command: str, settings: dict[str, Any] | None
    ) -> subprocess.CompletedProcess[str]:
        config = yaml.safe_load((PROJECT / "Pulumi.lab.yaml").read_text())
        for key, value in (settings or {}).items():
            first, _, rest = key.partition(".")
            if rest:
                config["config"].setdefault(f"site:{first}", {})[rest] = value
            else:
                config["config"][f"site:{first}"] = value
        self._config.write_text(yaml.safe_dump(config))
        return self._pulumi(*command, "--stack", "lab", "--config-file", str(self._config))

    def in_turn(self) -> set[str]:
        """The application servers that answer now, seen over a few rounds."""
        answers = [traffic.send(self.url) for _ in range(12)]
        return {answer.server for answer in answers if answer.ok}

    def power_off(self, name: str) -> None:
        """Pull the plug: nothing on the machine gets a chance to say good-bye."""
        faults.power_off(self.machine(name).id)

    def power_on(self, machine: Machine) -> None:
        self.client("ec2").start_instances(InstanceIds=[machine.id])

    def secret(self, name: str) -> str:
        answer = self.client("ssm").get_parameter(Name=name, WithDecryption=True)
        return answer["Parameter"]["Value"]

    def client(self, service: str) -> Any:
        """A client of the lab's AWS API, as the operator has it."""
        sdk: Any = boto3
        return sdk.client(
            service,
            endpoint_url=self._api,
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
        )

    def _pulumi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", "--non-interactive", "--color", "never", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


def _outcome(run: subprocess.CompletedProcess[str]) -> Outcome:
    changes: dict[str, str] = {}
    said: list[str] = []
    for line in run.stdout.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            said.append(line)
            continue
        if "diagnosticEvent" in event:
            said.append(event["diagnosticEvent"]["message"])
        done = event.get("resOutputsEvent", {}).get("metadata", {})
        if done and done["op"] != "same":
            changes[done["urn"].rsplit("::", 1)[1]] = done["op"]
    return Outcome(run.returncode, "".join(said) + run.stderr, changes)
