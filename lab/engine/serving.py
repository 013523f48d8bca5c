"""What plugins and the language host do alike: serve the engine, and end when it ends."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable

import grpc


def engine_address() -> str:
    """Where the engine that started this process listens; empty if it did not say."""
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")


def serve(server: grpc.Server, cancel: Callable[[], None]) -> None:
    """Serve on a port that is printed, until the engine ends this process, or ends itself.

    `cancel` is called before that: what is under way is to end.
    """
    _end_with_parent(cancel)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)

    def stop(*_: object) -> None:
        cancel()
        server.stop(0)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    server.wait_for_termination()


def _end_with_parent(before: Callable[[], None]) -> None:
    """From now on, when the process that started this one ends: call `before`, then end too.

    The engine asks its plugins to end when it ends by itself; one that is killed cannot.
    """
    parent = os.getppid()
    watch = os.pidfd_open(parent)

    def wait() -> None:
        if os.getppid() == parent:  # else it ended before it was watched
            select.select([watch], [], [])
        before()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
