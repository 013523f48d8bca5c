"""What each application server was given in the last minute, by this HAProxy's own count.

For people, in the machine's report: it is told with the heartbeat, and costs no write of its own.
"""

import csv
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hosts.load_balancer.save_state import ask

log = logging.getLogger("shares")

EVERY = 10.0
"""Seconds between two looks at the counters."""
SPAN = 60.0
"""Seconds that are counted over."""
COMMAND = "show stat app-servers 4 -1"
"""Of that section the servers (4), all of them (-1)."""


@dataclass(frozen=True)
class Server:
    """A server as HAProxy counts it since its own start."""

    requests: int
    up: bool


def servers(said: str) -> dict[str, Server]:
    """Those that have an address, by it, from what HAProxy says to `COMMAND`."""
    found: dict[str, Server] = {}
    for row in csv.DictReader(said.removeprefix("# ").splitlines()):
        # A slot of the template that nobody is in is in maintenance.
        if row.get("svname") and not row["status"].startswith("MAINT"):
            address = row["addr"].rpartition(":")[0]
            found[address] = Server(int(row["stot"] or 0), row["status"].startswith("UP"))
    return found


class Shares:
    """The last looks."""

    def __init__(self, clock: Callable[[], float], admin: Callable[[str], str] = ask) -> None:
        """Nothing was looked at yet."""
        self._clock = clock
        self._admin = admin
        self._looks: deque[tuple[float, dict[str, Server]]] = deque()

    def figures(self) -> dict[str, Any]:
        """``{"servers": {address: {"requests": of the last minute, "up": now}}}``.

        Quick, and quiet while HAProxy does not answer: whoever asks has other ways to know that.
        """
        now = self._clock()
        if not self._looks or now - self._looks[-1][0] >= EVERY:
            try:
                self._looks.append((now, servers(self._admin(COMMAND))))
            except (OSError, KeyError, ValueError) as error:
                log.warning("HAProxy's counters cannot be read: %s", error)
                self._looks.clear()
                return {}
        while now - self._looks[0][0] > SPAN + EVERY:
            self._looks.popleft()
        first, last = self._looks[0][1], self._looks[-1][1]
        return {
            "servers": {
                address: {"requests": _between(first.get(address), server), "up": server.up}
                for address, server in sorted(last.items())
            }
        }


def _between(first: Server | None, last: Server) -> int:
    before = first.requests if first else 0
    # After a reload HAProxy counts from nothing.
    return last.requests - before if last.requests >= before else last.requests
