"""A model of the load balancers and one address: real claims, leases, decisions; all else made up.

EC2 is one place that says where the address is, and does what it is asked at any time later. A
machine that freezes in the middle of a request does nothing until it is thawed; the others go on.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from hosts.base.lease import Lease, Record, UnreachableError, Value
from hosts.load_balancer import pulse
from hosts.load_balancer.claim_address import AGAIN, GIVEN_TO, LOOK, Claim
from hosts.load_balancer.decide import Belongs, Situation
from hosts.load_balancer.elastic_addresses import AddressError
from hosts.load_balancer.pulse import HaproxyPulse, Heard
from hosts.load_balancer.role import TIMES
from hosts.load_balancer.wish import ASKED_FOR
from tests.hosts.fakes import MemoryTable

ALLOCATION = "eipalloc-1"
NAME = f"address-{ALLOCATION}"
TICK = 0.1
ASTRAY = LOOK + AGAIN[1] + 2.0
"""Seconds for which an address may be elsewhere than with a holder that can fetch it."""
UNSERVED = 30.0
"""Seconds for which it may lead to a machine that does not serve, while another one could: the
first that takes the lease may have no way to EC2, and gives up after twelve."""
SHUT = 8.0
"""Seconds for which new connections may be kept off."""
RECENT = TIMES.lease + 3.0
"""Seconds after which a trouble of a holder is no reason any more to lose the lease."""
RECOVERY = 90.0
QUIET = 60.0

Haproxy = Literal["up", "gone", "hung"]


class ViolationError(AssertionError):
    """What must never be."""


class Mistake(StrEnum):
    """What would be wrong, to prove that the model finds it."""

    MOVES_WITHOUT_LEASE = "a machine does not look at its lease before it moves the address"
    NEVER_LOOKS = "a holder never looks where the address is"
    KEEPS_OFF = "connections are kept off though the address is not given away"
    NEVER_GIVES_UP = "a machine that EC2 gives no address holds on to its lease"
    HOLDS_ON = "a machine whose HAProxy is gone holds on to the address"


class Wire:
    """The table as a machine reaches it."""

    def __init__(self, machine: "Machine") -> None:
        self.machine, self.world = machine, machine.world

    def read(self, name: str) -> Record | None:
        return self._request(lambda: self.world.table.read(name), late=False)

    def write(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        return self._request(lambda: self.world.write(name, expected, changes), late=True)

    def _request(self, do: Callable[[], Record | None], *, late: bool) -> Record | None:
        machine, world = self.machine, self.world
        if world.table_away or not machine.table:
            raise UnreachableError
        match machine.table_fates.popleft() if machine.table_fates else "":
            case "lost":
                raise UnreachableError
            case "unanswered":
                do()
                raise UnreachableError
            case "late" if late:
                world.late.append(do)
                raise UnreachableError
            case "frozen before":
                machine.sleep()
                return do()
            case "frozen after":
                answer = do()
                machine.sleep()
                return answer
            case _:
                return do()


class Ec2:
    """EC2's API as a machine reaches it."""

    def __init__(self, machine: "Machine") -> None:
        self.machine, self.world = machine, machine.world

    def is_ours(self, allocation: str) -> bool:
        assert allocation == ALLOCATION
        self._reach()
        machine, world = self.machine, self.world
        match machine.ec2_fates[0] if machine.ec2_fates else "":
            case "old":
                machine.ec2_fates.popleft()
                return world.place != machine.name
            case "frozen looking":
                machine.ec2_fates.popleft()
                machine.sleep()
                return False
            case _:
                return world.place == machine.name

    def associate(self, allocation: str) -> None:
        assert allocation == ALLOCATION
        machine, world = self.machine, self.world
        if not machine.lease.held:
            raise ViolationError(f"{machine.name} moves the address without a lease")
        self._reach()
        match machine.ec2_fates.popleft() if machine.ec2_fates else "":
            case "lost":
                raise AddressError("no answer")
            case "unanswered":
                world.move(machine.name)
                raise AddressError("no answer")
            case "late":
                world.late.append(lambda: world.move(machine.name))
                raise AddressError("no answer")
            case "frozen before":
                machine.sleep()
                world.move(machine.name)
            case "frozen after" | "frozen looking":
                world.move(machine.name)
                machine.sleep()
            case _:
                world.move(machine.name)

    def _reach(self) -> None:
        if self.world.ec2_away or not self.machine.ec2:
            raise AddressError("RequestLimitExceeded")


