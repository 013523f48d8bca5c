"""A lease: at most one machine acts as the holder, whatever clocks, table and network do."""

import threading
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hosts.base.lease import Lease, Record, Times, UnreachableError, vacant, watch
from tests.hosts.fakes import Clock, MemoryTable

TIMES = Times(lease=3.0, margin=1.0, gap=1.5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def lease(table: MemoryTable, me: str, clock: Clock) -> Lease:
    return Lease(table, "address", me, TIMES, clock)


def held(table: MemoryTable, me: str, clock: Clock) -> Lease:
    """A lease that this machine holds."""
    one = lease(table, me, clock)
    one.refresh()
    assert one.acquire()
    return one


def wait(one: Lease, clock: Clock, seconds: float) -> None:
    """A contender that reads every half second."""
    for _ in range(round(seconds * 2)):
        clock.advance(0.5)
        one.refresh()


def test_the_first_to_ask_for_a_lease_that_nobody_had_gets_it(
    table: MemoryTable, clock: Clock
) -> None:
    one = lease(table, "a", clock)
    assert not one.vacant, "it has not looked yet"
    one.refresh()
    assert one.vacant
    assert one.acquire()
    assert one.held
    assert one.generation == 1


def test_of_two_that_ask_at_once_one_gets_it(table: MemoryTable, clock: Clock) -> None:
    one, other = lease(table, "a", clock), lease(table, "b", clock)
    one.refresh()
    other.refresh()
    assert one.acquire()
    assert not other.acquire()
    assert not other.held
    assert other.record is not None
    assert other.record.holder == "a"


def test_a_holder_that_renews_keeps_it(table: MemoryTable, clock: Clock) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    for _ in range(20):
        clock.advance(1.0)
        one.refresh()
        other.refresh()
        assert one.held
        assert not other.vacant
        assert not other.acquire()


def test_a_contender_takes_it_after_the_lease_time_without_a_renewal(
    table: MemoryTable, clock: Clock
) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 2.5)
    assert not other.vacant
    wait(other, clock, 0.5)
    assert other.vacant
    assert not one.held
    assert other.acquire()
    assert other.generation == 2


def test_a_renewal_just_before_the_contenders_write_defeats_it(
    table: MemoryTable, clock: Clock
) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 3.0)
    assert other.vacant
    one.refresh()
    assert one.held
    assert not other.acquire()


def test_a_holder_stops_before_a_contender_may_take_over(table: MemoryTable, clock: Clock) -> None:
    one = held(table, "a", clock)
    assert one.deadline == clock.now + TIMES.lease - TIMES.margin
    clock.advance(2.0)
    assert not one.held


def test_the_deadline_counts_from_before_the_request(clock: Clock) -> None:
    class Slow(MemoryTable):
        def write(self, name: str, expected: Any, changes: Any) -> Record | None:
            clock.advance(0.5)
            return super().write(name, expected, changes)

    slow = Slow()
    one = lease(slow, "a", clock)
    one.refresh()
    asked_at = clock.now
    one.acquire()
    assert one.deadline == asked_at + TIMES.lease - TIMES.margin
    asked_at = clock.now
    one.refresh()
    assert one.deadline == asked_at + TIMES.lease - TIMES.margin


def test_a_released_lease_can_be_taken_at_once(table: MemoryTable, clock: Clock) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    assert one.release()
    assert not one.held
    other.refresh()
    assert other.acquire()
    assert other.generation == 2


def test_a_lost_lease_is_noticed_and_is_not_released_by_the_one_that_lost_it(
    table: MemoryTable, clock: Clock
) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 3.0)
    assert other.acquire()
    assert not one.release()
    assert table.records["address"].holder == "b"
    assert not table.records["address"].released
    one.refresh()
    assert not one.held
    assert one.generation is None


def test_after_time_without_reads_a_contenders_wait_starts_anew(
    table: MemoryTable, clock: Clock
) -> None:
    held(table, "a", clock)
    other = lease(table, "b", clock)
    other.refresh()
    table.unreachable = True
    clock.advance(10.0)
    with pytest.raises(UnreachableError):
        other.refresh()
    table.unreachable = False
    other.refresh()
    assert not other.vacant, "the holder may have been cut off just as long"
    wait(other, clock, 2.5)
    assert not other.vacant
    wait(other, clock, 0.5)
    assert other.vacant


def test_what_was_seen_long_ago_is_no_ground_to_begin(table: MemoryTable, clock: Clock) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    one.release()
    other.refresh()
    clock.advance(TIMES.gap + 0.1)
    assert not other.vacant


def test_whoever_began_may_take_long_to_get_ready(table: MemoryTable, clock: Clock) -> None:
    held(table, "a", clock)
    other = lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 3.0)
    assert other.vacant
    clock.advance(10 * TIMES.gap)
    assert other.acquire()
    assert other.held


