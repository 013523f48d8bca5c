"""A real HAProxy whose address is to go, with real nftables. Prints what happened, as JSON."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path[:0] = ["/opt/site"]

from hosts.base import services  # noqa: E402
from hosts.load_balancer import door  # noqa: E402
from hosts.load_balancer.door import AddressDoor  # noqa: E402

HERE, OTHER = "10.9.9.1", "10.9.9.2"
CONFIG = """\
defaults
    mode http
    option idle-close-on-response
    timeout connect 1s
    timeout client 20s
    timeout server 20s
frontend clients
    bind :80
    bind :81 proto h2
    default_backend servers
backend servers
    server one 127.0.0.1:8000
"""
REQUEST = b"GET /%s HTTP/1.1\r\nHost: site\r\n\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
GOAWAY = 7


class Server(http.server.BaseHTTPRequestHandler):
    """Answers at once, or after a second."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(1.0)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


def connect(address: str, port: int = 80, patience: float = 3.0) -> socket.socket:
    return socket.create_connection(
        (address, port), timeout=patience, source_address=("127.0.0.1", 0)
    )


def ask(connection: socket.socket, path: bytes = b"") -> bytes:
    connection.sendall(REQUEST % path)
    return connection.recv(4096)


def reached(address: str) -> bool:
    try:
        connect(address, patience=0.3).close()
    except TimeoutError:
        return False
    return True


def frames(connection: socket.socket) -> list[int]:
    """The kinds of HTTP/2 frames that came."""
    data, kinds = connection.recv(65536), list[int]()
    while len(data) >= 9:
        length = int.from_bytes(data[:3])
        kinds.append(data[3])
        data = data[9 + length :]
    return kinds


def emptied(at: AddressDoor) -> float:
    """Seconds until it is."""
    begun = time.monotonic()
    while not at.empty():
        time.sleep(0.02)
    return round(time.monotonic() - begun, 2)


def with_everybody_connected(at: AddressDoor) -> dict[str, Any]:
    """Kept alive, HTTP/2, in flight, on the other address; and one that comes too late."""
    kept, two, slow, other = connect(HERE), connect(HERE, 81), connect(HERE), connect(OTHER)
    ask(kept)
    ask(other)
    two.sendall(HTTP2)
    frames(two)
    slow.sendall(REQUEST % b"slow")
    late: list[float] = []
    begun = time.monotonic()
    at.shut()

    def come_late() -> None:
        with connect(HERE) as connection:
            late.append(round(time.monotonic() - begun, 2))
            ask(connection)

    newcomer = threading.Thread(target=come_late)
    newcomer.start()
    found: dict[str, Any] = {
        "reached": reached(HERE),
        "the other is reached": reached(OTHER),
        "HTTP/2 is told": GOAWAY in frames(two),
        "kept alive": ask(kept).decode(),
        "in flight": slow.recv(4096).decode(),
        "on the other": ask(other)[:15].decode(),
    }
    two.close()
    found["empty after"] = emptied(at)
    found["connections"] = door.connections(HERE)
    at.reopen()
    newcomer.join()
    found["the one that came late"] = late
    found["reached again"] = reached(HERE)
    return found


def with_somebody_idle(at: AddressDoor) -> dict[str, Any]:
    with connect(HERE) as idle:
        ask(idle)
        begun = time.monotonic()
        at.shut()
        emptied(at)
        waited = round(time.monotonic() - begun, 2)
        left = door.connections(HERE)
        at.reopen()
    return {"waited": waited, "left": left}


def with_nobody(at: AddressDoor, master: int) -> dict[str, Any]:
    before = workers(master)
    at.shut()
    seconds = emptied(at)
    at.reopen()
    return {"waited": seconds, "reloaded": workers(master) != before}


def workers(master: int) -> list[str]:
    return Path(f"/proc/{master}/task/{master}/children").read_text().split()


def main() -> None:
    subprocess.run(["ip", "address", "add", f"{HERE}/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "address", "add", f"{OTHER}/32", "dev", "lo"], check=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Path("/run/h.cfg").write_text(CONFIG)
    haproxy = subprocess.Popen(
        ["haproxy", "-W", "-f", "/run/h.cfg"], stdout=sys.stderr, stderr=sys.stderr
    )
    services.systemctl = lambda *_: os.kill(haproxy.pid, signal.SIGUSR2)  # type: ignore[assignment]
    while True:
        try:
            ask(connect(HERE))
            break
        except OSError:
            time.sleep(0.05)
    door.make()
    at = AddressDoor(HERE)
    found = {"with everybody connected": with_everybody_connected(at)}
    found["with somebody idle"] = with_somebody_idle(at)
    time.sleep(0.3)
    found["with nobody"] = with_nobody(at, haproxy.pid)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    at.shut()
    shown = subprocess.check_output(["nft", "list", "table", "inet", door.TABLE], text=True)
    found["after a flush"] = {"reached": reached(HERE), "table": shown}
    door.make()
    found["made anew"] = {"reached": reached(HERE)}
    at.reopen()
    haproxy.terminate()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)