class Door:
    """Connections that take a while to end."""

    def __init__(self, machine: "Machine") -> None:
        self.machine = machine
        self.shut_at: float | None = None
        self.shut_for = 0.0
        """While the machine ran."""

    def shut(self) -> None:
        self.shut_at, self.shut_for = self.machine.world.now, 0.0

    def empty(self) -> bool:
        assert self.shut_at is not None
        return self.machine.world.now - self.shut_at >= self.machine.world.emptying

    def reopen(self) -> None:
        if self.machine.world.mistake is not Mistake.KEEPS_OFF:
            self.shut_at = None


class Careless(Claim):
    """A claim with a mistake."""

    mistake: Mistake | None = None

    @property
    def situation(self) -> Situation:
        holds_on = self.mistake is Mistake.NEVER_GIVES_UP
        return replace(super().situation, hopeless=False) if holds_on else super().situation

    def _found(self, generation: int | None) -> bool:
        if self.mistake is Mistake.NEVER_LOOKS and self._is_here:
            return True
        return super()._found(generation)

    def _may_move(self, generation: int | None) -> bool:
        return self.mistake is Mistake.MOVES_WITHOUT_LEASE or super()._may_move(generation)


class Machine:
    """A machine: a clock, a HAProxy and an agent."""

    def __init__(self, world: "World", name: str, belongs: Belongs) -> None:
        self.world, self.name = world, name
        self.belongs: Belongs = belongs
        self.frozen = self.off = self.busy = self.cut = False
        self.haproxy: Haproxy = "up"
        self.table = self.ec2 = True
        """It reaches them."""
        self.draining = False
        self.table_fates: deque[str] = deque()
        self.ec2_fates: deque[str] = deque()
        self.sleeps = 5.0
        self.troubled_at = float("-inf")
        """When there was last a reason for it to lose the address."""
        self.start_agent()

    def clock(self) -> float:
        return 1000.0 + self.world.now

    def start_agent(self) -> None:
        self.beat_at = self.world.now + pulse.EVERY
        self.pulse = HaproxyPulse(
            self.clock, lambda: None, ask=self._ask, revive=lambda: self._set("gone")
        )
        self.door = Door(self)
        lease = Lease(Wire(self), NAME, self.name, TIMES, self.clock)
        self.claim = Careless(
            ALLOCATION,
            lease,
            addresses=Ec2(self),
            pulse=self.pulse,
            door=self.door,
            clock=self.clock,
            belongs=self.belongs,
            run=lambda work: work(),
        )
        self.claim.mistake = self.world.mistake
        if self.draining:
            self.claim.drain()
        self.lease = lease

    def _ask(self) -> Heard:
        return {"up": Heard.ANSWER, "gone": Heard.REFUSAL, "hung": Heard.SILENCE}[self.haproxy]

    def _set(self, haproxy: Haproxy) -> None:
        self.haproxy = haproxy

    def power_off(self) -> None:
        self.off, self.frozen = True, False

    def power_on(self) -> None:
        if self.off:
            self.off, self.haproxy = False, "up"
            self.start_agent()

    def drain(self) -> None:
        self.draining = True
        self.claim.drain()

    def sleep(self) -> None:
        """Frozen in the middle of a request, while the others go on."""
        self.frozen = True
        self.world.run(self.sleeps)
        self.frozen = False

    @property
    def runs(self) -> bool:
        return not self.frozen and not self.off

    @property
    def serves(self) -> bool:
        """Who is led to it is answered."""
        return self.runs and self.haproxy == "up" and not self.cut

    @property
    def able(self) -> bool:
        """It serves, and can have the address led to it."""
        world = self.world
        reached = self.table and self.ec2 and not world.table_away and not world.ec2_away
        quiet = not self.table_fates and not self.ec2_fates
        return self.serves and reached and quiet

    def turn(self) -> None:
        """What it does at one moment."""
        if self.busy or not self.runs:
            return
        self.busy, claim = True, self.claim
        try:
            if self.world.now >= self.beat_at:
                self.beat_at = self.world.now + pulse.EVERY
                if self.world.mistake is not Mistake.HOLDS_ON or not self.pulse.well:
                    self.pulse.beat()
            for _ in range(3):
                if self.claim is not claim or not claim.step():
                    break
        finally:
            self.busy = False


@dataclass
class Astray:
    """Since when an address has been elsewhere than with its able holder."""

    holder: str = ""
    since: float = 0.0


