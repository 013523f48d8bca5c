"""A model of the database machines: real leases and decisions, and everything around them made up.

What an agent does is a generator: at each ``yield`` the machine may freeze or die, messages may
arrive and other machines may act. Sets of transactions are bits of an integer. The order of the
steps is that of `hosts.database.lead`, `watch` and `agent`; `Mistake` breaks it, to see whether
the model notices.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum, auto
from random import Random
from typing import Literal

from hosts.base.lease import Lease, Record, Times, UnreachableError, Value
from hosts.database.decide import Action, Decision, Mysqld, Primary, Situation, decide
from hosts.database.pair import Mode, Pair, machine_of, pair
from tests.hosts.fakes import MemoryTable

LEASE = Times(lease=3.0, margin=1.0, gap=1.5)
NAME = "database"
RENEW, LOOP, PEERS, FRESH, VIEW = 0.3, 0.2, 0.5, 1.5, 3.0
A_MOMENT = 1.0
STALLED, MISSING, GRACE, JOINING, AGAIN, APPLYING, ARRIVING = 0.6, 0.3, 5.0, 3.0, 10.0, 2.0, 1.0
STARTS, STARTING, ALONE, BROKEN = 10.0, 1.0, 4, 3
LAG = 5.0
MOVES = ("connect", "send", "receive", "apply", "hear")


class ViolationError(AssertionError):
    """What must never be."""


class FailedError(Exception):
    """An agent's step was not done."""


class Mistake(StrEnum):
    """Orders that are wrong, to prove that the model finds them."""

    READS_BEFORE_STOPPING = "a take-over reads what was received before it stops receiving"
    DROPS_BEFORE_WRITING = "waiting sessions are released before the record is changed"
    DROPS_IN_DOUBT = "a drop whose answer was lost counts as done"
    ADMITS_BEFORE_WAITING = "a member is called in sync before commits wait for it"
    ADMITS_BEFORE_IT_HAS_ALL = "a member is called in sync before it has what was committed"
    IGNORES_PROMISES = "a contender takes over in spite of its promise"
    NEVER_FENCES = "the guard does nothing"
    FENCE_KEEPS_CLIENTS = "a fence releases waiting sessions without cutting clients"
    OPENS_WITHOUT_WAITING = "a former primary opens without waiting for those in sync"
    TAKES_OVER_UNSYNCED = "a contender does not ask whether it is in sync"
    COUNTS_FORMER_ONES = "acknowledgements of one that was dropped stand for another's"
    GOES_ON_CARELESSLY = "a primary goes on without the table in asynchronous mode"
    HEEDS_STRANGERS = "acknowledgements of one that is not in sync count"


class Pause(Enum):
    """What an agent yields."""

    STEP = auto()
    """Others may act here."""
    WAIT = auto()
    """Nothing to do until time has passed."""


Steps = Generator[Pause, None, None]


@dataclass
class Stream:
    """A replica's connection to the mysqld that it replicates from."""

    replica: str
    semi: bool
    known: int
    """What the replica had when it connected."""
    next: int = 0
    """Where in the source's log it is."""
    pipe: deque[int] = field(default_factory=deque[int])
    acks: deque[int] = field(default_factory=deque[int])
    closed: bool = False
    """By the replica; what it said before may still arrive."""


@dataclass
class Server:
    """A mysqld."""

    state: Literal["up", "starting", "down", "hung"] = "down"
    boot: int = 0
    ends: int = 0
    corrupt: bool = False
    ready_at: float = 0.0
    writable: bool = False
    offline: bool = False
    waits_for: int = 0
    log: list[int] = field(default_factory=list[int])
    executed: int = 0
    purged: int = 0
    waiting: list[int] = field(default_factory=list[int])
    acks: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    clients: set[int] = field(default_factory=set[int])
    """Waiting transactions whose client is still there."""
    acknowledged: int = 0
    streams: dict[str, Stream] = field(default_factory=dict[str, Stream])
    shut_out: set[str] = field(default_factory=set[str])
    """Replicas that may not connect here: mysqld counts acknowledgements, whosever they are."""
    source: str = ""
    receiving: bool = False
    applying: bool = False
    acknowledging: bool = False
    relay: list[int] = field(default_factory=list[int])
    received: int = 0
    stream: Stream | None = None

    @property
    def has(self) -> int:
        return self.executed | self.received

    @property
    def logged(self) -> int:
        """What is executed, or is but for acknowledgements."""
        return self.executed | sum(1 << number for number in self.waiting)

    @property
    def empty(self) -> bool:
        return not self.has

    def end(self) -> None:
        """Killed: what was logged is committed by the recovery of the next start."""
        if self.state == "down":
            return
        self.state, self.ends = "down", self.ends + 1
        self.writable = self.offline = self.receiving = self.applying = self.acknowledging = False
        self.waits_for = 0
        for number in self.waiting:
            self.executed |= 1 << number
        self.waiting.clear()
        self.acks.clear()
        self.clients.clear()
        self.streams.clear()
        self.stop_receiving()

    def stop_receiving(self) -> None:
        self.receiving = False
        self.break_off()

    def break_off(self) -> None:
        """The connection ends; what went to the source may still arrive."""
        if self.stream:
            self.stream.closed = True
            self.stream = None

    def forget_source(self) -> None:
        self.stop_receiving()
        self.source, self.received, self.applying = "", 0, False
        self.relay.clear()

    def apply(self) -> None:
        if self.state == "up" and self.applying:
            for number in self.relay:
                if not self.executed >> number & 1:
                    self.executed |= 1 << number
                    self.log.append(number)
            self.relay.clear()


@dataclass(frozen=True)
class Told:
    """What another agent said."""

    at: float
    executed: int
    has: int
    source: str
    running: bool
    acknowledging: bool
    draining: bool


