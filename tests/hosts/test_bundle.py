"""A role's programs as one archive, the same wherever it is made."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hosts.base import bundle


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


@pytest.mark.parametrize("role", bundle.ROLES)
def test_a_role_gets_the_base_and_its_own_folder_and_no_other(role: str) -> None:
    tops = {name.split("/")[0] for name in names(bundle.build(role))}
    assert tops == {"__init__.py", "base", bundle.folder(role)}


@pytest.mark.parametrize("role", bundle.ROLES)
def test_every_module_of_a_bundle_is_there_for_its_imports(role: str, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(bundle.build(role))) as tar:
        tar.extractall(tmp_path / "hosts", filter="data")
    program = f"import hosts.base.agent, hosts.{bundle.folder(role)}.role as r; print(r.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "program.py").write_text("print()\n")
    os.utime(second / "program.py", (0, 0))
    one = bundle.archive({"program.py": first / "program.py"})
    assert one == bundle.archive({"program.py": second / "program.py"})
    (second / "program.py").write_text("print(1)\n")
    assert one != bundle.archive({"program.py": second / "program.py"})


def test_a_role_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="no role 'cache': one of load-balancer, app-server"):
        bundle.build("cache")
