"""What the lab needs of the machine that it runs on. Pure, but for `look`."""

import os
import platform
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups, image, paths, service
from lab.engine import cli

GIB = 1024**3
IMAGE_SPACE = 1.5
"""GiB: the machine image, and its packages while it is made."""
CLI_SPACE = 3.0
"""GiB: Go's modules and build cache, and the CLI."""
LAB_SPACE = 2.0
"""GiB: the layers, volumes and journals of a lab."""
MEMORY = 3.0
"""GiB: seven small machines with what AWS is for them."""

_CAP_SYS_ADMIN = 21
_UNFIT = {"overlay", "aufs", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "vboxsf", "fuseblk"}
"""File systems on which the kernel makes no overlay's upper layer."""

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "unshare": "util-linux",
    "losetup": "mount",
}
"""What the lab starts, and the Debian packages that have it."""

FILES = {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}


@dataclass(frozen=True)
class Ground:
    """What was found."""

    system: str
    processor: str
    uid: int
    mounts: bool
    """Whether root may mount here: not in an ordinary container."""
    cgroup2: bool
    packages: tuple[str, ...]
    """Debian packages that are missing."""
    apt: bool
    state: Path
    file_system: str
    space: float
    """GiB free for the lab's files."""
    memory: float
    """GiB available."""
    image: bool
    cli: bool
    go: bool
    running: bool
    """Whether this project's lab runs already."""
    other: str | None
    """The directory of another lab that runs."""
    port: int
    taken: bool
    holder: str
    """Who listens on the port, as far as can be told."""


def look() -> Ground:
    """Look at this machine."""
    running = service.running() is not None
    port = service.wanted_port()
    uid = os.geteuid()
    taken = not running and _taken(port)
    exists = next(path for path in (paths.state(), *paths.state().parents) if path.exists())
    return Ground(
        system=platform.system(),
        processor=platform.machine(),
        uid=uid,
        mounts=_capable(_CAP_SYS_ADMIN),
        cgroup2=_has_cgroup2(),
        packages=missing(),
        apt=shutil.which("apt-get") is not None,
        state=paths.state(),
        file_system=_file_system(exists),
        space=shutil.disk_usage(exists).free / GIB,
        memory=_memory(),
        image=image.ready(),
        cli=cli.built(paths.cache()).exists() or cli.find() is not None,
        go=shutil.which("go") is not None,
        running=running,
        other=service.other_lab() if uid == 0 else None,
        port=port,
        taken=taken,
        holder=_holder(port) if taken else "",
    )


def objection(ground: Ground, *, starting: bool = True) -> str | None:
    """The first thing that keeps a lab from running here, in a sentence; None if nothing does.

    Not `starting`: from being installed.
    """
    if ground.system != "Linux":
        return (
            f"The lab needs Linux, and this is {ground.system}: use a Linux machine or a virtual "
            "one, or deploy to AWS with STACK=dev."
        )
    if ground.processor != "x86_64":
        return f"The lab needs an x86_64 processor, and this is {ground.processor}."
    if ground.uid != 0:
        return (
            "The lab makes name spaces, mounts and loop devices, which only root may: "
            "try again as root (`sudo make up`)."
        )
    if not ground.mounts:
        return (
            "Root may not mount anything here (no CAP_SYS_ADMIN), as in an ordinary container: "
            "use a machine, a virtual machine or a privileged container."
        )
    found = _lacking(ground) or _space(ground)
    return found or (_in_the_way(ground) if starting and not ground.running else None)


def _lacking(ground: Ground) -> str | None:
    if not ground.cgroup2:
        return "The kernel's cgroup2 hierarchy is not mounted: mount it on /sys/fs/cgroup."
    if ground.packages and not ground.apt:
        return (
            f"The lab needs {_several(ground.packages)} (Debian's names), and there is no apt-get "
            "to install them with: install them yourself."
        )
    if not ground.cli and not ground.go:
        oldest = ".".join(str(part) for part in cli.OLDEST)
        return (
            f"There is neither a Pulumi CLI of {oldest} or newer on PATH nor Go to build one with: "
            "install one of them (https://www.pulumi.com/docs/install/)."
        )
    if ground.file_system in _UNFIT:
        return (
            f"{ground.state} is on {ground.file_system}, which cannot hold the machines' layers: "
            "set LAB_STATE to a directory on a local disk."
        )
    return None


def _space(ground: Ground) -> str | None:
    needed = space_needed(image=ground.image, cli=ground.cli, running=ground.running)
    if ground.space < needed:
        return (
            f"The lab needs {needed:.1f} GiB for {ground.state}, and {ground.space:.1f} GiB are "
            "free: free some, or set LAB_STATE to a directory on another disk."
        )
    return None


def _in_the_way(ground: Ground) -> str | None:
    if ground.memory < MEMORY:
        return f"The lab needs {MEMORY:.1f} GiB of memory, and {ground.memory:.1f} are available."
    if ground.other:
        return (
            f"Another lab runs on this machine, that of {ground.other}, and there can be one: "
            "`make down` there first."
        )
    if ground.taken:
        return (
            f"Port {ground.port} on 127.0.0.1 is taken{ground.holder}: choose another, as in "
            f"`LAB_PORT={ground.port + 1} make up`."
        )
    return None


def space_needed(*, image: bool, cli: bool, running: bool) -> float:
    """GiB that are still to be written, by what is there already."""
    return (
        (0 if image else IMAGE_SPACE) + (0 if cli else CLI_SPACE) + (0.2 if running else LAB_SPACE)
    )


def missing() -> tuple[str, ...]:
    """The Debian packages that the lab needs and that are not here."""
    lacking = {package for name, package in FILES.items() if not Path(name).exists()}
    return tuple(sorted({*absent(PROGRAMS), *lacking}))


def absent(programs: Mapping[str, str]) -> tuple[str, ...]:
    """The packages of those programs that are not here, of a program's name to its package's."""
    # A user's PATH often lacks these two, where some of the programs are.
    where = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    lacking = {package for name, package in programs.items() if not shutil.which(name, path=where)}
    return tuple(sorted(lacking))


def _several(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if names[1:] else "".join(names)


def _has_cgroup2() -> bool:
    try:
        return cgroups.hierarchy().is_dir()
    except OSError:
        return False


def _capable(capability: int) -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    mask = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return bool(int(mask.split()[1], 16) >> capability & 1)


def _memory() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    found = next((line for line in lines if line.startswith("MemAvailable:")), "x 0 kB")
    return int(found.split()[1]) * 1024 / GIB


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`: of the longest mount point above it."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(point, kind) for _, point, kind, *_ in mounts if path.is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown"


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _holder(port: int) -> str:
    """` by nginx (process 12)`, when that can be seen."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[1].endswith(f":{port:04X}"):
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in inodes for handle in (process / "fd").iterdir()):
                return f" by {(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return ""
