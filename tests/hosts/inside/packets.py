"""Real packets at a machine with its own firewall: this name space is the machine.

Another one, at the end of its cable, is everybody else: it has every address there is, listens on
the ports that it is told, and answers. What it is told comes as JSON on standard input; what was
seen goes out as JSON.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Target = tuple[str, str, int]
"""From an address (or as a user), to an address and a port."""

HERE = "10.0.0.20"
HERE6, THERE6 = "fd00::20", "fd00::1"
HOP, HOP_MAC, MAC = "10.0.0.1", "02:00:00:00:00:01", "02:00:00:00:00:20"
FAR, MIDDLE = "198.51.100.9", "198.51.100.1"
PATIENCE = 0.5
"""Seconds after which what did not answer was dropped: there is nothing between the two."""
ROOT, USER = 0, 4242


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stderr}")
    return done.stdout


def inside(pid: int, *command: str) -> str:
    """Runs a command in the name space of the others."""
    return run("nsenter", f"--net=/proc/{pid}/ns/net", "--", *command)


@contextmanager
def the_others() -> Generator[int]:
    """The name space at the other end of the cable, by the process that keeps it."""
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"],
                              stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert keeper.stdout
        keeper.stdout.readline()
        run("ip", "link", "add", "eth0", "address", MAC, "type", "veth",
            "peer", "name", "world", "address", HOP_MAC, "netns", str(keeper.pid))  # fmt: skip
        for command in (
            f"address add {HERE}/20 dev eth0",
            f"-6 address add {HERE6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {HOP}",
            f"neigh replace {HOP} lladdr {HOP_MAC} dev eth0 nud permanent",
        ):
            run("ip", *command.split())
        for command in (
            "link set lo up",
            "link set world up",
            f"address add {HOP}/32 dev world",
            f"-6 address add {THERE6}/64 dev world nodad",
            f"route add {HERE}/32 dev world",
            f"neigh replace {HERE} lladdr {MAC} dev world nud permanent",
            # Every other address is one of theirs.
            "route add local 0.0.0.0/0 dev lo table main",
        ):
            inside(keeper.pid, "ip", *command.split())
        yield keeper.pid
    finally:
        keeper.kill()
        keeper.wait()


def load(rules: str) -> None:
    """As nftables.service and the agent do; a check first."""
    run("nft", "-c", "-f", "-", stdin=rules)
    run("nft", "-f", "-", stdin=rules)


# ---- who answers


def serve_tcp(ports: Sequence[int], family: int = socket.AF_INET) -> None:
    """Accepts on these ports at every address, and says ``hello``."""
    for port in ports:
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("", port))
        listener.listen(256)
        threading.Thread(target=_accept, args=[listener], daemon=True).start()


def _accept(listener: socket.socket) -> None:
    kept: list[socket.socket] = []
    while True:
        sock, _ = listener.accept()
        sock.sendall(b"hello")
        kept.append(sock)


def serve_udp(ports: Sequence[int]) -> None:
    """Answers on these ports, from the address that was asked."""
    for port in ports:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        server.bind(("", port))
        threading.Thread(target=_echo, args=[server], daemon=True).start()


IP_PKTINFO = 8


def _echo(server: socket.socket) -> None:
    while True:
        data, ancillary, _, peer = server.recvmsg(100, 100)
        info = next(value for _, kind, value in ancillary if kind == IP_PKTINFO)
        asked = info[8:12]
        reply = b"\0" * 4 + asked + b"\0" * 4
        server.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, reply)], 0, peer)


# ---- who asks


def reached_tcp(source: str, address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect((address, port))
            return sock.recv(5) == b"hello"
        except OSError:
            return False


def reached_udp(source: str, address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # DHCP's client has a port of its own, and is root.
            sock.bind((source, 68 if port == 67 and os.geteuid() == 0 else 0))
            sock.connect((address, port))
            sock.send(b"x")
            return sock.recv(5) == b"x"
        except OSError:
            return False


def reached(how: Callable[[str, str, int], bool], targets: Sequence[Target]) -> list[Target]:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(how, *zip(*targets, strict=True))) if targets else []
    return [target for target, yes in zip(targets, answers, strict=True) if yes]


def elsewhere(pid: int | None, user: int, what: str, given: object) -> Any:
    """Runs one of `PARTS` as a user, in the others' name space or in this one."""
    command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    command += [sys.executable, __file__, what]
    if pid is not None:
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *command]
    return json.loads(run(*command, stdin=json.dumps(given)))


