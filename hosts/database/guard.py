"""The guard: answers for this machine's database, and closes it in time.

It says on port 8008 what the agent last published, and fences mysqld when the lease's deadline
passes: it needs no agent for either, so the agent may be restarted, or be dead or frozen. systemd
keeps its sockets, so it may itself be restarted (`hosts.database.keeper`): whoever asks waits.

GET /primary, /replica and /readable are answered with 200 or 503, /status with JSON. With `wait`
(milliseconds) the answer is kept back while it is what the asker believes: `is` (1 or 0), or that
a server is down by HAProxy's X-Haproxy-Server-State. So it hears of a change at once. HAProxy's
agent checks send a line, ``primary 200``, and are answered ``up`` or ``down``, when that changes;
while HAProxy believes a server up, they wait, and its other checks are answered at once: if this
program ends while a check waits, HAProxy takes no notice.
"""

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from hosts.base.lease import boottime
from hosts.database import published
from hosts.database.published import FOLDER, Fenced, Published

PORT = 8008
TICK = 0.1
"""Seconds between two signs of life."""
WATCH = 0.05
"""The same while writes are open: a machine that slept counts on it to hear that time passed."""
REREAD = 0.25
"""Seconds between two looks at what is published: a datagram may have been lost."""
LOOK = 0.25
"""Seconds between two looks whether a mysqld that was closed is still so."""
AGAIN = 0.02
"""Seconds after which a fence that failed is tried again."""
LONGEST = 10.0
"""Seconds that an answer is kept back at most."""
RECENT = 0.05
"""Seconds after a change in which nobody waits who did not say what they believe."""
REQUEST = 5.0
"""Seconds that a request may take to arrive."""
BYTES = 8192
ASKERS = 4000
"""Open connections."""

Paths = dict[str, bool]


class Fence(Protocol):
    """`hosts.database.fence`."""

    def fence(self, why: str, *, folder: Path) -> Fenced:
        """Closes mysqld."""
        ...

    def writable(self) -> bool:
        """Whether it is open."""
        ...


@dataclass(eq=False)
class Asker:
    """A connection, and what it wants to know."""

    sock: socket.socket
    until: float
    """When its time is over, on the monotonic clock."""
    heard: bytes = b""
    path: str = ""
    """What it waits for; empty until its request has arrived."""
    believes: bool | None = None
    line: bool = False
    """It speaks the protocol of HAProxy's agent checks."""


