"""What an agent keeps an eye on: promises while the table is away, acknowledgements, room."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts.base.lease import Lease, Times, UnreachableError
from hosts.database import watch
from hosts.database.decide import Mysqld
from hosts.database.observe import Seen
from hosts.database.pair import Pair, pair
from hosts.database.watch import MISSING, STALLED, Failsafe, LostReplicas, Room
from tests.hosts.fakes import Clock, MemoryTable

A, B, C = "database-1/vol-a", "database-2/vol-b", "database-3/vol-c"
TIMES = Times(lease=3.0, margin=1.0, gap=1.5)


class Promising:
    """The other agents, as `Failsafe` asks them."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.asked: list[tuple[frozenset[str], int, float]] = []

    def promise(self, members: Iterable[str], generation: int, seconds: float) -> bool:
        self.asked.append((frozenset(members), generation, seconds))
        return self.answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watch, "boottime", clock)
    return clock


def held(table: MemoryTable, me: str, clock: Clock, in_sync: Iterable[str]) -> Lease:
    lease = Lease(table, "database", me, TIMES, clock)
    lease.refresh()
    assert lease.acquire({"in_sync": frozenset(in_sync)})
    return lease


def failsafe(lease: Lease, peers: Any, me: str) -> Failsafe:
    one = Failsafe(lease, peers, me)
    assert lease.record is not None
    one.heard(pair(lease.record))
    return one


def test_a_primary_goes_on_without_the_table_while_all_in_sync_promise(clock: Clock) -> None:
    lease, peers = held(MemoryTable(), A, clock, [A, B, C]), Promising()
    one = failsafe(lease, peers, A)
    for _ in range(5):
        clock.advance(1.5)
        one.go_on()
        assert lease.held
    assert peers.asked[0] == (frozenset({B, C}), 1, 3.0)


def test_it_does_not_when_one_of_them_does_not(clock: Clock) -> None:
    lease = held(MemoryTable(), A, clock, [A, B])
    one = failsafe(lease, Promising(answer=False), A)
    clock.advance(1.5)
    one.go_on()
    clock.advance(0.5)
    assert not lease.held


def test_alone_in_sync_it_need_ask_nobody(clock: Clock) -> None:
    lease, peers = held(MemoryTable(), A, clock, [A]), Promising(answer=False)
    one = failsafe(lease, peers, A)
    clock.advance(1.5)
    one.go_on()
    clock.advance(1.5)
    assert lease.held
    assert not peers.asked


def test_who_may_have_been_called_in_sync_is_asked_too(clock: Clock) -> None:
    lease, peers = held(MemoryTable(), A, clock, [A]), Promising()
    one = failsafe(lease, peers, A)
    one.may_be_in_sync(B)
    one.go_on()
    assert peers.asked[0][0] == {B}


def test_past_its_deadline_nobody_is_asked(clock: Clock) -> None:
    lease, peers = held(MemoryTable(), A, clock, [A, B]), Promising()
    one = failsafe(lease, peers, A)
    clock.advance(2.0)
    one.go_on()
    assert not peers.asked
    assert not lease.held


def contender(clock: Clock) -> tuple[Failsafe, Lease]:
    table = MemoryTable()
    held(table, A, clock, [A, B])
    lease = Lease(table, "database", B, TIMES, clock)
    lease.refresh()
    return failsafe(lease, Promising(), B), lease


def test_a_promise_is_kept_for_as_long_as_it_was_asked_for(clock: Clock) -> None:
    one, _ = contender(clock)
    assert one.promise(1, 10.0)
    clock.advance(9.9)
    assert one.promised
    clock.advance(0.1)
    assert not one.promised


def test_a_shorter_promise_does_not_end_a_longer_one(clock: Clock) -> None:
    one, _ = contender(clock)
    assert one.promise(1, 10.0)
    assert one.promise(1, 3.0)
    clock.advance(5.0)
    assert one.promised


