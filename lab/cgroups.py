"""One control group per machine: to find, freeze and end every process of it, and no other."""

import contextlib
import errno
import os
import select
import time
from functools import cache
from pathlib import Path

SLICE = "site-lab"


@cache
def hierarchy() -> Path:
    """The mount point of cgroup2: /sys/fs/cgroup, or below it beside the old hierarchies."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            return Path(fields.split()[4])
    msg = "The kernel's cgroup2 hierarchy is not mounted; mount it on /sys/fs/cgroup."
    raise FileNotFoundError(msg)


def parent() -> Path:
    """The group of the whole lab."""
    return hierarchy() / SLICE


def group(instance_id: str) -> Path:
    """The group of one machine."""
    return parent() / instance_id


def create(instance_id: str) -> Path:
    """Make a machine's group, with the controllers that this kernel has to give."""
    here = group(instance_id)
    here.mkdir(parents=True, exist_ok=True)
    for above in (hierarchy(), parent()):
        for controller in ("cpu", "memory", "pids"):
            # Not there under the old layout, where cgroup2 has no controllers.
            with contextlib.suppress(OSError):
                (above / "cgroup.subtree_control").write_text(f"+{controller}")
    return here


def existing() -> list[str]:
    """The machines that have a group."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(child.name for child in parent().iterdir() if child.is_dir())
    return []


def processes(instance_id: str) -> list[int]:
    """Every process of the machine, its supervisor too, by the user's machine's ids."""
    found: list[int] = []
    # A group of the machine's own may go while we look: os.walk passes over it, rglob fails.
    for folder, _, _ in os.walk(group(instance_id)):
        with contextlib.suppress(OSError):
            members = (Path(folder) / "cgroup.procs").read_text()
            found.extend(int(pid) for pid in members.split())
    return found


def populated(instance_id: str) -> bool:
    """Whether any process of the machine is left."""
    try:
        events = (group(instance_id) / "cgroup.events").read_text()
    except OSError:
        return False
    return "populated 1" in events


def wait_empty(instance_id: str, timeout: float) -> bool:
    """Wait at most `timeout` seconds for the machine's last process to end."""
    deadline = time.monotonic() + timeout
    try:
        events = (group(instance_id) / "cgroup.events").open()
    except FileNotFoundError:
        return True
    with events:
        changes = select.poll()
        changes.register(events, select.POLLPRI)
        while True:
            try:
                events.seek(0)
                populated = "populated 0" not in events.read()
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
                populated = False  # the group is gone, as only an empty one can be
            if not populated:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # Not for all that is left: nobody is told when a group is removed.
            changes.poll(min(left, 0.5) * 1000)


def freeze(instance_id: str, *, frozen: bool) -> None:
    """Stop the machine where it is, or let it go on; returns when that is so."""
    control = group(instance_id) / "cgroup.freeze"
    control.write_text("1" if frozen else "0")
    wanted = f"frozen {int(frozen)}"
    with (group(instance_id) / "cgroup.events").open() as events:
        changes = select.poll()
        changes.register(events, select.POLLPRI)
        deadline = time.monotonic() + 5
        while wanted not in events.read():
            if time.monotonic() > deadline:
                msg = f"{instance_id} did not become {wanted!r} within 5 s."
                raise TimeoutError(msg)
            changes.poll(100)
            events.seek(0)


def kill(instance_id: str) -> None:
    """End every process of the machine at once (SIGKILL)."""
    with contextlib.suppress(FileNotFoundError):
        (group(instance_id) / "cgroup.kill").write_text("1")


def remove(instance_id: str) -> None:
    """Remove the empty group of a machine that is gone."""
    _remove_tree(group(instance_id))


def remove_parent() -> None:
    """Remove the group of the whole lab, once no machine is left."""
    with contextlib.suppress(FileNotFoundError):
        parent().rmdir()


def _remove_tree(top: Path) -> None:
    if not top.exists():
        return
    for child in top.iterdir():
        if child.is_dir():
            _remove_tree(child)
    top.rmdir()
