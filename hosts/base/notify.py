"""What a service tells systemd of itself."""

import os
import socket


def tell_systemd(state: str) -> None:
    """sd_notify: ``READY=1``, ``WATCHDOG=1``, ``STATUS=…``."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(state.encode())
