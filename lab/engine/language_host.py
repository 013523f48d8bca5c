"""Pulumi's Python language host, as far as the engine asks: it runs programs and policy packs.

The real one is part of the CLI's download, which no package registry carries. Started by the engine
as `pulumi-language-python [ENGINE]`; prints the port that it serves and serves until it is ended.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

import grpc
from google.protobuf import empty_pb2, struct_pb2

from lab.engine.proto import language_pb2, language_pb2_grpc, plugin_pb2
from lab.engine.serving import engine_address, serve

EXECUTOR = Path(__file__).with_name("language_exec.py")
ALREADY_EXPLAINED = 32  # language_exec's exit code for an error that it has shown


def virtualenv_python(info: Any) -> str:
    """The Python of Pulumi.yaml's `runtime.options.virtualenv`, else the one that runs this host.

    Raises ValueError when the virtualenv that the project names is not there.
    """
    options = cast("Mapping[str, Any]", _plain(info.options))
    name = options.get("virtualenv")
    if not name:
        return sys.executable
    folder = Path(info.root_directory, str(name))
    python = folder / "bin" / "python"
    if not python.exists():
        message = (
            f"Pulumi.yaml's runtime option virtualenv names {name}, but there is no {python}: "
            "make the virtualenv and install the project's requirements in it"
        )
        raise ValueError(message)
    return str(python)


def installed_packages(python: str) -> list[tuple[str, str]]:
    """Name and version of every Pulumi plugin that the packages of that Python's virtualenv ask."""
    found: list[tuple[str, str]] = []
    prefix = Path(python).parent.parent
    for path in sorted(prefix.glob("lib/python3*/site-packages/*/pulumi-plugin.json")):
        plugin = json.loads(path.read_text())
        if plugin.get("resource"):
            found.append((plugin["name"], plugin["version"]))
    return found


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The language runtime service. Each program or policy pack is a process of its own."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._running: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Learn the engine's address."""
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """This host has no version of its own: it follows the CLI beside it."""
        return plugin_pb2.PluginInfo()

    def About(self, request: Any, context: Any) -> Any:  # noqa: N802
        """For `pulumi about`."""
        python = _python_or_abort(request.info, context)
        version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
        return language_pb2.AboutResponse(executable=python, version=version.split()[-1])

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The plugins that the virtualenv's Pulumi packages need."""
        python = _python_or_abort(request.info, context)
        return language_pb2.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(name=name, kind="resource", version=f"v{version}")
                for name, version in installed_packages(python)
            ]
        )

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802
        """For `pulumi about`: the virtualenv's distributions."""
        prefix = Path(_python_or_abort(request.info, context)).parent.parent
        names = sorted(
            path.name.removesuffix(".dist-info")
            for path in prefix.glob("lib/python3*/site-packages/*.dist-info")
        )
        dependencies = [
            language_pb2.DependencyInfo(name=name, version=version)
            for name, _, version in (item.rpartition("-") for item in names)
        ]
        return language_pb2.GetProgramDependenciesResponse(dependencies=dependencies)

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """There is nothing to ask."""
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """The project's dependencies are installed by the project's own set-up."""
        yield from ()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run the program to its end."""
        try:
            python = virtualenv_python(request.info)
        except ValueError as error:
            return language_pb2.RunResponse(error=str(error))
        flags = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization or "organization",
            "root-directory": request.info.root_directory,
            "parallel": str(max(request.parallel, 1)),
        }
        entry = Path(request.info.program_directory, request.info.entry_point)
        command = [python, str(EXECUTOR), *(f"--{name}={text}" for name, text in flags.items())]
        command += ["--preview"] if request.dryRun else []
        command += ["--", str(entry), *request.args]
        environment = {
            **os.environ,
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        process = subprocess.Popen(command, cwd=request.pwd, env=environment)
        self._track(process, context)
        code = process.wait()
        self._running.discard(process)
        if code == ALREADY_EXPLAINED:
            return language_pb2.RunResponse(bail=True)
        if code != 0:
            return language_pb2.RunResponse(error=f"program exited with non-zero exit code: {code}")
        return language_pb2.RunResponse()

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Run a policy pack or a plugin written in Python, and pass on what it prints."""
        python = _python_or_abort(request.info, context)
        folder = request.info.program_directory
        if request.kind == "analyzer":
            command = [python, "-u", "-m", "pulumi.policy", *request.args, folder]
            directory = folder
        else:
            command = [python, folder, *request.args]
            directory = request.pwd
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **dict(item.partition("=")[::2] for item in request.env)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._track(process, context)
        output: SimpleQueue[tuple[str, bytes]] = SimpleQueue()

        def pump(name: str, stream: IO[bytes]) -> None:
            while chunk := os.read(stream.fileno(), 65536):
                output.put((name, chunk))
            output.put((name, b""))

        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            threading.Thread(target=pump, args=(name, stream), daemon=True).start()
        still_open = 2
        while still_open:
            name, chunk = output.get()
            if not chunk:
                still_open -= 1
            elif name == "stdout":
                yield language_pb2.RunPluginResponse(stdout=chunk)
            else:
                yield language_pb2.RunPluginResponse(stderr=chunk)
        self._running.discard(process)
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Interrupt what runs."""
        self.end()
        return empty_pb2.Empty()

    def end(self) -> None:
        """Interrupt every program and policy pack that this host runs."""
        for process in tuple(self._running):
            _end(process)

    def _track(self, process: subprocess.Popen[bytes], context: Any) -> None:
        self._running.add(process)
        context.add_callback(lambda: _end(process))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def _python_or_abort(info: Any, context: Any) -> str:
    try:
        return virtualenv_python(info)
    except ValueError as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        raise  # abort has raised; this tells the type checker


def _plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {key: value.string_value for key, value in struct.fields.items()}


def main() -> None:
    """Serve until the engine ends this process."""
    host = LanguageHost(engine_address())
    server = grpc.server(futures.ThreadPoolExecutor(16))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)  # pyright: ignore[reportUnknownMemberType]
    serve(server, host.end)


if __name__ == "__main__":
    main()
