"""The judge of a load notices every kind of lie."""

from typing import Literal

import pytest

from tests.lab.database.judge import Read, Write, judge, write_gap

Outcome = Literal["acknowledged", "denied", "unknown"]


def write(number: int, outcome: Outcome, at: float = 0) -> Write:
    return Write(0, number, at - 0.01, at, outcome, "database-1", "")


@pytest.mark.parametrize(
    ("outcomes", "times"),
    [
        (["acknowledged"], 1),
        (["unknown"], 0),
        (["unknown"], 1),
        (["denied"], 0),
        (["denied", "denied", "acknowledged"], 1),
        (["denied", "unknown"], 1),
    ],
)
def test_what_may_be(outcomes: list[Outcome], times: int) -> None:
    writes = [write(1, outcome) for outcome in outcomes]
    assert judge(writes, [], {(0, 1): times} if times else {}).complaints == []


@pytest.mark.parametrize(
    ("outcomes", "times", "complaint"),
    [
        (["acknowledged"], 0, "acknowledged and gone"),
        (["acknowledged"], 2, "2 times in the table"),
        (["unknown"], 2, "2 times in the table"),
        (["denied"], 1, "refused, and in the table"),
        (["denied", "acknowledged"], 2, "2 times in the table"),
        ([], 1, "never sent"),
    ],
)
def test_what_may_not(outcomes: list[Outcome], times: int, complaint: str) -> None:
    writes = [write(1, outcome) for outcome in outcomes]
    verdict = judge(writes, [], {(0, 1): times} if times else {})
    assert [complaint in said for said in verdict.complaints] == [True]
    assert verdict.lost == (complaint == "acknowledged and gone")


def test_a_read_that_goes_backwards_is_noticed() -> None:
    read = Read(0, 0, 1, "backwards", "database-2", "{0: (7, 6)}")
    assert judge([], [read], {}).complaints == [str(read)]


def test_reads_that_are_never_answered_are_noticed() -> None:
    failed = [Read(0, at, at + 1, "failed", "", "refused") for at in range(3)]
    assert judge([], failed, {}).complaints == ["of 3 reads none was answered"]
    answered = Read(0, 3, 4, "read", "database-2", "")
    assert judge([], [*failed, answered], {}).complaints == []


def test_the_gap_is_the_longest_time_between_two_acknowledged_writes() -> None:
    writes = [write(n, "acknowledged", at) for n, at in enumerate([0, 9, 10, 10.5, 13, 14, 20])]
    assert write_gap([*writes, write(9, "unknown", 11)], since=10.2, until=13.5) == 2.5


def test_the_gap_counts_from_the_last_write_before_and_to_the_first_after() -> None:
    writes = [write(n, "acknowledged", at) for n, at in enumerate([1, 5])]
    assert write_gap(writes, since=2, until=3) == 4


def test_the_gap_is_infinite_if_no_write_came_after() -> None:
    assert write_gap([write(1, "acknowledged", 1)], since=2) == float("inf")
