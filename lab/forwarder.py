"""Carries connections from addresses of the user's machine into the lab. A process of its own.

Started by `lab.addresses`; each line of its standard input is the whole wanted state as
JSON, `{"forward": [[address, port, private, port], ...]}`; each line it writes says which
of them it could not listen on, and why. It ends with its input.

It lives in the lab's internet: connections to machines start there. Only its listening
sockets belong to the user's machine.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from lab import namespaces
from lab.namespaces import INTERNET

Address = tuple[str, int]

CONNECT_TIMEOUT = 10.0
_RESET = struct.pack("ii", 1, 0)


class _Side(asyncio.Protocol):
    """One end of a carried connection: what it gets, the other end sends."""

    def __init__(self, connections: "set[_Side]") -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.ended = False
        """Nothing more comes from here."""
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Half a close here is half a close there; both halves are the end of both."""
        self.ended = True
        if self.other and self.other.ended:
            return False  # closes this end, and then the other with it
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self.transport = None
        other, self.other = self.other, None
        if other and other.transport:
            if exc:
                other.reset()
            else:
                other.transport.close()

    def reset(self) -> None:
        """End the connection at once, with RST."""
        if self.transport:
            with contextlib.suppress(OSError):
                sock: socket.socket = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class _Forward:
    """One address and port, and every connection that came through it."""

    def __init__(self, listener: socket.socket, target: Address) -> None:
        self._listener = listener
        self._target = target
        self._connections: set[_Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accepted, sock=self._listener, backlog=1024)

    def _accepted(self) -> asyncio.Protocol:
        return _Client(self._connections, self._connect)

    def _connect(self, client: _Side) -> None:
        task = asyncio.get_running_loop().create_task(self._reach(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reach(self, client: _Side) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, server = await loop.create_connection(
                    lambda: _Side(self._connections), *self._target
                )
        except OSError:  # TimeoutError is one
            client.reset()
            return
        if client.transport is None:
            server.reset()
            return
        client.other, server.other = server, client
        client.transport.resume_reading()

    def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for side in list(self._connections):
            side.reset()


class _Client(_Side):
    """The client's end: nothing is read from it until its server is reached."""

    def __init__(self, connections: set[_Side], connect: Callable[[_Side], None]) -> None:
        super().__init__(connections)
        self._connect = connect

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._connect(self)


class Forwarder:
    """All forwards, brought to what is wanted."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open: dict[Address, tuple[Address, _Forward]] = {}

    async def want(self, forwards: dict[Address, Address]) -> dict[str, str]:
        """Make it so; gives the addresses that cannot be listened on, with the reason."""
        for address, (target, forward) in list(self._open.items()):
            if forwards.get(address) != target:
                forward.close()
                del self._open[address]
        failed: dict[str, str] = {}
        for address, target in forwards.items():
            if address not in self._open:
                try:
                    forward = _Forward(self._listen(address), target)
                    await forward.open()
                except OSError as error:
                    failed[f"{address[0]}:{address[1]}"] = error.strerror or str(error)
                else:
                    self._open[address] = (target, forward)
        return failed

    def _listen(self, address: Address) -> socket.socket:
        """A listener of the user's machine, made by a visit there."""
        namespaces.enter(self._home)
        try:
            return namespaces.listen(*address)
        finally:
            namespaces.enter(namespaces.path(INTERNET))


async def main() -> None:
    """Follow standard input to its end."""
    # The name space of whoever started it, held open while this process is elsewhere.
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    namespaces.enter(namespaces.path(INTERNET))
    forwarder = Forwarder(Path(f"/proc/self/fd/{home}"))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        wanted: list[list[str | int]] = json.loads(line)["forward"]
        forwards = {
            (str(address), int(port)): (str(private), int(to))
            for address, port, private, to in wanted
        }
        failed = await forwarder.want(forwards)
        sys.stdout.write(json.dumps({"failed": failed}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
