"""A network name space that a test's thread can step into, to make sockets that stay in it."""

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NETWORK = 0x40000000  # CLONE_NEWNET


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _NETWORK):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def of_thread() -> str:
    """Which network the calling thread is in."""
    return str(Path("/proc/thread-self/ns/net").readlink())


@contextmanager
def inside(pid: int) -> Generator[None]:
    """The network of a process. Sockets made here are of it for as long as they live."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _enter(other)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(other)
