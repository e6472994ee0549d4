"""Servers with a connection limit: slow clients are limited and disconnected, and others can soon connect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from decloud_pl.config.schema import MetricsConfig
from decloud_pl.journal.owner import Owner
from decloud_pl.observers.connection_limit import ConnectionLimit
from decloud_pl.observers.metrics_server import metrics_server

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def connect(port: int) -> Client:
    return await asyncio.open_connection("127.0.0.1", port)


async def is_cut(client: Client, seconds: float = 30.0) -> bool:
    try:
        return await asyncio.wait_for(client[0].read(1), seconds) == b""
    except ConnectionError:
        return True


class Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.asked = True
        self.transport.write(data)


async def serve(limit: ConnectionLimit, is_busy: Callable[[Echo], bool]) -> tuple[asyncio.Server, int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: limit.guard(Echo(), is_busy), "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def echoes(client: Client) -> bool:
    try:
        client[1].write(b"x")
        return await client[0].read(1) == b"x"
    except ConnectionError:
        return False


async def leave(client: Client) -> None:
    client[1].close()
    with contextlib.suppress(ConnectionError):
        await client[1].wait_closed()


async def test_beyond_the_limit_nobody_is_let_in_until_one_leaves() -> None:
    server, port = await serve(ConnectionLimit(most=2), lambda _: False)
    async with server:
        clients = [await connect(port) for _ in range(3)]
        assert [await echoes(client) for client in clients] == [True, True, False]
        for client in clients:
            await leave(client)
        let_in = False
        for _ in range(1000):  # the server detects closed connections at its next check
            client = await connect(port)
            let_in = await echoes(client)
            await leave(client)
            if let_in:
                break
        assert let_in


async def test_who_says_nothing_is_cut_and_who_asks_only_in_the_end() -> None:
    server, port = await serve(ConnectionLimit(seconds=0.1, longest=0.3), lambda protocol: protocol.asked)
    async with server:
        began = asyncio.get_running_loop().time()
        silent, asking = await connect(port), await connect(port)
        asking[1].write(b"x")
        assert await asking[0].readexactly(1) == b"x"
        assert await is_cut(silent)
        assert await is_cut(asking)
        assert asyncio.get_running_loop().time() - began >= 0.3
        await leave(silent)
        await leave(asking)


async def test_slow_connections_do_not_use_up_the_daemons_descriptors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with metrics_server(tmp_path, Owner("genesis-hash", "program", "wallet"), MetricsConfig()) as port:
        before = descriptors()
        slow = []
        for _ in range(200):
            client = await connect(port)
            client[1].write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            slow.append(client)
        cut = await asyncio.gather(*(is_cut(client, 2.0) for client in slow[64:]))
        assert all(cut)
        assert descriptors() - before <= len(slow) + 64 + 8  # this process holds both ends
        for client in slow:
            await leave(client)
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
    assert caplog.text == ""
