"""The data volume: found, formatted if blank, mounted, and filled with an empty database."""

import os
import shutil
import stat
from pathlib import Path

from hosts.base import services
from hosts.base.services import ServiceError

MOUNT = Path("/var/lib/mysql")
UNIT = "var-lib-mysql.mount"
DATA = MOUNT / "data"
ATTACHED = 180.0
"""Seconds: the volume is attached after the machine was started."""
BEGINNING = 1024 * 1024
"""Bytes in which every file system and partition table has its mark."""
NOTHING_FOUND = 2
"""blkid: no file system, no partition table, nothing known."""

WORTH_GROWING = 128 * 1024 * 1024
"""Bytes, a block group of ext4: with less left over there is nothing to be gained."""
SUPERBLOCK = slice(1024, 2048)
"""Where ext4 says what it is."""
EXT4 = 0xEF53
HAS_64_BITS = 0x80
GIB = 1024**3

INIT = Path("/etc/mysql/site-init.sql")
INIT_SQL = """\
UPDATE mysql.user SET plugin = 'auth_socket', authentication_string = '' WHERE user = 'root';
"""


class VolumeError(Exception):
    """The volume cannot be used."""


def mount(device: str) -> None:
    """Mounts the volume at /var/lib/mysql; makes its file system only if it is blank."""
    if MOUNT.is_mount():
        return
    disk = Path(device)
    if not services.wait_until(disk.exists, ATTACHED):
        message = f"the volume {device} was not attached within {ATTACHED:.0f} s"
        raise VolumeError(message)
    if not stat.S_ISBLK(disk.stat().st_mode):
        message = f"{device} is not a disk"
        raise VolumeError(message)
    found = file_system(device)
    if not found:
        _run("mkfs.ext4", "-q", device)
    elif found != "ext4":
        message = f"the volume {device} holds {found}, not ext4: it is left as it is"
        raise VolumeError(message)
    MOUNT.mkdir(exist_ok=True)
    try:
        services.systemctl("start", UNIT)
    except ServiceError as error:
        message = f"{error}\n{services.journal(UNIT)}"
        raise VolumeError(message) from error
    shutil.chown(MOUNT, "mysql", "mysql")


def file_system(device: str) -> str:
    """What a disk holds, in blkid's words; empty if it is blank. Raises if that is unclear."""
    probe = services.run("blkid", "--probe", "--output", "export", device)
    if probe.returncode == NOTHING_FOUND and not probe.stdout and _starts_with_zeros(device):
        return ""
    values = dict(line.split("=", 1) for line in probe.stdout.splitlines() if "=" in line)
    found = values.get("TYPE") or values.get("PTTYPE")
    if probe.returncode or not found:
        message = f"it is unclear what {device} holds ({probe.stderr.strip() or 'blkid'})"
        raise VolumeError(message)
    return found


def _starts_with_zeros(device: str) -> bool:
    """blkid also finds nothing where it cannot read: then nothing is known, and this raises."""
    try:
        with Path(device).open("rb") as disk:
            return not any(disk.read(BEGINNING))
    except OSError as error:
        message = f"it is unclear what {device} holds: {error}"
        raise VolumeError(message) from error


def grow(device: str) -> str:
    """Lets the file system fill a disk that was made larger, in use as it is; what was done.

    Empty if there was nothing to do. Raises `VolumeError` with the reason if it did not grow.
    """
    try:
        with Path(device).open("rb") as disk:
            beginning = disk.read(SUPERBLOCK.stop)
            has = disk.seek(0, os.SEEK_END)
    except OSError as error:
        message = f"the size of {device} is unknown: {error}"
        raise VolumeError(message) from error
    uses = file_system_size(beginning[SUPERBLOCK])
    if has - uses < WORTH_GROWING:
        return ""
    _run("resize2fs", device)
    return f"the file system of {device} grew from {uses / GIB:.1f} to {has / GIB:.1f} GiB"


def file_system_size(superblock: bytes) -> int:
    """The bytes that an ext4 takes for itself, from its superblock. Raises `VolumeError`."""
    if len(superblock) != SUPERBLOCK.stop - SUPERBLOCK.start:
        message = "the disk is shorter than a superblock"
        raise VolumeError(message)
    blocks, shift, magic, features, more_blocks = (
        int.from_bytes(superblock[start : start + length], "little")
        for start, length in ((4, 4), (24, 4), (56, 2), (96, 4), (336, 4))
    )
    if magic != EXT4:
        message = "the disk holds no ext4"
        raise VolumeError(message)
    if features & HAS_64_BITS:
        blocks += more_blocks << 32
    return blocks * (1024 << shift)


def unmount() -> None:
    """Takes the volume out of the file system, everything written."""
    services.systemctl("stop", UNIT)
    if MOUNT.is_mount():
        message = f"{MOUNT} is still mounted"
        raise VolumeError(message)


def initialise(data: Path = DATA) -> bool:
    """Makes an empty database unless there is one; whether it was made.

    It is made under another name, and renamed when it is whole: what an interrupted start left
    half-made is never taken for a database, and is made anew.
    """
    if data.exists():
        return False
    new = data.with_name("data.unfinished")
    shutil.rmtree(new, ignore_errors=True)
    INIT.write_text(INIT_SQL)
    # Without the machine's settings: they are for a server, with TLS and replication.
    _run(
        "mysqld",
        "--no-defaults",
        "--initialize-insecure",
        "--user=mysql",
        f"--datadir={new}",
        f"--init-file={INIT}",
        "--auto-generate-certs=OFF",
        "--log-error-verbosity=1",
    )
    _run("sync", "--file-system", str(new))
    new.rename(data)
    return True


def _run(*command: str) -> None:
    done = services.run(*command)
    if done.returncode:
        message = f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-2000:]}"
        raise VolumeError(message)
