"""The machine claims its public addresses: whoever holds an address's lease associates it.

The lease is renewed only while the machine's own HAProxy answers. Losing it needs no undoing:
the machine that holds it next takes the address away.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base.lease import Lease, UnreachableError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

log = logging.getLogger("address")

GIVE_UP = 2.0
"""Seconds for which HAProxy may be silent before the address is given to another machine."""
LOOK = 10.0
"""Seconds between two looks at where the address is: a late request of a former holder may
have moved it."""
AGAIN = 2.0
"""Seconds after which an association that failed is tried again."""
HOPELESS = 3
"""Failures in a row after which the machine says that it cannot have the address."""


class Addresses(Protocol):
    """EC2's side of an Elastic IP. Both raise `AddressError`."""

    def is_ours(self, allocation: str) -> bool:
        """Whether the address leads to this machine."""
        ...

    def associate(self, allocation: str) -> None:
        """Makes the address lead to this machine, wherever it led before."""
        ...


class AddressError(Exception):
    """EC2 refused or did not answer."""


class ElasticAddresses:
    """Elastic IPs, associated with this instance's primary private address."""

    def __init__(self, client: "EC2Client", instance: str) -> None:
        """`instance` is this machine."""
        self._client: Any = client
        self._instance = instance

    def is_ours(self, allocation: str) -> bool:
        """See `Addresses`."""
        answer = self._call("describe_addresses", AllocationIds=[allocation])
        return answer["Addresses"][0].get("InstanceId") == self._instance

    def associate(self, allocation: str) -> None:
        """See `Addresses`."""
        self._call(
            "associate_address",
            AllocationId=allocation,
            InstanceId=self._instance,
            AllowReassociation=True,
        )

    def _call(self, operation: str, **request: object) -> dict[str, Any]:
        try:
            return getattr(self._client, operation)(**request)
        except (BotoCoreError, ClientError) as error:
            raise AddressError(str(error)) from error


def in_a_thread(work: Callable[[], None]) -> None:
    """EC2 is slower than a lease: its answer must not keep a renewal waiting."""
    threading.Thread(target=work, daemon=True).start()


class Claim:
    """One address. `step` is called about once a second."""

    def __init__(
        self,
        allocation: str,
        lease: Lease,
        addresses: Addresses,
        clock: Callable[[], float],
        run: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        """The lease is the address's own: ``address-<allocation id>``."""
        self.allocation = allocation
        self._lease = lease
        self._addresses = addresses
        self._clock = clock
        self._run = run
        self._unwell_since: float | None = None
        self._ours_in: int | None = None
        """The generation in which the address was last seen to be ours."""
        self._look_at = float("-inf")
        self._turn = threading.Lock()
        self._given_up = False
        self._busy = False
        self._failures = 0
        self._error = ""

    def step(self, well: bool) -> None:
        """One turn; `well` is whether this machine's HAProxy answers."""
        with self._turn:
            if not self._given_up:
                self._step(well)

    def _step(self, well: bool) -> None:
        now = self._clock()
        try:
            if not well:
                self._unwell(now)
                return
            self._unwell_since = None
            self._lease.refresh()
            if not self._lease.held and self._lease.vacant and self._lease.acquire():
                log.info("%s: lease %s", self.allocation, self._lease.generation)
        except UnreachableError as error:
            log.warning("%s: %s", self.allocation, error)
        self._see_to_it(now)

    def _unwell(self, now: float) -> None:
        """Does not renew, and after a while releases: sooner than the lease lapses."""
        if self._unwell_since is None:
            self._unwell_since = now
        if self._lease.generation is not None and now - self._unwell_since >= GIVE_UP:
            log.warning("%s given up: HAProxy does not answer", self.allocation)
            self._lease.release()

    def _see_to_it(self, now: float) -> None:
        """Associates the address if its lease is held and it is not known to be here."""
        fresh = self._ours_in != self._lease.generation
        if not self._lease.held or self._busy or (not fresh and now < self._look_at):
            return
        if self._failures and now < self._look_at:
            return
        self._busy = True
        self._run(self._associate)

    def _associate(self) -> None:
        generation = self._lease.generation
        try:
            if not self._addresses.is_ours(self.allocation) and self._lease.held:
                self._addresses.associate(self.allocation)
                log.info("%s associated", self.allocation)
            self._ours_in, self._failures, self._error = generation, 0, ""
            self._look_at = self._clock() + LOOK
        except AddressError as error:
            self._failures += 1
            self._error = f"the address {self.allocation} cannot be claimed: {error}"
            self._look_at = self._clock() + AGAIN
            log.warning("%s", self._error)
        finally:
            self._busy = False

    @property
    def settled(self) -> bool:
        """Whether the address has a place: here, or with another machine that holds it."""
        if self._lease.held:
            return self._ours_in == self._lease.generation
        return self._lease.record is not None and not self._lease.vacant

    @property
    def error(self) -> str:
        """What keeps the machine from an address that it holds, if that seems to last."""
        return self._error if self._failures >= HOPELESS else ""

    def release(self) -> None:
        """Gives the address up for good, for another machine to take."""
        with self._turn:
            self._given_up = True
            try:
                if self._lease.release():
                    log.info("%s released", self.allocation)
            except UnreachableError as error:
                # It lapses.
                log.warning("%s: %s", self.allocation, error)

    @property
    def taken_over(self) -> bool:
        """After a release: whether another machine holds the address."""
        try:
            record = self._lease.refresh()
        except UnreachableError:
            return False
        return record is not None and not record.released
