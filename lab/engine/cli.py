"""The Pulumi CLI: the one on PATH if it is new enough, else built once from its Go module."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

VERSION = "3.259.0"
OLDEST = (3, 200, 0)
NEWEST_MAJOR = 3
OVERRIDE = "LAB_PULUMI"
"""Environment variable that names the executable to use."""

MODULE = Path(__file__).with_name("go")
"""go.mod and go.sum: what is built is pinned to the byte."""

Progress = Callable[[str], None]


class CliError(Exception):
    """There is no usable CLI; the sentence says what to do."""


def find() -> Path | None:
    """The CLI that LAB_PULUMI names, else a compatible one on PATH, else None.

    Raises CliError when LAB_PULUMI names something that is not a compatible CLI.
    """
    if named := os.environ.get(OVERRIDE):
        path = Path(named)
        version = _version(path)
        if version is None or not _compatible(version):
            message = (
                f"{OVERRIDE} names {named}, which is not a Pulumi CLI of version "
                f"{_text(OLDEST)} or newer: unset it or name another"
            )
            raise CliError(message)
        return path
    found = shutil.which("pulumi")
    if found is None:
        return None
    version = _version(Path(found))
    return Path(found) if version is not None and _compatible(version) else None


def _version(path: Path) -> tuple[int, int, int] | None:
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        answer = subprocess.run(
            [path, "version"],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", answer.stdout.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _compatible(version: tuple[int, int, int]) -> bool:
    return version >= OLDEST and version[0] == NEWEST_MAJOR


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(str(number) for number in version)


def built(cache: Path) -> Path:
    """Where the built CLI is, or will be: its place changes with what it is built from."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "tools.go"):
        digest.update((MODULE / name).read_bytes())
    return cache / f"pulumi-{VERSION}-{digest.hexdigest()[:12]}" / "pulumi"


def build(cache: Path, progress: Progress) -> Path:
    """Build the CLI into `cache` unless it is there (about four minutes and 2 GB, once).

    `progress` is told each package as it is compiled. Raises CliError without Go or on failure.
    """
    target = built(cache)
    if target.exists():
        return target
    if shutil.which("go") is None:
        message = (
            "there is neither pulumi nor go on PATH: install Pulumi "
            f"{_text(OLDEST)} or newer, or Go 1.26 to build it"
        )
        raise CliError(message)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        for name in ("go.mod", "go.sum", "tools.go"):
            shutil.copy(MODULE / name, folder)
        output = Path(folder, "pulumi")
        name = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
        command = ["go", "build", "-v", "-trimpath", "-mod=readonly", "-buildvcs=false"]
        command += ["-tags", "osusergo,grpcnotrace", "-ldflags", f"-s -w -X {name}=v{VERSION}"]
        command += ["-o", str(output), "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"]
        last = _follow(command, Path(folder), progress)
        if not output.exists():
            message = f"building the Pulumi CLI failed: {last or 'go build gave no reason'}"
            raise CliError(message)
        output.replace(target)
    return target


def _follow(command: list[str], folder: Path, progress: Progress) -> str:
    """Run a command and pass on its lines; the last one that is no package's name."""
    started = time.monotonic()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
    compiled, last = 0, ""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                text = line.strip()
                if re.fullmatch(r"[\w./~@+-]+", text):
                    compiled += 1
                    elapsed = time.monotonic() - started
                    progress(f"{elapsed:4.0f} s, package {compiled}: {text}")
                elif text:
                    last = text
                    progress(text)
        except BaseException:
            process.terminate()
            raise
    return last


def provide(cache: Path, progress: Progress) -> Path:
    """The CLI to use: found, else built. Raises CliError."""
    return find() or build(cache, progress)
