"""What an operator runs, on the site that is up: a change of primary, a password, a backup."""

import json
import subprocess
import sys

import pytest

from hosts.base.lease import boottime
from lab import faults
from tests.lab import traffic
from tests.lab.database.load import load
from tests.lab.database.ordeal import steady
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import SOON
from tests.lab.site import PROJECT, SLOWNESS, eventually


def run(pair: Pair, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=PROJECT,
        env=pair.site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_planned_change_of_primary_under_load(pair: Pair) -> None:
    before = eventually("there is a primary", pair.primary, SOON)
    with load(pair.site) as seen:
        steady(seen, SOON)
        done = run(pair, "scripts.switchover", "--yes", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        outcome = json.loads(done.stdout)
        assert outcome["changed"], outcome
        eventually("it leads", lambda: pair.primary() not in ("", before), SOON)
        steady(seen, SOON)
        pair.recover()
    assert not pair.verdict(seen).complaints


def test_a_change_to_a_machine_that_is_not_in_sync_is_refused(pair: Pair) -> None:
    replica = pair.replica()
    # The first write that waits for it shows that it is gone.
    with load(pair.site):
        faults.power_off(pair.id(replica))
        eventually("it is not in sync", lambda: replica not in pair.in_sync(), SOON)
    done = run(pair, "scripts.switchover", "--to", replica, "--yes")
    assert done.returncode == 1, done.stdout
    assert "not in sync" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert replica not in pair.primary()


@pytest.mark.thorough
def test_the_applications_password_is_exchanged_without_an_error(pair: Pair) -> None:
    name = "/site/lab/database/application-password"
    old = pair.site.secret(name)
    with load(pair.site) as seen:
        done = run(pair, "scripts.rotate", "password", "application", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        new = pair.site.secret(name)
        assert new != old
        read = ("cat", "/run/site-app/database-password")
        for server in ("app-server-1", "app-server-2"):
            eventually(
                f"{server} has it",
                lambda server=server: pair.site.run(server, *read).strip() == new,
                90,
            )
        steady(seen, SOON)
        assert traffic.send(pair.site.url, traffic.entry()).ok
    assert not pair.verdict(seen).complaints


@pytest.mark.thorough
def test_the_replicas_password_is_exchanged_without_an_error(pair: Pair) -> None:
    """One that comes back afterwards has the new one."""
    replica = pair.replica()
    with load(pair.site) as seen:
        done = run(pair, "scripts.rotate", "password", "replication", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        with pair.powered_off(replica):
            steady(seen, SOON)
        pair.recover()
        steady(seen, SOON)
    assert not pair.verdict(seen).complaints


def test_a_backup_is_made_verified_and_listed(pair: Pair) -> None:
    assert traffic.send(pair.site.url, traffic.entry()).ok
    done = run(pair, "scripts.backup", "now")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(pair, "scripts.backup", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    backups = json.loads(listed.stdout)
    assert "yes" in run(pair, "scripts.backup", "list").stdout
    assert backups


def test_a_replica_that_is_behind_in_applying_does_not_become_the_primary(pair: Pair) -> None:
    """Whoever asks, an operator or a drain: writes would wait until it has caught up."""
    replica = pair.replica()
    with load(pair.site) as seen:
        steady(seen, SOON)
        began = boottime()
        with pair.behind(replica):
            done = run(pair, "scripts.switchover", "--to", replica, "--yes")
            assert done.returncode == 1, done.stdout
            assert "behind" in done.stderr, done.stderr
            assert pair.primary() not in ("", replica)
        eventually("it has caught up", pair.well, SOON)
        gap = seen.gap(began)
        assert gap <= SOON * SLOWNESS, gap
    assert not pair.verdict(seen).complaints
