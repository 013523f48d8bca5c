"""What machines say of themselves, in Prometheus' words, and what each role says."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hosts.app_server import measured as app_server
from hosts.app_server.gunicorn_conf import BOUNDS, COUNTERS, OnThisMachine
from hosts.base import metrics
from hosts.base.certificate import Certificate
from hosts.base.metrics import Exposition, Histogram, Metric, gauge, text
from hosts.database import measured as database
from hosts.database.backup import measured as backups
from hosts.database.backup.schedule import Settings
from hosts.database.tunables import Tunables
from hosts.load_balancer import measured as load_balancer
from lab import image
from tests import certificates
from tests.full_backup import full
from tests.hosts import values

TUNABLES = Tunables(
    replication="semi-synchronous",
    lease=2.5,
    max_replica_lag=5.0,
    max_failover_lag=5.0,
    variables={},
)
STATUS: dict[str, Any] = {
    "member": "database-1/vol-1",
    "holder": "database-1/vol-1",
    "generation": 7,
    "in_sync": ["database-1/vol-1", "database-2/vol-2"],
    "mode": "semi-synchronous",
    "lag": 0.0,
    "waiting": 2,
    "table": "reachable",
}


def found(said: Iterable[Metric | Histogram]) -> dict[str, float]:
    """Each line's value by its name and labels."""
    lines = [line for line in text(said).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_metric_has_its_help_its_type_and_its_samples() -> None:
    metric = Metric("a_total", "What\nit \\ is.", [({"b": 'x"y\\z\n', "a": "1"}, 2.5)], "counter")
    assert text([metric]).splitlines() == [
        r"# HELP a_total What\nit \\ is.",
        "# TYPE a_total counter",
        r'a_total{a="1",b="x\"y\\z\n"} 2.5',
    ]
    assert text([gauge("b", "x", 1e12)]).endswith("\nb 1000000000000\n")


def test_buckets_of_a_histogram_hold_all_that_took_no_longer() -> None:
    said = found([Histogram("s", "x", (0.1, 1), (5, 3, 1), 4.5)])
    assert said == {
        's_bucket{le="0.1"}': 5,
        's_bucket{le="1"}': 8,
        's_bucket{le="+Inf"}': 9,
        "s_sum": 4.5,
        "s_count": 9,
    }


def everything(folder: Path) -> str:
    """All that any role says."""
    settings = Settings(bucket="b", at="03:00", every=24, ship_every=10, verify=True)
    return text(
        [
            *metrics.machine(values.facts("database"), "i-1", "ready", ""),
            *app_server.application(folder),
            *load_balancer.addresses([], pulse()),
            *load_balancer.served(Certificate(1.7e9, 1.8e9, self_signed=False)),
            *database.member(STATUS, TUNABLES, primary=True, follows=False),
            *backups.backups(settings, [], 5.0, duty=True),
        ]
    )


def pulse() -> Any:
    class Pulse:
        well = True

    return Pulse()


@pytest.mark.usefixtures("machine_image")
def test_promtool_accepts_all_that_is_said(tmp_path: Path) -> None:
    done = image.run(["promtool", "check", "metrics"], stdin=everything(tmp_path))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_file_is_whole_whenever_it_is_read(tmp_path: Path) -> None:
    metrics.write("agent", [gauge("a", "x", 1)], tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    assert file.name == "agent.prom"
    assert file.stat().st_mode & 0o777 == 0o644, "the exporter is another user"
    assert file.read_text().endswith("a 1\n")


def test_what_cannot_be_measured_costs_metrics_and_nothing_else(tmp_path: Path) -> None:
    failures: list[Exception] = [RuntimeError("no"), RuntimeError("no")]

    def measure() -> Iterable[Metric]:
        if failures:
            raise failures.pop()
        return [gauge("a", "x", 1)]

    exposition = Exposition("agent", measure, tmp_path)
    for _ in range(3):
        exposition.step()
    assert (tmp_path / "agent.prom").exists()


def test_a_machine_says_who_it_is_and_what_it_does() -> None:
    said = found(metrics.machine(values.facts("database"), "i-1", "failed", "no parameter"))
    assert said['site_machine_info{instance_id="i-1",machine="database-1",role="database"}'] == 1
    states = {name: value for name, value in said.items() if name.startswith("site_machine_state")}
    assert {name for name, value in states.items() if value} == {
        'site_machine_state{state="failed"}'
    }
    assert len(states) == 5
    assert said["site_machine_trouble"] == 1


def answer(folder: Path, status: str) -> None:
    def application(_: dict[str, Any], start: Any) -> Iterable[bytes]:
        start(status, [])
        return [b"x"]

    def start(*_: object) -> Any:
        return None

    served = OnThisMachine(application, "a", "/healthz", folder)
    for path in ("/", "/healthz"):
        body: Any = served({"PATH_INFO": path}, start)
        if hasattr(body, "close"):
            body.close()


@pytest.mark.parametrize(
    ("status", "code"), [("200 OK", "2xx"), ("404 No", "4xx"), ("503 Away", "5xx"), ("?", "5xx")]
)
def test_an_answer_is_counted_by_its_class_and_a_health_check_is_not(
    tmp_path: Path, status: str, code: str
) -> None:
    answer(tmp_path, status)
    said = found(app_server.application(tmp_path))
    counts = {
        n: v for n, v in said.items() if n.startswith("site_application_requests_total") and v
    }
    assert counts == {f'site_application_requests_total{{code="{code}"}}': 1}
    assert said["site_application_request_seconds_count"] == 1
    assert said['site_application_request_seconds_bucket{le="0.1"}'] == 1
    assert said["site_application_requests_in_flight"] == 0


def test_a_stream_of_events_is_no_slow_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("hosts.app_server.gunicorn_conf.time.monotonic", lambda: now)

    def events(_: dict[str, Any], start: Any) -> Iterable[bytes]:
        nonlocal now
        now = 0.25
        start("200 OK", [("Content-Type", "text/event-stream")])
        return iter([b"data: 1\n\n"])

    body: Any = OnThisMachine(events, "a", "/healthz", tmp_path)(
        {"PATH_INFO": "/"}, lambda *_: None
    )
    now = 3600.0
    body.close()
    assert found(app_server.application(tmp_path))["site_application_request_seconds_sum"] == 0.25


def test_an_application_that_breaks_is_counted_as_an_error(tmp_path: Path) -> None:
    def broken(_: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        raise RuntimeError("no")

    served = OnThisMachine(broken, "a", "/healthz", tmp_path)
    with pytest.raises(RuntimeError):
        served({"PATH_INFO": "/"}, lambda *_: None)
    assert (
        found(app_server.application(tmp_path))['site_application_requests_total{code="5xx"}'] == 1
    )


def test_what_a_worker_counted_is_not_lost_with_it(tmp_path: Path) -> None:
    answer(tmp_path, "200 OK")
    (mine,) = tmp_path.glob(f"{COUNTERS}*")
    dead = 2**22 + 1  # above any process id
    mine.rename(tmp_path / f"{COUNTERS}{dead}")
    answer(tmp_path, "200 OK")
    (tmp_path / f"{COUNTERS}{dead + 1}").write_bytes(b"half a fi")
    said = found(app_server.application(tmp_path))
    assert said["site_application_request_seconds_count"] == 2
    assert said['site_application_requests_total{code="2xx"}'] == 2


def test_a_request_that_took_longer_than_any_bound_is_in_the_last_bucket(tmp_path: Path) -> None:
    served = OnThisMachine(lambda _e, _s: [], "a", "/healthz", tmp_path)
    served._counter.answered("200 OK", BOUNDS[-1] + 1)  # pyright: ignore[reportPrivateUsage]
    said = found(app_server.application(tmp_path))
    assert said['site_application_request_seconds_bucket{le="30"}'] == 0
    assert said['site_application_request_seconds_bucket{le="+Inf"}'] == 1
    assert said["site_application_request_seconds_sum"] == BOUNDS[-1] + 1


def test_a_primary_and_what_the_settings_have() -> None:
    said = found(database.member(STATUS, TUNABLES, primary=True, follows=False))
    assert said["site_database_primary"] == said["site_database_in_sync"] == 1
    assert said["site_database_replica"] == said["site_database_lag_seconds"] == 0
    assert said["site_database_generation"] == 7
    assert said["site_database_max_replica_lag_seconds"] == 5
    assert said["site_database_semi_synchronous"] == 1


def test_a_replica_that_knows_nothing_says_so_and_no_number() -> None:
    lost = {
        **STATUS,
        "member": "database-2/vol-9",
        "generation": None,
        "lag": None,
        "waiting": None,
        "table": "unreachable",
    }
    said = found(database.member(lost, TUNABLES, primary=False, follows=False))
    assert said["site_database_in_sync"] == 0, "another volume is another member"
    assert said["site_database_holder"] == said["site_database_table_reachable"] == 0
    absent = ("generation", "lag_seconds", "waiting_commits")
    assert not [name for name in absent if f"site_database_{name}" in said]


def test_a_certificate_that_was_exchanged_is_looked_at_again(tmp_path: Path) -> None:
    file = tmp_path / "server.pem"
    watched = database.Certificate(file)
    assert list(watched.metrics()) == []
    _, certificate = certificates.server("a")
    file.write_text(certificates.pem(certificate))
    said = list(found(watched.metrics()).values())
    times = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    assert said == [pytest.approx(at.timestamp(), abs=2) for at in times]
    assert list(found(watched.metrics()).values()) == said


SETTINGS = Settings(bucket="b", at="03:00", every=24, ship_every=10, verify=True)


def test_the_newest_backup_and_the_newest_that_was_tried() -> None:
    fulls = [full(1.0), full(2.0, good=False)]
    said = found(backups.backups(SETTINGS, fulls, 7.0, duty=True))
    assert said["site_backup_full_timestamp_seconds"] == 2
    assert said["site_backup_verified_timestamp_seconds"] == 1
    assert said["site_backup_broken"] == 1
    assert said["site_backup_every_seconds"] == 86400
    assert said["site_backup_ship_every_seconds"] == 10
    assert said["site_backup_shipped_timestamp_seconds"] == 7
    after = [*fulls, full(3.0)]
    assert found(backups.backups(SETTINGS, after, 7.0, duty=True))["site_backup_broken"] == 0


def test_a_machine_whose_turn_it_is_not_says_nothing_of_backups() -> None:
    said = found(backups.backups(SETTINGS, [full(1000.0, good=None)], time.time(), duty=False))
    assert said == {"site_backup_duty": 0}


def test_no_backup_at_all_is_as_old_as_can_be_once_it_was_looked() -> None:
    assert (
        found(backups.backups(SETTINGS, [], None, duty=True))["site_backup_full_timestamp_seconds"]
        == 0
    )
    not_yet = found(backups.backups(SETTINGS, None, None, duty=True))
    assert "site_backup_full_timestamp_seconds" not in not_yet
