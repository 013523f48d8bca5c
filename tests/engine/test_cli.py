"""Which Pulumi CLI is used, and what is said when there is none; nothing is built here."""

import subprocess
from pathlib import Path

import pytest

from lab.engine import cli, home


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH, but for the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(cli.OVERRIDE, raising=False)
    return folder


@pytest.mark.parametrize(
    ("version", "used"),
    [
        ("v3.200.0", True),
        ("v3.259.0", True),
        ("3.301.1", True),
        ("v3.199.9", False),
        ("v4.0.0", False),
        ("no version", False),
    ],
)
def test_the_cli_on_path_is_used_if_it_is_new_enough(path: Path, version: str, used: bool) -> None:
    found = executable(path / "pulumi", f"echo {version}")
    assert cli.find() == (found if used else None)


def test_without_pulumi_and_go_one_sentence_says_what_to_install(
    path: Path, tmp_path: Path
) -> None:
    assert list(path.iterdir()) == []
    with pytest.raises(cli.CliError) as error:
        cli.provide(tmp_path, print)
    assert str(error.value) == (
        "there is neither pulumi nor go on PATH: install Pulumi 3.200.0 or newer, "
        "or Go 1.26 to build it"
    )


def test_a_build_that_fails_says_gos_own_reason(path: Path, tmp_path: Path) -> None:
    executable(path / "go", "echo some/package; echo 'go: no space left on device'; exit 1")
    seen: list[str] = []
    with pytest.raises(cli.CliError, match="failed: go: no space left on device"):
        cli.build(tmp_path, seen.append)
    assert seen[0].endswith("package 1: some/package")
    assert not cli.built(tmp_path).exists()


def test_what_is_built_once_is_not_built_again(path: Path, tmp_path: Path) -> None:
    target = executable(cli.built(tmp_path), "echo v3.259.0")
    assert list(path.iterdir()) == []  # no go to build with
    assert cli.provide(tmp_path, print) == target


def test_a_cli_that_is_named_and_is_none_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cli.OVERRIDE, str(executable(path / "other", "echo hello")))
    with pytest.raises(cli.CliError, match=r"LAB_PULUMI names .*other, which is not a Pulumi CLI"):
        cli.find()


def test_the_pinned_modules_name_no_server() -> None:
    text = "".join((cli.MODULE / name).read_text() for name in ("go.mod", "go.sum"))
    assert "://" not in text


def test_the_environment_leads_nowhere_but_to_the_lab(tmp_path: Path) -> None:
    ours = home.environment(tmp_path / "home", tmp_path / "state", "http://127.0.0.1:5555")
    theirs = {
        "AWS_PROFILE": "work",
        "AWS_SESSION_TOKEN": "x",
        "AWS_ENDPOINT_URL_S3": "https://s3.example",
        "PULUMI_ACCESS_TOKEN": "x",
        "HOME": "/home/me",
        "HTTPS_PROXY": "http://proxy",
    }
    whole = home.complete(ours, theirs)
    assert home.foreign(theirs, ours) == [
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "PULUMI_ACCESS_TOKEN",
    ]
    assert whole == {**ours, "HOME": "/home/me", "HTTPS_PROXY": "http://proxy"}
    assert whole["AWS_CONFIG_FILE"] == whole["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert "127.0.0.1" in whole["NO_PROXY"]


def test_a_home_is_made_again_without_harm(tmp_path: Path) -> None:
    source = executable(tmp_path / "pulumi", "echo v3.259.0")
    for _ in range(2):
        home.install(tmp_path / "home", source)
    bin_folder = tmp_path / "home" / "bin"
    assert sorted(item.name for item in bin_folder.iterdir()) == [
        "pulumi",
        "pulumi-language-python",
    ]
    answer = subprocess.run([bin_folder / "pulumi"], capture_output=True, text=True, check=True)
    assert answer.stdout == "v3.259.0\n"
    assert not (bin_folder / "pulumi").is_symlink()
