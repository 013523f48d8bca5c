"""When the engine dies, however it dies, so does what it started."""

import os
import select
import threading
from collections.abc import Callable


def end_with_parent(before: Callable[[], None]) -> None:
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
