"""What a machine follows while it runs: parameters of its role, below one path of the stack.

No machine is replaced for a new arrow between roles, or for another maintenance window. A machine
that cannot read them goes on with what it last read.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from hosts.base import parameters
from hosts.base.firewall import Arrow, ArrowError, Firewall, FirewallError, parse
from hosts.base.maintenance import NONE, Maintenance
from hosts.base.parameters import ParameterError
from hosts.base.services import ServiceError

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("followed")

EVERY = 15.0
"""Seconds between two looks."""
SOON, YOUNG = 3.0, 30.0
"""The same for a machine that runs for no longer than that: the stack may be being made, too."""

ARROWS = "arrows/"
"""Each is a parameter, as each is a rule of the security group: the engine makes and removes both
in the same order, so that while machines are replaced the rules of both kinds are open."""
MAINTENANCE = "maintenance"


def path(role: str) -> str:
    """Where the parameters of a role are, from the stack's own path on."""
    return f"machines/{role}"


class Followed:
    """The loop."""

    def __init__(
        self,
        connect: "Callable[[], SSMClient]",
        path: str,
        firewall: Firewall,
        maintenance: Maintenance,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path` is the whole one; `connect` is called in the loop's own thread."""
        self._connect = connect
        self._path = path
        self._firewall = firewall
        self._maintenance = maintenance
        self._clock = clock
        self._began = clock()
        self._known = self._informed = firewall.known
        self.trouble = ""
        """What could not be done at the last look."""

    def run(self) -> None:
        """Does not return."""
        pause = threading.Event()
        if self._known:
            # An agent that starts anew has something more urgent to do.
            pause.wait(EVERY)
        while True:
            self.step()
            pause.wait(SOON if self._clock() - self._began < YOUNG else EVERY)

    def first(self) -> None:
        """Before a machine serves at all: whom, or the reason why it cannot know.

        Later it goes on with what it knows. Raises `FirewallError`.
        """
        if not self._informed:
            self.step()
        if not self._informed:
            raise FirewallError(self.trouble)

    def step(self) -> None:
        """One look."""
        trouble = "; ".join(self._look())
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble

    @cached_property
    def _client(self) -> "SSMClient":
        return self._connect()

    def _look(self) -> list[str]:
        try:
            found = parameters.below(self._client, self._path)
        except ParameterError as error:
            return [f"the firewall stays as it is: {error}"]
        if not found:
            return [f"the firewall stays as it is: there is no parameter below {self._path}"]
        arrows, wrong = _arrows(found)
        try:
            if self._firewall.follow(arrows):
                log.info("the firewall has %d arrows", len(arrows))
            self._informed = True
        except (FirewallError, OSError) as error:
            wrong.append(str(error))
        try:
            if self._maintenance.follow(found.get(MAINTENANCE, NONE)):
                log.info("updates: %s", found.get(MAINTENANCE, NONE))
        except (ValueError, ServiceError, OSError) as error:
            wrong.append(f"updates: {error}")
        return wrong


def _arrows(found: dict[str, str]) -> tuple[list[Arrow], list[str]]:
    """Those that can be read, and what is wrong with the others, which stay closed."""
    arrows: list[Arrow] = []
    wrong: list[str] = []
    for name, text in sorted(found.items()):
        if name.startswith(ARROWS):
            try:
                arrows.append(parse(text))
            except ArrowError as error:
                wrong.append(f"{name}: {error}")
    return arrows, wrong
