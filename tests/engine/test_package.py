"""The components as a package: what pip installs is whole, and another program can use it."""

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from hosts.base.bundle import ROLES, build
from tests.engine.conftest import REGION, Cloud
from tests.engine.harness import ROOT, Workspace

EXAMPLE = ROOT / "examples/reports"
PARTS = ("components", "hosts", "scripts", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the package, and what it depends on as it is here."""
    folder = tmp_path_factory.mktemp("package")
    source, wheels, made = folder / "source", folder / "wheels", folder / "venv"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    wheel = ["wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([*pip, *wheel], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    (wheel_file,) = wheels.iterdir()
    into = ["--python", str(made / "bin/python"), "install", *offline, str(wheel_file)]
    subprocess.run([*pip, *into], check=True)
    (packages,) = made.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def run(environment: Path, code: str) -> str:
    """What a program of the environment says, in a folder that has nothing of the repository."""
    python = environment / "bin/python"
    return subprocess.check_output([python, "-c", code], cwd=environment, text=True)


def test_machines_get_the_same_programs_from_the_package(environment: Path) -> None:
    code = """
import hashlib, json
from hosts.base import bundle
digests = {role: hashlib.sha256(bundle.build(role)).hexdigest() for role in bundle.ROLES}
print(json.dumps([bundle.__file__, digests]))
"""
    where, digests = json.loads(run(environment, code))
    assert Path(where).is_relative_to(environment)
    assert digests == {role: hashlib.sha256(build(role)).hexdigest() for role in ROLES}


@pytest.mark.parametrize("module", ["await_ready", "drain", "backup", "status", "switchover"])
def test_what_commands_and_operators_run_is_there(environment: Path, module: str) -> None:
    done = subprocess.run(
        [environment / "bin/python", "-m", f"scripts.{module}", "--help"],
        cwd=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ModuleNotFoundError" not in done.stderr


@pytest.fixture(scope="module")
def example(
    environment: Path,
    whole_cloud: Cloud,
    pulumi_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workspace:
    """The example in a folder of its own, beside its environment."""
    folder = tmp_path_factory.mktemp("example") / "reports"
    shutil.copytree(EXAMPLE, folder)
    (folder / ".venv").symlink_to(environment)
    workspace = Workspace(folder, pulumi_home, whole_cloud.endpoint, name="reports")
    workspace.init("dev")
    workspace.set("aws:region", REGION)
    return workspace


def test_the_example_composes_a_database_without_a_site(example: Workspace) -> None:
    preview = example.must(example.preview())
    machines = {name for name in preview.only("create") if name.startswith("Instance ")}
    assert machines == {f"Instance database-{number}" for number in (1, 2, 3)}
    assert "SecurityGroup reports" in preview.changes
    assert "SecurityGroupIngressRule database-from-reports-3306" in preview.changes