def test_whoever_took_long_to_get_ready_does_not_take_it_from_a_holder_that_is_back(
    table: MemoryTable, clock: Clock
) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 3.0)
    assert other.vacant
    clock.advance(10 * TIMES.gap)
    one.refresh()
    assert not other.acquire()
    assert one.held


def test_a_holder_cut_off_from_the_table_holds_until_its_deadline_only(
    table: MemoryTable, clock: Clock
) -> None:
    one = held(table, "a", clock)
    table.unreachable = True
    clock.advance(1.0)
    with pytest.raises(UnreachableError):
        one.refresh()
    assert one.held
    clock.advance(1.0)
    with pytest.raises(UnreachableError):
        one.refresh()
    assert not one.held
    table.unreachable = False
    one.refresh()
    assert one.held, "nobody took it meanwhile"


def test_a_renewal_that_was_not_answered_does_not_lengthen_the_deadline(
    table: MemoryTable, clock: Clock
) -> None:
    one = held(table, "a", clock)
    before = one.deadline
    clock.advance(1.0)
    table.writes_unanswered = True
    with pytest.raises(UnreachableError):
        one.refresh()
    assert one.deadline == before
    table.writes_unanswered = False
    one.refresh()
    assert one.deadline > before


def test_an_acquisition_that_was_not_answered_is_found_by_the_next_refresh(
    table: MemoryTable, clock: Clock
) -> None:
    one = lease(table, "a", clock)
    one.refresh()
    table.writes_unanswered = True
    with pytest.raises(UnreachableError):
        one.acquire()
    assert not one.held
    table.writes_unanswered = False
    one.refresh()
    assert one.held
    assert one.generation == 1


def test_a_program_that_was_started_anew_goes_on_as_the_holder(
    table: MemoryTable, clock: Clock
) -> None:
    held(table, "a", clock)
    counter = table.records["address"].counter
    anew = lease(table, "a", clock)
    anew.refresh()
    assert anew.held
    assert anew.generation == 1
    assert table.records["address"].counter != counter, "a contender must see the change"


def test_what_the_holder_keeps_beside_the_lease_is_written_with_a_renewal(
    table: MemoryTable, clock: Clock
) -> None:
    one = held(table, "a", clock)
    one.refresh({"in_sync": frozenset({"a", "b"}), "note": "x"})
    assert one.record is not None
    assert one.record.extra == {"in_sync": frozenset({"a", "b"}), "note": "x"}
    one.refresh({"note": None})
    assert one.record.extra == {"in_sync": frozenset({"a", "b"})}


def test_what_a_former_holder_wants_to_write_is_not_written(
    table: MemoryTable, clock: Clock
) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 3.0)
    assert other.acquire({"in_sync": frozenset({"b"})})
    one.refresh({"in_sync": frozenset({"a"})})
    assert table.records["address"].extra == {"in_sync": frozenset({"b"})}


def test_a_note_of_an_operator_survives_renewals_and_does_not_count_as_one(
    table: MemoryTable, clock: Clock
) -> None:
    one, other = held(table, "a", clock), lease(table, "b", clock)
    table.write("address", {}, {"switchover_to": "b"})
    one.refresh()
    assert one.record is not None
    assert one.record.extra == {"switchover_to": "b"}
    other.refresh()
    for _ in range(6):
        clock.advance(0.5)
        table.write("address", {}, {"switchover_to": "c"})
        other.refresh()
    assert other.vacant


