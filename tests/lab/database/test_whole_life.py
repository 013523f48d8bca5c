"""What changes a site for good, each on a site of its own: its beginning, a restore, the end …"""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hosts.base.lease import boottime
from lab import faults
from lab.stack import LAB, Stack
from tests.lab import traffic
from tests.lab.conftest import JOURNALS, keep_journals, lab, name_of, site_up
from tests.lab.database.load import load
from tests.lab.database.ordeal import steady
from tests.lab.database.pair import Pair
from tests.lab.database.scenarios import SOON
from tests.lab.database.test_commands import run
from tests.lab.database.test_growth import CRASHES
from tests.lab.site import PROJECT, SLOWNESS, Machine, Site, eventually

pytestmark = [pytest.mark.thorough, pytest.mark.takes_the_lab_down, pytest.mark.timeout(1200)]

SETTINGS = PROJECT / "Pulumi.lab.yaml"


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The pair of a site that nobody else uses. The stack's settings are put back afterwards."""
    settings = SETTINGS.read_bytes()
    failed_before = request.session.testsfailed
    lab("down")
    try:
        with site_up(tmp_path) as site:
            pair = Pair(site)
            pair.recover()
            yield pair
            if request.session.testsfailed > failed_before:
                keep_journals(site, JOURNALS / name_of(request))
    finally:
        SETTINGS.write_bytes(settings)


def test_a_site_begins_whatever_interrupts_its_first_machines_first_boot(tmp_path: Path) -> None:
    lab("down")
    try:
        begun = lab("preview")
        assert begun.returncode == 0, begun.stderr
        environment = Stack(LAB).environment()
        site = Site(environment, environment["AWS_ENDPOINT_URL"], tmp_path)
        with ThreadPoolExecutor(1) as pool:
            up = pool.submit(site.up)
            for delay in CRASHES:
                first = eventually("it runs", lambda: running(site, "database-1"), 60)
                time.sleep(delay)
                faults.crash(first.id)
            outcome = up.result()
        assert outcome.status == 0, outcome.text
        Pair(site).recover()
        eventually("both servers answer", lambda: len(site.in_turn()) == 2, 30)
    finally:
        lab("down")


def running(site: Site, name: str) -> Machine | None:
    return next((machine for machine in site.machines() if machine.name == name), None)


def test_a_restore_ends_between_two_marked_writes(own: Pair) -> None:
    primary = own.primary()
    own.rows(primary, "CREATE TABLE site.marks (word VARCHAR(10) PRIMARY KEY)")
    backup = run(own, "scripts.backup", "now")
    assert backup.returncode == 0, backup.stdout + backup.stderr
    own.rows(primary, "INSERT INTO site.marks VALUES ('before')")
    point = math.floor(time.time()) + 1
    eventually("the next second has begun", lambda: time.time() >= point, 2)
    own.rows(primary, "INSERT INTO site.marks VALUES ('after')")
    # The accounts come back with the passwords of that time, and nobody has those any more.
    for account in ("application", "replication"):
        rotated = run(own, "scripts.rotate", "password", account, "--yes")
        assert rotated.returncode == 0, rotated.stdout + rotated.stderr

    to = f"{datetime.fromtimestamp(point, UTC):%Y-%m-%dT%H:%M:%SZ}"
    done = run(own, "scripts.restore", "--to", to, "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    own.look()
    own.recover()
    for name in own.names:
        assert own.rows(name, "SELECT word FROM site.marks") == [["before"]]
    url = own.site.url
    eventually("the site writes", lambda: traffic.send(url, traffic.entry()).ok, 60)


def test_the_authority_is_exchanged_without_a_gap(own: Pair) -> None:
    read = ("cat", "/run/site-app/database-ca.pem")
    before = own.site.run("app-server-1", *read)
    with load(own.site) as seen:
        steady(seen, SOON)
        began = boottime()
        done = run(own, "scripts.rotate", "authority", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        steady(seen, SOON)
        gap = seen.gap(began)
    assert gap <= SOON * SLOWNESS, gap
    assert not own.verdict(seen).complaints
    after = own.site.run("app-server-1", *read)
    assert "BEGIN CERTIFICATE" in after
    assert before not in after


def test_a_last_backup_is_left_by_destroy(own: Pair) -> None:
    outcome = own.site.up({"backups.finalBackup": True})
    assert outcome.status == 0, outcome.text
    own.look()
    own.recover()
    begun = datetime.now(UTC)

    done = lab("destroy")

    assert done.returncode == 0, done.stdout + done.stderr
    assert not own.site.machines("database")
    s3 = own.site.client("s3")
    (bucket,) = [b["Name"] for b in s3.list_buckets()["Buckets"] if "backups" in b["Name"]]
    assert bucket in done.stdout + done.stderr
    manifests = [
        found
        for found in s3.list_objects_v2(Bucket=bucket)["Contents"]
        if found["Key"].endswith("/manifest.json")
    ]
    assert max(found["LastModified"] for found in manifests) >= begun.replace(microsecond=0)
