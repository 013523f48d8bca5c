"""Whether this machine's HAProxy lives: asked several times a second, so its end is known soon.

A refusal is certain: nobody listens. Silence is not: so it takes two connections in a row that are
not answered. The port that is asked has room of its own, however many clients there are.
"""

import http.client
import logging
from collections.abc import Callable
from enum import Enum, auto

from hosts.base import services

log = logging.getLogger("address")

PORT = 8404
EVERY = 0.2
"""Seconds between two questions."""
PATIENCE = 0.35
"""Seconds that an answer may take. On an idle machine it takes a millisecond."""
REVIVE = 5.0
"""Seconds of silence after which a HAProxy that hangs is killed, for systemd to start it anew."""
REVIVE_AGAIN = 30.0
UNIT = "haproxy.service"


class Heard(Enum):
    """What became of a question."""

    ANSWER = auto()
    REFUSAL = auto()
    SILENCE = auto()


def ask() -> Heard:
    """Asks HAProxy itself, not what is behind it."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except ConnectionRefusedError:
        return Heard.REFUSAL
    except (OSError, http.client.HTTPException):
        return Heard.SILENCE
    finally:
        connection.close()
    return Heard.ANSWER if status == services.OK else Heard.SILENCE


def revive() -> None:
    """Ends a HAProxy that hangs; the unit restarts."""
    services.run("systemctl", "kill", "--signal=KILL", UNIT)


class HaproxyPulse:
    """See `hosts.load_balancer.claim_address.Pulse`. `beat` is called every `EVERY` seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        changed: Callable[[], None],
        *,
        ask: Callable[[], Heard] = ask,
        revive: Callable[[], None] = revive,
    ) -> None:
        """`changed` is called when it begins or ceases to answer."""
        self._clock = clock
        self._changed = changed
        self._ask = ask
        self._revive = revive
        self._since: float | None = None
        """Since when it has answered."""
        self._answered_at = clock()
        self._revive_at = float("-inf")
        self.recovered = False
        """See `Pulse`."""

    @property
    def well(self) -> bool:
        """See `Pulse`."""
        return self._since is not None

    @property
    def well_for(self) -> float:
        """See `Pulse`."""
        return 0.0 if self._since is None else self._clock() - self._since

    def beat(self) -> None:
        """Asks once, or twice if there is no answer."""
        heard = self._ask()
        if heard is Heard.SILENCE:
            heard = self._ask()
        now = self._clock()
        if heard is Heard.ANSWER:
            self._answered_at = now
            if self._since is None:
                self._since = now
                self._changed()
            return
        if self._since is not None:
            log.warning("HAProxy %s", "is gone" if heard is Heard.REFUSAL else "does not answer")
            self._since, self.recovered = None, True
            self._changed()
        hangs = heard is Heard.SILENCE and now - self._answered_at >= REVIVE
        if hangs and now >= self._revive_at:
            log.warning("HAProxy hangs and is killed")
            self._revive_at = now + REVIVE_AGAIN
            self._revive()
