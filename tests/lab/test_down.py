"""`make down` leaves nothing: no process, mount, loop device, name space or file of a machine."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab import paths
from tests.lab.conftest import lab
from tests.lab.site import Site

STATE = paths.state()
KEPT = {"cache", "failures"}
"""What stays: the image and the CLI, and the journals of failed tests."""


def traces() -> dict[str, list[str]]:
    """Everything on this machine that bears the lab's name."""
    loops = json.loads(subprocess.check_output(["losetup", "--json", "--list"]) or b"{}")
    spaces = subprocess.check_output(["ip", "netns", "list"], text=True).splitlines()
    return {
        "processes": [line for line in processes() if str(STATE) in line or "lab.cloud" in line],
        "mounts": sorted({line for line in mounts() if str(STATE) in line}),
        "loop devices": [
            loop["name"] for loop in loops.get("loopdevices", []) if str(STATE) in loop["back-file"]
        ],
        "name spaces": [space for space in spaces if space.startswith("lab-")],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").rglob("site-lab*")],
    }


def mounts() -> Iterator[str]:
    """Every mount of every process: a machine's are in a mount name space of its own."""
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):  # the process has ended meanwhile
            yield from table.read_text().splitlines()


def processes() -> list[str]:
    return subprocess.check_output(["ps", "-eo", "pid,args", "-ww"], text=True).splitlines()


@pytest.mark.takes_the_lab_down
def test_down_leaves_nothing_behind(site: Site) -> None:
    before = traces()
    assert all(before.values()), f"the check would not notice: {before}"
    assert site.machines()

    down = lab("down")

    assert down.returncode == 0, down.stderr
    assert traces() == {kind: [] for kind in before}
    assert {path.name for path in STATE.iterdir()} <= KEPT
    assert lab("down").returncode == 0