def test_threads_may_share_a_lease(table: MemoryTable, clock: Clock) -> None:
    one = held(table, "a", clock)
    threads = [threading.Thread(target=one.refresh) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.held
    assert table.records["address"].counter == 21


def test_a_contender_waits_for_as_long_as_the_holder_counts(
    table: MemoryTable, clock: Clock
) -> None:
    one = lease(table, "a", clock)
    one.times = Times(lease=10.0, margin=1.0, gap=1.5)
    one.refresh()
    assert one.acquire()
    other = lease(table, "b", clock)
    other.refresh()
    wait(other, clock, 8.0)
    assert one.held
    assert not other.vacant
    wait(other, clock, 2.5)
    assert not one.held
    assert other.vacant


def test_a_shorter_lease_counts_as_soon_as_it_may_have_been_written(
    table: MemoryTable, clock: Clock
) -> None:
    one = held(table, "a", clock)
    one.times = Times(lease=10.0, margin=1.0, gap=1.5)
    one.refresh()
    one.times = Times(lease=3.0, margin=1.0, gap=1.5)
    table.writes_unanswered = True
    with pytest.raises(UnreachableError):
        one.refresh()
    assert one.deadline == clock.now + 2.0


def test_a_holder_may_go_on_without_the_table_while_it_knows_of_no_successor(
    table: MemoryTable, clock: Clock
) -> None:
    one = held(table, "a", clock)
    generation = one.generation
    assert generation is not None
    clock.advance(1.5)
    assert one.extend(clock.now, generation)
    clock.advance(1.5)
    assert one.held
    assert not one.extend(clock.now, generation + 1)
    clock.advance(1.0)
    assert not one.held
    assert not one.extend(clock.now, generation), "too late"


@pytest.mark.parametrize(("margin", "gap"), [(3.0, 1.0), (0.0, 1.0), (1.0, 3.0), (1.0, 0.0)])
def test_times_that_cannot_work_are_refused(margin: float, gap: float) -> None:
    with pytest.raises(ValueError, match=r"must be within 0 and 3\.0 s"):
        Times(lease=3.0, margin=margin, gap=gap)


def test_a_watch_starts_anew_with_every_change_of_the_record() -> None:
    record = Record("a", 1, 1, released=False, lease=3.0)
    first = watch(None, record, 10.0, 1.5)
    same = watch(first, record, 11.0, 1.5)
    changed = watch(same, Record("a", 1, 2, released=False, lease=3.0), 12.0, 1.5)
    assert (first.since, same.since, changed.since) == (10.0, 10.0, 12.0)
    assert not vacant(None, 12.0, TIMES)


class Contenders(RuleBasedStateMachine):
    """Three machines with clocks of their own, a table that comes and goes, requests that are
    slow, lost on the way or lost on the way back, machines that are frozen: at no time may two
    of them act as the holder.
    """

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.table = MemoryTable()
        self.delay = 0.0
        self.machines = {
            name: Lease(self.Slow(self), "x", name, TIMES, self.clock(offset))
            for name, offset in (("a", 0.0), ("b", 5000.0), ("c", -300.0))
        }
        self.generations: list[tuple[int, str]] = []

    def clock(self, offset: float) -> Any:
        return lambda: self.now + offset

    class Slow:
        """The table, through a network that takes time."""

        def __init__(self, outer: "Contenders") -> None:
            self.outer = outer

        def read(self, name: str) -> Record | None:
            self.outer.now += self.outer.delay / 2
            answer = self.outer.table.read(name)
            self.outer.now += self.outer.delay / 2
            return answer

        def write(self, name: str, expected: Any, changes: Any) -> Record | None:
            self.outer.now += self.outer.delay / 2
            answer = self.outer.table.write(name, expected, changes)
            self.outer.now += self.outer.delay / 2
            return answer

    @rule(
        name=st.sampled_from("abc"),
        delay=st.sampled_from([0.0, 0.05, 0.9]),
        what=st.sampled_from(["look", "take", "turn", "release"]),
    )
    def act(self, name: str, delay: float, what: str) -> None:
        machine, self.delay = self.machines[name], delay
        try:
            if what == "release":
                machine.release()
            if what in ("look", "turn"):
                machine.refresh()
            if what in ("take", "turn"):
                machine.acquire()
        except UnreachableError:
            pass

    @rule(name=st.sampled_from("abc"), turns=st.integers(1, 8), takes=st.booleans())
    def watch_for_a_while(self, name: str, turns: int, takes: bool) -> None:
        for _ in range(turns):
            self.act(name, 0.0, "turn" if takes else "look")
            self.at_most_one_holds_it()
            self.now += 0.5

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 1.4, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from("abc"), lease=st.sampled_from([2.0, 3.0, 8.0]))
    def another_lease_time(self, name: str, lease: float) -> None:
        self.machines[name].times = Times(lease=lease, margin=1.0, gap=1.5)

    @rule(away=st.sampled_from([True, False, False]), deaf=st.sampled_from([True, False, False]))
    def the_network_changes(self, away: bool, deaf: bool) -> None:
        self.table.unreachable, self.table.writes_unanswered = away, deaf

    @rule(name=st.sampled_from("abc"))
    def restart(self, name: str) -> None:
        offset = {"a": 0.0, "b": 5000.0, "c": -300.0}[name]
        self.machines[name] = Lease(self.Slow(self), "x", name, TIMES, self.clock(offset))

    @invariant()
    def at_most_one_holds_it(self) -> None:
        holders = [name for name, machine in self.machines.items() if machine.held]
        assert len(holders) <= 1, holders

    @invariant()
    def a_generation_has_one_holder(self) -> None:
        record = self.table.records.get("x")
        if record:
            self.generations.append((record.generation, record.holder))
            assert len({holder for g, holder in self.generations if g == record.generation}) == 1


TestContenders = Contenders.TestCase
TestContenders.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
