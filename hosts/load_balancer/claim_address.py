"""The machine's claim to one public address: its lease, its association, its handing over.

What is done when is decided in `hosts.load_balancer.decide`. Here is what is known and what is
done: the lease is renewed while this machine's HAProxy answers, its holder associates the address
with itself and looks from time to time whether it still is. Losing the lease needs no undoing: the
machine that holds it next takes the address away.

EC2 knows nothing of leases: a request of a former holder may arrive late, as from a machine that
was frozen between its last look at the lease and its request. No request is sent without a lease,
none is repeated behind this program's back, and what arrives late all the same is corrected by the
holder's next look.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from hosts.base.lease import Lease, UnreachableError
from hosts.load_balancer.decide import Action, Belongs, Decision, Holder, Leaving, Situation, decide
from hosts.load_balancer.elastic_addresses import AddressError
from hosts.load_balancer.wish import ASKED_FOR, Wish

log = logging.getLogger("address")

LOOP = 0.2
"""Seconds between two turns: a released address is seen that soon."""
RENEW = 0.4
"""Seconds between two renewals."""
ASK = 0.5
"""Seconds between two wishes for an address that another machine holds."""
LOOK_SOON, LOOK = 1.0, 5.0
"""Seconds between two looks at where the address is: soon after it was taken, and later."""
DOUBTFUL = 15.0
"""Seconds after taking an address in which a late request of its former holder is likely."""
AGAIN = (0.5, 4.0)
"""Seconds after which a request to EC2 that failed is repeated, at first and at most."""
HOPELESS = 6
"""Failures in a row after which the machine says that it cannot have the address: 12 s or more."""
YIELD = 5.0
"""Seconds for which it then leaves the address to other machines."""
UNWANTED = 3.0
"""Seconds after which an address that was given away is wanted by nobody."""

GIVEN_TO = "to"
"""In the record: whom it was released for."""


class Addresses(Protocol):
    """`hosts.load_balancer.elastic_addresses`."""

    def is_ours(self, allocation: str) -> bool:
        """Whether the address leads to this machine."""
        ...

    def associate(self, allocation: str) -> None:
        """Makes the address lead to this machine, wherever it led before."""
        ...


class Pulse(Protocol):
    """Whether this machine's HAProxy lives: `hosts.load_balancer.pulse`."""

    @property
    def well(self) -> bool:
        """It answers."""
        ...

    @property
    def well_for(self) -> float:
        """Seconds for which it has."""
        ...

    @property
    def recovered(self) -> bool:
        """It did not for a while, before."""
        ...


class Door(Protocol):
    """The connections to one address: `hosts.load_balancer.door`."""

    def shut(self) -> None:
        """Lets no new connections in, and the open ones end."""
        ...

    def empty(self) -> bool:
        """Whether none is left for which to wait any longer."""
        ...

    def reopen(self) -> None:
        """Lets new connections in."""
        ...


def in_a_thread(work: Callable[[], None]) -> None:
    """EC2 is slower than a lease: its answer must not keep a renewal waiting."""
    threading.Thread(target=work, daemon=True).start()