class Guard:
    """The loop. One thread answers, a second one fences."""

    def __init__(
        self,
        listener: socket.socket,
        hearing: socket.socket,
        fence: Fence,
        alive: Callable[[], None],
        folder: Path = FOLDER,
    ) -> None:
        """`listener` hears the askers, `hearing` the agent; `alive` is called all the time."""
        self._listener = listener
        self._hearing = hearing
        self._folder = folder
        self._published = Published()
        self._fenced_at = self._last_fence()
        self._answers: Paths = {}
        self._changed_at: dict[str, float] = {}
        self._selector = selectors.DefaultSelector()
        self._askers: dict[Asker, None] = {}
        self._first_end = float("inf")
        self._fence = fence
        self._alive = alive
        self._due = threading.Event()
        self._ended = False
        for sock in (listener, hearing):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Returns only when it was told to `end`."""
        self._read()
        self._judge()
        threading.Thread(target=self._keep_closed, name="fence", daemon=True).start()
        read_at = time.monotonic()
        while not self._ended:
            self._alive()
            self.step()
            if time.monotonic() - read_at >= REREAD:
                read_at = time.monotonic()
                self._read()
        for asker in [*self._askers]:
            self._drop(asker)
        self._selector.close()

    def end(self) -> None:
        """Whoever waits is dropped; a fence that was begun goes on."""
        self._ended = True

    def step(self) -> None:
        """Waits for whatever is next, and answers whoever is to be answered."""
        events = self._selector.select(self._patience())
        # First what is new: the others are answered by it.
        if any(key.fileobj is self._hearing for key, _ in events):
            self._hear()
        self._judge()
        for key, _ in events:
            if key.fileobj is self._listener:
                self._accept()
            elif key.data is not None:
                self._receive(key.data)
        self._expire()

    def _patience(self) -> float:
        said, now = self._published, boottime()
        ends = [WATCH if said.open else TICK, self._first_end - time.monotonic()]
        ends += [end - now for end in (said.deadline, said.valid_until) if end > now]
        return max(0.0, min(ends))

    # ---- what is so

    def _hear(self) -> None:
        while True:
            try:
                self._hearing.recv(16)
            except BlockingIOError:
                break
        self._read()

    def _read(self) -> None:
        try:
            self._published = published.read(self._folder)
        except (OSError, ValueError, TypeError) as error:
            # What it said before stays, with its deadline.
            _say(f"what the agent says cannot be read: {error!r}")

    def _judge(self) -> None:
        """What the answers are now; whoever believes otherwise hears it."""
        said, now = self._published, boottime()
        if said.open and now >= said.deadline and not self._due.is_set():
            self._fenced_at = now
            self._due.set()
        opened = said.open and now < said.deadline and said.opened_at > self._fenced_at
        fresh = now < said.valid_until
        answers: Paths = {
            "/primary": said.serving and opened,
            "/replica": said.replica and fresh,
            "/readable": said.readable and fresh,
        }
        if answers == self._answers:
            return
        for path, answer in answers.items():
            if self._answers.get(path) != answer:
                self._changed_at[path] = time.monotonic()
        self._answers = answers
        _say(" ".join(f"{path}: {'yes' if yes else 'no'}" for path, yes in answers.items()))
        for asker in [*self._askers]:
            if asker.path and asker.believes != answers[asker.path]:
                self._answer(asker)

    def _keep_closed(self) -> None:
        """Fences when it is due, and again if mysqld is found open."""
        while True:
            self._due.wait()
            closed = False
            while self._published.open and boottime() >= self._published.deadline:
                try:
                    if not closed:
                        _say("the deadline has passed: closing mysqld")
                        done = self._fence.fence("the deadline has passed", folder=self._folder)
                        _say(f"closed: {done}")
                        closed = True
                    elif self._fence.writable():
                        closed = False
                        continue
                except Exception as error:  # noqa: BLE001 it goes on until it is done
                    _say(f"mysqld may still be open: {error!r}")
                time.sleep(LOOK if closed else AGAIN)
            # If it was renewed at the last moment, nothing was closed.
            self._fenced_at = self._last_fence()
            self._due.clear()

    def _last_fence(self) -> float:
        last = published.fenced(self._folder)
        return last.began if last else float("-inf")

    # ---- who asks

    def _accept(self) -> None:
        while True:
            if len(self._askers) >= ASKERS:
                self._drop(next(iter(self._askers)))
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            asker = Asker(sock, time.monotonic() + REQUEST)
            self._askers[asker] = None
            self._first_end = min(self._first_end, asker.until)
            self._selector.register(sock, selectors.EVENT_READ, asker)
            self._receive(asker)

    def _receive(self, asker: Asker) -> None:
        if asker not in self._askers:
            return
        try:
            heard = asker.sock.recv(BYTES)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard or len(asker.heard) > BYTES:
            self._drop(asker)
            return
        if asker.path:
            return
        asker.heard += heard
        line, found, _ = asker.heard.partition(b"\n")
        http = b" HTTP/1." in line
        if not found or (http and b"\r\n\r\n" not in asker.heard):
            return
        self._understand(asker, line.decode("latin-1").split(), http)

    def _understand(self, asker: Asker, words: list[str], http: bool) -> None:
        asker.line = not http
        if not http:
            words = ["GET", "/" + words[0] if words else "/", *words[1:]]
            query = f"wait={words[2]}" if len(words) > len(("GET", "path")) else ""
            path = words[1]
        else:
            path, _, query = words[1].partition("?") if len(words) > 1 else ("", "", "")
        if path == "/status":
            self._send(asker, 200, "application/json", self._status())
            return
        if path not in self._answers:
            self._send(asker, 404, "text/plain", "not found\n")
            return
        asker.path = path
        values = dict((part + "=").split("=")[:2] for part in query.split("&"))
        wait = min(_number(values.get("wait", "")) / 1000, LONGEST)
        now = time.monotonic()
        if http:
            asker.believes = _belief(values.get("is", ""), asker.heard)
            waits = asker.believes == self._answers[path]
        else:
            asker.believes = self._answers[path]
            waits = now - self._changed_at[path] > RECENT
        if not wait or not waits:
            self._answer(asker)
            return
        asker.until = now + wait
        self._first_end = min(self._first_end, asker.until)

    def _expire(self) -> None:
        now = time.monotonic()
        if now < self._first_end:
            return
        for asker in [asker for asker in self._askers if asker.until <= now]:
            if asker.path:
                self._answer(asker)
            else:
                self._drop(asker)
        self._first_end = min((asker.until for asker in self._askers), default=float("inf"))

    def _answer(self, asker: Asker) -> None:
        yes = self._answers[asker.path] and not self._outlived(asker.path)
        if asker.line:
            self._end(asker, b"up\n" if yes else b"down\n")
        else:
            self._send(asker, 200 if yes else 503, "text/plain", "yes\n" if yes else "no\n")

    def _outlived(self, path: str) -> bool:
        """Whether a yes has ended since it was found: the machine may have stood still."""
        said = self._published
        return boottime() >= (said.deadline if path == "/primary" else said.valid_until)

    def _send(self, asker: Asker, code: int, kind: str, body: str) -> None:
        content = body.encode()
        head = (
            f"HTTP/1.1 {code} {REASONS[code]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        self._end(asker, head.encode() + content)

    def _end(self, asker: Asker, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            asker.sock.send(answer)
        self._drop(asker)

    def _drop(self, asker: Asker) -> None:
        self._askers.pop(asker)
        self._selector.unregister(asker.sock)
        asker.sock.close()

    def _status(self) -> str:
        said, now = self._published, boottime()
        last = published.fenced(self._folder)
        guard = {
            **{path.removeprefix("/"): yes for path, yes in self._answers.items()},
            "role": said.role,
            "open": said.open,
            "deadline_in": round(said.deadline - now, 3) if said.open else None,
            "fence": asdict(last) if last else None,
        }
        return json.dumps({**said.status, "guard": guard}, indent=1) + "\n"


LONG = 9
"""Digits of a number."""
REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


def _belief(said: str, request: bytes) -> bool | None:
    if said in ("0", "1"):
        return said == "1"
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"x-haproxy-server-state" and value.strip().startswith(b"DOWN"):
            return False
    return None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= LONG else 0


def _say(text: str) -> None:
    print(f"guard: {text.rstrip()}", flush=True)
