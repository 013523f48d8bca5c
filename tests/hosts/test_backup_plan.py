"""Which backup and which binary logs lead to a point, and why none do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hosts.database.backup import catalog
from hosts.database.backup.catalog import Full, Log, PlanError, Target, Verdict, chain, plan, target
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.schedule import Settings, chosen, due, latest
from hosts.database.pair import Pair

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"


def full(time: float, gtids: str, *, good: bool | None = True) -> Full:
    verdict = None if good is None else Verdict(good, "it was tried", time, "database-2")
    return Full(
        line="database",
        id=f"at-{time:.0f}",
        gtids=Gtids.parse(gtids),
        time=time,
        finished=time + 1,
        machine="database-2",
        server=A,
        version="9.7.4",
        sha256="",
        size=1,
        raw_size=1,
        accounts_sha256="",
        data_size=1,
        tables={},
        objects={},
        verified=verdict,
    )


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


def names(found: catalog.Plan) -> tuple[str, list[str]]:
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


def test_an_empty_log_says_that_nothing_happened_since() -> None:
    idle = replace(log(A, 4, f"{A}:1-300", "", 310, 400), as_of=400.0)
    assert names(plan(Target(time=390), FULLS, [*LOGS, idle]))[0] == "at-250"


def test_reach_ends_at_a_gap() -> None:
    assert catalog.reach(FULLS[0], LOGS) == (300, "")
    at, why = catalog.reach(FULLS[0], [LOGS[0], LOGS[2]])
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
