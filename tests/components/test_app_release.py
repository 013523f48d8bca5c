"""What is deployed: any folder with a WSGI application, its requirements vendored with the real uv.

The requirements are wheels made here; there is no package index in these tests.
"""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pulumi
import pytest

from components import app_release, settings

MACHINES = settings.Machines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application that imports, in its own folder, with a package index of a few wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels, "alone", "1.0")
    _wheel(wheels, "needy", "2.0", requires="alone>=1")
    _wheel(wheels, "native", "1.0", tag="cp314-cp314-manylinux_2_28_x86_64")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(app_release, "BUILD", tmp_path / "build")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "wsgi.py").write_text("application = None\n")
    return folder


def _wheel(
    folder: Path, name: str, version: str, requires: str = "", tag: str = "py3-none-any"
) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}/__init__.py": f"version = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def release(folder: Path, module: str = "wsgi:application", **machines: str) -> dict[str, bytes]:
    """The files of the archive."""
    made = app_release.release(
        str(folder), module, settings.Machines.model_validate({**dict(MACHINES), **machines})
    )
    with tarfile.open(fileobj=io.BytesIO(made), mode="r:gz") as tar:
        contents: dict[str, bytes] = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            contents[member.name] = file.read()
        return contents


def archive(folder: Path) -> bytes:
    return app_release.release(str(folder), "wsgi:application", MACHINES)


def test_an_application_without_requirements_is_its_files(folder: Path) -> None:
    (folder / "templates").mkdir()
    (folder / "templates" / "page.html").write_text("<p>")
    assert release(folder) == {"wsgi.py": b"application = None\n", "templates/page.html": b"<p>"}


def test_requirements_are_vendored_beside_the_application(folder: Path) -> None:
    (folder / "requirements.txt").write_text("alone==1.0\n")
    files = release(folder)
    assert files["site-packages/alone/__init__.py"] == b"version = '1.0'\n"
    assert "site-packages/alone-1.0.dist-info/METADATA" in files


def test_requirements_are_for_the_machines_python_and_processor(folder: Path) -> None:
    (folder / "requirements.txt").write_text("native==1.0\n")
    assert "site-packages/native/__init__.py" in release(folder)
    with pytest.raises(pulumi.RunError, match=r"wheels for Python 3\.13 on x86_64"):
        release(folder, python="3.13")
    with pytest.raises(pulumi.RunError, match=r"wheels for Python 3\.14 on aarch64"):
        release(folder, architecture="arm64")


def test_what_differs_from_one_operators_machine_to_the_next_is_left_out(folder: Path) -> None:
    (folder / "requirements.txt").write_text("alone==1.0\n")
    for name in (".git", "__pycache__", ".venv"):
        (folder / name).mkdir()
        (folder / name / "x").write_text("x")
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").write_text("home = /usr\n")
    assert sorted(release(folder)) == [
        "requirements.txt",
        "site-packages/alone-1.0.dist-info/METADATA",
        "site-packages/alone-1.0.dist-info/WHEEL",
        "site-packages/alone-1.0.dist-info/entry_points.txt",
        "site-packages/alone/__init__.py",
        "wsgi.py",
    ]


def test_the_same_files_make_the_same_archive(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "requirements.txt").write_text("alone==1.0\n")
    first = archive(folder)
    os.utime(folder / "wsgi.py", (1, 1))
    monkeypatch.setattr(app_release, "BUILD", tmp_path / "another build")
    assert archive(folder) == first


def test_a_changed_file_or_requirement_makes_another_archive(folder: Path) -> None:
    first = archive(folder)
    (folder / "wsgi.py").write_text("application = 1\n")
    second = archive(folder)
    (folder / "requirements.txt").write_text("alone==1.0\n")
    third = archive(folder)
    (folder / "wsgi.py").chmod(0o755)
    fourth = archive(folder)
    assert len({first, second, third, fourth}) == 4


def test_an_unchanged_application_needs_no_package_index_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "requirements.txt").write_text("alone==1.0\n")
    first = archive(folder)
    monkeypatch.setattr(app_release, "_install", None)  # calling it would raise
    (folder / "more.py").write_text("")
    assert archive(folder) != first


@pytest.mark.parametrize(
    "line",
    [
        "alone",
        "alone>=1.0",
        "alone==1.*",
        "-r other.txt",
        "-e .",
        "alone @ https://example.org/alone.whl",
        "--index-url https://example.org",
    ],
)
def test_requirements_that_are_not_pinned_are_refused(folder: Path, line: str) -> None:
    (folder / "requirements.txt").write_text(f"# what we need\n{line}\n")
    with pytest.raises(pulumi.RunError, match="every requirement has to be pinned") as refused:
        release(folder)
    assert repr(line) in str(refused.value)


def test_hashes_comments_extras_and_markers_are_understood() -> None:
    text = (
        "# by hand\n"
        "Flask.Login[async]==3.1 ; python_version > '3.8'  # why\n"
        "click==8.5.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "\n"
        "exact===1.0+local\n"
    )
    assert app_release.pinned_names("requirements.txt", text) == {"flask-login", "click", "exact"}


def test_what_requirements_need_in_turn_has_to_be_pinned_too(folder: Path) -> None:
    (folder / "requirements.txt").write_text("needy==2.0\n")
    with pytest.raises(pulumi.RunError, match=r"does not pin all that it needs\. Add: alone==1\.0"):
        release(folder)
    (folder / "requirements.txt").write_text("needy==2.0\nalone==1.0\n")
    assert "site-packages/alone/__init__.py" in release(folder)


def test_requirements_that_cannot_be_had_are_said_in_one_sentence(folder: Path) -> None:
    (folder / "requirements.txt").write_text("missing==1.0\n")
    with pytest.raises(pulumi.RunError, match="cannot be had as wheels for Python") as refused:
        release(folder)
    assert "missing" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_release_that_failed_leaves_nothing_to_be_taken_for_one(folder: Path) -> None:
    (folder / "requirements.txt").write_text("missing==1.0\n")
    for _ in range(2):
        with pytest.raises(pulumi.RunError, match="missing"):
            release(folder)
    assert list((app_release.BUILD / "vendored").iterdir()) == []


def test_a_folder_that_is_not_there_is_said_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(pulumi.RunError, match=r"site:appServers\.folder is .*there is no folder"):
        release(tmp_path / "nowhere")


@pytest.mark.parametrize("module", ["app:application", "pkg.wsgi:application"])
def test_a_module_that_is_not_there_is_said_with_the_setting(folder: Path, module: str) -> None:
    with pytest.raises(pulumi.RunError, match=r"site:appServers\.module is .* has neither"):
        release(folder, module)


@pytest.mark.parametrize("path", ["pkg/wsgi.py", "pkg/wsgi/__init__.py"])
def test_a_module_may_be_in_a_package(folder: Path, path: str) -> None:
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_text("application = None\n")
    assert path in release(folder, "pkg.wsgi:application")


def test_a_module_may_come_with_a_requirement(folder: Path) -> None:
    (folder / "requirements.txt").write_text("alone==1.0\n")
    assert "site-packages/alone/__init__.py" in release(folder, "alone:application")


def test_site_packages_of_ones_own_are_refused(folder: Path) -> None:
    (folder / "site-packages").mkdir()
    with pytest.raises(pulumi.RunError, match="requirements belong into"):
        release(folder)
