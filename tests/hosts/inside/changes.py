"""A real HAProxy with an application server's configuration, and a real guard beside a database.

The database is an echo server. Prints what an application sees of changes, as JSON.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = ["/opt/site", "/srv/inside"]

import names  # noqa: E402
from activation import Activation  # noqa: E402

from hosts.base.lease import boottime  # noqa: E402
from hosts.database.published import Published, publish  # noqa: E402

DATABASE = "127.0.0.2"
CONFIGURATION = "/srv/haproxy.cfg"
RUNS = 20
FEW = 5
Found = dict[str, object]
chance = random.Random(4)  # noqa: S311


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def serve_echo() -> None:
    """A mysqld that says what it is told."""
    listener = socket.create_server((DATABASE, 3306), backlog=128)

    def echo(sock: socket.socket) -> None:
        try:
            while heard := sock.recv(64):
                sock.send(heard)
        except OSError:
            pass
        sock.close()

    def work() -> None:
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=work, daemon=True).start()


def session() -> socket.socket | None:
    """A connection for writes that works, or none."""
    try:
        sock = socket.create_connection(("127.0.0.1", 3306), timeout=2)
        sock.send(b"?")
        if sock.recv(1) == b"?":
            return sock
    except OSError:
        pass
    return None


def until_open(limit: float = 10.0) -> tuple[float, socket.socket]:
    """Seconds until writes are taken, and the connection that they are taken on."""
    began = time.monotonic()
    while time.monotonic() - began < limit:
        if sock := session():
            return time.monotonic() - began, sock
        time.sleep(0.001)
    raise TimeoutError("no writes are taken")


def until_cut(sock: socket.socket, limit: float = 10.0) -> float:
    """Seconds until a connection was ended from the other side."""
    began = time.monotonic()
    sock.settimeout(limit)
    with contextlib.suppress(ConnectionResetError):
        assert sock.recv(1) == b""
    return time.monotonic() - began


def say(is_open: bool) -> None:
    """What the agent publishes."""
    now = boottime()
    publish(
        Published(
            role="primary", open=True, serving=is_open, opened_at=now - 0.001, deadline=now + 3600
        )
    )


def checks_per_second(seconds: float = 3.0) -> float:
    """Connections to the guard, when nothing happens: nobody else connects to anything."""

    def accepted() -> int:
        lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
        names, values = (line for line in lines if line[0] == "Tcp:")
        return int(dict(zip(names, values, strict=True))["PassiveOpens"])

    before = accepted()
    time.sleep(seconds)
    return (accepted() - before) / seconds


def in_milliseconds(times: list[float]) -> list[float]:
    return [round(1000 * seconds, 1) for seconds in sorted(times)]


class HAProxy:
    """As its unit runs it: a master that reloads by SIGUSR2."""

    def __init__(self) -> None:
        command = ["haproxy", "-Ws", "-f", CONFIGURATION, "-p", "/run/haproxy.pid"]
        with Path("/run/haproxy.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def log(self) -> str:
        return Path("/run/haproxy.log").read_text()


def change(found: Found) -> None:
    """Closed and opened, at random moments."""
    closed: list[float] = []
    opened: list[float] = []
    _, sock = until_open()
    for _ in range(RUNS):
        time.sleep(chance.uniform(0.3, 0.8))
        say(is_open=False)
        closed.append(until_cut(sock))
        time.sleep(chance.uniform(0.3, 0.8))
        say(is_open=True)
        took, sock = until_open()
        opened.append(took)
    found["up to down"], found["down to up"] = in_milliseconds(closed), in_milliseconds(opened)


def idle(found: Found, guard: Activation) -> None:
    """Nothing happens."""
    time.sleep(0.5)
    before = guard.seconds()
    found["checks per second, up"] = round(checks_per_second(), 1)
    found["processor time of that, percent"] = round(100 * (guard.seconds() - before) / 3, 2)
    say(is_open=False)
    time.sleep(0.5)
    found["checks per second, down"] = round(checks_per_second(), 1)
    say(is_open=True)


def kill(found: Found, guard: Activation, haproxy: HAProxy) -> None:
    """Each of the guard's processes, again and again, under a session; or it stands still."""
    _, sock = until_open()
    answers: list[float] = []
    lines = len(haproxy.log().splitlines())
    for number in range(RUNS):
        time.sleep(chance.uniform(0.6, 0.9))
        victim = guard.pid if number % 2 else guard.child
        os.kill(victim, signal.SIGSTOP if number % 4 == 0 else signal.SIGKILL)
        began = time.monotonic()
        with socket.create_connection((DATABASE, 8008)) as asker:
            asker.send(b"GET /primary HTTP/1.1\r\n\r\n")
            assert asker.recv(64).startswith(b"HTTP/1.1 200")
        answers.append(time.monotonic() - began)
    time.sleep(0.6)
    found["guard killed or frozen, answers after"] = in_milliseconds(answers)
    said = haproxy.log().splitlines()[lines:]
    found["said of that"] = [line for line in said if "is DOWN" in line]
    sock.settimeout(2)
    sock.send(b"!")
    found["session lives after that"] = sock.recv(1) == b"!"


def reload(found: Found, haproxy: HAProxy) -> None:
    """Of HAProxy, under new sessions."""
    began = last = time.monotonic()
    haproxy.process.send_signal(signal.SIGUSR2)
    gap = 0.0
    while time.monotonic() - began < 3:
        if sock := session():
            sock.close()
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        time.sleep(0.002)
    found["reload, longest gap"] = in_milliseconds([gap])


def silence(found: Found, guard: Activation) -> None:
    """The guard stands still; then no packet gets to it."""
    frozen: list[float] = []
    silent: list[float] = []
    for _ in range(FEW):
        _, sock = until_open()
        time.sleep(chance.uniform(0.3, 0.8))
        both = guard.pid, guard.child
        for pid in both:
            os.kill(pid, signal.SIGSTOP)
        frozen.append(until_cut(sock))
        for pid in both:
            os.kill(pid, signal.SIGCONT)
    run("nft", "add table ip t")
    run("nft", "add chain ip t c { type filter hook input priority 0; }")
    for _ in range(FEW):
        _, sock = until_open()
        time.sleep(chance.uniform(0.3, 0.8))
        run("nft", f"add rule ip t c ip daddr {DATABASE} tcp dport 8008 drop")
        silent.append(until_cut(sock))
        run("nft", "flush chain ip t c")
    found["guard frozen"], found["machine silent"] = (
        in_milliseconds(frozen),
        in_milliseconds(silent),
    )


def cost(found: Found, guard: Activation) -> None:
    """Of a check, to the guard."""
    before, asked = guard.seconds(), 2000
    for _ in range(asked):
        with socket.create_connection((DATABASE, 8008)) as asker:
            asker.send(b"primary 0\n")
            asker.recv(16)
    each = (guard.seconds() - before) / asked
    found["microseconds of the guard's per check"] = round(1e6 * each)


def main() -> None:
    found: Found = {}
    Path("/run/haproxy").mkdir(exist_ok=True)
    names.serve(lambda _: [DATABASE])
    serve_echo()
    guard = Activation(Path("/run/site"))
    say(is_open=True)
    time.sleep(0.5)
    began = time.monotonic()
    haproxy = HAProxy()
    until_open()
    found["start"] = in_milliseconds([time.monotonic() - began])
    change(found)
    idle(found, guard)
    kill(found, guard, haproxy)
    reload(found, haproxy)
    silence(found, guard)
    cost(found, guard)
    print(json.dumps(found, indent=1))
    haproxy.process.kill()


if __name__ == "__main__":
    main()