@dataclass(frozen=True)
class View:
    """A look at the primary's mysqld."""

    at: float
    primary: Primary
    alone: bool


class Machine:
    """A machine: a clock, a mysqld, a guard and an agent."""

    def __init__(self, world: "World", name: str, offset: float, rate: float) -> None:
        self.world, self.name, self.offset, self.rate = world, name, offset, rate
        self.frozen = self.off = False
        self.server = Server()
        self.open, self.deadline = False, float("-inf")
        """What the agent published last."""
        self.fences = 0
        self.fenced_at = float("-inf")
        self.fence: Steps | None = None
        self.exclusive = False
        """The agent does what no fence may come between."""
        self.agent: Agent | None = None
        self.steps: Steps | None = None
        self.busy = False
        self.wake_at = 0.0
        self.mode: Mode = "semi-synchronous"
        self.draining = False
        self.table = True
        """It reaches the table."""
        self.fates: deque[str] = deque()
        """Of its next requests to the table."""
        self.start_agent()

    def clock(self) -> float:
        return self.offset + self.rate * self.world.now

    @property
    def runs(self) -> bool:
        return not self.frozen and not self.off

    @property
    def serves(self) -> bool:
        """Its mysqld does something."""
        return self.runs and self.server.state == "up"

    def start_agent(self) -> None:
        self.stop_agent()
        self.agent = Agent(self)
        self.steps = self.agent.run()
        self.wake_at = 0.0

    def stop_agent(self) -> None:
        if self.steps and not self.busy:
            self.steps.close()
        self.agent = self.steps = None

    def power_off(self) -> None:
        self.server.end()
        self.off, self.frozen, self.fence = True, False, None
        self.open, self.deadline = False, float("-inf")
        self.stop_agent()

    def power_on(self) -> None:
        if self.off:
            self.off = False
            self.start_agent()

    def step(self) -> Pause:
        """One step of the agent's; `WAIT` if it has none now."""
        if not self.runs or self.busy or not self.steps:
            return Pause.WAIT
        self.busy, steps = True, self.steps
        try:
            return next(steps)
        finally:
            self.busy = False
            if self.steps is not steps:
                steps.close()

    def guard(self) -> bool:
        """One step of the guard's; whether there was one."""
        if not self.runs or self.world.mistake is Mistake.NEVER_FENCES:
            return False
        if self.fence is None:
            server = self.server
            if self.exclusive:
                return False
            late = self.open and self.clock() >= self.deadline
            if not late or not (server.writable or server.offline):
                return False
            self.fence = self.fencing()
        try:
            next(self.fence)
        except StopIteration:
            self.fence = None
        return True

    def fencing(self) -> Steps:
        """No client gets an acknowledgement after it."""
        server, boot = self.server, self.server.boot
        self.fences += 1
        if server.state == "hung":
            server.end()
            return
        if self.world.mistake is not Mistake.FENCE_KEEPS_CLIENTS:
            server.clients.clear()
            server.offline = True
        yield Pause.STEP
        if server.state == "up" and server.boot == boot:
            server.writable = False
            yield Pause.STEP
        if server.state == "up" and server.boot == boot:
            self.world.wait_for(self, 0)
            yield Pause.STEP
        if server.state == "up" and server.boot == boot:
            server.offline = False
        self.fences += 1
        self.fenced_at = self.clock()


