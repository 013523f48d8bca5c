"""What the user's machine listens on for Elastic IPs, and how connections are carried."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from lab import forwarder, namespaces
from lab.addresses import Forward, forwards, sessions
from lab.facts import Elastic, Group, Rule
from tests.lab.unit.aws import ACCOUNT, EDGE, account, with_instance

WORLD = "0.0.0.0/0"


def ports(*rules: Rule) -> set[int]:
    facts = account(groups={"sg-edge": Group("sg-edge", rules)})
    return {forward.port for forward in forwards(facts)}


def test_a_held_address_leads_to_its_holder() -> None:
    assert forwards(ACCOUNT) == {Forward("127.1.2.3", 80, "10.0.0.4")}


def test_an_address_of_a_machine_that_ends_leads_nowhere() -> None:
    assert forwards(with_instance(EDGE, state="shutting-down")) == frozenset()


@pytest.mark.parametrize("state", ["stopping", "stopped"])
def test_an_address_of_a_machine_that_is_off_still_leads_there(state: str) -> None:
    assert forwards(with_instance(EDGE, state=state)) == forwards(ACCOUNT)


def test_an_address_without_a_holder_leads_nowhere() -> None:
    assert forwards(account(elastic=(Elastic("127.1.2.3", "eipalloc-1"),))) == frozenset()


def test_the_monitorings_own_loopback_is_reached_as_by_a_session() -> None:
    watching = with_instance(EDGE, role="monitoring")
    inside = f"lab-{EDGE.id}"
    assert sessions(watching) == {Forward("127.0.9.90", 9090, "127.0.0.1", inside)}
    assert sessions(with_instance(EDGE, role="monitoring", state="shutting-down")) == frozenset()
    assert sessions(ACCOUNT) == frozenset()


def test_only_tcp_that_is_open_to_the_whole_world_is_listened_on() -> None:
    assert ports(Rule("tcp", (80, 80), cidr=WORLD), Rule("6", (443, 443), cidr=WORLD)) == {80, 443}
    assert ports(Rule("tcp", (8000, 8003), cidr=WORLD)) == {8000, 8001, 8002, 8003}
    assert ports(Rule("tcp", (22, 22), cidr="192.0.2.0/24")) == set()
    assert ports(Rule("tcp", (22, 22), group="sg-app")) == set()
    assert ports(Rule("udp", (53, 53), cidr=WORLD)) == set()
    assert ports(Rule("-1", None, cidr=WORLD), Rule("tcp", (0, 65535), cidr=WORLD)) == set()


def at(server: asyncio.Server) -> forwarder.Target:
    address, port = server.sockets[0].getsockname()
    return address, port, ""


Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Here(forwarder.Forwarder):
    """A forwarder that does not leave the network name space of the test."""

    def _listen(self, address: forwarder.Address) -> list[socket.socket]:
        return [namespaces.listen(*address)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def carried(server: Server, client: Server) -> None:
    """Run `client` against `server`, with a forward between them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await server(reader, writer)
        writer.close()

    behind = await asyncio.start_server(serve, "127.0.0.1", 0)
    between = Here(Path("/proc/self/ns/net"))
    address = ("127.0.0.1", free_port())
    async with asyncio.timeout(10):
        assert await between.want({address: at(behind)}) == {}
        reader, writer = await asyncio.open_connection(*address)
        await client(reader, writer)
        writer.close()
        await between.want({})
    behind.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def test_who_speaks_first_may_be_the_server() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready")
        await reader.read()

    answers: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.append(await reader.readexactly(9))
        writer.write_eof()

    for _ in range(20):
        asyncio.run(carried(greet, client))
    assert answers == 20 * [b"220 ready"]


def test_half_a_close_is_carried_as_half_a_close() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        await writer.drain()

    answers: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"all of it")
        writer.write_eof()
        answers.append(await reader.read())

    asyncio.run(carried(answer_at_the_end, client))
    assert answers == [b"got all of it"]


def test_much_is_carried_whole_to_a_slow_reader() -> None:
    sent = bytes(range(256)) * 80_000
    got: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        while data := await reader.read(65536):
            got.append(data)
            await asyncio.sleep(0)
        await sending

    asyncio.run(carried(echo, client))
    assert b"".join(got) == sent


def test_an_address_that_moves_takes_no_connection_with_it() -> None:
    """A client that sends is reset; one that waits hears nothing, as nobody speaks to it."""

    async def scenario() -> list[str]:
        behind = await asyncio.start_server(echo, "127.0.0.1", 0)
        other = await asyncio.start_server(echo, "127.0.0.1", 0)
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        heard: list[str] = []
        async with asyncio.timeout(10):
            await between.want({address: at(behind)})
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            await between.want({address: at(other)})
            try:
                await asyncio.wait_for(reader.read(1), 0.2)
            except TimeoutError:
                heard.append("nothing")
            writer.write(b"y")
            try:
                await reader.read(1)
            except ConnectionResetError:
                heard.append("reset")
            writer.close()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"z")
            heard.append((await reader.read(1)).decode())
            writer.close()
            behind.close()
            other.close()
            await between.want({})
        return heard

    assert asyncio.run(scenario()) == ["nothing", "reset", "z"]


def test_who_waits_for_a_connection_reaches_the_machine_that_has_the_address_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarder, "REPEATS", (0.05,))

    async def scenario() -> bytes:
        other = await asyncio.start_server(echo, "127.0.0.1", 0)
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        with full() as silent:
            async with asyncio.timeout(10):
                await between.want({address: (*silent, "")})
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"x")
                await asyncio.sleep(0.1)
                await between.want({address: at(other)})
                heard = await reader.read(1)
                writer.close()
                other.close()
                await between.want({})
        return heard

    assert asyncio.run(scenario()) == b"x"


@contextlib.contextmanager
def full() -> Generator[forwarder.Address]:
    """Where nobody answers: a listener whose queue is full drops first packets."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as q:
        for _ in range(4):
            waiting = q.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_server_that_refuses_cuts_the_client() -> None:
    async def scenario() -> bool:
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        async with asyncio.timeout(10):
            await between.want({address: ("127.0.0.1", free_port(), "")})
            reader, writer = await asyncio.open_connection(*address)
            try:
                await reader.read(1)
            except ConnectionResetError:
                return True
            finally:
                writer.close()
                await between.want({})
        return False

    assert asyncio.run(scenario())


def test_a_port_that_is_taken_is_said() -> None:
    async def scenario() -> dict[str, str]:
        between = Here(Path("/proc/self/ns/net"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address: tuple[str, int] = taken.getsockname()
            failed = await between.want({address: ("127.0.0.1", 1, "")})
            return {key.partition(":")[0]: why for key, why in failed.items()}

    assert asyncio.run(scenario()) == {"127.0.0.1": "Address already in use"}


def test_a_connection_that_both_ends_have_closed_leaves_no_descriptor_open() -> None:
    def sockets() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough

    async def scenario() -> tuple[int, int]:
        behind = await asyncio.start_server(bye, "127.0.0.1", 0)
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        await between.want({address: at(behind)})
        before = sockets()
        async with asyncio.timeout(10):
            for _ in range(20):
                reader, writer = await asyncio.open_connection(*address)
                writer.write_eof()
                assert await reader.read() == b"bye"
                writer.close()
                await writer.wait_closed()
            while sockets() > before:
                await asyncio.sleep(0.01)
        await between.want({})
        behind.close()
        return before, sockets()

    async def bye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye" + await reader.read())
        writer.close()

    before, after = asyncio.run(scenario())
    assert after <= before
