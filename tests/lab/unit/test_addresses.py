"""What the user's machine listens on for Elastic IPs, and how connections are carried."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab import forwarder, namespaces
from lab.addresses import Forward, forwards
from lab.facts import Elastic, Group, Rule
from tests.lab.unit.aws import ACCOUNT, EDGE, account, with_instance

WORLD = "0.0.0.0/0"


def ports(*rules: Rule) -> set[int]:
    facts = account(groups={"sg-edge": Group("sg-edge", rules)})
    return {forward.port for forward in forwards(facts)}


def test_a_held_address_leads_to_its_holder() -> None:
    assert forwards(ACCOUNT) == {Forward("127.1.2.3", 80, "10.0.0.4")}


@pytest.mark.parametrize("state", ["stopping", "stopped", "shutting-down"])
def test_an_address_of_a_machine_that_is_down_leads_nowhere(state: str) -> None:
    assert forwards(with_instance(EDGE, state=state)) == frozenset()


def test_an_address_without_a_holder_leads_nowhere() -> None:
    assert forwards(account(elastic=(Elastic("127.1.2.3", "eipalloc-1"),))) == frozenset()


def test_only_tcp_that_is_open_to_the_whole_world_is_listened_on() -> None:
    assert ports(Rule("tcp", (80, 80), cidr=WORLD), Rule("6", (443, 443), cidr=WORLD)) == {80, 443}
    assert ports(Rule("tcp", (8000, 8003), cidr=WORLD)) == {8000, 8001, 8002, 8003}
    assert ports(Rule("tcp", (22, 22), cidr="192.0.2.0/24")) == set()
    assert ports(Rule("tcp", (22, 22), group="sg-app")) == set()
    assert ports(Rule("udp", (53, 53), cidr=WORLD)) == set()
    assert ports(Rule("-1", None, cidr=WORLD), Rule("tcp", (0, 65535), cidr=WORLD)) == set()


Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Here(forwarder.Forwarder):
    """A forwarder that does not leave the network name space of the test."""

    def _listen(self, address: forwarder.Address) -> socket.socket:
        return namespaces.listen(*address)


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
    target: tuple[str, int] = behind.sockets[0].getsockname()
    between = Here(Path("/proc/self/ns/net"))
    address = ("127.0.0.1", free_port())
    async with asyncio.timeout(10):
        assert await between.want({address: target}) == {}
        reader, writer = await asyncio.open_connection(*address)
        await client(reader, writer)
        writer.close()
        await between.want({})
    behind.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


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


def test_an_address_that_moves_cuts_what_is_open() -> None:
    async def scenario() -> bool:
        behind = await asyncio.start_server(echo, "127.0.0.1", 0)
        target: tuple[str, int] = behind.sockets[0].getsockname()
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        async with asyncio.timeout(10):
            await between.want({address: target})
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            await between.want({address: ("127.0.0.1", free_port())})
            try:
                await reader.read(1)
            except ConnectionResetError:
                return True
            finally:
                writer.close()
                behind.close()
                await between.want({})
        return False

    assert asyncio.run(scenario())


def test_a_server_that_refuses_cuts_the_client() -> None:
    async def scenario() -> bool:
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        async with asyncio.timeout(10):
            await between.want({address: ("127.0.0.1", free_port())})
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
            failed = await between.want({address: ("127.0.0.1", 1)})
            return {key.partition(":")[0]: why for key, why in failed.items()}

    assert asyncio.run(scenario()) == {"127.0.0.1": "Address already in use"}


def test_a_connection_that_both_ends_have_closed_leaves_no_descriptor_open() -> None:
    def sockets() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough

    async def scenario() -> tuple[int, int]:
        behind = await asyncio.start_server(bye, "127.0.0.1", 0)
        target: tuple[str, int] = behind.sockets[0].getsockname()
        between, address = Here(Path("/proc/self/ns/net")), ("127.0.0.1", free_port())
        await between.want({address: target})
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