@dataclass
class World:
    """All machines, the table, EC2, and what must be true of them."""

    own: bool = True
    """The address is the first machine's own (active-active), or anybody's (active-passive)."""
    mistake: Mistake | None = None
    now: float = 0.0
    table_away: bool = False
    ec2_away: bool = False
    emptying: float = 0.3
    place: str = ""
    moves: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    late: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])
    troubles: int = 0
    """What was done to the machines so far, each of which may move the address there and back."""

    def __post_init__(self) -> None:
        self.table = MemoryTable()
        self._astray = Astray()
        self._unserved = 0.0
        names: dict[str, Belongs] = {"a": "here", "b": "elsewhere"}
        self.machines = {
            name: Machine(self, name, belongs if self.own else "anywhere")
            for name, belongs in names.items()
        }

    @property
    def record(self) -> Record | None:
        return self.table.records.get(NAME)

    @property
    def holder(self) -> Machine | None:
        record = self.record
        return None if record is None or record.released else self.machines.get(record.holder)

    def replace(self, name: str) -> None:
        """Another machine with the same address of its own; the former one is to go."""
        machine = self.machines[name]
        new = f"{name}'"
        self.machines[new] = Machine(self, new, machine.belongs)

    def write(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        before = self.record
        after = self.table.write(name, expected, changes)
        taken = after is not None and before is not None and after.generation != before.generation
        if taken and before is not None and not before.released:
            self._look_at_former(self.machines[before.holder])
        return after

    def _look_at_former(self, former: Machine) -> None:
        if self.now - former.troubled_at > RECENT:
            raise ViolationError(f"{former.name} was well and lost the address")

    def move(self, name: str) -> None:
        """EC2 does as it was asked, whenever that was."""
        if self.place != name:
            self.moves.append((self.now, name))
            self.place = name

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end - TICK / 2:
            self.now += TICK
            for machine in list(self.machines.values()):
                if self._in_trouble(machine):
                    machine.troubled_at = self.now
                machine.turn()
            self._check()

    def _in_trouble(self, machine: Machine) -> bool:
        reached = machine.table and not self.table_away and not machine.table_fates
        return not machine.serves or not reached or machine.draining

    def _check(self) -> None:
        acting = [machine.name for machine in self.machines.values() if machine.lease.held]
        if len(acting) > 1:
            raise ViolationError(f"{acting} act as the holder at once")
        holder = self.holder
        if holder is None or not holder.able or self.place == holder.name:
            self._astray = Astray(since=self.now)
        elif holder.name != self._astray.holder:
            self._astray = Astray(holder.name, self.now)
        elif self.now - self._astray.since > ASTRAY:
            raise ViolationError(f"{holder.name} holds the lease and {self.place} has the address")
        able = [
            machine for machine in self.machines.values() if machine.able and not machine.draining
        ]
        place = self.machines.get(self.place)
        self._unserved = self._unserved + TICK if able and not (place and place.serves) else 0.0
        if self._unserved > UNSERVED:
            raise ViolationError(f"{self.place} does not serve, {able[0].name} would")
        for machine in self.machines.values():
            machine.door.shut_for += TICK * machine.runs
            if machine.door.shut_at is not None and machine.door.shut_for > SHUT:
                raise ViolationError(f"{machine.name} keeps connections off for too long")

    def heal(self) -> None:
        """No more trouble."""
        self.table_away = self.ec2_away = False
        while self.late:
            self.late.pop(0)()
        for machine in self.machines.values():
            machine.table_fates.clear()
            machine.ec2_fates.clear()
            machine.frozen, machine.table, machine.ec2, machine.cut = False, True, True, False
            machine.power_on()
            machine.haproxy = "up"

    def settle(self) -> None:
        """All well in the end, and then nothing moves any more."""
        self.run(RECOVERY)
        moved = len(self.moves)
        self.run(QUIET)
        holder = self.holder
        staying = [m for m in self.machines.values() if not m.draining]
        if not staying:
            return
        if holder is None or self.place != holder.name or holder.draining:
            raise ViolationError(f"{self.place} has the address, {self.record} the lease")
        if any(m.belongs == "here" for m in staying) and holder.belongs == "elsewhere":
            raise ViolationError(f"{holder.name} keeps the other one's address")
        if len(self.moves) != moved:
            raise ViolationError(f"it does not come to rest: {self.moves[moved:]}")
        if len(self.moves) > 2 * self.troubles + 2:
            raise ViolationError(f"{self.troubles} troubles, and it moved {len(self.moves)} times")
        if set(holder.lease.record.extra if holder.lease.record else ()) - {ASKED_FOR, GIVEN_TO}:
            raise ViolationError("something unknown in the record")
