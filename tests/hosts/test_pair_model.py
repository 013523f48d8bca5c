"""The database machines under every trouble at once, in a model: nothing acknowledged is lost,
no two acknowledge, and once failures stop there is a primary again.

``HISTORIES=10000`` makes the run a long one.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from hosts.database.decide import Action
from hosts.database.pair import machine_of
from tests.hosts.pair_model import MOVES, NAME, Machine, Mistake, Pause, ViolationError, World

HISTORIES = int(os.environ.get("HISTORIES", "200"))
STEPS = 25
RECOVERY = 150.0
"""Seconds after which all must be well once failures stopped: a hung mysqld is given time."""

FATES = ["lost", "unanswered", "late", "slow before", "slow after", "frozen before", "frozen after"]
FAULTS = [
    "freezes",
    "freezes",
    "is cut off",
    "is cut off one way",
    "loses the table",
    "mysqld ends",
    "mysqld hangs",
    "volume breaks",
    "loses power",
    "agent ends",
    "agent restarts",
    "connection breaks",
    "is to go",
    "table is away",
]
SUDDEN = ["freezes", "loses power", "is cut off", "loses the table", "mysqld ends"]
RELIEFS = ["thaw", "thaw", "links", "table", "power", "late requests", "all", "all"]
MOMENTS = [
    Action.TAKE_OVER,
    Action.TAKE_OVER,
    Action.DROP,
    Action.INVITE,
    Action.ADMIT,
    Action.OPEN,
    Action.RELEASE,
    Action.SWITCH_OVER,
    Action.UNINVITE,
    Action.COPY,
    Action.FOLLOW,
]

who = st.sampled_from(["primary", "primary", "first", "first", "second", "acting", "a/1"])
"""A machine, by the part it plays: the holder, its first or second replica, one that is at it."""
seeds = st.integers(0, 2**32 - 1)


def dice(seed: int) -> Random:
    return Random(seed)  # noqa: S311 the same each time


class Site(RuleBasedStateMachine):
    """Two or three machines, and what can happen to them."""

    mistake: Mistake | None = None

    @initialize(three=st.booleans(), careless=st.sampled_from([False, False, True]))
    def begin(self, three: bool, careless: bool) -> None:
        self.world = World(3 if three else 2, self.mistake)
        self.world.settle(60)
        if careless:
            for machine in self.world.machines.values():
                machine.mode = "asynchronous"
            self.world.run(2.0)
        self.acting = self.world.names[0]
        self.sound = True

    def pick(self, who: str) -> Machine:
        names, record = self.world.names, self.world.record
        assert record is not None
        others = [name for name in names if name != record.holder]
        parts = {
            "primary": record.holder,
            "first": others[0],
            "second": others[-1],
            "acting": self.acting,
        }
        return self.world.machines[parts.get(who, names[0])]

    def attempt(self, do: Callable[[], object]) -> None:
        """What was found is raised once: the end of a broken history says nothing more."""
        try:
            do()
        except ViolationError:
            self.sound = False
            raise

    # ---- what is not a failure

    @rule(seconds=st.sampled_from([0.2, 0.8, 1.6, 3.0, 4.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self.attempt(lambda: self.world.run(seconds))

    @rule(seed=seeds, seconds=st.sampled_from([0.5, 1.5, 4.0]))
    def there_is_turmoil(self, seed: int, seconds: float) -> None:
        self.attempt(lambda: self.world.turmoil(dice(seed), seconds))

    @rule(who=who, steps=st.integers(1, 15))
    def an_agent_works(self, who: str, steps: int) -> None:
        """Alone, and maybe not to the end of its turn."""
        machine = self.pick(who)

        def work() -> None:
            for _ in range(steps):
                if machine.step() is Pause.WAIT:
                    self.world.now += 0.05

        self.attempt(work)

    @rule(who=who)
    def a_client_writes(self, who: str) -> None:
        self.attempt(lambda: self.world.write(self.pick(who).name))

    @rule(who=who, what=st.sampled_from(MOVES))
    def something_moves(self, who: str, what: str) -> None:
        self.attempt(lambda: self.world.move(self.pick(who).name, what))

    # ---- failures

    @rule(who=who, fault=st.sampled_from(FAULTS), seed=seeds)
    def a_failure(self, who: str, fault: str, seed: int) -> None:
        self.fail(self.pick(who), fault, dice(seed))

    @rule(who=who, fate=st.sampled_from(FATES), skip=st.integers(0, 2))
    def a_request_meets_trouble(self, who: str, fate: str, skip: int) -> None:
        self.pick(who).fates.extend([""] * skip + [fate])

    @rule(
        action=st.sampled_from(MOMENTS),
        steps=st.integers(0, 5),
        what=st.sampled_from([*SUDDEN, *FATES, "thaw", "thaw", "thaw", "nothing"]),
        who=st.sampled_from(["acting", "acting", "primary", "first"]),
        provoked=st.booleans(),
        after=st.sampled_from([0.3, 1.5, 5.0]),
        seed=seeds,
    )
    def in_the_middle_of(
        self,
        *,
        action: Action,
        steps: int,
        what: str,
        who: str,
        provoked: bool,
        after: float,
        seed: int,
    ) -> None:
        """Waits until some machine is at a certain step, and then something happens."""
        world, random = self.world, dice(seed)

        def at_it() -> bool:
            for name, machine in world.machines.items():
                if machine.agent and machine.agent.doing is action:
                    self.acting = name
                    return True
            return False

        def happen() -> None:
            if provoked:
                world.turmoil(random, 0.5)
                self.provoke(action, random)
            if not world.turmoil(random, 5.0, at_it):
                return
            for _ in range(steps):
                world.machines[self.acting].step()
            machine = self.pick(who)
            if what in FATES:
                machine.fates.append(what)
            elif what == "another is cut off":
                self.relieve("links")
                self.fail(self.pick("second"), "is cut off", random)
            elif what == "thaw":
                self.relieve("thaw")
                for name in world.names if steps % 2 else ():
                    world.write(name)
            elif what != "nothing":
                self.fail(machine, what, random)
            world.turmoil(random, after)

        self.attempt(happen)

    def provoke(self, action: Action, random: Random) -> None:
        """Makes it likely that some machine takes this step."""
        primary, replica = self.pick("primary"), self.pick(random.choice(("first", "second")))
        match action:
            case Action.TAKE_OVER:
                what = random.choice(("freezes", "freezes", "loses power", "loses the table"))
                self.fail(primary, what, random)
            case Action.DROP:
                what = random.choice(("freezes", "is cut off", "is cut off", "is to go"))
                self.fail(replica, what, random)
            case Action.RELEASE:
                self.fail(primary, "mysqld ends", random)
            case Action.SWITCH_OVER:
                self.ask_for(replica)
            case _:
                self.relieve("all")

    def fail(self, machine: Machine, fault: str, random: Random) -> None:  # noqa: PLR0912 a line for each
        world, server = self.world, machine.server
        match fault:
            case "freezes" if not machine.off:
                machine.frozen = True
            case "is cut off" | "is cut off one way":
                record = world.record
                holder = record.holder if record else machine.name
                others = [name for name in world.names if name != machine.name]
                other = random.choice(others) if machine.name == holder else holder
                world.cuts.add((machine.name, other))
                if fault == "is cut off":
                    world.cuts.add((other, machine.name))
            case "loses the table":
                machine.table = False
            case "table is away":
                world.away = True
            case "mysqld ends":
                server.end()
            case "mysqld hangs" if server.state == "up":
                server.state = "hung"
            case "volume breaks":
                server.end()
                server.corrupt = True
            case "loses power":
                machine.power_off()
            case "agent ends" | "agent restarts" if not machine.off:
                machine.stop_agent()
                if fault == "agent restarts":
                    machine.start_agent()
            case "connection breaks":
                server.break_off()
            case "is to go":
                machine.draining = True
            case _:
                pass

    @rule(what=st.sampled_from(RELIEFS), seed=seeds)
    def relief(self, what: str, seed: int) -> None:
        self.relieve(what)
        self.attempt(lambda: self.world.turmoil(dice(seed), 0.5))

    def relieve(self, what: str) -> None:
        world = self.world
        for machine in world.machines.values():
            if what in ("thaw", "all"):
                machine.frozen = False
            if what in ("table", "all"):
                machine.table, world.away = True, False
            if what in ("power", "all"):
                machine.power_on()
                if machine.agent is None and not machine.off:
                    machine.start_agent()
                machine.draining = False
        if what in ("links", "all"):
            world.cuts.clear()
        if what == "late requests":
            while world.late:
                world.late.pop(0)()

    # ---- the operator

    @rule(who=who)
    def a_switchover_is_asked_for(self, who: str) -> None:
        self.ask_for(self.pick(who))

    def ask_for(self, machine: Machine) -> None:
        self.world.table.write(NAME, {}, {"switchover_to": machine_of(machine.name)})

    @rule(who=who)
    def binary_logs_are_purged(self, who: str) -> None:
        server = self.pick(who).server
        server.purged = server.executed

    def teardown(self) -> None:
        if getattr(self, "sound", False):
            self.world.heal()
            self.world.settle(RECOVERY)


TestSite = Site.TestCase
TestSite.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Drama:
    """A course of events that is likely to show a mistake."""

    action: Action
    what: tuple[str, ...]
    steps: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    fault: str = "loses power"
    """Of the primary, at the end."""
    three: bool = False
    careless: bool = False
    pause: bool = False
    """The primary is late once before."""
    before: tuple[tuple[str, str], ...] = ()
    """Who fails first, and how."""

    def play(self, mistake: Mistake | None, seed: int) -> None:
        random = dice(seed)
        site = Site()
        site.mistake = mistake
        site.begin(three=self.three, careless=self.careless)
        if self.pause:
            site.fail(site.pick("primary"), "freezes", random)
            site.world.turmoil(random, random.uniform(1.9, 3.2))
            site.relieve("thaw")
        site.world.turmoil(random, 0.5)
        for who, fault in self.before:
            site.fail(site.pick(who), fault, random)
        site.in_the_middle_of(
            action=self.action,
            steps=random.choice(self.steps),
            what=random.choice(self.what),
            who="acting",
            provoked=not self.pause and not self.before,
            after=random.choice((0.1, 0.5, 1.5)),
            seed=random.randrange(2**32),
        )
        site.fail(site.pick("primary"), self.fault, random)
        site.world.turmoil(random, 6.0)
        site.teardown()


DRAMAS = {
    Mistake.READS_BEFORE_STOPPING: Drama(
        Action.TAKE_OVER, ("thaw",), (1,), before=(("primary", "freezes"),)
    ),
    Mistake.DROPS_BEFORE_WRITING: Drama(Action.DROP, ("freezes", "loses power", "lost")),
    Mistake.DROPS_IN_DOUBT: Drama(Action.DROP, ("lost",)),
    Mistake.ADMITS_BEFORE_WAITING: Drama(Action.ADMIT, ("freezes", "is cut off"), pause=True),
    Mistake.ADMITS_BEFORE_IT_HAS_ALL: Drama(Action.ADMIT, ("is cut off",), pause=True),
    Mistake.IGNORES_PROMISES: Drama(Action.TAKE_OVER, ("nothing",), fault="loses the table"),
    Mistake.NEVER_FENCES: Drama(Action.TAKE_OVER, ("thaw",), careless=True),
    Mistake.FENCE_KEEPS_CLIENTS: Drama(Action.TAKE_OVER, ("thaw",)),
    Mistake.OPENS_WITHOUT_WAITING: Drama(Action.OPEN, ("nothing",), pause=True),
    Mistake.TAKES_OVER_UNSYNCED: Drama(Action.DROP, ("nothing",)),
    Mistake.GOES_ON_CARELESSLY: Drama(
        Action.OPEN, ("nothing",), fault="loses the table", careless=True, pause=True
    ),
    Mistake.COUNTS_FORMER_ONES: Drama(
        Action.DROP, ("nothing",), three=True, before=(("second", "is cut off"),)
    ),
    Mistake.HEEDS_STRANGERS: Drama(
        Action.DROP,
        ("another is cut off",),
        (5, 6, 7, 8),
        three=True,
        before=(("first", "agent ends"), ("first", "is cut off")),
    ),
}


@pytest.mark.parametrize("mistake", Mistake)
def test_the_model_finds_that(mistake: Mistake) -> None:
    """And it is this mistake that it finds: without it the same events do no harm."""
    for seed in range(1500):
        try:
            DRAMAS[mistake].play(mistake, seed)
        except ViolationError:
            DRAMAS[mistake].play(None, seed)
            return
    pytest.fail("not found")
