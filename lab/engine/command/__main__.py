"""The executable of the plugin: `python -m lab.engine.command ENGINE`.

Behaviour as in pulumi/pulumi-command: triggers replace, every other change runs `update` (else
`create` again), the last outputs are in the environment of the next run, output goes to the
engine's log as it appears, and a failure shows what the command printed.
"""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from importlib import metadata
from typing import IO, ClassVar

from lab.engine.plugin import Call, Plugin, PluginError, Resource, serve
from lab.engine.schema import Properties, Property, unique_name
from lab.engine.values import Props

SHELL = ["/bin/sh", "-c"]


class Runner:
    """Runs commands, each in a process group of its own, so that all of it can be ended."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def run(self, command: str, props: Props, call: Call) -> Props:
        """Run a command to its end; its outputs. Raises PluginError when it fails."""
        environment = {**os.environ, **props.get("environment", {})}
        if props.get("addPreviousOutputInEnv", True):
            for name in ("stdout", "stderr"):
                if props.get(name):
                    environment[f"PULUMI_COMMAND_{name.upper()}"] = props[name]
        arguments = [*(props.get("interpreter") or SHELL), command]
        try:
            process = subprocess.Popen(
                arguments,
                cwd=props.get("dir"),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                process_group=0,
            )
        except OSError as error:
            message = f"{error.strerror}: {error.filename or arguments[0]}: running {command!r}"
            raise PluginError(message) from error
        with self._lock:
            self._running.add(process)
        try:
            printed = self._follow(process, props, call)
            code = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        if code != 0:
            reason = f"exit status {code}" if code > 0 else f"signal: {signal.Signals(-code).name}"
            together = "".join(printed["together"]).rstrip("\n")
            message = f"{reason}: running {command!r}:\n{together}"
            raise PluginError(message)
        return {name: "".join(printed[name]).removesuffix("\n") for name in ("stdout", "stderr")}

    @staticmethod
    def _follow(process: subprocess.Popen[str], props: Props, call: Call) -> dict[str, list[str]]:
        printed: dict[str, list[str]] = {"stdout": [], "stderr": [], "together": []}
        logging = props.get("logging", "stdoutAndStderr")

        def pump(name: str, stream: IO[str]) -> None:
            shown = logging in (name, "stdoutAndStderr")
            for line in stream:
                printed[name].append(line)
                printed["together"].append(line)
                if shown:
                    call.log(line.rstrip("\n"))

        threads: list[threading.Thread] = []
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            if stream is not None:
                threads.append(threading.Thread(target=pump, args=(name, stream), daemon=True))
                threads[-1].start()
        if process.stdin is not None:
            try:
                process.stdin.write(props.get("stdin", ""))
                process.stdin.close()
            except BrokenPipeError:
                pass  # a command need not read what it is given
        for thread in threads:
            thread.join()
        return printed

    def end(self) -> None:
        """End whatever runs."""
        with self._lock:
            running = tuple(self._running)
        for process in running:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


class Command(Resource):
    """command:local:Command."""

    token = "command:local:Command"  # noqa: S105  a type's token
    read_again = False
    properties: ClassVar[Properties] = {
        "addPreviousOutputInEnv": Property(),
        "create": Property(),
        "delete": Property(),
        "dir": Property(),
        "environment": Property(),
        "interpreter": Property(),
        "logging": Property(choices=("stdout", "stderr", "stdoutAndStderr", "none")),
        "stdin": Property(),
        "triggers": Property(replaces=True),
        "update": Property(),
    }
    outputs = ("stdout", "stderr")

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._printed: dict[str, Props] = {}

    def create(self, inputs: Props, call: Call) -> str:
        new = unique_name(call.name, os.urandom(16), 100)
        nothing = {"stdout": "", "stderr": ""}
        command = inputs.get("create")
        self._printed[new] = self._runner.run(command, inputs, call) if command else nothing
        return new

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        return self.outputs if changed else ()

    def read(self, resource_id: str, state: Props) -> Props:
        """What the command that has just run printed, else what it printed last."""
        return self._printed.pop(resource_id, {name: state.get(name, "") for name in self.outputs})

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        command = inputs.get("update") or inputs.get("create")
        if command and changed:
            last = {name: state.get(name, "") for name in self.outputs}
            self._printed[resource_id] = self._runner.run(command, {**inputs, **last}, call)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if state.get("delete"):
            self._runner.run(state["delete"], state, call)


class LocalCommands(Plugin):
    """The command plugin's table."""

    name = "command"
    version = metadata.version("pulumi_command")

    def __init__(self) -> None:
        self._runner = Runner()
        self.types = {Command.token: Command(self._runner)}
        self.functions = {}

    def configure(self, variables: Mapping[str, str]) -> None:
        """It has no settings."""

    def cancel(self) -> None:
        """End the commands that run."""
        self._runner.end()


if __name__ == "__main__":
    serve(LocalCommands())