class Claim:
    """One address. `run` is the loop, `step` one turn of it."""

    def __init__(
        self,
        allocation: str,
        lease: Lease,
        *,
        addresses: Addresses,
        pulse: Pulse,
        door: Door,
        clock: Callable[[], float],
        belongs: Belongs,
        run: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        """The lease is the address's own: ``address-<allocation id>``."""
        self.allocation = allocation
        self._lease = lease
        self._addresses = addresses
        self._pulse = pulse
        self._door = door
        self._clock = clock
        self._belongs: Belongs = belongs
        self._run = run
        self._wish = Wish(lease.me)
        self._wishes = 0
        self._draining = self._given = False
        self._leaving: Leaving = ""
        self._left_at = float("-inf")
        self._read_at = self._ask_at = self._look_at = float("-inf")
        self._taken_at = self._yield_until = float("-inf")
        self._ours_in: int | None = None
        """The generation in which the address was last seen to be here."""
        self._was_ours = True
        """The lease was ours before as well: the address may be here already."""
        self._busy = False
        self._failures = 0
        self._error = ""
        self._away = False
        self._woken = threading.Event()

    def wake(self) -> None:
        """Something has changed: the next turn is now."""
        self._woken.set()

    def run(self) -> None:
        """The loop. Does not return."""
        while True:
            if not self.step():
                self._woken.wait(LOOP)
            self._woken.clear()

    def step(self) -> bool:
        """One turn. Whether the next one should follow at once."""
        try:
            self._read()
            if self._leaving == "emptying" and self._door.empty():
                self._leaving = "empty"
            return self._act(decide(self.situation))
        except UnreachableError as error:
            if not self._away:
                log.warning("%s: %s", self.allocation, error)
            self._away = True
            return False

    @property
    def situation(self) -> Situation:
        """What is known now."""
        now, lease, wish = self._clock(), self._lease, self._wish.by(self._clock())
        record = lease.record
        return Situation(
            holder=self.holder,
            reachable=not self._away,
            held=lease.held,
            vacant=lease.vacant,
            unchanged=now - lease.since if lease.since is not None else 0.0,
            reserved=bool(record and record.extra.get(GIVEN_TO, lease.me) != lease.me),
            belongs=self._belongs,
            well=self._pulse.well,
            well_for=self._pulse.well_for,
            recovered=self._pulse.recovered,
            draining=self._draining,
            asked=wish[1] if wish else None,
            asking=now >= self._ask_at,
            here=self._is_here,
            hopeless=self._failures >= HOPELESS,
            yielding=now < self._yield_until,
            look=not self._busy and (now >= self._look_at),
            leaving=self._leaving,
            left=now - self._left_at,
        )

    @property
    def holder(self) -> Holder:
        """Whose the lease is, by the record as last read."""
        if self._lease.since is None:
            return "unknown"
        record = self._lease.record
        if record is None:
            return "nobody"
        if record.released:
            return "released"
        return "us" if record.holder == self._lease.me else "another"

    @property
    def _is_here(self) -> bool:
        return self._ours_in is not None and self._ours_in == self._lease.generation

    def _read(self) -> None:
        """Renews the lease, or reads who has it; neither while HAProxy is not there to serve."""
        now = self._clock()
        if not self._pulse.well or now - self._read_at < (RENEW if self.holder == "us" else LOOP):
            return
        self._read_at = now
        self._wish.read(self._lease.refresh(), self._clock())
        self._away = False

    def _act(self, decision: Decision) -> bool:
        action, lease, now = decision.action, self._lease, self._clock()
        if action not in (Action.NOTHING, Action.SEE, Action.ASK):
            log.info("%s: %s: %s", self.allocation, action, decision.why)
        match action:
            case Action.TAKE:
                return self._take(now)
            case Action.SEE:
                self._busy = True
                self._run(self._see)
            case Action.ASK:
                self._ask_at, self._wishes = now + ASK, self._wishes + 1
                lease.note({ASKED_FOR: Wish.text(lease.me, self._pulse.well_for, self._wishes)})
            case Action.RELEASE:
                if self._failures >= HOPELESS:
                    self._yield_until = now + YIELD
                lease.release()
            case Action.EMPTY:
                self._leaving = "emptying"
                self._door.shut()
            case Action.GIVE:
                wish = self._wish.by(now)
                lease.release({GIVEN_TO: wish[0] if wish else None, ASKED_FOR: None})
                self._leaving, self._left_at, self._given = "given", now, True
            case Action.REOPEN:
                self._reopen()
            case Action.NOTHING:
                pass
        return False

    def _take(self, now: float) -> bool:
        before = self._lease.record
        if not self._lease.acquire({GIVEN_TO: None, ASKED_FOR: None}):
            return False
        self._was_ours = before is not None and before.holder == self._lease.me
        self._taken_at, self._look_at, self._failures = now, float("-inf"), 0
        if self._leaving:
            self._reopen()
        return True

    def _reopen(self) -> None:
        self._leaving = ""
        self._door.reopen()

    def _see(self) -> None:
        """Associates the address if it is not here."""
        generation = self._lease.generation
        try:
            if not self._found(generation):
                self._ours_in = None
                if not self._may_move(generation):
                    return
                self._addresses.associate(self.allocation)
                log.info("%s: associated", self.allocation)
            if not self._may_move(generation):
                # If that moved it away from the machine that has it by now, that one will see.
                log.warning("%s: the lease ended meanwhile", self.allocation)
                return
            self._ours_in, self._was_ours, self._failures, self._error = generation, True, 0, ""
            doubtful = self._clock() - self._taken_at < DOUBTFUL
            self._look_at = self._clock() + (LOOK_SOON if doubtful else LOOK)
        except AddressError as error:
            first, most = AGAIN
            self._look_at = self._clock() + min(first * 2**self._failures, most)
            self._failures += 1
            self._error = f"the address {self.allocation} cannot be claimed: {error}"
            log.warning("%s", self._error)
        finally:
            self._busy = False
            self.wake()

    def _found(self, generation: int | None) -> bool:
        """Whether it is here; not asked for one that was just taken from another machine."""
        known = self._was_ours or self._ours_in == generation
        return known and self._addresses.is_ours(self.allocation)

    def _may_move(self, generation: int | None) -> bool:
        """Whether the lease still is ours, and the same: not after a long sleep."""
        return self._lease.held and self._lease.generation == generation

    @property
    def settled(self) -> bool:
        """Whether the address has a place: here, or with another machine that holds it."""
        match self.holder:
            case "us":
                return self._is_here
            case "nobody":
                return self._belongs == "elsewhere"
            case "another":
                return not self._lease.vacant
            case _:
                return False

    @property
    def error(self) -> str:
        """What keeps the machine from an address that it holds, if that seems to last."""
        lasting = self._failures >= HOPELESS or self._clock() < self._yield_until
        return self._error if lasting and not self._is_here else ""

    @property
    def here(self) -> bool:
        """Whether this machine has the lease, and the address leads to it."""
        return self.holder == "us" and self._is_here

    def drain(self) -> None:
        """Gives the address up for good, for another machine to take."""
        self._draining = True
        self.wake()

    @property
    def gone(self) -> bool:
        """After `drain`: whether the address leads elsewhere, or nobody wants it."""
        if self.holder == "us" or self._leaving in ("emptying", "empty"):
            return False
        if not self._given:
            return True
        if self.holder != "another":
            return self._clock() - self._left_at >= UNWANTED
        try:
            return not self._addresses.is_ours(self.allocation)
        except AddressError:
            return False