@contextmanager
def serving(pid: int, tcp: Sequence[int], udp: Sequence[int] = ()) -> Generator[None]:
    """The others listen meanwhile."""
    server = subprocess.Popen(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "--", sys.executable, __file__, "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps([list(tcp), list(udp)]) + "\n")
        server.stdin.flush()
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        server.kill()
        server.wait()


def counters() -> dict[str, int]:
    """Packets that were dropped, by the names that the rules give the counters."""
    listed = json.loads(run("nft", "-j", "list", "counters", "table", "inet", "site"))
    found = [one["counter"] for one in listed["nftables"] if "counter" in one]
    return {counter["name"]: counter["packets"] for counter in found}


def tracked() -> int:
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


# ---- what is tried


def scan(given: dict[str, Any]) -> dict[str, Any]:
    """All ports from all sources, inward; and all places, outward, as root and as a user."""
    load(given["rules"])
    ports, sources = given["ports"], given["sources"]
    serve_tcp(ports)
    serve_tcp(ports, socket.AF_INET6)
    serve_udp(given["udp ports"])
    with the_others() as pid:
        before = counters()["dropped-in"]
        inward = [(source, HERE, port) for source in sources for port in ports]
        found: dict[str, Any] = {
            "in": elsewhere(pid, ROOT, "tcp", inward),
            "in, udp": elsewhere(
                pid, ROOT, "udp", [(s, HERE, p) for s in sources for p in given["udp ports"]]
            ),
            "in, ipv6": elsewhere(pid, ROOT, "tcp", [(THERE6, HERE6, port) for port in ports]),
            "dropped in": counters()["dropped-in"] - before,
            "to itself": elsewhere(None, USER, "tcp", [("", "127.0.0.1", p) for p in ports]),
        }
        tcp = sorted({port for _, _, port in given["outward"]})
        with serving(pid, tcp, given["outward udp ports"]):
            udp = [
                (HERE, to, port)
                for to in given["outward udp"]
                for port in given["outward udp ports"]
            ]
            for name, user in (("root", ROOT), ("user", USER)):
                found[f"out, {name}"] = elsewhere(None, user, "tcp", given["outward"])
                found[f"out, udp, {name}"] = elsewhere(None, user, "udp", udp)
        found["dropped out"] = counters()["dropped-out"]
    return found


def small_path(given: dict[str, Any]) -> dict[str, Any]:
    """A client behind a link that carries smaller packets than ours, fetches a lot."""
    load(given["rules"])
    amount = 300_000
    with the_others() as middle:
        listener = socket.create_server((HERE, given["port"]))
        far = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"],
                               stdout=subprocess.PIPE)  # fmt: skip
        assert far.stdout
        far.stdout.readline()
        try:
            inside(middle, "ip", "link", "add", "narrow", "mtu", "1000", "type", "veth",
                   "peer", "name", "eth0", "netns", str(far.pid))  # fmt: skip
            inside(middle, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            for command in ("link set narrow up", f"address add {MIDDLE}/24 dev narrow"):
                inside(middle, "ip", *command.split())
            for command in (
                "link set lo up",
                "link set eth0 up",
                f"address add {FAR}/24 dev eth0",
                f"route add default via {MIDDLE}",
            ):
                inside(far.pid, "ip", *command.split())

            def answer() -> None:
                sock, _ = listener.accept()
                sock.sendall(b"x" * amount)
                sock.close()

            threading.Thread(target=answer, daemon=True).start()
            got = elsewhere(far.pid, ROOT, "fetch", [HERE, given["port"]])
        finally:
            far.kill()
            far.wait()
    route = run("ip", "route", "get", FAR)
    return {"got": got, "of": amount, "learned": "mtu 1000" in route}


def renewal(given: dict[str, Any]) -> dict[str, Any]:
    """Rules that are put in place of others under traffic, and a connection through it all."""
    port, other = given["port"], given["other"]
    serve_tcp([port, other])
    found: dict[str, Any] = {}
    with the_others() as pid:
        talker = subprocess.Popen(
            ["nsenter", f"--net=/proc/{pid}/ns/net", "--", sys.executable, __file__, "talk"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert talker.stdin
        assert talker.stdout
        talker.stdin.write(json.dumps([given["source"], HERE, given["kept"]]) + "\n")
        talker.stdin.flush()
        with socket.create_server((HERE, given["kept"])) as listener:
            sock, _ = listener.accept()
        load(given["rules"])

        def alive() -> bool:
            """Whether a question comes, and an answer arrives."""
            assert talker.stdin
            assert talker.stdout
            talker.stdin.write("?\n")
            talker.stdin.flush()
            sock.settimeout(2)
            try:
                sock.sendall(sock.recv(1))
            except TimeoutError:
                return False
            return talker.stdout.readline() == "?\n"

        found["a connection from before the rules goes on"] = alive()
        begin = time.monotonic()
        probing = subprocess.Popen(
            ["nsenter", f"--net=/proc/{pid}/ns/net", "--", sys.executable, __file__, "probe"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert probing.stdin
        assert probing.stdout
        probing.stdin.write(json.dumps([given["source"], HERE, port, other]) + "\n")
        probing.stdin.flush()
        loads = 0
        while time.monotonic() - begin < 2:
            load(given["rules"])
            loads += 1
        probing.send_signal(signal.SIGTERM)
        found["loads"] = loads
        found.update(json.loads(probing.stdout.read()))
        load(given["without"])
        found["a connection outlives its arrow"] = alive()
        found["a new one is not made"] = not elsewhere(
            pid, ROOT, "tcp", [(given["source"], HERE, port)]
        )
        talker.kill()
        talker.wait()
    return found


def untracked(given: dict[str, Any]) -> dict[str, Any]:
    """What connections to ports leave behind in the table of connections."""
    load(given["rules"])
    serve_tcp([given["open"], given["port"]])
    with the_others() as pid:
        found = {"at first": tracked()}
        for name in ("open", "port"):
            targets = [(given["source"], HERE, given[name])] * 20
            assert len(elsewhere(pid, ROOT, "tcp", targets)) == 20
            found[name] = tracked() - sum(found.values())
        assert elsewhere(None, USER, "tcp", [("", "127.0.0.1", given["port"])])
        found["to itself"] = tracked() - sum(found.values())
    return found


def forwarding(given: dict[str, Any]) -> dict[str, Any]:
    """Somebody takes the machine for a router, and somebody made it one."""
    load(given["rules"])
    run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    with the_others() as pid:
        inside(pid, "ip", "route", "add", "10.9.9.9/32", "via", HERE, "dev", "world", "onlink")
        elsewhere(pid, ROOT, "tcp", [("10.0.128.10", "10.9.9.9", 443)])
    return counters()


def first_boot(given: dict[str, Any]) -> dict[str, Any]:
    """What user data does before there are rules, and what becomes of it."""
    serve_tcp([22, 443])
    with the_others() as pid, serving(pid, [443]):
        targets = [("203.0.113.9", HERE, 22), ("10.0.128.10", HERE, 443)]
        found: dict[str, Any] = {"open": elsewhere(pid, ROOT, "tcp", targets)}
        run("sh", "-c", given["closed"])
        found["closed"] = elsewhere(pid, ROOT, "tcp", targets)
        found["out"] = elsewhere(None, ROOT, "tcp", [("", "198.51.100.1", 443)])
        load(given["rules"])
        found["with rules"] = elsewhere(pid, ROOT, "tcp", targets)
        run("sh", "-c", given["closed"])  # the next boot
        found["tables"] = run("nft", "list", "tables").split("\n")
        found["after a reboot"] = elsewhere(pid, ROOT, "tcp", targets)
    return found


# ---- parts of it, in processes of their own


def _fetch() -> None:
    address, port = json.load(sys.stdin)
    got = 0
    with socket.create_connection((address, port), timeout=5) as sock:
        try:
            while part := sock.recv(65536):
                got += len(part)
        except TimeoutError:
            pass
    print(got)


def _serve() -> None:
    tcp, udp = json.loads(sys.stdin.readline())
    serve_tcp(tcp)
    serve_udp(udp)
    print("ready", flush=True)
    threading.Event().wait()


def _talk() -> None:
    """Keeps a connection, says there what it is told, and prints the answers."""
    source, address, port = json.loads(sys.stdin.readline())
    with socket.socket() as sock:
        sock.bind((source, 0))
        deadline = time.monotonic() + 10
        while sock.connect_ex((address, port)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for line in sys.stdin:
            sock.sendall(line[:1].encode())
            print(sock.recv(1).decode(), flush=True)


def _probe() -> None:
    """Keeps connecting, to a port with an arrow and to one without, until it is told to end."""
    source, address, port, other = json.loads(sys.stdin.readline())
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    tried = failed = entered = 0
    with ThreadPoolExecutor(1) as pool:
        while not ended.is_set():
            closed = pool.submit(reached_tcp, source, address, other)
            while not closed.done():
                tried += 1
                failed += not reached_tcp(source, address, port)
            entered += closed.result()
    print(json.dumps({"tried": tried, "failed": failed, "entered": entered}))


def _ask(how: Callable[[str, str, int], bool]) -> None:
    print(json.dumps(reached(how, [tuple(target) for target in json.load(sys.stdin)])))


PARTS: dict[str, Callable[[], None]] = {
    "tcp": lambda: _ask(reached_tcp),
    "udp": lambda: _ask(reached_udp),
    "fetch": _fetch,
    "serve": _serve,
    "talk": _talk,
    "probe": _probe,
}
SCENES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "scan": scan,
    "small path": small_path,
    "renewal": renewal,
    "untracked": untracked,
    "forwarding": forwarding,
    "first boot": first_boot,
}


def main() -> None:
    what = sys.argv[1]
    if what in PARTS:
        PARTS[what]()
    else:
        print(json.dumps(SCENES[what](json.load(sys.stdin))))


if __name__ == "__main__":
    main()