class Wire:
    """The table as a machine reaches it."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.world = machine, machine.world

    def read(self, name: str) -> Record | None:
        return self._request(lambda: self.world.table.read(name), late=False)

    def write(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        return self._request(lambda: self.world.write_record(name, expected, changes), late=True)

    def _request(self, do: Callable[[], Record | None], *, late: bool) -> Record | None:
        machine, world = self.machine, self.world
        if not machine.table or world.away:
            raise UnreachableError
        match machine.fates.popleft() if machine.fates else "":
            case "lost":
                raise UnreachableError
            case "unanswered":
                do()
                raise UnreachableError
            case "late" if late:
                world.late.append(do)
                world.was_late = True
                raise UnreachableError
            case "slow before":
                world.run(0.4)
                return do()
            case "slow after":
                answer = do()
                world.run(0.4)
                return answer
            case "frozen before" | "frozen after" as fate:
                answer = do() if fate == "frozen after" else None
                machine.frozen = True
                world.run(4.4)
                machine.frozen = False
                return answer if fate == "frozen after" else do()
            case _:
                return do()


class Agent:
    """What a program on the machine knows: gone when it is started anew."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.world, self.me = machine, machine.world, machine.name
        self.lease = Lease(Wire(machine), NAME, self.me, LEASE, machine.clock)
        self.pair: Pair | None = None
        self.read = self.reachable = False
        self.read_at = float("-inf")
        self.peers: dict[str, Told] = {}
        self.asked_peers_at = float("-inf")
        self.view: View | None = None
        self.looked_at_primary_at = float("-inf")
        self.current_at = float("-inf")
        self.alone = self.missing = 0
        self.session_with = ("", 0)
        self.alive_at = machine.clock()
        self.ends = machine.server.ends
        self.started_at = float("-inf")
        self.starts = 0
        self.before = self.later = 0
        self.later_at = float("-inf")
        self.seen: Mysqld | None = None
        self.executed = self.has = 0
        self.clients = self.acknowledged = 0
        self.stalled_since: float | None = None
        self.missing_since: float | None = None
        self.released_at = self.invited_at = self.invite_again = float("-inf")
        self.vacant_since: float | None = None
        self.known: frozenset[str] = frozenset()
        """Who could succeed this machine, as far as it knows."""
        self.promised_until = float("-inf")
        self.taking = False
        self.decision = Decision(Action.NOTHING)
        self.doing: Action | None = None
        """The step that is not at its end yet."""

    @property
    def server(self) -> Server:
        return self.machine.server

    def clock(self) -> float:
        return self.machine.clock()

    def run(self) -> Steps:
        while True:
            try:
                yield from self.turn()
            except (FailedError, UnreachableError):
                self.read_at = float("-inf")
            self.doing = None
            self.publish()
            self.machine.wake_at = self.world.now + LOOP
            yield Pause.WAIT

    def turn(self) -> Steps:
        yield from self.look_at_record()
        self.ask_peers()
        self.look_at_primary()
        fences = self.machine.fences
        self.look_at_mysqld()
        if not self.read:
            return
        yield Pause.STEP
        now = self.situation()
        if fences != self.machine.fences or self.machine.fence:
            return
        self.decision = decide(now)
        self.publish()
        if self.decision.action not in (Action.NOTHING, Action.REFUSE):
            self.read_at = float("-inf")
            self.doing = self.decision.action
            yield Pause.STEP
            yield from self.act(now, self.decision)

    def publish(self, *, opening: bool = False) -> None:
        if not self.read:
            return
        server = self.server
        writable = server.state == "up" and (server.writable or server.offline)
        self.machine.open, self.machine.deadline = opening or writable, self.lease.deadline

    # ---- observe

    def look_at_record(self) -> Steps:
        if self.clock() - self.read_at < RENEW:
            return
        asked_at = self.read_at = self.clock()
        try:
            record = self.lease.refresh()
            self.read = self.reachable = True
            self.pair = pair(record) if record else None
            if self.pair:
                self.known = self.pair.in_sync | ({self.pair.joining} - {""})
        except UnreachableError:
            self.reachable = False
            yield from self.go_on(asked_at)
        if not self.lease.vacant:
            self.vacant_since = None
        elif self.vacant_since is None:
            self.vacant_since = self.clock()

    def go_on(self, asked_at: float) -> Steps:
        """Failsafe: the primary goes on while all who could succeed it promise not to."""
        generation = self.lease.generation
        if generation is None or not self.lease.held:
            return
        modes = self.machine.mode, self.pair and self.pair.mode
        if "asynchronous" in modes and self.world.mistake is not Mistake.GOES_ON_CARELESSLY:
            # Whoever is close enough behind may lead next.
            return
        for name in sorted(self.known - {self.me}):
            yield Pause.STEP
            other = self.world.machines[name]
            asked = self.world.reaches(self.me, name) and other.runs and other.agent
            if not asked or not asked.promise(generation):
                return
        yield Pause.STEP
        self.lease.extend(asked_at, generation)

    def promise(self, generation: int) -> bool:
        record = self.lease.record
        if self.taking or record is None or record.released or record.generation != generation:
            return False
        if record.holder == self.me:
            return False
        self.promised_until = self.clock() + max(record.lease, self.lease.times.lease)
        return True

    @property
    def promised(self) -> bool:
        if self.world.mistake is Mistake.IGNORES_PROMISES:
            return False
        return self.clock() < self.promised_until

    def ask_peers(self) -> None:
        now = self.clock()
        if now - self.asked_peers_at < PEERS:
            return
        self.asked_peers_at = now
        for name in self.world.names:
            self.ask(name)

    def ask(self, name: str) -> Told | None:
        other = self.world.machines[name]
        if name == self.me or not self.world.talk(self.me, name) or not other.runs:
            return None
        if other.agent is None:
            return None
        told = other.agent.tells(self.clock())
        self.peers[name] = told
        return told

    def tells(self, at: float) -> Told:
        seen = self.seen
        running = seen is not None and seen.receiving == "ON" and seen.applying
        running = running and self.doing is not Action.COPY
        return Told(
            at,
            self.executed,
            self.has,
            seen.source if seen else "",
            running,
            seen is not None and seen.acknowledging,
            self.machine.draining,
        )

    def fresh(self) -> dict[str, Told]:
        since = self.clock() - FRESH
        return {name: told for name, told in self.peers.items() if told.at >= since}

    def look_at_primary(self) -> None:
        now, record = self.clock(), self.pair
        address = record.holder if record and not record.released else ""
        if address == self.me:
            address = ""
        if self.view and self.view.primary.address != address:
            self.view, self.alone, self.missing = None, 0, 0
        if not address or now - self.looked_at_primary_at < PEERS:
            return
        self.looked_at_primary_at = now
        there = self.world.machines[address]
        if not self.world.talk(self.me, address) or not there.serves:
            self.session_with = ("", 0)
            return
        theirs = there.server
        session = (address, theirs.boot)
        if self.me in theirs.shut_out and self.session_with != session:
            return
        self.session_with = session
        if self.server.state != "up":
            self.view = View(now, Primary(address, theirs.writable, False, False), alone=False)
            return
        missing = self.server.executed & ~theirs.executed
        if theirs.writable and not theirs.executed & ~self.server.executed:
            self.current_at = now
        self.missing &= missing
        if not self.missing:
            self.alone, self.missing = 0, missing
        self.alone += bool(missing)
        self.view = View(
            now,
            Primary(
                address, theirs.writable, not missing, not theirs.purged & ~self.server.executed
            ),
            self.alone >= ALONE,
        )

    def look_at_mysqld(self) -> None:
        server, now = self.server, self.clock()
        if server.state != "up":
            self.seen, self.executed, self.has = None, 0, 0
            return
        self.executed, self.has = server.executed, server.has
        connected = server.stream is not None
        self.seen = Mysqld(
            writable=server.writable,
            empty=server.empty,
            prepared=not server.empty,
            waits_for=server.waits_for,
            waiting=len(server.waiting),
            acknowledging=server.acknowledging,
            offline=server.offline,
            source=server.source,
            receiving="OFF" if not server.receiving else "ON" if connected else "CONNECTING",
            applying=server.applying,
        )
        self.alive_at, self.ends, self.starts = now, server.ends, 0
        if now - self.later_at >= A_MOMENT:
            self.before, self.later, self.later_at = self.later, server.executed, now
        self.clients = sum(stream.semi for stream in server.streams.values())
        if not server.waits_for:
            self.stalled_since = self.missing_since = None
        stalled = bool(server.waiting) and server.acknowledged == self.acknowledged
        missing = self.clients < server.waits_for
        self.stalled_since = (self.stalled_since or now) if stalled else None
        self.missing_since = (self.missing_since or now) if missing else None
        self.acknowledged = server.acknowledged

    def situation(self) -> Situation:
        now, server, view = self.clock(), self.server, self.view
        if view and (now - view.at > VIEW or self.machine.fenced_at >= view.at):
            view = None
        since = self.lease.since
        waiting = self.seen is not None and self.seen.waiting
        record = self.pair
        if record and self.lease.vacant and self.world.mistake is Mistake.TAKES_OVER_UNSYNCED:
            record = replace(record, in_sync=record.in_sync | {self.me})
        return Situation(
            me=self.me,
            first=self.me == self.world.names[0],
            pair=record,
            reachable=self.reachable,
            held=self.lease.held,
            vacant=self.lease.vacant and not self.promised,
            yielding=now - self.released_at < GRACE,
            behind=self.behind(),
            mysqld=self.seen,
            running=server.state != "down",
            starting=server.state == "starting",
            exited=server.ends > self.ends,
            silent=now - max(self.alive_at, self.started_at),
            hung_after=LEASE.lease,
            broken=self.starts >= BROKEN,
            lag=(since if since is not None else now) - self.current_at,
            max_failover_lag=LAG,
            mode=self.machine.mode,
            draining=self.machine.draining,
            primary=view.primary if view else None,
            alone=view is not None and view.alone and not waiting,
            lost=self.lost(),
            quiet=self.quiet(),
            candidate=self.candidate(),
            arrived=self.arrived(),
            overdue=now - self.invited_at > JOINING,
            successor=self.successor(),
        )

    def lost(self) -> frozenset[str]:
        now = self.clock()
        stalled = self.stalled_since is not None and now - self.stalled_since >= STALLED
        missing = self.missing_since is not None and now - self.missing_since >= MISSING
        if not self.pair or not (stalled or missing):
            return frozenset()
        others = self.pair.others(self.me)
        return (others - self.fresh().keys()) or others

    def candidate(self) -> str:
        record, before = self.pair, self.before
        if not record or record.holder != self.me or self.clock() < self.invite_again or not before:
            return ""
        if record.joining or record.mode == "asynchronous":
            return ""
        for name, told in sorted(self.fresh().items()):
            if name in record.in_sync or told.draining or not told.running:
                continue
            if told.source == self.me and not before & ~told.has:
                return name
        return ""

    def arrived(self) -> bool:
        record = self.pair
        if not record or not record.joining:
            return False
        told = self.fresh().get(record.joining)
        enough = self.clients > len(record.others(self.me))
        return told is not None and told.acknowledging and enough

    def successor(self) -> str:
        record = self.pair
        if not record or record.holder != self.me or record.released:
            return ""
        usable = self.fresh()
        if record.mode == "asynchronous":
            usable = {n: t for n, t in usable.items() if t.running and t.source == self.me}
            wanted = {n: t for n, t in usable.items() if machine_of(n) == record.switchover_to}
            usable = wanted or usable
        else:
            known = record.others(self.me) - record.leaving
            usable = {n: t for n, t in usable.items() if n in known}
        return min(usable, default="")

    def behind(self) -> str:
        record, since = self.pair, self.vacant_since
        if not record or since is None or self.clock() - since > LEASE.lease:
            return ""
        for name, told in sorted(self.fresh().items()):
            if name in (self.me, record.holder):
                continue
            if record.released and record.handed_to == name:
                return name
            if name in record.in_sync and told.has & ~self.has:
                return name
        return ""

    # ---- act

    def act(self, now: Situation, decision: Decision) -> Steps:  # noqa: PLR0912, PLR0915 a line for each
        record, member = now.pair, decision.member
        match decision.action:
            case Action.START:
                self.start()
            case Action.KILL:
                self.server.end()
            case Action.BEGIN:
                if not self.lease.acquire(self.alone_with(self.machine.mode)):
                    raise FailedError
            case Action.TAKE_OVER:
                yield from self.take_over()
            case Action.RELEASE:
                self.publish()
                self.server.end()
                yield Pause.STEP
                self.released_at = self.clock()
                self.lease.release({"switchover_to": None, "handed_to": None})
            case Action.CLOSE:
                yield from self.machine.fencing()
            case Action.FOLLOW | Action.RESUME:
                self.session()
                if decision.action is Action.FOLLOW and now.primary:
                    self.server.forget_source()
                    self.server.source = now.primary.address
                yield Pause.STEP
                self.session()
                wanted = self.pair and (
                    self.me in self.pair.in_sync or self.pair.joining == self.me
                )
                self.server.acknowledging = bool(wanted)
                self.replicating().receiving = self.server.applying = True
            case Action.ACKNOWLEDGE | Action.KEEP_QUIET:
                self.session()
                self.server.acknowledging = decision.action is Action.ACKNOWLEDGE
                yield Pause.STEP
                self.replicating().stop_receiving()
                self.server.receiving = True
            case Action.COPY | Action.REBUILD:
                yield from self.destroy(now, decision.action)
            case Action.LEAVE if record:
                self.lease.note({"leaving": record.leaving | {self.me}})
            case Action.OPEN if record:
                yield from self.opens(record)
            case Action.PREPARE:
                self.world.write(self.me)
            case Action.SWITCH_OVER if record:
                yield from self.switch_over(record, member)
            case Action.DECLINE:
                self.lease.refresh({"switchover_to": None, "refused": decision.why})
            case Action.DROP if record:
                yield from self.drop(record, member)
            case Action.RELAX if record:
                self.session()
                self.shut_out(record, record.in_sync)
                yield from self.lower(record, record.in_sync)
            case Action.SET_MODE:
                yield from self.set_mode(now.mode)
            case Action.INVITE if record:
                self.invited_at = self.clock()
                self.known |= {member}
                yield from self.invite(record, member)
            case Action.ADMIT if record:
                yield from self.admit(record, member)
            case Action.LET_IN:
                self.session().shut_out.discard(member)
            case Action.UNINVITE if record:
                self.invite_again = self.clock() + AGAIN
                self.record({"joining": None}, record.in_sync)
                yield Pause.STEP
                self.session()
                self.shut_out(record, record.in_sync, record.joining)
            case _:
                pass

    def session(self) -> Server:
        if self.server.state != "up":
            raise FailedError
        return self.server

    def replicating(self) -> Server:
        """Its mysqld, if it has a source."""
        if not self.session().source:
            raise FailedError
        return self.server

    def start(self) -> None:
        if self.clock() - self.started_at < STARTS:
            return
        self.starts += 1
        self.started_at = self.clock()
        server = self.server
        if server.state == "down" and not server.corrupt:
            server.state, server.ready_at = "starting", self.world.now + STARTING

    def alone_with(self, mode: Mode) -> dict[str, Value | None]:
        return {
            "in_sync": frozenset({self.me}),
            "mode": mode,
            "address": self.me,
            "joining": None,
            "leaving": None,
            "switchover_to": None,
            "handed_to": None,
            "force": None,
        }

    def record(self, changes: Mapping[str, Value | None], in_sync: frozenset[str]) -> None:
        """Changes the record, and is sure of it."""
        record = self.lease.refresh(changes)
        now = record and pair(record)
        if now is None or now.holder != self.me or now.released or now.in_sync != in_sync:
            raise FailedError

    def needed(self, record: Pair, in_sync: frozenset[str]) -> int:
        others = in_sync - {self.me}
        if record.mode == "asynchronous" or not others:
            return 0
        return len(others) + bool(record.joining and record.joining not in in_sync)

    def shut_out(self, record: Pair, in_sync: frozenset[str], gone: str = "") -> None:
        """Whoever is not waited for and may acknowledge all the same may not connect again."""
        known = (in_sync | {record.joining, self.me}) - {gone}
        if in_sync <= {self.me} or self.world.mistake is Mistake.HEEDS_STRANGERS:
            return
        fresh = self.fresh()
        for name in self.world.names:
            quiet = name in fresh and not fresh[name].acknowledging
            if name not in known and not quiet:
                self.server.shut_out.add(name)
                self.world.hang_up(self.machine, name)

    def quiet(self) -> str:
        """One that may not connect and acknowledges no more."""
        for name, told in sorted(self.fresh().items()):
            if name in self.server.shut_out and not told.acknowledging:
                return name
        return ""

    def opens(self, record: Pair) -> Steps:
        server = self.session()
        if server.source:
            yield from self.apply_all(server)
        count = self.needed(record, record.in_sync)
        if self.world.mistake is Mistake.OPENS_WITHOUT_WAITING:
            count = 0
        self.shut_out(record, record.in_sync)
        yield from self.open_for_writes(count)

    def apply_all(self, server: Server) -> Steps:
        """Receiving stops first: from then on nobody gets an acknowledgement from here."""
        boot = server.boot
        server.applying = True
        received = server.received
        if self.world.mistake is Mistake.READS_BEFORE_STOPPING:
            yield Pause.STEP
        server.stop_receiving()
        yield Pause.STEP
        if self.world.mistake is not Mistake.READS_BEFORE_STOPPING:
            received = server.received
        end = self.clock() + APPLYING
        while received & ~server.executed:
            yield Pause.WAIT
            if self.session().boot != boot or self.clock() > end:
                raise FailedError

    def open_for_writes(self, count: int) -> Steps:
        while self.machine.fence:
            yield Pause.WAIT
        self.machine.exclusive = True
        try:
            self.session()
            self.world.wait_for(self.machine, count)
            self.publish(opening=True)
            yield Pause.STEP
            if not self.lease.held:
                raise FailedError
            yield Pause.STEP
            server = self.session()
            server.writable, server.offline = True, False
        finally:
            self.machine.exclusive = False
        server.forget_source()
        self.world.opened(self.machine)

    def take_over(self) -> Steps:
        self.taking = True
        server = self.session()
        boot, source = server.boot, server.source
        try:
            if source:
                yield from self.apply_all(server)
            if self.promised:
                raise FailedError
            yield Pause.STEP
            if not self.lease.acquire(self.alone_with(self.machine.mode)):
                raise FailedError
            yield Pause.STEP
        except (FailedError, UnreachableError):
            if source and server.state == "up" and server.boot == boot:
                server.receiving = True
            raise
        finally:
            self.taking = False
        self.session()
        server.acknowledging = False
        server.shut_out.clear()
        yield from self.open_for_writes(0)

    def drop(self, record: Pair, member: str) -> Steps:
        rest = record.in_sync - {member}
        changes: dict[str, Value | None] = {
            "in_sync": rest,
            "leaving": (record.leaving - {member}) or None,
        }
        if record.joining == member:
            changes["joining"] = None
        if self.world.mistake is Mistake.DROPS_BEFORE_WRITING:
            self.world.wait_for(self.machine, len(rest) - 1)
            yield Pause.STEP
        try:
            self.record(changes, rest)
        except UnreachableError:
            if self.world.mistake is not Mistake.DROPS_IN_DOUBT:
                raise
        yield Pause.STEP
        self.session()
        self.shut_out(record, rest, member)
        self.world.hang_up(self.machine, member)
        yield from self.lower(record, rest)
        self.stalled_since = self.missing_since = None

    def lower(self, record: Pair, in_sync: frozenset[str]) -> Steps:
        """Waits for fewer, once what others acknowledged before cannot stand for theirs."""
        end, target = self.clock() + ARRIVING, self.session().logged
        careless = self.world.mistake is Mistake.COUNTS_FORMER_ONES
        for name in () if careless else sorted(in_sync - {self.me}):
            while True:
                told = self.ask(name)
                if told and not target & ~told.has:
                    break
                if self.clock() >= end:
                    raise FailedError
                yield Pause.WAIT
        self.session()
        self.world.wait_for(self.machine, self.needed(record, in_sync))

    def set_mode(self, mode: Mode) -> Steps:
        only_me = frozenset({self.me})
        self.record({"mode": mode, "in_sync": only_me, "joining": None, "leaving": None}, only_me)
        if mode == "asynchronous":
            yield Pause.STEP
            self.session()
            self.world.wait_for(self.machine, 0)

    def invite(self, record: Pair, member: str) -> Steps:
        if others := record.others(self.me):
            self.session()
            self.world.wait_for(self.machine, len(others) + 1)
            yield Pause.STEP
        self.record({"joining": member}, record.in_sync)

    def admit(self, record: Pair, member: str) -> Steps:
        server = self.session()
        mistake = self.world.mistake
        wanted = record.in_sync | {member}
        if mistake is Mistake.ADMITS_BEFORE_WAITING:
            self.record({"in_sync": wanted, "joining": None}, wanted)
            yield Pause.STEP
        self.session()
        self.world.wait_for(self.machine, len(record.in_sync))
        yield Pause.STEP
        self.session()
        self.shut_out(record, wanted)
        executed, end = self.session().executed, self.clock() + ARRIVING
        while mistake is not Mistake.ADMITS_BEFORE_IT_HAS_ALL:
            told = self.ask(member)
            if told and told.running and told.acknowledging:
                behind, ahead = executed & ~told.has, told.executed & ~self.session().executed
                if not behind | ahead:
                    break
            if self.clock() >= end or not self.lease.held:
                raise FailedError
            yield Pause.WAIT
        yield Pause.STEP
        leaving = (record.leaving - {member}) or None
        if server.state == "up":
            self.record({"in_sync": wanted, "joining": None, "leaving": leaving}, wanted)

    def switch_over(self, record: Pair, member: str) -> Steps:
        if self.ask(member) is None:
            raise FailedError
        try:
            server = self.session()
            boot = server.boot
            server.offline = True
            server.clients.clear()
            yield Pause.STEP
            server = self.session()
            while server.waiting:
                # Setting super_read_only waits for them.
                yield Pause.WAIT
                if self.session().boot != boot or not self.lease.held:
                    raise FailedError
            server.writable = False
            yield Pause.STEP
            executed, end = self.session().executed, self.clock() + ARRIVING
            there = self.world.machines[member]
            while True:
                reached = there.serves and self.world.talk(self.me, member)
                if reached and not executed & ~there.server.executed:
                    break
                yield Pause.WAIT
                if self.clock() >= end:
                    raise FailedError
            self.released_at = self.clock()
            if not self.lease.release(
                {"handed_to": member, "switchover_to": None, "refused": None}
            ):
                raise FailedError
        except (FailedError, UnreachableError):
            if self.lease.held:
                yield from self.opens(record)
            if record.switchover_to:
                self.lease.refresh({"switchover_to": None, "refused": "failed"})
            raise

    def destroy(self, now: Situation, action: Action) -> Steps:
        if action is Action.COPY:
            self.session().stop_receiving()
        yield Pause.STEP
        record = self.lease.refresh()
        fresh = record and pair(record)
        if not fresh or self.me in fresh.in_sync or self.me == fresh.joining:
            raise FailedError
        yield Pause.STEP
        self.world.destroyed(self.machine)
        server = self.server
        server.end()
        server.corrupt = False
        server.log.clear()
        server.executed = server.purged = 0
        server.forget_source()
        if action is Action.COPY and now.primary:
            there = self.world.machines[now.primary.address]
            if there.serves and self.world.talk(self.me, there.name):
                server.executed = server.purged = there.server.executed
                server.log = [n for n in there.server.log if server.executed >> n & 1]
        yield Pause.WAIT
        server.state, server.ready_at = "starting", self.world.now + STARTING
        self.starts, self.started_at = 0, self.clock()


