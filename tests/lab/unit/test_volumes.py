"""Volumes as files, without a machine to attach them to."""

from pathlib import Path

import pytest

from lab import paths, volumes
from lab.volumes import VolumeError


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))


def test_a_volume_takes_no_space_until_it_is_written_to() -> None:
    volumes.create("vol-1", 100)
    file = paths.volume("vol-1").stat()
    assert file.st_size == 100 * volumes.GIB
    assert file.st_blocks == 0


def test_a_volume_grows_and_never_shrinks() -> None:
    volumes.create("vol-1", 2)
    volumes.grow("vol-1", 3)
    assert paths.volume("vol-1").stat().st_size == 3 * volumes.GIB
    with pytest.raises(VolumeError, match="3 GiB and cannot shrink to 2"):
        volumes.grow("vol-1", 2)


def test_a_volume_is_made_once() -> None:
    volumes.create("vol-1", 1)
    with pytest.raises(FileExistsError):
        volumes.create("vol-1", 1)


def test_a_volume_needs_a_running_machine() -> None:
    volumes.create("vol-1", 1)
    with pytest.raises(VolumeError, match="i-none is not running"):
        volumes.attach("vol-1", "i-none")


def test_the_link_is_the_one_that_ec2_makes() -> None:
    expected = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
    assert volumes.link("vol-0123456789abcdef0") == expected
