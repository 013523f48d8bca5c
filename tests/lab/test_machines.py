"""Machines and volumes themselves: power, reboots, disks, faults. No site, no API, no network."""

import subprocess
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import cgroups, faults, image, machines, paths, volumes
from lab.machines import Machine, MachineError
from lab.usererror import UserError
from lab.volumes import VolumeError
from tests.lab.site import SLOWNESS, eventually

MACHINE = "i-0000000000000test"
SPACE = "lab-test-machine"
VOLUME = "vol-0000000000000test"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def machine() -> Generator[Machine]:
    """A machine that has booted, without cloud-init: there is nobody to tell it what it is."""
    etc = paths.machine(MACHINE) / "upper/etc/cloud"
    etc.mkdir(parents=True)
    (etc / "cloud-init.disabled").touch()
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    made = Machine(MACHINE, "test", SPACE, image.path())
    try:
        machines.start(made)
        booted()
        yield made
    finally:
        machines.stop(MACHINE, 0)
        volumes.delete(VOLUME)
        subprocess.run(["ip", "netns", "del", SPACE], check=True)


def booted() -> None:
    """Wait until the machine has come up."""

    def up() -> bool:
        try:
            return "active" in faults.run(MACHINE, "systemctl", "is-active", "multi-user.target")
        except UserError:
            return False

    eventually("the machine is up", up, 20)


def test_a_group_that_is_removed_while_its_end_is_waited_for_is_at_its_end() -> None:
    """As systemd-nspawn removes its own: between the last word of it and the look at it."""
    group = cgroups.create(MACHINE)
    with subprocess.Popen(["sleep", "60"]) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(cgroups.wait_empty, MACHINE, 20)
            process.kill()
            process.wait()
            eventually("the kernel lets it go", lambda: removed(group), 10)
            assert waiting.result()


def removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # busy: the process is not all gone yet
        return False
    return True


def test_a_machine_runs_and_is_gone_without_a_trace(machine: Machine) -> None:
    pid = machines.leader(machine.id)
    assert machine.id in machines.running()
    assert faults.run(machine.id, "hostname").strip() == "test"
    assert "AWS_ENDPOINT_URL=" in faults.run(machine.id, "systemctl", "show-environment")

    machines.stop(machine.id, 20 * SLOWNESS)

    assert machines.leader(machine.id) is None
    assert not Path(f"/proc/{pid}").exists()
    assert not paths.machine(machine.id).exists()
    assert not list(Path("/sys/fs/cgroup").rglob(machine.id))
    assert paths.journal(machine.id).is_dir(), "its journal is still to be read"


def test_a_running_machine_is_not_started_twice(machine: Machine) -> None:
    with pytest.raises(MachineError, match="running already"):
        machines.start(machine)


def test_a_machine_without_a_network_says_why_it_does_not_start() -> None:
    with pytest.raises(MachineError, match=r"did not start: .*no-such-space"):
        machines.start(Machine("i-0000000000000fail", "test", "no-such-space", image.path()))
    machines.stop("i-0000000000000fail", 0)
    assert not cgroups.group("i-0000000000000fail").exists()


def test_a_machine_that_was_stopped_has_its_files_when_it_starts_again(machine: Machine) -> None:
    faults.run(machine.id, "sh", "-c", "echo kept > /srv/file")
    machines.stop(machine.id, 20 * SLOWNESS, keep=True)
    machines.start(machine)
    assert faults.run(machine.id, "cat", "/srv/file") == "kept\n"


def ending(machine: Machine) -> threading.Event:
    ended = threading.Event()
    machines.on_exit(machine.id, lambda _: ended.set())
    return ended


@pytest.mark.parametrize(
    "end",
    [lambda: faults.power_off(MACHINE), lambda: faults.run(MACHINE, "systemctl", "poweroff")],
    ids=["plug", "power button"],
)
def test_a_machine_that_ends_by_itself_is_noticed(
    machine: Machine, end: Callable[[], object]
) -> None:
    ended = ending(machine)
    end()
    assert ended.wait(20 * SLOWNESS)
    assert machines.leader(machine.id) is None


def test_a_machine_that_is_stopped_did_not_end_by_itself(machine: Machine) -> None:
    ended = ending(machine)
    machines.stop(machine.id, 20 * SLOWNESS, keep=True)
    machines.start(machine)
    booted()
    assert not ended.is_set()


def test_a_reboot_keeps_files_volumes_and_the_machine(machine: Machine) -> None:
    ended = ending(machine)
    volumes.create(VOLUME, 1)
    volumes.attach(VOLUME, machine.id)
    faults.run(machine.id, "sh", "-c", "echo kept > /srv/file")
    before = machines.leader(machine.id)

    faults.run(machine.id, "systemctl", "--no-block", "reboot")

    eventually("it boots again", lambda: machines.leader(machine.id) not in (None, before), 30)
    booted()
    assert faults.run(machine.id, "cat", "/srv/file") == "kept\n"
    eventually(
        "the volume is there",
        lambda: Path(f"/proc/{machines.leader(machine.id)}/root/dev/nvme1n1").is_block_device(),
        10,
    )
    size = faults.run(machine.id, "blockdev", "--getsize64", volumes.link(VOLUME))
    assert int(size) == volumes.GIB
    assert not ended.is_set()


