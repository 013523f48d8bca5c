"""Empties an address of its connections before another machine has it, so that none is cut.

Once an Elastic IP has moved, the next packet of a connection that was open reaches a machine that
knows nothing of it, and the connection is reset. So, before:

1. new connections are kept off by dropping their first packet. A client's kernel repeats it after
   one second, then after two more; by then the address is with the other machine, which answers;
2. HAProxy is reloaded. Its former process finishes what it has: it closes connections that are
   kept alive with their next answer, and tells HTTP/2 clients to open others (GOAWAY). The reload
   touches the machine's other address as well, where it costs nothing;
3. there is an end to waiting: a client that is idle, or an answer that takes long, is cut.
"""

import logging
import threading
from collections.abc import Callable

from hosts.base import services
from hosts.base.lease import boottime
from hosts.load_balancer.pulse import UNIT

log = logging.getLogger("address")

WAIT = 1.5
"""Seconds that connections have to end: the third attempt of a new one comes after three, and the
other machine needs some time to be given the address."""
AFTER_RELOAD = 0.5
"""Of these, what they have at least once HAProxy was told."""
RELOAD = 4.0
"""Seconds that telling it may take."""
AT_MOST = "20s"
"""For which an address is shut, whatever becomes of this program."""
TABLE = "site-leaving"

_MAKE = f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    set addresses {{ type ipv4_addr; flags timeout; }}
    chain input {{
        type filter hook input priority -200; policy accept;
        ip daddr @addresses tcp flags & (fin | syn | rst | ack) == syn drop
    }}
}}
"""


def make() -> None:
    """A filter that keeps nothing off; whatever an earlier program kept off is let in."""
    _nft(_MAKE)


def _nft(commands: str) -> bool:
    done = services.run("nft", "-f", "-", stdin=commands)
    if done.returncode:
        log.warning("nft: %s", done.stderr.strip())
    return done.returncode == 0


def keep_off(address: str) -> None:
    """From now on no new connection to the address is made."""
    command = f"add element inet {TABLE} addresses {{ {address} timeout {AT_MOST} }}\n"
    if not _nft(command):
        # Somebody may have flushed all rules.
        _nft(_MAKE + command)


def let_in(address: str) -> None:
    """New connections to the address are made again."""
    services.run("nft", "delete", "element", "inet", TABLE, "addresses", f"{{ {address} }}")


def connections(address: str) -> int:
    """The open connections to an address of this machine."""
    states = ("state", "established", "state", "close-wait")
    return len(services.run("ss", "-Htn", *states, "src", address).stdout.splitlines())


_reloading = threading.Lock()


def reload() -> None:
    """HAProxy's present process finishes what it has, and another one goes on."""
    try:
        with _reloading:
            services.systemctl("reload", UNIT)
    except services.ServiceError as error:
        log.warning("%s", error)


class AddressDoor:
    """See `hosts.load_balancer.claim_address.Door`."""

    def __init__(self, address: str, clock: Callable[[], float] = boottime) -> None:
        """The private address that the Elastic IP stands for."""
        self._address = address
        self._clock = clock
        self._shut_at = float("-inf")
        self._reloaded_at: float | None = None

    def shut(self) -> None:
        """See `Door`."""
        self._shut_at, self._reloaded_at = self._clock(), None
        keep_off(self._address)
        # The lease has to be renewed meanwhile.
        threading.Thread(target=self._reload, daemon=True).start()

    def _reload(self) -> None:
        if connections(self._address):
            reload()
        self._reloaded_at = self._clock()

    def empty(self) -> bool:
        """See `Door`."""
        now, told = self._clock(), self._reloaded_at
        if told is None:
            return now - self._shut_at >= RELOAD
        if now - self._shut_at >= WAIT and now - told >= AFTER_RELOAD:
            log.info("%s: %d connections are cut", self._address, connections(self._address))
            return True
        return connections(self._address) == 0

    def reopen(self) -> None:
        """See `Door`."""
        let_in(self._address)
