"""What the agents of the pair say to each other, over HTTP on port 8009.

Nothing of it decides who leads: it makes a change quicker (`poke`), tells who has caught up
(`status`), and lets a primary go on while the table is away (`promise`, Patroni's failsafe mode).
"""

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from hosts.base.coordination import Coordination, UnreachableError
from hosts.base.lease import boottime
from hosts.database.pair import machine_of

PORT = 8009
OK = 200
LOOP = 0.5
"""Seconds between two looks at the peers."""
FIND = 3.0
"""Seconds between two looks for their addresses."""
PATIENCE = 0.4
"""Seconds that a peer may take to answer."""
FRESH = 1.5
"""Seconds for which what a peer said counts."""


@dataclass(frozen=True)
class Peer:
    """What another member's agent said of itself, asked at `at`."""

    member: str
    address: str
    at: float
    executed: str = ""
    received: str = ""
    source: str = ""
    running: bool = False
    """It receives and applies."""
    acknowledging: bool = False
    full: bool = False
    draining: bool = False
    lag: float = float("inf")

    @property
    def has(self) -> str:
        """All transactions that are there, applied or not."""
        return ",".join(part for part in (self.executed, self.received) if part)


_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever proxy the environment names."""
SAID = frozenset(field.name for field in fields(Peer)) - {"address", "at"}


class Peers:
    """The other database machines, as far as they answer."""

    def __init__(self, coordination: Coordination, me: str) -> None:
        """`me` is this machine's own name."""
        self._coordination = coordination
        self._me = me
        self._addresses: dict[str, str] = {}
        self._peers: dict[str, Peer] = {}
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="peer")
        self._look_now = threading.Event()

    def run(self) -> None:
        """Keeps looking. Does not return."""
        find_at = float("-inf")
        while True:
            if boottime() >= find_at:
                self._find()
                find_at = boottime() + FIND
            for peer in self._pool.map(self._ask, list(self._addresses.values())):
                if peer:
                    self._peers[peer.member] = peer
            self._look_now.wait(LOOP)
            self._look_now.clear()

    def fresh(self) -> dict[str, Peer]:
        """Those that answered lately, by member."""
        since = boottime() - FRESH
        return {name: peer for name, peer in self._peers.items() if peer.at >= since}

    def known(self) -> list[Peer]:
        """All that ever answered and are still machines of this role, where they are now.

        An address that one of them had may be another's today.
        """
        return [
            peer
            for peer in list(self._peers.values())
            if self._addresses.get(machine_of(peer.member)) == peer.address
        ]

    def again(self, member: str) -> Peer | None:
        """What a member says right now."""
        known = self._peers.get(member)
        peer = self._ask(known.address) if known else None
        if peer and peer.member == member:
            self._peers[member] = peer
            return peer
        return None

    def address(self, member: str) -> str:
        """The last known address of a member; empty if it was never seen."""
        known = self._peers.get(member)
        return known.address if known else ""

    def poke(self) -> None:
        """Tells all of them that the record has changed. Does not wait."""
        for address in list(self._addresses.values()):
            self._pool.submit(_get, address, "/poke")
        self._look_now.set()

    def promise(self, members: Iterable[str], generation: int, seconds: float) -> bool:
        """Whether all of these promise not to take this generation's lease over for so long."""
        addresses = [self.address(member) for member in members]
        if not all(addresses):
            return False

        def ask(address: str) -> bytes | None:
            return _get(address, f"/promise?generation={generation}&ms={round(seconds * 1000)}")

        answers = self._pool.map(ask, addresses)
        return all(answer is not None for answer in answers)

    def _find(self) -> None:
        try:
            machines = self._coordination.machines("database")
        except UnreachableError:
            return
        # Of two of one name, the one that reported last comes first.
        found: dict[str, str] = {}
        for machine in machines:
            if machine.name != self._me and machine.state != "drained":
                found.setdefault(machine.name, machine.address)
        self._addresses = found

    def _ask(self, address: str) -> Peer | None:
        at = boottime()
        answer = _get(address, "/status")
        if answer is None:
            return None
        try:
            said = cast(dict[str, Any], json.loads(answer))
            # An agent of another version may say more.
            return Peer(address=address, at=at, **{key: said[key] for key in SAID if key in said})
        except (ValueError, TypeError):
            return None


def _get(address: str, path: str) -> bytes | None:
    try:
        url = f"http://{address}:{PORT}{path}"
        with _DIRECTLY.open(url, timeout=PATIENCE) as answer:
            return answer.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is not worth a line."""


def serve(
    status: Callable[[], dict[str, Any]],
    poked: Callable[[], None],
    promise: Callable[[int, float], bool],
) -> None:
    """Answers the peers. Does not return."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            match url.path:
                case "/status":
                    self._answer(OK, json.dumps(status()))
                case "/poke":
                    poked()
                    self._answer(OK, "")
                case "/promise":
                    asked = parse_qs(url.query)
                    number, length = (asked.get(key, [""])[0] for key in ("generation", "ms"))
                    fine = number.isdecimal() and length.isdecimal()
                    yes = fine and promise(int(number), int(length) / 1000)
                    self._answer(OK if yes else 409, "")
                case _:
                    self._answer(404, "")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 its name in the base
            """Several requests a second are not worth a line each."""

        def _answer(self, code: int, body: str) -> None:
            self.send_response_only(code)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

    _Server(("0.0.0.0", PORT), Handler).serve_forever()  # noqa: S104 the security group lets in whom it is for
