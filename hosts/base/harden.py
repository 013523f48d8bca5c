"""Makes the machine as hard as it should be, before its agent starts: docs/security.md.

What a file can say, a file says: those below `hosts/base/root`, and below the role's own `root`,
are put at the same place on the machine. What is left is done here. It is done at the first boot,
and the machine's next boots find it done.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from hosts.base import bundle
from hosts.base.facts import load

SUDOERS = Path("etc/sudoers.d")

STOPPED = (
    # Nobody logs in by SSH, and nothing listens for it: CIS 2.1.22, 5.1.
    "ssh.service",
    "ssh.socket",
    "sshd-unix-local.socket",
    "sshd-vsock.socket",
    # CIS 1.5.5: what crashed is not sent to anyone.
    "apport.service",
    "apport-autoreport.path",
    "apport-autoreport.timer",
    # CIS 4.1.1: one firewall.
    "ufw.service",
)
NOT_LOADED = 5
"""systemctl: there was no such unit to stop."""
SHM = "tmpfs /dev/shm tmpfs rw,nosuid,nodev,noexec 0 0"
"""CIS 1.1.2.2: programs share memory there and do not run from it."""


def install(roots: Iterable[Path], to: Path) -> set[str]:
    """Copies the files below each root to the same place below `to`; which of them are new.

    An answer is a path from `to` on: ``etc/chrony/chrony.conf``.
    """
    changed: set[str] = set()
    for root in roots:
        for source in sorted(path for path in root.rglob("*") if path.is_file()):
            place = source.relative_to(root)
            target, content = to / place, source.read_bytes()
            if target.is_file() and target.read_bytes() == content:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            new.write_bytes(content)
            new.chmod(0o440 if place.is_relative_to(SUDOERS) else 0o644)
            new.replace(target)
            changed.add(str(place))
    return changed


def mount_shm(fstab: Path) -> bool:
    """Says in fstab how shared memory is mounted; whether it did not yet."""
    lines = fstab.read_text().splitlines() if fstab.exists() else []
    others = [line for line in lines if line.split()[1:2] != ["/dev/shm"]]  # noqa: S108
    if [*others, SHM] == lines:
        return False
    new = fstab.with_name(".fstab.new")
    new.write_text("\n".join([*others, SHM, ""]))
    new.chmod(0o644)
    new.replace(fstab)
    return True


def commands(changed: set[str]) -> Iterator[tuple[str, ...]]:
    """What has to be told of what changed, for it to be so before the next boot."""
    yield "systemctl", "daemon-reload"
    yield "systemctl", "enable", "nftables.service"
    # From now on: also what keeps a machine from coming up is to be read elsewhere.
    yield "systemctl", "enable", "--now", "site-logs.service"
    yield "systemctl", "mask", "--now", *STOPPED
    yield "mount", "-o", "remount,nosuid,nodev,noexec", "/dev/shm"  # noqa: S108
    for place, unit in (
        ("etc/sysctl.d/", "systemd-sysctl.service"),
        ("etc/systemd/journald.conf.d/", "systemd-journald.service"),
        ("etc/chrony/", "chrony.service"),
    ):
        if any(name.startswith(place) for name in changed):
            yield "systemctl", "try-restart", unit


def main() -> None:
    """What a kernel or an image does not offer is said, and is no reason not to start."""
    facts, _ = load()
    roles = bundle.HOSTS / bundle.folder(facts.role)
    changed = install([bundle.HOSTS / "base/root", roles / "root"], Path("/"))
    mount_shm(Path("/etc/fstab"))
    for command in commands(changed):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        if done.returncode not in (0, NOT_LOADED):
            print(f"harden: {' '.join(command)}: {done.stderr.strip()}", flush=True)


if __name__ == "__main__":
    main()
