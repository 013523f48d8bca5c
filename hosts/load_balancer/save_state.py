"""Before a reload: keeps what HAProxy knows of its servers for the process that comes next."""

import socket
from pathlib import Path

ADMIN = "/run/haproxy/admin.sock"
STATE = Path("/var/lib/haproxy/servers")


def ask(command: str, path: str = ADMIN) -> str:
    """What HAProxy answers to a command on its admin socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as admin:
        admin.settimeout(5)
        admin.connect(path)
        admin.sendall(f"{command}\n".encode())
        answer = b""
        while part := admin.recv(65536):
            answer += part
    return answer.decode()


def save(state: Path = STATE) -> None:
    """Writes the state file, whole or not at all."""
    text = ask("show servers state")
    new = state.with_suffix(".new")
    new.write_text(text)
    new.replace(state)


if __name__ == "__main__":
    save()
