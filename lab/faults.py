"""What goes wrong in production, on demand: for drills and tests.

Each fault that can be undone is a context manager too: `with frozen(...)`. Machines are
named by their instance id, for `partition` by their name as well.
"""

import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress

from lab import cgroups, machines, network, service
from lab.partitions import Direction, Scope
from lab.usererror import UserError

FILLER = ".filled-by-the-lab"


def run(instance_id: str, *command: str) -> str:
    """Run a command in a machine as root, and give what it printed. `UserError` if it fails."""
    done = subprocess.run(
        machines.entering(instance_id, command), capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"{instance_id}: {' '.join(command)}: {done.stderr.strip() or done.returncode}"
        raise UserError(msg)
    return done.stdout


def kill(instance_id: str, unit: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Send every process of a unit a signal, SIGKILL unless told otherwise."""
    run(instance_id, "systemctl", "kill", f"--signal={number.name}", unit)


def power_off(instance_id: str) -> None:
    """Take the plug out. To AWS the instance becomes `stopped`; its disks keep what they have.

    Whoever was connected hears nothing: without its cable first, the kernel would end every
    connection of the machine in good order.
    """
    network.pull(instance_id)
    machines.poweroff_hard(instance_id)


def crash(instance_id: str) -> None:
    """Let the machine's kernel give up and boot again at once: nobody says good-bye."""
    # Everyone else first: the end of process 1 alone leaves them a moment to tell of it.
    with suppress(UserError):  # the command itself does not outlive it
        run(instance_id, "sh", "-c", "kill -KILL -1; exec systemctl reboot --force --force")


def freeze(instance_id: str) -> None:
    """Stop every process of the machine where it is; its addresses stay, nobody answers."""
    cgroups.freeze(instance_id, frozen=True)


def thaw(instance_id: str) -> None:
    """Let a frozen machine go on, as if no time had passed for it."""
    cgroups.freeze(instance_id, frozen=False)


@contextmanager
def frozen(instance_id: str) -> Generator[None]:
    """The machine does nothing meanwhile."""
    freeze(instance_id)
    try:
        yield
    finally:
        thaw(instance_id)


def stop_process(instance_id: str, unit: str) -> None:
    """Stop a unit's processes where they are: its port accepts connections, nobody answers."""
    kill(instance_id, unit, signal.SIGSTOP)


def continue_process(instance_id: str, unit: str) -> None:
    """Let a stopped unit's processes go on."""
    kill(instance_id, unit, signal.SIGCONT)


@contextmanager
def stopped_process(instance_id: str, unit: str) -> Generator[None]:
    """The unit hangs meanwhile."""
    stop_process(instance_id, unit)
    try:
        yield
    finally:
        continue_process(instance_id, unit)


def partition(
    machine: str,
    source: Scope = "all",
    *,
    peer: str | None = None,
    direction: Direction = "both",
) -> None:
    """Drop, in silence, what the machine sends to its `peer`, to AWS or to all, and what it gets.

    Or only one `direction` of it, as the machine sees it.
    """
    service.post(
        "partition", {"machine": machine, "from": source, "peer": peer, "direction": direction}
    )


def heal(machine: str | None = None) -> None:
    """Undo every partition of one machine, or of all."""
    service.post("heal", {"machine": machine} if machine else {})


@contextmanager
def partitioned(
    machine: str,
    source: Scope = "all",
    *,
    peer: str | None = None,
    direction: Direction = "both",
) -> Generator[None]:
    """The machine is cut off meanwhile."""
    partition(machine, source, peer=peer, direction=direction)
    try:
        yield
    finally:
        heal(machine)


def corrupt(instance_id: str, file: str) -> None:
    """Lose the beginning of a file, as a dying disk does: 1 MiB of it reads as zeros."""
    run(instance_id, "dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=1", "conv=notrunc,fsync")


def fill_disk(instance_id: str, folder: str = "/var/lib/mysql") -> None:
    """Leave no byte on the data volume that holds `folder`, for root or anyone else."""
    source = run(instance_id, "findmnt", "--noheadings", "--output=SOURCE", "--target", folder)
    if not source.startswith("/dev/nvme"):
        msg = (
            f"{folder} of {instance_id} is on {source.strip()}, not on a volume of its own: "
            "filling it would fill this machine's disk."
        )
        raise UserError(msg)
    # What fallocate cannot have in one piece, dd takes to the last block.
    script = (
        'free=$(df --output=avail --block-size=1 "$1" | tail -n 1); '
        'fallocate --length "$free" "$1/$2" || true; '
        'dd if=/dev/zero of="$1/$2" bs=4k oflag=append conv=notrunc 2>/dev/null || true'
    )
    run(instance_id, "sh", "-c", script, "sh", folder, FILLER)


def free_disk(instance_id: str, folder: str = "/var/lib/mysql") -> None:
    """Undo `fill_disk`."""
    run(instance_id, "rm", "--force", f"{folder}/{FILLER}")


@contextmanager
def full_disk(instance_id: str, folder: str = "/var/lib/mysql") -> Generator[None]:
    """The volume is full meanwhile."""
    fill_disk(instance_id, folder)
    try:
        yield
    finally:
        free_disk(instance_id, folder)