class World:
    """All machines, the table, the network and the clients."""

    def __init__(self, count: int, mistake: Mistake | None = None) -> None:
        self.mistake = mistake
        self.now = 1000.0
        self.table = MemoryTable()
        self.away = False
        """The table answers nobody."""
        self.late: list[Callable[[], Record | None]] = []
        self.was_late = False
        self.cuts: set[tuple[str, str]] = set()
        self.names = [f"{letter}/1" for letter in "abc"[:count]]
        clocks = ((0.0, 1.0), (5000.0, 1.004), (-300.0, 0.996))
        self.machines: dict[str, Machine] = {}
        for name, (offset, rate) in zip(self.names, clocks, strict=False):
            self.machines[name] = Machine(self, name, offset, rate)
        self.transactions = 0
        self.begun: dict[int, int] = {}
        """The number of openings at which a transaction was begun."""
        self.acknowledged = 0
        """Those that a client was told are done, less what may be lost in asynchronous mode."""
        self.openings: list[str] = []
        """Who opened for writes after taking over, in their order."""
        self.generation: dict[str, int] = {}
        """Of the lease at a machine's last opening."""
        self.lossy: set[int] = set()
        """Generations that began with a take-over that may lose something."""
        self.note: Callable[[str], None] = lambda _: None

    # ---- network

    def reaches(self, one: str, other: str) -> bool:
        return (one, other) not in self.cuts and (other, one) not in self.cuts

    talk = reaches

    # ---- the table

    def write_record(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        before = self.table.records.get(name)
        record = self.table.write(name, expected, changes)
        if record and before and record.generation > before.generation:
            was = pair(before)
            if was.mode == "asynchronous" or was.force == machine_of(record.holder):
                self.lossy.add(record.generation)
        return record

    @property
    def record(self) -> Pair | None:
        record = self.table.records.get(NAME)
        return pair(record) if record else None

    # ---- mysqld

    def wait_for(self, machine: Machine, count: int) -> None:
        """How many acknowledgements a commit waits for."""
        machine.server.waits_for = count
        self.release(machine)

    def hang_up(self, machine: Machine, name: str) -> None:
        stream = machine.server.streams.pop(name, None)
        there = self.machines[name].server
        if stream and there.stream is stream:
            there.stream = None

    def release(self, machine: Machine) -> None:
        server = machine.server
        while server.waiting:
            number = server.waiting[0]
            if len(server.acks[number]) < server.waits_for:
                return
            server.waiting.pop(0)
            del server.acks[number]
            server.executed |= 1 << number
            if number in server.clients:
                server.clients.discard(number)
                self.acknowledge(machine, number)

    def write(self, name: str) -> None:
        """A client's."""
        machine = self.machines[name]
        server = machine.server
        record = self.record
        if record and record.mode == "asynchronous":
            # Nothing but the guard protects it: then it must be quicker than a client.
            while machine.guard():
                pass
        if not machine.serves or not server.writable or server.offline:
            return
        number, self.transactions = self.transactions, self.transactions + 1
        self.begun[number] = len(self.openings)
        server.log.append(number)
        server.waiting.append(number)
        server.acks[number] = set()
        server.clients.add(number)
        self.release(machine)

    def connect(self, name: str) -> None:
        machine = self.machines[name]
        server = machine.server
        if not machine.serves or not server.receiving:
            return
        source = self.machines[server.source]
        if server.stream:
            if source.runs and self.talk(name, server.source):
                alive = source.server.streams.get(name) is server.stream
                if source.server.state in ("down", "starting") or not alive:
                    server.stream = None
            return
        if not self.talk(name, server.source) or not source.serves:
            return
        if source.server.purged & ~server.has:
            server.receiving = False
            return
        if name in source.server.shut_out:
            return
        stream = Stream(name, server.acknowledging, server.has)
        server.stream = source.server.streams[name] = stream

    def send(self, name: str) -> None:
        """What the replica's source has to send it goes on its way."""
        machine = self.machines[name]
        stream = machine.server.stream
        if not stream or stream.closed:
            return
        source = self.machines[machine.server.source]
        if not source.serves or (source.name, name) in self.cuts:
            return
        log = source.server.log
        while stream.next < len(log):
            number = log[stream.next]
            stream.next += 1
            if not stream.known >> number & 1:
                stream.pipe.append(number)

    def receive(self, name: str) -> None:
        machine = self.machines[name]
        server = machine.server
        if not machine.serves or not server.stream:
            return
        stream = server.stream
        while stream.pipe:
            number = stream.pipe.popleft()
            if not server.has >> number & 1:
                server.relay.append(number)
                server.received |= 1 << number
            if stream.semi:
                stream.acks.append(number)

    def hear(self, name: str) -> None:
        """A primary hears the acknowledgements that are under way."""
        machine = self.machines[name]
        server = machine.server
        if not machine.serves:
            return
        for replica, stream in list(server.streams.items()):
            if (replica, name) in self.cuts:
                continue
            while stream.acks:
                number = stream.acks.popleft()
                server.acknowledged += 1
                # It has everything before that, too.
                for waiting in server.waiting[: _upto(server.waiting, server.log, number)]:
                    server.acks[waiting].add(replica)
            if stream.closed:
                del server.streams[replica]
        self.release(machine)

    def replicate(self, name: str) -> None:
        self.connect(name)
        self.send(name)
        self.receive(name)
        machine = self.machines[name]
        if machine.runs:
            machine.server.apply()

    # ---- time

    def tick(self, seconds: float = 0.2) -> None:
        """Everybody who can does what is next."""
        self.now += seconds
        for machine in self.machines.values():
            self.start_up(machine)
            while machine.guard():
                pass
        for name in self.names:
            self.replicate(name)
        for name in self.names:
            self.hear(name)
        for machine in self.machines.values():
            if machine.wake_at <= self.now + 1e-9:
                for _ in range(40):
                    if machine.step() is Pause.WAIT:
                        break

    def start_up(self, machine: Machine) -> None:
        server = machine.server
        if machine.runs and server.state == "starting" and self.now >= server.ready_at:
            server.state, server.boot = "up", server.boot + 1

    def run(self, seconds: float) -> None:
        end = self.now + seconds - 1e-9
        while self.now < end:
            self.tick()

    def turmoil(
        self, random: Random, seconds: float, until: Callable[[], bool] = lambda: False
    ) -> bool:
        """Time passes in small bits, in which everybody may do something or be slow.

        Whether `until` came true, which ends it.
        """
        end = self.now + seconds
        speed = {name: random.choice((0.1, 0.5, 0.9)) for name in MOVES}
        writes = random.choice((0.02, 0.2))
        stalled: dict[str, float] = {}
        machines = list(self.machines.values())
        while self.now < end:
            if until():
                return True
            self.now += 0.05
            random.shuffle(machines)
            for machine in machines:
                self.start_up(machine)
                name = machine.name
                if random.random() < writes:
                    self.write(name)
                for move in MOVES:
                    if random.random() < speed[move]:
                        self.move(name, move)
                if random.random() < 0.5:
                    machine.guard()
                if self.now < max(machine.wake_at, stalled.get(name, 0.0)):
                    continue
                machine.step()
                if random.random() < 0.03:
                    stalled[name] = self.now + random.uniform(0.1, 1.0)
        return False

    def move(self, name: str, what: str) -> None:
        """Something moves between a replica and its source, or within it."""
        match what:
            case "connect":
                self.connect(name)
            case "send":
                self.send(name)
            case "receive":
                self.receive(name)
            case "hear":
                self.hear(name)
            case _:
                if self.machines[name].runs:
                    self.machines[name].server.apply()

    # ---- what must hold

    def opened(self, machine: Machine) -> None:
        agent = machine.agent
        generation = agent.lease.generation if agent else None
        if generation is None:
            message = f"{machine.name} opened without a lease"
            raise ViolationError(message)
        before = self.generation.get(machine.name)
        self.generation[machine.name] = generation
        if before == generation:
            return
        self.openings.append(machine.name)
        holders = [one.name for one in self.machines.values() if one.agent and one.agent.lease.held]
        if len(holders) > 1 and not self.was_late:
            message = f"{machine.name} opened while {holders} hold the lease"
            raise ViolationError(message)
        lost = self.acknowledged & ~machine.server.executed
        if lost and generation in self.lossy:
            self.acknowledged &= machine.server.executed
        elif lost:
            message = f"{machine.name} leads without {_bits(lost)}, which were acknowledged"
            raise ViolationError(message)

    def acknowledge(self, machine: Machine, number: int) -> None:
        mine = self.generation.get(machine.name, 0)
        for other in self.machines.values():
            theirs = self.generation.get(other.name, 0)
            if theirs <= mine:
                continue
            later = any(name == other.name for name in self.openings[: self.begun[number]])
            if later and self._led_when(other.name, number):
                message = f"{machine.name} acknowledged {number}, begun while {other.name} led"
                raise ViolationError(message)
            if not other.server.executed >> number & 1:
                if self._lossy_between(mine, theirs):
                    return
                message = f"{machine.name} acknowledged {number} that {other.name} leads without"
                raise ViolationError(message)
        self.acknowledged |= 1 << number

    def _led_when(self, name: str, number: int) -> bool:
        """Whether a transaction was begun after this machine opened its present generation."""
        last = len(self.openings) - 1 - self.openings[::-1].index(name)
        return last < self.begun[number]

    def _lossy_between(self, mine: int, theirs: int) -> bool:
        return any(mine < generation <= theirs for generation in self.lossy)

    def destroyed(self, machine: Machine) -> None:
        """A machine's data goes."""
        record = self.record
        if record and machine.name in record.in_sync:
            message = f"{machine.name} destroys its data and is in sync: {record}"
            raise ViolationError(message)

    # ---- the end of all trouble

    def heal(self) -> None:
        """Failures stop; what is broken inside a machine stays for its agent to mend."""
        self.cuts.clear()
        self.away = False
        for do in self.late:
            do()
        self.late.clear()
        record = self.record
        for machine in self.machines.values():
            machine.table = True
            machine.fates.clear()
            machine.frozen = False
            machine.mode = "semi-synchronous"
            machine.power_on()
            if machine.draining or machine.agent is None:
                machine.draining = False
                machine.start_agent()
            if record is None or machine.name in record.in_sync:
                machine.server.corrupt = False

    def well(self) -> bool:
        """All are in sync, have the same, and writes are acknowledged."""
        record = self.record
        if record is None or record.released or record.in_sync != frozenset(self.names):
            return False
        before = self.acknowledged
        self.write(record.holder)
        self.run(0.4)
        have = {machine.server.executed for machine in self.machines.values()}
        return self.acknowledged != before and len(have) == 1 and not before & ~have.pop()

    def settle(self, seconds: float) -> None:
        """Runs until all is well. Raises `ViolationError` if it takes longer than that."""
        end = self.now + seconds
        while self.now < end:
            self.run(1.0)
            if self.well():
                return
        message = f"no service after {seconds:g} s without failures:\n{self}"
        raise ViolationError(message)

    def __str__(self) -> str:
        lines = [f"{self.now:.1f} {self.table.records.get(NAME)}"]
        for machine in self.machines.values():
            server = machine.server
            does = machine.agent.decision if machine.agent else None
            has = f"{_bits(server.executed)} + {server.relay}"
            extra = {k: v for k, v in vars(server).items() if k not in ("log", "executed", "relay")}
            lines.append(
                f"{machine.name} off={machine.off} frozen={machine.frozen} {has} {extra}"
                f" held={machine.agent and machine.agent.lease.held} {does}"
            )
        return "\n".join(lines)


def _upto(waiting: list[int], log: list[int], number: int) -> int:
    """How many of the waiting transactions are in the log before or at this one."""
    if not waiting:
        return 0
    if number in waiting:
        return waiting.index(number) + 1
    place = log.index(number) if number in log else -1
    return sum(log.index(one) <= place for one in waiting)


def _bits(number: int) -> list[int]:
    return [place for place in range(number.bit_length()) if number >> place & 1]
