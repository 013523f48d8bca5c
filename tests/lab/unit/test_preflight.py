"""What keeps a lab from running on a machine, a sentence each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import preflight
from lab.preflight import Ground, objection, space_needed

FIT = Ground(
    system="Linux",
    processor="x86_64",
    uid=0,
    mounts=True,
    cgroup2=True,
    packages=(),
    apt=True,
    state=Path("/project/.lab"),
    file_system="ext4",
    space=100.0,
    memory=8.0,
    image=True,
    cli=True,
    go=False,
    running=False,
    other=None,
    port=5555,
    taken=False,
    holder="",
)


def test_a_fit_machine_meets_no_objection() -> None:
    assert objection(FIT) is None


def test_packages_that_apt_can_install_are_no_objection() -> None:
    assert objection(replace(FIT, packages=("nftables", "mmdebstrap"))) is None


def test_only_the_packages_of_programs_that_are_not_there_are_wanted() -> None:
    programs = {"sh": "dash", "no-such-program": "b", "nor-this": "a", "or-that": "b"}
    assert preflight.absent(programs) == ("a", "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"system": "Darwin"}, ["Linux", "Darwin", "STACK=dev"]),
        ({"processor": "riscv64"}, ["x86_64", "riscv64"]),
        ({"uid": 1000}, ["root", "sudo make up"]),
        ({"mounts": False}, ["CAP_SYS_ADMIN", "privileged"]),
        ({"cgroup2": False}, ["cgroup2", "/sys/fs/cgroup"]),
        (
            {"apt": False, "packages": ("dnsmasq-base", "mmdebstrap", "nftables")},
            ["dnsmasq-base, mmdebstrap and nftables", "apt-get"],
        ),
        ({"cli": False}, ["Pulumi CLI", "Go", "install"]),
        ({"file_system": "overlay"}, ["/project/.lab", "overlay", "LAB_STATE"]),
        ({"file_system": "nfs4"}, ["nfs4", "LAB_STATE"]),
        ({"space": 0.5}, ["2.0 GiB", "0.5 GiB", "/project/.lab"]),
        ({"space": 3.0, "image": False}, ["3.5 GiB", "3.0 GiB"]),
        ({"memory": 1.0}, ["3.0 GiB of memory", "1.0"]),
        ({"other": "/elsewhere/.lab"}, ["/elsewhere/.lab", "make down"]),
        (
            {"taken": True, "holder": " by nginx (process 12)"},
            ["5555", "nginx (process 12)", "LAB_PORT=5556 make up"],
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_the_way_out(
    change: dict[str, Any], words: list[str]
) -> None:
    said = objection(replace(FIT, **change))
    assert said is not None
    assert [word for word in words if word not in said] == []
    assert said.endswith(".")
    assert "\n" not in said


def test_the_first_obstacle_is_named_not_its_consequences() -> None:
    hopeless = replace(FIT, system="Darwin", uid=501, mounts=False, cgroup2=False, space=0.0)
    assert "Linux" in (objection(hopeless) or "")


def test_a_running_lab_needs_neither_its_memory_nor_its_disk_again() -> None:
    assert objection(replace(FIT, running=True, memory=0.5, space=0.5)) is None


def test_another_lab_or_a_taken_port_is_no_reason_not_to_install() -> None:
    busy = replace(FIT, other="/elsewhere/.lab", taken=True, memory=0.5)
    assert objection(busy) is not None
    assert objection(busy, starting=False) is None
    assert objection(replace(busy, space=0.1), starting=False) is not None


@pytest.mark.parametrize(("image", "cli"), [(True, False), (False, True), (True, True)])
def test_what_is_there_needs_no_space(*, image: bool, cli: bool) -> None:
    everything = space_needed(image=False, cli=False, running=False)
    assert space_needed(image=image, cli=cli, running=False) < everything


def test_go_is_enough_without_a_cli() -> None:
    assert objection(replace(FIT, cli=False, go=True)) is None


def test_missing_packages_are_found_by_their_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def which(name: str, **_: str) -> str | None:
        return None if name in ("nft", "ip") else f"/usr/bin/{name}"

    monkeypatch.setattr(preflight, "FILES", {str(tmp_path / "keyring"): "debian-archive-keyring"})
    monkeypatch.setattr("shutil.which", which)
    assert preflight.missing() == ("debian-archive-keyring", "iproute2", "nftables")
