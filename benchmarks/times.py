"""How long the lab's commands and the fast tests take, and what the lab weighs."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import cgroups, paths
from tests.lab import traffic
from tests.lab.site import PROJECT, Site, eventually

LAB = [sys.executable, "-m", "lab"]
IMPORT_SDKS = "import pulumi, pulumi_command.local, boto3; from pulumi_aws import " + ", ".join(
    ("dynamodb", "ebs", "ec2", "iam", "route53", "s3", "ssm", "vpc")
)
RUN_PROGRAM = "from tests.components import recorder as r; r.site(r.stack_settings('lab'))"


def seconds(command: Sequence[str]) -> float:
    """Wall-clock time of a command that must succeed."""
    begun = time.monotonic()
    run = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    length = time.monotonic() - begun
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: {run.stdout}\n{run.stderr}")
    return length


def median(command: Sequence[str], runs: int) -> float:
    return statistics.median(seconds(command) for _ in range(runs))


def components_tier() -> float:
    return median([sys.executable, "-m", "pytest", "-q", "tests/components"], 3)


def program_beyond_imports() -> float:
    """The whole program under mocks, less the time to import the SDKs that it uses."""
    program = median([sys.executable, "-c", f"{IMPORT_SDKS}; {RUN_PROGRAM}"], 5)
    return program - median([sys.executable, "-c", IMPORT_SDKS], 5)


def first_page(site: Site) -> float:
    """`make up` from nothing deployed until the first page is served."""
    begun = time.monotonic()
    seconds([*LAB, "up"])
    eventually("the first page", lambda: traffic.send(site.url).ok, 30)
    return time.monotonic() - begun


def lab_down() -> float:
    return seconds([*LAB, "down"])


def memory(site: Site) -> dict[str, int]:
    """Proportional set sizes in MiB: of each machine, and of the lab's own processes."""
    machines = {m.name: sum(map(_pss, cgroups.processes(m.id))) for m in site.machines()}
    own = sum(_pss(pid) for pid in _processes_of_the_lab())
    return {name: total // 1024 for name, total in (machines | {"the lab itself": own}).items()}


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # ended meanwhile, or a kernel thread
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _processes_of_the_lab() -> list[int]:
    """The daemon and everything that it started outside machines."""
    daemon = int((paths.daemon_pid()).read_text())
    table = subprocess.check_output(["ps", "-eo", "pid=,ppid="], text=True).splitlines()
    pairs = [(int(pid), int(parent)) for pid, parent in map(str.split, table)]
    inside = {pid for group in cgroups.existing() for pid in cgroups.processes(group)}
    found, frontier = [daemon], {daemon}
    while frontier:
        frontier = {pid for pid, parent in pairs if parent in frontier and pid not in inside}
        found += frontier
    return found