def test_a_machine_that_crashes_boots_again(machine: Machine) -> None:
    before = machines.leader(machine.id)
    faults.crash(machine.id)
    eventually("it boots again", lambda: machines.leader(machine.id) not in (None, before), 30)
    booted()


def test_a_volume_keeps_what_is_on_it_when_it_moves_and_grows(machine: Machine) -> None:
    link = volumes.link(VOLUME)
    volumes.create(VOLUME, 1)
    assert volumes.attach(VOLUME, machine.id) == "/dev/nvme1n1"
    script = f"mkfs.ext4 -q {link} && mount {link} /mnt && echo kept > /mnt/file"
    faults.run(machine.id, "sh", "-c", script)

    with pytest.raises(VolumeError, match="still in use"):
        volumes.detach(VOLUME, timeout=0.2)
    faults.run(machine.id, "umount", "/mnt")
    volumes.detach(VOLUME)
    assert "nvme" not in faults.run(machine.id, "ls", "/dev", "/dev/disk/by-id")

    volumes.grow(VOLUME, 2)
    volumes.attach(VOLUME, machine.id)
    script = f"e2fsck -fp {link} >/dev/null; resize2fs {link} 2>/dev/null; mount {link} /mnt"
    faults.run(machine.id, "sh", "-c", script)
    assert faults.run(machine.id, "cat", "/mnt/file") == "kept\n"
    size = faults.run(machine.id, "df", "--output=size", "--block-size=1M", "/mnt").split()[1]
    assert int(size) > 1900


def test_a_volume_outlives_a_machine_that_dies_with_it_mounted(machine: Machine) -> None:
    link = volumes.link(VOLUME)
    volumes.create(VOLUME, 1)
    volumes.attach(VOLUME, machine.id)
    script = f"mkfs.ext4 -q {link} && mount {link} /mnt && echo kept > /mnt/file && sync -f /mnt"
    faults.run(machine.id, "sh", "-c", script)

    faults.power_off(machine.id)
    volumes.detach(VOLUME)
    machines.start(machine)
    volumes.attach(VOLUME, machine.id)

    faults.run(machine.id, "mount", link, "/mnt")
    assert faults.run(machine.id, "cat", "/mnt/file") == "kept\n"


def test_a_full_disk_takes_no_byte_until_it_is_freed(machine: Machine) -> None:
    link = volumes.link(VOLUME)
    volumes.create(VOLUME, 1)
    volumes.attach(VOLUME, machine.id)
    faults.run(machine.id, "sh", "-c", f"mkfs.ext4 -q {link} && mount {link} /mnt")
    write = ("dd", "if=/dev/zero", "of=/mnt/file", "bs=1M", "count=1", "conv=fsync")
    with faults.full_disk(machine.id, "/mnt"), pytest.raises(UserError, match="No space left"):
        faults.run(machine.id, *write)
    faults.run(machine.id, *write)


def test_the_user_s_own_disk_is_never_filled(machine: Machine) -> None:
    with pytest.raises(UserError, match="not on a volume of its own"):
        faults.fill_disk(machine.id, "/var/lib")


def test_a_frozen_machine_does_nothing(machine: Machine) -> None:
    count = "while :; do echo . >> /run/ticks; sleep 0.02; done"
    faults.run(machine.id, "systemd-run", "--unit=ticks", "sh", "-c", count)

    def ticks() -> int:
        ticking = Path(f"/proc/{machines.leader(machine.id)}/root/run/ticks")
        return ticking.stat().st_size if ticking.exists() else 0

    eventually("it ticks", ticks, 5)
    with faults.frozen(machine.id):
        before = ticks()
        time.sleep(0.3)  # what must not happen cannot be waited for
        assert ticks() == before
    eventually("it goes on", lambda: ticks() > before, 5)


def test_a_unit_is_killed_or_hung_alone(machine: Machine) -> None:
    faults.run(machine.id, "systemd-run", "--unit=victim", "sleep", "1000")
    pid = faults.run(machine.id, "systemctl", "show", "--value", "--property=MainPID", "victim")

    def state() -> str:
        return faults.run(machine.id, "ps", "-o", "state=", "-p", pid.strip()).strip()

    with faults.stopped_process(machine.id, "victim"):
        eventually("it is stopped", lambda: state() == "T", 5)
    eventually("it goes on", lambda: state() == "S", 5)
    faults.kill(machine.id, "victim")
    result = ("systemctl", "show", "--value", "--property=Result", "victim")
    eventually("it is dead", lambda: faults.run(machine.id, *result).strip() == "signal", 5)
