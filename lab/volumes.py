"""EBS volumes: a sparse file each, on a loop device while it is attached.

In the machine it looks as on EC2: /dev/nvme1n1 and so on, with the link by its volume
id that EC2's udev rules make.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

from lab import machines, paths
from lab.usererror import UserError

GIB = 1024**3
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_MAJOR = 7
_ATTEMPTS = 20


class VolumeError(UserError):
    """A volume cannot be had; the message is for the user."""


def create(volume_id: str, gib: int) -> None:
    """Make an empty volume of `gib` GiB. It takes the disk space that is written to it."""
    paths.volumes().mkdir(parents=True, exist_ok=True)
    with paths.volume(volume_id).open("xb") as file:
        file.truncate(gib * GIB)


def grow(volume_id: str, gib: int) -> None:
    """Make a volume larger, attached or not; the file system on it is the machine's business."""
    file = paths.volume(volume_id)
    if gib * GIB < file.stat().st_size:
        msg = f"{volume_id} has {file.stat().st_size // GIB} GiB and cannot shrink to {gib}."
        raise VolumeError(msg)
    os.truncate(file, gib * GIB)
    for device in _devices(file):
        _losetup("--set-capacity", device)


def attach(volume_id: str, instance_id: str) -> str:
    """Give a running machine the volume; the name of its device there, as `/dev/nvme1n1`."""
    file = paths.volume(volume_id)
    if devices := _devices(file):
        msg = f"{volume_id} is attached already, as {devices[0]}."
        raise VolumeError(msg)
    root = _root(instance_id)
    number = Path(_bind(file)).stat().st_rdev
    name = _free_name(root)
    rules = [
        f"b! /dev/{name} 0660 root disk - {os.major(number)}:{os.minor(number)}",
        f"L! {link(volume_id)} - - - - ../../{name}",
    ]
    # For a reboot of the machine, whose /dev is then made anew ...
    (root / "etc/tmpfiles.d").mkdir(exist_ok=True)
    _rule(root, volume_id).write_text("\n".join(rules) + "\n")
    # ... and now.
    node = root / "dev" / name
    os.mknod(node, stat.S_IFBLK | 0o660, number)
    shutil.chown(node, "root", 6)  # Debian's and Ubuntu's group `disk`
    by_id = root / link(volume_id).lstrip("/")
    by_id.parent.mkdir(parents=True, exist_ok=True)
    by_id.symlink_to(f"../../{name}")
    return f"/dev/{name}"


def detach(volume_id: str, timeout: float = 10) -> None:
    """Take the volume from its machine, if it has one, whether that runs or not.

    A machine that still has it mounted keeps the mount until it ends: wait at most
    `timeout` seconds for that, as EC2 keeps a volume `detaching`.
    """
    file = paths.volume(volume_id)
    deadline = time.monotonic() + timeout
    for device in _devices(file):
        _losetup("--detach", device)
    while devices := _devices(file):
        if time.monotonic() > deadline:
            msg = f"{volume_id} is still in use ({devices[0]}): unmount it in its machine first."
            raise VolumeError(msg)
        time.sleep(0.02)
    for instance_id in machines.running():
        _forget(volume_id, instance_id)


def delete(volume_id: str) -> None:
    """Remove a volume and what is on it."""
    detach(volume_id)
    paths.volume(volume_id).unlink(missing_ok=True)


def clear() -> None:
    """Remove every volume, of this lab process or an earlier one. The machines are gone by now."""
    for device, file in _loops():
        if file.is_relative_to(paths.volumes()):
            _losetup("--detach", device)
    shutil.rmtree(paths.volumes(), ignore_errors=True)


def link(volume_id: str) -> str:
    """The name of a volume's device that says which volume it is: the one to use in `fstab`."""
    return f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


def _root(instance_id: str) -> Path:
    pid = machines.leader(instance_id)
    if pid is None:
        msg = f"{instance_id} is not running, so no volume can be attached to it."
        raise VolumeError(msg)
    return Path(f"/proc/{pid}/root")


def _rule(root: Path, volume_id: str) -> Path:
    return root / f"etc/tmpfiles.d/{volume_id}.conf"


def _free_name(root: Path) -> str:
    # nvme0n1 is the root device.
    taken = {path.name for path in (root / "dev").glob("nvme*n1")}
    return next(name for n in range(1, 27) if (name := f"nvme{n}n1") not in taken)


def _forget(volume_id: str, instance_id: str) -> None:
    root = _root(instance_id)
    by_id = root / link(volume_id).lstrip("/")
    with contextlib.suppress(FileNotFoundError):
        (root / "dev" / by_id.readlink().name).unlink()
        by_id.unlink()
    _rule(root, volume_id).unlink(missing_ok=True)


def _bind(file: Path) -> str:
    """Put the file on a free loop device, making the device's node where nothing else does."""
    for _ in range(_ATTEMPTS):
        with Path("/dev/loop-control").open() as control:
            minor: int = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
        device = f"/dev/loop{minor}"
        with contextlib.suppress(FileExistsError):
            os.mknod(device, stat.S_IFBLK | 0o660, os.makedev(_LOOP_MAJOR, minor))
        # Without direct I/O every page would be cached twice.
        bound = _losetup("--direct-io=on", device, str(file), check=False)
        if bound.returncode == 0:
            return device
        if "busy" not in bound.stderr:
            msg = f"{file.name} cannot be put on a loop device: {bound.stderr.strip()}"
            raise VolumeError(msg)
    msg = f"{file.name} cannot be put on a loop device: others take every free one first."
    raise VolumeError(msg)


def _loops() -> list[tuple[str, Path]]:
    """Every loop device in use, and its file."""
    found: list[tuple[str, Path]] = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            file = re.sub(r" \(deleted\)$", "", backing.read_text().rstrip("\n"))
            found.append((f"/dev/{backing.parts[3]}", Path(file)))
    return found


def _devices(file: Path) -> list[str]:
    return [device for device, backing in _loops() if backing == file]


def _losetup(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["losetup", *arguments], capture_output=True, text=True, check=check)
