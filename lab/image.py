"""The machine image: built once from `lab.recipe`, then only read.

It is an unpacked root directory. Machines put a layer of their own over it.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab import paths, recipe
from lab.follow import follow
from lab.usererror import UserError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class ImageError(UserError):
    """The image cannot be built or is not there; the message is for the user."""


def path() -> Path:
    """Where the image of today's recipe is, or will be."""
    return paths.image(recipe.digest())


def ready() -> bool:
    """Whether the image has been built: it gets its name when it is whole."""
    return path().is_dir()


def mirror() -> str:
    """The Debian archive that this machine's own apt uses, or `LAB_MIRROR`."""
    if named := os.environ.get("LAB_MIRROR"):
        return named
    columns = "$(LABEL)|$(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines():
        label, _, uri = line.partition("|")
        if label == "Debian":
            return uri
    msg = (
        "The machine image is made from Debian's archive, and this machine's apt sources do not "
        "name one (after `apt-get update`); set LAB_MIRROR to the URL of a Debian mirror."
    )
    raise ImageError(msg)


def build(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Make the image unless it is there. About 95 s, and 1 GB of disk.

    `progress` is told of every step. An interrupted build leaves nothing that the
    next one would mistake for an image.
    """
    target = path()
    if target.is_dir():
        return target
    paths.cache().mkdir(parents=True, exist_ok=True)
    for stale in paths.cache().glob(".image-*"):
        remove(stale)
    unfinished = paths.cache() / f".{target.name}"
    try:
        _install(unfinished, progress)
        progress("customising")
        customise(unfinished)
        unfinished.rename(target)
    except BaseException:
        remove(unfinished)
        raise
    return target


def prune() -> None:
    """Remove the images of earlier recipes. Not while machines run: they may be under them."""
    for other in paths.cache().glob("image-*"):
        if other != path():
            remove(other)


def remove(tree: Path) -> None:
    """Remove a root directory, refusing if anything is still mounted in it."""
    if not tree.exists():
        return
    mounts = Path("/proc/self/mounts").read_text().split()
    if any(Path(mount).is_relative_to(tree) for mount in mounts[1::6]):
        msg = f"Something is still mounted below {tree}; unmount it and try again."
        raise ImageError(msg)
    shutil.rmtree(tree)


def _install(root: Path, progress: Callable[[str], None]) -> None:
    command = [
        # In a mount name space of its own, so that an interrupted build leaves no mount.
        *("unshare", "--mount", "mmdebstrap"),
        *("--mode=root", "--variant=apt", "--format=directory"),
        # A mirror's snapshot may be older than a Release file is valid.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--dpkgopt={option}" for option in recipe.DPKG_OPTIONS),
        *([f"--keyring={KEYRING}"] if KEYRING.exists() else []),
        f"--include={','.join(recipe.PACKAGES)}",
        *(recipe.SUITE, str(root), mirror()),
    ]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}

    def hear(line: str) -> None:
        if line.startswith("I: "):
            progress(line.removeprefix("I: "))

    status, lines = follow(command, hear, environment)
    if status:
        paths.logs().mkdir(parents=True, exist_ok=True)
        log = paths.logs() / "image.log"
        log.write_text("\n".join(lines) + "\n")
        last = next((line for line in reversed(lines) if line.startswith("E: ")), lines[-1])
        msg = f"The machine image could not be built: {last.removeprefix('E: ')} (all of it: {log})"
        raise ImageError(msg)


def customise(root: Path) -> None:
    """Make a machine of EC2's kind out of plain packages, as `lab.recipe` says."""
    for unwanted in recipe.REMOVED:
        victim = root / unwanted.lstrip("/")
        if victim.is_dir():
            shutil.rmtree(victim)
        else:
            victim.unlink(missing_ok=True)
    (root / "etc/apt/sources.list.d").mkdir()
    for name, content in recipe.files().items():
        file = root / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # it may be a link to somewhere else
        file.write_text(content)
    systemctl = ["chroot", str(root), "systemctl", "--quiet"]
    subprocess.run([*systemctl, "disable", *recipe.DISABLED], check=True, capture_output=True)
    for unit in recipe.MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


_ENTER = """\
root=$1
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t tmpfs tmpfs dev
mount -t tmpfs tmpfs run
mkdir dev/shm run/lock
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
ln -s /proc/self/fd dev/fd
ip link set lo up
"""

_BIND = """\
if [ -d {source} ]; then mkdir -p {target}; else mkdir -p {parent}; touch {target}; fi
mount --bind {source} {target}
mount -o remount,bind,ro {target}
"""


def entering(
    argv: Sequence[str], binds: Mapping[Path, str] | None = None, *, user: str = "root"
) -> list[str]:
    """The command that runs `argv` in a throw-away copy of the image, without a network.

    `binds` shows files or directories of the user's machine, read-only, under names
    in the image. Everything is in name spaces that end with the command.
    """
    if not ready():
        msg = f"There is no machine image at {path()}; `make up` builds it."
        raise ImageError(msg)
    script = [_ENTER]
    for source, target in (binds or {}).items():
        inside = "." + target
        script.append(
            _BIND.format(
                source=shlex.quote(str(source.resolve())),
                target=shlex.quote(inside),
                parent=shlex.quote(str(Path(inside).parent)),
            )
        )
    script.append(f'shift\nexec chroot --userspec={shlex.quote(user)} . "$@"')
    apart = ["unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    return [*apart, "sh", "-euc", "\n".join(script), "sh", str(path()), *argv]


def run(
    argv: Sequence[str],
    binds: Mapping[Path, str] | None = None,
    *,
    user: str = "root",
    stdin: str | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a program of the image on files of the user's machine, and keep what it says.

    Seconds for `timeout`. The exit status is the program's; nothing is raised for it.
    """
    return subprocess.run(
        entering(argv, binds, user=user),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
    )
