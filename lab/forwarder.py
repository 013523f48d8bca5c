"""Carries connections from addresses of the user's machine into the lab. A process of its own.

Started by `lab.addresses`; each line of its standard input is the whole wanted state as
JSON, `{"forward": [[address, port, private, port, inside], ...]}`, `inside` being the name space
of a machine or empty; each line it writes says which of them it could not listen on, and why. It
ends with its input.

It lives in the lab's internet: connections to machines start there. It listens there too, for
what else is in that internet, and on the user's machine.

An address that moves is treated as EC2 does: what is open is lost, which a client learns by a
reset when it sends its next word, and whoever waits for a connection asks again in a moment, as
every kernel does with its first packet, and reaches the machine that has the address by then.
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
Target = tuple[str, int, str]
"""With the name space that the address is in; empty: this process's, the lab's internet."""

CONNECT_TIMEOUT = 10.0
REPEATS = (1.0, 3.0, 7.0)
"""Seconds after which a kernel repeats the first packet of a connection."""
_RESET = struct.pack("ii", 1, 0)


class _Side(asyncio.Protocol):
    """One end of a carried connection: what it gets, the other end sends."""

    def __init__(self, connections: "set[_Side]") -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.ended = False
        """Nothing more comes from here."""
        self.lost = False
        """The other end is gone without a word."""
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is read from here until the other end is there."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.lost:
            self.reset()
        elif self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Half a close here is half a close there; both halves are the end of both."""
        self.ended = True
        if self.lost:
            self.reset()
            return False
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

    def lose(self) -> None:
        """End what is behind, and tell the client nothing: its packets go elsewhere from now on."""
        server, self.other, self.lost = self.other, None, True
        if server:
            server.other = None
            server.reset()

    def reset(self) -> None:
        """End the connection at once, with RST."""
        if self.transport:
            with contextlib.suppress(OSError):
                sock: socket.socket = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class _Forward:
    """One address and port, and every connection that came through it."""

    def __init__(self, listeners: list[socket.socket], target: Target) -> None:
        self.target = target
        self._listeners = listeners
        self._connections: set[_Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        """Set once `target` is another than when it was made."""
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._servers = [
            await loop.create_server(self._accepted, sock=listener, backlog=1024)
            for listener in self._listeners
        ]

    def _accepted(self) -> asyncio.Protocol:
        return _Client(self._connections, self._connect)

    def _connect(self, client: _Side) -> None:
        task = asyncio.get_running_loop().create_task(self._reach(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reach(self, client: _Side) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                server = await self._connected()
        except OSError:  # TimeoutError is one
            client.reset()
            return
        if client.transport is None:
            server.reset()
            return
        client.other, server.other = server, client
        for side in (client, server):
            if side.transport:
                side.transport.resume_reading()

    async def _connected(self) -> _Side:
        """A connection to wherever the address leads when one is made."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            moved = self._moved
            attempt = loop.create_task(self._attempt())
            change = loop.create_task(moved.wait())
            try:
                await asyncio.wait((attempt, change), return_when=asyncio.FIRST_COMPLETED)
                if not moved.is_set():
                    return await attempt
            finally:
                change.cancel()
                if not attempt.cancel() and not attempt.exception() and moved.is_set():
                    attempt.result().reset()
            waited = loop.time() - begun
            await asyncio.sleep(next((r for r in REPEATS if r > waited), waited) - waited)

    async def _attempt(self) -> _Side:
        loop = asyncio.get_running_loop()
        address, port, inside = self.target
        sock = _socket(inside)
        try:
            await loop.sock_connect(sock, (address, port))
            _, server = await loop.create_connection(lambda: _Side(self._connections), sock=sock)
        except BaseException:
            sock.close()
            raise
        return server

    def move(self, target: Target) -> None:
        """Lead elsewhere from now on."""
        self.target = target
        self._moved.set()
        self._moved = asyncio.Event()
        for side in list(self._connections):
            if isinstance(side, _Client) and side.other:
                side.lose()

    def close(self) -> None:
        """Stop listening and cut what is open."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        for side in list(self._connections):
            side.reset()


def _socket(inside: str) -> socket.socket:
    """One of another name space is made by a visit there."""
    if not inside:
        sock = socket.socket()
    else:
        namespaces.enter(namespaces.path(inside))
        try:
            sock = socket.socket()
        finally:
            namespaces.enter(namespaces.path(INTERNET))
    sock.setblocking(False)
    return sock


class _Client(_Side):
    """The client's end: it comes first, and asks for the other."""

    def __init__(self, connections: set[_Side], connect: Callable[[_Side], None]) -> None:
        super().__init__(connections)
        self._connect = connect

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connect(self)


class Forwarder:
    """All forwards, brought to what is wanted."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open: dict[Address, _Forward] = {}

    async def want(self, forwards: dict[Address, Target]) -> dict[str, str]:
        """Make it so; gives the addresses that cannot be listened on, with the reason."""
        for address, forward in list(self._open.items()):
            target = forwards.get(address)
            if target is None:
                forward.close()
                del self._open[address]
            elif target != forward.target:
                forward.move(target)
        failed: dict[str, str] = {}
        for address, target in forwards.items():
            if address not in self._open:
                try:
                    forward = _Forward(self._listen(address), target)
                    await forward.open()
                except OSError as error:
                    failed[f"{address[0]}:{address[1]}"] = error.strerror or str(error)
                else:
                    self._open[address] = forward
        return failed

    def _listen(self, address: Address) -> list[socket.socket]:
        """A listener here, and one of the user's machine, made by a visit there."""
        here = namespaces.listen(*address)
        namespaces.enter(self._home)
        try:
            return [here, namespaces.listen(*address)]
        except OSError:
            here.close()
            raise
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
            (str(address), int(port)): (str(private), int(to), str(inside))
            for address, port, private, to, inside in wanted
        }
        failed = await forwarder.want(forwards)
        sys.stdout.write(json.dumps({"failed": failed}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
