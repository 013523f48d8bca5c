"""Machines: systemd-nspawn containers that boot systemd on a layer over the image.

A machine has its own control group, mount name space and journal. Its network name
space is made by others before it starts.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups, paths, recipe
from lab.usererror import UserError

START_TIMEOUT = 20.0
_POWER_OFF = signal.SIGRTMIN + 4
"""What systemd as process 1 understands as `systemctl poweroff`."""
_REBOOTED = 133
"""The exit status of systemd-nspawn with --keep-unit when the machine wants to boot again."""


class MachineError(UserError):
    """A machine did not do as it was told; the message is for the user."""


@dataclass(frozen=True)
class Machine:
    """What it takes to boot a machine."""

    id: str
    """Its EC2 instance id."""
    name: str
    """Its hostname until cloud-init sets the one that EC2 gives it."""
    netns: str
    """The name of its network name space, in /run/netns."""
    image: Path
    """The root directory below its own layer."""


_callbacks: dict[str, Callable[[str], None]] = {}
_stops: dict[str, threading.Event] = {}
"""For each machine that was started here: set once its end is wanted."""
_guard = threading.Lock()

# What is mounted here is in a mount name space of the machine's own, and ends with its last
# process. It sees the new cgroup layout only, and nspawn's notes about it stay in there.
_SUPERVISE = """\
echo $$ > "$2/cgroup.procs"
[ "$1" = /sys/fs/cgroup ] || mount --bind "$1" /sys/fs/cgroup
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay overlay -o "lowerdir=$3,upperdir=$4/upper,workdir=$4/work,volatile" "$4/root"
shift 4
exec "$@"
"""


def start(machine: Machine) -> None:
    """Boot a machine; returns when its process 1 runs.

    The files of a machine that was stopped, not removed, are still there.
    """
    if cgroups.populated(machine.id):
        msg = f"{machine.id} ({machine.name}) is running already."
        raise MachineError(msg)
    home = paths.machine(machine.id)
    _lay_out(home, machine)
    supervisor = _boot(machine)
    with _guard:
        wanted = _stops[machine.id] = threading.Event()
    threading.Thread(target=_watch, args=(machine, supervisor, wanted), daemon=True).start()
    _await_leader(machine, supervisor)


def _boot(machine: Machine) -> "subprocess.Popen[bytes]":
    home = paths.machine(machine.id)
    group = cgroups.create(machine.id)
    with paths.console(machine.id).open("ab") as console:
        return subprocess.Popen(
            [
                *("unshare", "--mount", "sh", "-euc", _SUPERVISE, "sh"),
                *(str(cgroups.hierarchy()), str(group)),
                *(_escape(machine.image, ":\\"), str(home)),
                *_nspawn(machine, home / "root"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            start_new_session=True,
        )


def _lay_out(home: Path, machine: Machine) -> None:
    # A `volatile` mount leaves word in there that a crash of the *user's* machine could have
    # lost writes, and cannot be repeated. It did not crash.
    shutil.rmtree(home / "work", ignore_errors=True)
    for part in ("upper", "work", "root"):
        (home / part).mkdir(parents=True, exist_ok=True)
    paths.journal(machine.id).mkdir(parents=True, exist_ok=True)
    identity = home / "upper/etc/machine-id"
    if not identity.exists():
        identity.parent.mkdir(exist_ok=True)
        # Present from the start, or systemd takes this for a first boot and enables every unit.
        identity.write_text(hashlib.sha256(machine.id.encode()).hexdigest()[:32] + "\n")
        (identity.parent / "hostname").write_text(f"{machine.name}\n")


def _nspawn(machine: Machine, root: Path) -> list[str]:
    return [
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
        f"--directory={root}",
        f"--machine={machine.id}",
        f"--hostname={machine.name}",
        f"--network-namespace-path=/run/netns/{machine.netns}",
        "--capability=CAP_NET_ADMIN",
        "--console=read-only",
        "--setenv=TERM=dumb",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        f"--bind={_escape(paths.journal(machine.id), ':')}:/var/log/journal",
    ]


def _escape(path: Path, special: str) -> str:
    return "".join(f"\\{char}" if char in special else char for char in str(path))


def _reason(console: str) -> str:
    if "inotify" in console:
        return (
            "this host has no inotify instance left for it; for more machines, raise its"
            " limit: `sysctl fs.inotify.max_user_instances=1024`"
        )
    lines = console.strip().splitlines()
    return lines[-1] if lines else "nothing on its console"


def _await_leader(machine: Machine, supervisor: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while leader(machine.id) is None:
        if supervisor.poll() is not None or time.monotonic() > deadline:
            stop(machine.id, 0, keep=True)
            said = paths.console(machine.id).read_text(errors="replace")
            msg = f"{machine.id} ({machine.name}) did not start: {_reason(said)}"
            raise MachineError(msg)
        time.sleep(0.01)


def _watch(
    machine: Machine, supervisor: "subprocess.Popen[bytes]", wanted: threading.Event
) -> None:
    """Boot a machine that rebooted itself again, and tell of one that ended by itself."""
    while supervisor.wait() == _REBOOTED and not wanted.is_set():
        cgroups.wait_empty(machine.id, 5)
        _lay_out(paths.machine(machine.id), machine)
        supervisor = _boot(machine)
    with _guard:
        callback = _callbacks.get(machine.id)
    if callback and not wanted.is_set():
        cgroups.wait_empty(machine.id, 5)
        callback(machine.id)


def on_exit(instance_id: str, callback: Callable[[str], None]) -> None:
    """Call back, on a thread, when the machine ends without `stop` having been called."""
    with _guard:
        _callbacks[instance_id] = callback


def leader(instance_id: str) -> int | None:
    """The machine's process 1, by its id on the user's machine; None when it is not running."""
    for pid in cgroups.processes(instance_id):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            program = Path(f"/proc/{pid}/exe").readlink().name
        except OSError:
            continue
        inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        if len(inside) > 1 and inside[-1] == "1" and program == "systemd":
            return pid
    return None


def entering(instance_id: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a machine as root."""
    pid = leader(instance_id)
    if pid is None:
        msg = f"{instance_id} is not running."
        raise MachineError(msg)
    variables = {
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM": os.environ.get("TERM", "dumb"),
        **recipe.ENDPOINTS,
    }
    environment = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
    return ["nsenter", f"--target={pid}", "--all", "--wdns=/root", "--", *environment, *command]


