"""What an operator runs, on the site that is up: how it is, a command in a machine, a game day."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab import faults
from tests.lab.database.scenarios import LEASE
from tests.lab.site import PROJECT, SLOWNESS, Site, eventually

LOOK = 2.0
"""Seconds that a status may take."""


def run(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=PROJECT,
        env=site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def status(site: Site) -> dict[str, Any]:
    done = run(site, "scripts.status", "--json")
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout)
    assert said["well"] == (done.returncode == 0)
    return said


def wrong(site: Site) -> list[str]:
    return [finding["what"] for finding in status(site)["wrong"]]


@pytest.fixture
def well(site: Site) -> Site:
    """A first backup is taken within minutes of the first `pulumi up`."""
    eventually("all is well", lambda: status(site)["well"], 180)
    return site


def test_a_site_that_is_well_is_said_to_be_within_two_seconds(well: Site) -> None:
    took: list[float] = []
    said: dict[str, Any] = {}
    for _ in range(3):
        began = time.monotonic()
        said = status(well)
        took.append(time.monotonic() - began)
        assert said["well"], said["wrong"]
    assert min(took) <= LOOK * SLOWNESS, took
    assert {machine["name"] for machine in said["machines"]} >= {
        machine.name for machine in well.machines()
    }
    assert said["primary"] in said["in_sync"]


def test_shares_are_what_the_load_balancers_gave(well: Site) -> None:
    def halves() -> bool:
        for _ in range(20):
            well.in_turn()
        shares = status(well)["shares"]
        return len(shares) == 2 and all(0.4 < share < 0.6 for share in shares.values())

    eventually("both servers have about half of the requests", halves, 120)


def test_a_machine_without_power_is_named_with_how_to_start_it(well: Site) -> None:
    victim = well.machine("app-server-1")
    well.power_off("app-server-1")
    try:
        eventually("it is said", lambda: "app-server-1 is stopped" in wrong(well), 30)
        (finding,) = [one for one in status(well)["wrong"] if "app-server-1 is" in one["what"]]
        assert victim.id in finding["todo"]
    finally:
        well.power_on(victim)
    eventually("all is well again", lambda: not wrong(well), 120)


def test_a_primary_that_is_frozen_leads_no_more(well: Site) -> None:
    primary = status(well)["primary"]
    with faults.frozen(well.machine(primary).id):
        eventually("another leads", lambda: status(well)["primary"] not in ("", primary), 30)
    eventually("all is well again", lambda: not wrong(well), 120)


def test_a_command_runs_in_a_machine_and_a_shell_is_had_in_another_way(site: Site) -> None:
    done = run(site, "scripts.shell", "database-1", "--", "hostname; exit 4")
    assert (done.returncode, done.stdout.strip()) == (4, "database-1"), done.stderr
    done = run(site, "scripts.shell", "database-1")
    assert done.returncode == 2
    assert "make shell NAME=database-1" in done.stderr


@pytest.mark.parametrize(
    "fault",
    [
        "application-killed",
        pytest.param("haproxy-killed", marks=pytest.mark.thorough),
        pytest.param("mysqld-hangs", marks=pytest.mark.thorough),
    ],
)
def test_a_game_day_ends_with_all_well_and_a_report(well: Site, fault: str, tmp_path: Path) -> None:
    body = json.dumps({"name": "drill", "message": "drill"})
    done = run(
        well, "scripts.drill", fault, "--yes", "--json", "--seconds", "10",
        "--post", "/api/entries", body, "--folder", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["well"], said
    reads = [one for one in said["visitors"] if one["method"] == "GET"]
    writes = [one for one in said["visitors"] if one["method"] == "POST"]
    assert len(reads) == len(writes) == 2, "one for each address"
    assert max(one["gap"] for one in reads) < LEASE * SLOWNESS, said["visitors"]
    assert Path(said["report"]).read_text().startswith(f"# {fault} on site-lab")
    assert Path(said["report"]).with_suffix(".svg").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "fault", ["load-balancer-stopped", "app-server-cut-off", "primary-stopped", "replica-cut-off"]
)
def test_a_game_day_with_a_whole_machine(well: Site, fault: str, tmp_path: Path) -> None:
    done = run(well, "scripts.drill", fault, "--yes", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
