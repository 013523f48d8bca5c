"""The VPC's resolver, as far as HAProxy and Prometheus ask it: addresses of names."""

import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

Known = Callable[[str], Sequence[str]]
"""The addresses of a name, by its first label."""
RESOLVER = "169.254.169.253"


def serve(known: Known) -> None:
    """Answers at Amazon's address, in the machine image, to the end."""
    subprocess.run(["ip", "address", "add", f"{RESOLVER}/32", "dev", "lo"], check=True)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((RESOLVER, 53))
    answer(sock, known)


def answer(sock: socket.socket, known: Known) -> None:
    """In a thread, until the socket is closed."""

    def work() -> None:
        with suppress(OSError):
            while True:
                asked, who = sock.recvfrom(4096)
                sock.sendto(_answer(asked, known), who)

    threading.Thread(target=work, daemon=True).start()


def _answer(asked: bytes, known: Known) -> bytes:
    end = asked.index(b"\0", 12) + 5
    (kind,) = struct.unpack(">H", asked[end - 4 : end - 2])
    found = known(asked[13 : 13 + asked[12]].decode()) if kind == 1 else ()
    head = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
    records = (
        b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
        for address in found
    )
    return head + asked[12:end] + b"".join(records)