def running() -> list[str]:
    """The ids of the machines whose process 1 runs."""
    return [instance_id for instance_id in cgroups.existing() if leader(instance_id)]


def stop(instance_id: str, timeout: float, *, keep: bool = False) -> None:
    """Shut a machine down as its power button would, and take the plug out after `timeout` seconds.

    Removes its files (not its logs), unless it is to `keep` them for another start.
    """
    with _guard:
        wanted = _stops.pop(instance_id, None)
        _callbacks.pop(instance_id, None)
    if wanted:
        wanted.set()
    pid = leader(instance_id)
    if pid and timeout > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, _POWER_OFF)
        cgroups.wait_empty(instance_id, timeout)
    _end(instance_id)
    if not keep:
        shutil.rmtree(paths.machine(instance_id), ignore_errors=True)


def poweroff_hard(instance_id: str) -> None:
    """Take the plug out: no process of the machine does anything any more. Its files stay."""
    cgroups.kill(instance_id)
    cgroups.wait_empty(instance_id, 10)


def _end(instance_id: str) -> None:
    cgroups.kill(instance_id)
    if not cgroups.wait_empty(instance_id, 10):
        msg = f"{instance_id} has processes that do not end: {cgroups.processes(instance_id)}"
        raise MachineError(msg)
    cgroups.remove(instance_id)


def clear() -> None:
    """End and remove every machine, of this lab process or an earlier one."""
    groups = cgroups.existing()
    with _guard:
        for wanted in _stops.values():
            wanted.set()
        _stops.clear()
        _callbacks.clear()
    for instance_id in groups:
        cgroups.kill(instance_id)
    for instance_id in groups:
        _end(instance_id)
    cgroups.remove_parent()
    shutil.rmtree(paths.machines(), ignore_errors=True)
