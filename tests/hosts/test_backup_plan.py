"""Which backup and which binary logs lead to a point, and why none do."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from hosts.database.backup import catalog, forks
from hosts.database.backup.catalog import Fork, Full, Log, PlanError
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.plan import Plan, Target, chain, plan, reach, target
from hosts.database.backup.schedule import Settings, chosen, due, latest
from hosts.database.backup.store import ForeignError, MissingError, Store
from hosts.database.pair import Pair
from tests import full_backup
from tests.full_backup import SERVER as A

B = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


def full(time: float, gtids: str, *, good: bool | None = True) -> Full:
    return full_backup.full(time, good=good, gtids=Gtids.parse(gtids))


def log(server: str, number: int, previous: str, added: str, *times: float) -> Log:
    first, last = times
    before = Gtids.parse(previous)
    return Log(
        line="database",
        server=server,
        name=f"binlog.{number:06}",
        begun=int(first),
        previous=before,
        executed=before + Gtids.parse(added),
        end=1000,
        first=first if added else None,
        last=last if added else None,
        as_of=last,
        machine="database-2",
    )


LOGS = [
    log(A, 1, "", f"{A}:1-100", 10, 100),
    log(A, 2, f"{A}:1-100", f"{A}:101-200", 110, 200),
    log(A, 3, f"{A}:1-200", f"{A}:201-300", 210, 300),
]
FULLS = [full(50, f"{A}:1-50"), full(150, f"{A}:1-150"), full(250, f"{A}:1-250")]


def names(found: Plan) -> tuple[str, list[str]]:
    return found.full.id, [one.name[-1] for one in found.logs]


@pytest.mark.parametrize(
    ("time", "backup", "logs"),
    [
        (50, "at-50", ["1"]),
        (149, "at-50", ["1", "2"]),
        (150, "at-150", ["2"]),
        (205, "at-150", ["2"]),
        (220, "at-150", ["2", "3"]),
        (300, "at-250", ["3"]),
    ],
)
def test_the_newest_backup_before_a_time_is_taken_and_the_logs_after_it(
    time: float, backup: str, logs: list[str]
) -> None:
    assert names(plan(Target(time=time), FULLS, LOGS)) == (backup, logs)


@pytest.mark.parametrize(
    ("gtids", "backup", "logs"),
    [
        (f"{A}:60", "at-50", ["1"]),
        (f"{A}:120", "at-50", ["1", "2"]),
        (f"{A}:1-150", "at-150", []),
        (f"{A}:1-160", "at-150", ["2"]),
        (f"{A}:300", "at-250", ["3"]),
    ],
)
def test_the_newest_backup_before_a_transaction_is_taken(
    gtids: str, backup: str, logs: list[str]
) -> None:
    assert names(plan(target(gtids), FULLS, LOGS)) == (backup, logs)


def test_a_backup_that_could_not_be_restored_is_passed_over() -> None:
    fulls = [*FULLS[:2], full(250, f"{A}:1-250", good=False), full(260, f"{A}:1-260", good=None)]
    assert names(plan(Target(time=290), fulls, LOGS))[0] == "at-150"


def test_without_a_verified_backup_there_is_no_way() -> None:
    with pytest.raises(PlanError, match=r"none of the 1 full backups .* is verified; .*not veri"):
        plan(Target(time=290), [full(250, f"{A}:1-250", good=None)], LOGS)


def test_a_backup_that_was_not_verified_is_taken_if_it_is_named() -> None:
    fulls = [*FULLS[:2], full(250, f"{A}:1-250", good=None), full(260, f"{A}:1-260", good=False)]
    assert names(plan(Target(time=290), fulls, LOGS, "at-250"))[0] == "at-250"
    with pytest.raises(PlanError, match="at-260 cannot be restored"):
        plan(Target(time=290), fulls, LOGS, "at-260")
    with pytest.raises(PlanError, match=r"'at-250' is no full backup before .*there is .*at-150"):
        plan(Target(time=200), fulls, LOGS, "at-250")


def test_before_the_first_backup_there_is_no_way() -> None:
    with pytest.raises(
        PlanError, match=r"no full backup before .*: the oldest is of 1970-01-01T00"
    ):
        plan(Target(time=20), FULLS, LOGS)
    with pytest.raises(PlanError, match="there is none at all"):
        plan(Target(time=20), [], [])


def test_after_what_was_shipped_there_is_no_way() -> None:
    with pytest.raises(PlanError, match=r"reach to 1970-01-01T00:05:00Z, which is before"):
        plan(Target(time=301), FULLS, LOGS)


def test_a_gap_is_said_with_the_transactions_that_are_missing() -> None:
    with pytest.raises(PlanError) as refused:
        plan(Target(time=250), FULLS[:1], [LOGS[0], LOGS[2]])
    assert f"a gap: the transactions {A}:101-200 are in none of them" in str(refused.value)
    assert "one can get to 1970-01-01T00:01:40Z at most" in str(refused.value)
    with pytest.raises(PlanError, match="have a gap"):
        plan(target(f"{A}:250"), FULLS[:1], [LOGS[0], LOGS[2]])


def test_what_is_before_a_gap_or_after_the_next_backup_can_be_had() -> None:
    holed = [LOGS[0], LOGS[2]]
    assert names(plan(Target(time=90), FULLS, holed)) == ("at-50", ["1"])
    assert names(plan(Target(time=260), FULLS, holed)) == ("at-250", ["3"])


def test_transactions_that_are_nowhere_are_said() -> None:
    with pytest.raises(PlanError, match=f"the transactions {B}:7 are in no backup"):
        plan(target(f"{A}:60,{B}:7"), FULLS, LOGS)


def test_another_machines_logs_go_on_where_the_ones_before_end() -> None:
    other = [
        log(B, 5, f"{A}:1-180", f"{A}:181-300,{B}:1-9", 190, 320),
        log(B, 6, f"{A}:1-300,{B}:1-9", f"{B}:10-20", 330, 340),
    ]
    covered, used = chain(Gtids.parse(f"{A}:1-50"), [*LOGS[:2], *other])
    assert covered == Gtids.parse(f"{A}:1-300,{B}:1-20")
    assert [one.name[-1] for one in used] == ["1", "2", "5", "6"]


# A had 1-110 shipped when it was lost at 120, and B, which took over at 123, has 1-100 of it.
FORK = Fork("database", "130", Gtids.parse(f"{A}:101-110"), 119.0, 130.0, "database-2")
FORKED = [
    log(A, 1, "", f"{A}:1-60", 10, 60),
    log(A, 2, f"{A}:1-60", f"{A}:61-110", 61, 119),
    log(B, 1, f"{A}:1-40", f"{A}:41-100,{B}:1-50", 41, 200),
]


@pytest.mark.parametrize(
    ("point", "backup", "logs", "lost", "until"),
    [
        ("115", "at-50", "A1 B1 A2", "", None),
        ("119", "at-50", "A1 B1 A2", "", None),
        ("120", "at-50", "A1 B1", f"{A}:101-110", None),
        ("190", "at-50", "A1 B1", f"{A}:101-110", None),
        ("205", "at-202", "", f"{A}:101-110", None),
        (f"{A}:105", "at-50", "A1 B1 A2", "", 119.0),
        (f"{A}:1-100,{B}:20", "at-50", "A1 B1", f"{A}:101-110", None),
    ],
)
def test_what_a_failover_lost_is_there_up_to_it_and_not_after_it(
    point: str, backup: str, logs: str, lost: str, until: float | None
) -> None:
    fulls = [full(50, f"{A}:1-50"), full(202, f"{A}:1-100,{B}:1-50")]
    known = [replace(one, as_of=300.0) for one in FORKED]
    wanted = Target(time=float(point)) if point.isdigit() else target(point)
    found = plan(wanted, fulls, known, forks=[FORK])
    assert found.full.id == backup
    assert found.lost == Gtids.parse(lost)
    assert found.until == (until or float("inf"))
    letters = {A: "A", B: "B"}
    assert [f"{letters[one.server]}{one.name[-1]}" for one in found.logs] == logs.split()
    assert all(not one.executed & found.lost for one in found.logs)


def test_a_backup_that_holds_what_was_lost_leads_to_no_later_point() -> None:
    fulls = [full(118, f"{A}:1-108")]
    with pytest.raises(PlanError, match=rf"each full backup .* holds .* lost \({A}:101-110\)"):
        plan(Target(time=190), fulls, FORKED, forks=[FORK])
    assert names(plan(Target(time=118.5), fulls, FORKED, forks=[FORK]))[0] == "at-118"


def test_reach_does_not_end_at_a_fork() -> None:
    assert reach(full(50, f"{A}:1-50"), FORKED, [FORK]) == (200, "")


def test_a_fork_wants_a_full_backup_after_it() -> None:
    before, holds = full(50, f"{A}:1-50"), full(118, f"{A}:1-108")
    assert not forks.due([before], [])
    assert forks.due([before], [FORK])
    assert forks.due([before, holds], [FORK])
    assert not forks.due([before, full(140, f"{A}:1-100,{B}:1-5")], [FORK])


def test_what_the_primary_has_not_is_beside_its_history_unless_a_fork_says_so() -> None:
    executed = Gtids.parse(f"{A}:1-100,{B}:1-50")
    assert forks.beside(executed, [], FORKED, []) == FORK.lost
    assert not forks.beside(executed, [], FORKED, [FORK])
    found = forks.fork(FORK.lost, [], FORKED, "database-2")
    assert (found.lost, found.time, found.line) == (FORK.lost, FORK.time, "database")
    assert Fork.from_json(found.to_json()).lost == FORK.lost


def test_an_empty_log_says_that_nothing_happened_since() -> None:
    idle = replace(log(A, 4, f"{A}:1-300", "", 310, 400), as_of=400.0)
    assert names(plan(Target(time=390), FULLS, [*LOGS, idle]))[0] == "at-250"


def test_reach_ends_at_a_gap() -> None:
    assert reach(FULLS[0], LOGS) == (300, "")
    at, why = reach(FULLS[0], [LOGS[0], LOGS[2]])
    assert at == 100
    assert f"{A}:101-200" in why


@pytest.mark.parametrize("text", ["yesterday", "", "12:00", f"{A}", f"{A}:0"])
def test_a_point_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a time such as"):
        target(text)


def test_a_time_without_a_zone_is_utc() -> None:
    expected = datetime(2026, 11, 22, 21, 30, tzinfo=UTC).timestamp()
    for text in ("2026-11-22T21:30", "2026-11-22 21:30:00Z", "2026-11-22T22:30:00+01:00"):
        assert target(text) == Target(time=expected)


SETTINGS = Settings(bucket="b", at="03:00", every=24, ship_every=10, verify=True)
HOUR = 3600


@pytest.mark.parametrize(
    ("at", "every", "now", "expected"),
    [
        ("00:00", 24, 30 * HOUR, 24),
        ("03:00", 24, 30 * HOUR, 27),
        ("03:00", 24, 26.9 * HOUR, 3),
        ("03:30", 6, 30 * HOUR, 27.5),
        ("23:00", 12, 24 * HOUR, 23),
    ],
)
def test_a_backup_is_due_every_so_many_hours_from_a_time_of_the_day_on(
    at: str, every: int, now: float, expected: float
) -> None:
    assert latest(at, every, now) == expected * HOUR


def test_the_first_one_is_due_at_once_and_each_other_one_once() -> None:
    assert due(None, SETTINGS, 30 * HOUR)
    assert due(26 * HOUR, SETTINGS, 27 * HOUR)
    assert not due(27 * HOUR, SETTINGS, 50 * HOUR)


@pytest.mark.parametrize(
    ("in_sync", "leaving", "expected"),
    [
        (["database-1/a"], [], "database-1/a"),
        (["database-1/a", "database-3/c", "database-2/b"], [], "database-2/b"),
        (["database-1/a", "database-10/c", "database-9/b"], [], "database-9/b"),
        (["database-1/a", "database-2/b"], ["database-2/b"], "database-1/a"),
    ],
)
def test_the_in_sync_replica_of_the_lowest_ordinal_backs_up_else_the_primary(
    in_sync: list[str], leaving: list[str], expected: str
) -> None:
    record = Pair("database-1/a", 1, False, frozenset(in_sync), leaving=frozenset(leaving))
    assert chosen(record) == expected


@pytest.mark.parametrize("text", ["{}", "[]", '{"bucket": "b"}', "no JSON"])
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Settings.parse(text)


class Bucket:
    """One with a manifest that somebody else wrote."""

    bucket = "backups"

    def __init__(self, manifest: dict[str, Any], verdict: dict[str, Any] | None = None) -> None:
        self.manifest, self.verdict = manifest, verdict

    def folders(self, _: str) -> list[str]:
        return ["20261122t000000"]

    def read(self, key: str) -> dict[str, Any]:
        if key.endswith("manifest.json"):
            return self.manifest
        if self.verdict is None:
            raise MissingError(key)
        return self.verdict


@pytest.mark.parametrize(
    "change",
    [
        {"gtids": "nonsense"},
        {"time": 7},
        {"tables": {"site.a": [1]}},
        {"line": None},
        {"tables": []},
        {"gtids": 5},
    ],
)
def test_a_manifest_that_no_machine_wrote_is_left_out_and_said(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = {**full(1, f"{A}:1-5").to_json(), **change}
    if change == {"line": None}:
        del manifest["line"]
    store = cast(Store, Bucket(manifest))
    assert catalog.fulls(store, "database") == []
    assert "manifest.json is not what a machine of this program writes" in caplog.text
    with pytest.raises(ForeignError):
        catalog.full(store, "database", "20261122t000000")


def test_a_verdict_that_no_machine_wrote_is_none(caplog: pytest.LogCaptureFixture) -> None:
    written = full(1, f"{A}:1-5", good=None)
    bucket = Bucket(written.to_json(), verdict={"good": "perhaps"})
    assert catalog.fulls(cast(Store, bucket), "database") == [written]
    assert "not taken for verified" in caplog.text


def test_a_manifest_is_read_as_it_was_written() -> None:
    written = full(1, f"{A}:1-5", good=None)
    assert catalog.fulls(cast(Store, Bucket(written.to_json())), "database") == [written]
