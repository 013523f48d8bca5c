"""A stack of the program: the lab's, or one on AWS with the user's own Pulumi and credentials."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import cast

import yaml

from lab import paths, service
from lab.engine import home
from lab.usererror import UserError

LAB = "lab"


@dataclass(frozen=True)
class Stack:
    """Which stack, and how to reach it."""

    name: str

    @property
    def is_lab(self) -> bool:
        """Whether it is on this machine."""
        return self.name == LAB

    @property
    def project(self) -> str:
        """The project's name, which all that it deploys is tagged with."""
        return str(yaml.safe_load((paths.PROJECT / "Pulumi.yaml").read_text())["name"])

    @property
    def region(self) -> str | None:
        """The region that the stack's settings name."""
        settings = paths.PROJECT / f"Pulumi.{self.name}.yaml"
        if not settings.exists():
            return None
        content = cast("dict[str, dict[str, object]]", yaml.safe_load(settings.read_text()) or {})
        region = content.get("config", {}).get("aws:region")
        return str(region) if region else None

    def own_variables(self) -> dict[str, str]:
        """What the lab sets in the environment; nothing for a stack on AWS."""
        if not self.is_lab:
            return {}
        region = self.region or "eu-west-1"
        return home.environment(paths.home(), paths.backend(), service.endpoint(), region=region)

    def environment(self) -> dict[str, str]:
        """The whole environment for pulumi and the AWS SDKs."""
        return home.complete(self.own_variables()) if self.is_lab else dict(os.environ)

    def adopt(self) -> None:
        """Make the stack's environment this process's own, for an SDK in it."""
        environment = self.environment()
        os.environ.clear()
        os.environ.update(environment)

    def pulumi(self) -> str:
        """The CLI to run: the lab's, or the user's."""
        if self.is_lab:
            return str(paths.home() / "bin/pulumi")
        if found := shutil.which("pulumi"):
            return found
        msg = (
            f"Stack {self.name} is on AWS, and there is no pulumi on PATH: "
            "install it (https://www.pulumi.com/docs/install/)."
        )
        raise UserError(msg)

    def run(self, *arguments: str) -> int:
        """Run pulumi on this stack, as the user would, and give its exit status.

        Ctrl-C is for pulumi, which then ends what it has begun.
        """
        command = [self.pulumi(), *arguments, "--stack", self.name]
        with _left_to_child():
            return subprocess.run(
                command, cwd=paths.PROJECT, env=self.environment(), check=False
            ).returncode

    def output(self, name: str) -> str:
        """One output of the stack. `UserError`: there is none yet."""
        answer = self._ask("stack", "output", name)
        if answer.returncode:
            raise self._none_yet(name, answer.stderr)
        return answer.stdout.strip()

    def authority(self) -> Path | None:
        """A file with what a client has to trust to trust the site, made anew if it has changed.

        None: the site's certificate is by an authority that clients know. `UserError`: there is no
        site yet.
        """
        answer = self._ask("stack", "output", "--json")
        outputs: dict[str, str] = {}
        if answer.returncode == 0:
            outputs = json.loads(answer.stdout)
        if "url" not in outputs:
            raise self._none_yet("url", answer.stderr)
        if "certificate" not in outputs:
            return None
        file = paths.authority(self.name)
        try:
            if not file.exists() or file.read_text() != outputs["certificate"]:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(outputs["certificate"])
        except OSError as error:
            msg = f"The certificate cannot be kept: {error}."
            raise UserError(msg) from error
        return file

    def select(self) -> None:
        """Make the lab's stack unless there is one, and take away locks of an engine that died."""
        for lock in (paths.backend() / ".pulumi/locks").rglob("*.json"):
            with suppress(OSError, ValueError, KeyError):
                pid = int(json.loads(lock.read_text())["pid"])
                if not Path(f"/proc/{pid}").exists():
                    lock.unlink()
        if any((paths.backend() / ".pulumi/stacks").rglob(f"{self.name}.json*")):
            return
        answer = self._ask("stack", "select", "--create")
        if answer.returncode:
            msg = f"Stack {self.name} cannot be made: {self._reason(answer.stderr)}"
            raise UserError(msg)

    def interrupted(self) -> bool:
        """Whether an engine died at work, so that the state does not know what became of it."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            (state,) = (paths.backend() / ".pulumi/stacks").rglob(f"{self.name}.json")
            return bool(json.loads(state.read_text())["checkpoint"]["latest"]["pending_operations"])
        return False

    def _ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [self.pulumi(), "--non-interactive", "--color=never", *arguments]
        return subprocess.run(
            [*command, "--stack", self.name],
            cwd=paths.PROJECT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _none_yet(self, name: str, said: str) -> UserError:
        msg = f"Stack {self.name} has no {name} yet: `{self._again('up')}` deploys it."
        if "no previous deployment" not in said and self._reason(said):
            msg = f"{msg} Pulumi says: {self._reason(said)}"
        return UserError(msg)

    def _again(self, target: str) -> str:
        return f"make {target}" if self.is_lab else f"STACK={self.name} make {target}"

    @staticmethod
    def _reason(said: str) -> str:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else ""


def exports(ours: Mapping[str, str], base: Mapping[str, str]) -> list[str]:
    """Lines for a shell's `eval`: these variables, and none that would lead elsewhere."""
    quoted = [f"export {name}={_quote(value)}" for name, value in ours.items()]
    return [*(f"unset {name}" for name in home.foreign(base, ours)), *quoted]


def _quote(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


@contextmanager
def _left_to_child() -> Generator[None]:
    def nothing(_number: int, _frame: FrameType | None) -> None:
        # A handler, not SIG_IGN: the child would inherit that.
        return

    before = signal.signal(signal.SIGINT, nothing)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