@pytest.mark.parametrize("generation", [0, 2])
def test_nothing_is_promised_to_another_generation(clock: Clock, generation: int) -> None:
    one, _ = contender(clock)
    assert not one.promise(generation, 3.0)


def test_nothing_is_promised_during_a_take_over(clock: Clock) -> None:
    one, _ = contender(clock)
    with one.taking_over() as promised:
        assert not one.promise(1, 3.0)
        assert not promised()
    assert one.promise(1, 3.0)


def test_nothing_is_promised_after_a_take_over_of_which_nothing_was_heard(clock: Clock) -> None:
    table = MemoryTable()
    first = held(table, A, clock, [A, B])
    lease = Lease(table, "database", B, TIMES, clock)
    lease.refresh()
    one = failsafe(lease, Promising(), B)
    first.release()
    lease.refresh()
    table.writes_unanswered = True
    with pytest.raises(UnreachableError):
        lease.acquire()
    assert not one.promise(1, 3.0)
    assert not one.promise(2, 3.0)


SYNCED = Mysqld(writable=True, empty=False, waits_for=1)


def at(seconds: float, acknowledged: int, waiting: int = 1, clients: int = 1) -> Seen:
    mysqld = replace(SYNCED, waiting=waiting)
    return Seen(seconds, mysqld, clients=clients, acknowledged=acknowledged)


def test_commits_that_wait_with_nothing_acknowledged_show_a_lost_replica() -> None:
    lost = LostReplicas()
    lost.look(at(0.0, 5))
    for number in range(1, 12):
        lost.look(at(number * 0.1, 5))
        assert lost.lost == (number * 0.1 - 0.1 >= STALLED), number


def test_slow_acknowledgements_are_acknowledgements() -> None:
    lost = LostReplicas()
    for number in range(50):
        lost.look(at(number * 0.2, number))
    assert not lost.lost


def test_nobody_waiting_is_nobody_lost() -> None:
    lost = LostReplicas()
    for number in range(50):
        lost.look(at(number * 0.2, 5, waiting=0))
    assert not lost.lost


def test_a_replica_that_is_not_connected_is_lost_sooner() -> None:
    lost = LostReplicas()
    lost.look(at(0.0, 5, waiting=0, clients=0))
    lost.look(at(MISSING - 0.01, 5, waiting=0, clients=0))
    assert not lost.lost
    lost.look(at(MISSING, 5, waiting=0, clients=0))
    assert lost.lost


def test_it_is_lost_no_more_when_it_is_back_or_not_waited_for() -> None:
    lost = LostReplicas()
    for second in range(3):
        lost.look(at(float(second), 5, clients=0))
    assert lost.lost
    lost.look(at(3.0, 6, clients=1))
    assert not lost.lost
    for second in range(4, 7):
        lost.look(at(float(second), 6, clients=0))
    lost.forget()
    assert not lost.lost


def test_a_volume_without_room_is_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = Room(tmp_path)
    assert not room.full()
    real = os.statvfs(tmp_path)
    values = list(real)
    values[4] = 1  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))  # type: ignore[reportUnknownLambdaType]
    assert Room(tmp_path).full()


def test_in_asynchronous_mode_nobody_goes_on_without_the_table(clock: Clock) -> None:
    lease, peers = held(MemoryTable(), A, clock, [A]), Promising()
    one = Failsafe(lease, peers, A)  # type: ignore[arg-type]
    one.heard(Pair(A, 1, released=False, in_sync=frozenset({A}), mode="asynchronous"))
    clock.advance(1.5)
    one.go_on()
    clock.advance(0.5)
    assert not lease.held


def test_who_is_joining_counts_as_who_could_succeed(clock: Clock) -> None:
    lease, peers = held(MemoryTable(), A, clock, [A]), Promising()
    one = Failsafe(lease, peers, A)  # type: ignore[arg-type]
    one.heard(Pair(A, 1, released=False, in_sync=frozenset({A}), joining=B))
    one.go_on()
    assert peers.asked[0][0] == {B}
