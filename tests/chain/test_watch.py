"""Events arrive, a malformed message is skipped, and a lost connection is restored."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.events import ValidationCompleted
from decloud_pl.chain.watch import Disconnected, Subscribed, watch_events
from decloud_pl.errors import ConfigError

PROGRAM = str(get_dialect().program_id)


class NoWait:
    """A clock whose sleep returns at once. It records the requested seconds."""

    def __init__(self, enough: int = 9) -> None:
        self.slept: list[float] = []
        self.enough = enough
        self.waited_enough = asyncio.Event()
        self.now, self.step = 0.0, 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self.enough:
            self.waited_enough.set()
        await asyncio.sleep(0)

    def jitter(self, seconds: float) -> float:
        return seconds


def notification(*round_ids: int, err: object = None, odd: str = "") -> str:
    events = [discriminator("event", "ValidationCompleted") + borsh.u64(round_id) for round_id in round_ids]
    logs = [
        f"Program {PROGRAM} invoke [1]",
        *([f"Program data: {odd}"] if odd else []),
        *(f"Program data: {base64.b64encode(event).decode()}" for event in events),
        f"Program {PROGRAM} success",
    ]
    value = {"signature": "x", "err": err, "logs": logs}
    params = {"result": {"context": {"slot": 1}, "value": value}, "subscription": 1}
    return json.dumps({"jsonrpc": "2.0", "method": "logsNotification", "params": params})


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[list[list[str]]], Awaitable[str]]]:
    """Start a WebSocket server that sends one list of messages per connection and then closes it with a reason."""
    runners: list[web.AppRunner] = []

    async def start(connections: list[list[str]], reason: str = "") -> str:
        async def handle(request: web.Request) -> web.WebSocketResponse:
            websocket = web.WebSocketResponse()
            await websocket.prepare(request)
            message = await websocket.receive()
            assert message.type is WSMsgType.TEXT
            subscription = json.loads(message.data)
            assert subscription["method"] == "logsSubscribe"
            assert subscription["params"][0] == {"mentions": [PROGRAM]}
            for text in connections.pop(0) if connections else []:
                await websocket.send_str(text)
            await websocket.close(message=reason.encode())
            return websocket

        application = web.Application()
        application.router.add_get("/", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"ws://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


SLOT = json.dumps({"jsonrpc": "2.0", "method": "slotNotification", "params": {}})
ANSWER = json.dumps({"jsonrpc": "2.0", "id": 1, "result": 1})


async def take(url: str, count: int, pace: NoWait) -> list[object]:
    found: list[object] = []
    watching = watch_events(url, get_dialect(), pace=pace)
    async for item in watching:
        found.append(item)
        if len(found) == count:
            break
    await watching.aclose()  # type: ignore[attr-defined]  # it is an async generator
    return found


async def test_events_after_connected(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    url = await serve([[ANSWER, notification(7), notification(8)]])
    found = await take(url, 3, NoWait())
    assert found == [Subscribed(), ValidationCompleted(7), ValidationCompleted(8)]


async def test_connects_again_and_says_so(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    url = await serve([[ANSWER, notification(1)], [], [ANSWER, notification(2)]])
    pace = NoWait()
    found = await take(url, 5, pace)
    assert found == [Subscribed(), ValidationCompleted(1), Disconnected(), Subscribed(), ValidationCompleted(2)]
    assert pace.slept == [0.5, 1.0]  # the wait grows with each failure in a row


@pytest.mark.parametrize(("lasts", "waits"), [(1.0, [0.5, 1.0, 2.0, 4.0]), (60.0, [0.5] * 4)], ids=["short", "long"])
async def test_subscriptions_that_end_at_once_are_made_ever_more_rarely(
    serve: Callable[[list[list[str]]], Awaitable[str]], lasts: float, waits: list[float]
) -> None:
    pace = NoWait()
    pace.step = lasts
    url = await serve([[ANSWER]] * 5)
    assert await take(url, 9, pace) == [Subscribed(), Disconnected()] * 4 + [Subscribed()]
    assert pace.slept == waits


async def test_the_log_says_once_what_is_wrong_and_once_that_it_is_over(
    serve: Callable[[list[list[str]]], Awaitable[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "decloud_pl")
    refusal = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "No\x1b[31m"}})
    url = await serve([[refusal], [ANSWER], [refusal], [ANSWER]] * 5 + [[ANSWER, notification(1)]])
    pace = NoWait()
    found: list[object] = []
    async for item in watch_events(url + "/?api-key=secret", get_dialect(), pace=pace):
        found.append(item)
        if len(found) == 20:
            pace.step = 60
        if isinstance(item, ValidationCompleted):
            break
    host = url.removeprefix("ws://")
    refused, closed, over = caplog.messages
    assert refused.startswith(f"The WebSocket of {host} refuses the subscription (")
    assert "-32601" in refused
    assert "\x1b" not in refused
    assert closed.startswith(f"The WebSocket of {host} is closed soon after each start (1000). Polling")
    assert over == f"The WebSocket of {host} works again."
    assert "secret" not in caplog.text


async def test_the_log_hides_the_addresss_key_in_what_the_server_says(
    serve: Callable[..., Awaitable[str]], caplog: pytest.LogCaptureFixture
) -> None:
    key = "0123456789abcdef"
    said = f"API key {key} is disabled."
    refusal = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": 401, "message": said}})
    url = await serve([[refusal], [ANSWER], [ANSWER, notification(1)]], said)
    await take(f"{url}/?api-key={key}", 4, NoWait())
    refused, closed = caplog.messages
    assert "refuses the subscription (" in refused
    assert "API key … is disabled" in refused
    assert "is closed soon after each start (1000 API key … is disabled)." in closed
    assert key not in caplog.text


async def test_subscriptions_that_deliver_for_a_moment_are_made_ever_more_rarely() -> None:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.receive()
        for message in (ANSWER, SLOT, notification(1)):
            await websocket.send_str(message)
        async for _ in websocket:
            pass
        return websocket

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pace = NoWait(enough=4)
    watching = watch_events(f"ws://127.0.0.1:{runner.addresses[0][1]}", get_dialect(), pace=pace, silence_seconds=0.05)
    async for item in watching:
        if isinstance(item, ValidationCompleted):
            pace.now += 60  # the length of the silence
        if pace.waited_enough.is_set():
            break
    await watching.aclose()  # type: ignore[attr-defined]  # it is an async generator
    await runner.cleanup()
    assert pace.slept == [0.5, 1.0, 2.0, 4.0]


async def test_an_answer_that_is_repeated_is_one_subscription(
    serve: Callable[[list[list[str]]], Awaitable[str]],
) -> None:
    url = await serve([[ANSWER] * 100 + [notification(1)]])
    assert await take(url, 2, NoWait()) == [Subscribed(), ValidationCompleted(1)]


async def test_a_message_of_any_length_is_not_read(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    url = await serve([[ANSWER, " " * (1 << 21), notification(1)], [ANSWER, notification(2)]])
    found = await take(url, 4, NoWait())
    assert found == [Subscribed(), Disconnected(), Subscribed(), ValidationCompleted(2)]


async def test_a_redirect_leads_nowhere() -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pace = NoWait(enough=2)
    task = asyncio.create_task(take(f"ws://127.0.0.1:{runner.addresses[0][1]}/", 1, pace))
    await asyncio.wait_for(pace.waited_enough.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()
    assert set(asked) == {"/"}


async def test_an_endpoint_that_says_everything_but_the_answer_is_given_up() -> None:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        with contextlib.suppress(ConnectionError):
            while not websocket.closed:
                await websocket.send_str('{"jsonrpc": "2.0"}')
                await asyncio.sleep(0.01)
        return websocket

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pace = NoWait(enough=1)

    async def watch() -> None:
        url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        async for _ in watch_events(url, get_dialect(), pace=pace, open_seconds=0.2):
            pass

    task = asyncio.create_task(watch())
    await asyncio.wait_for(pace.waited_enough.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()


async def test_what_cannot_be_understood_is_passed_over(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    odd = [
        "not json",
        "[]",
        "[" * 200_000,
        '{"method": "logsNotification"}',
        notification(1, err={"InstructionError": [0, "x"]}),
    ]
    url = await serve([[ANSWER, *odd, notification(2)]])
    assert await take(url, 2, NoWait()) == [Subscribed(), ValidationCompleted(2)]


@pytest.mark.parametrize("odd", ["***", base64.b64encode(discriminator("event", "TrainerJoined") + b"short").decode()])
async def test_an_event_that_cannot_be_read_costs_no_other(
    serve: Callable[[list[list[str]]], Awaitable[str]], odd: str
) -> None:
    url = await serve([[ANSWER, notification(7, 8, odd=odd)]])
    assert await take(url, 3, NoWait()) == [Subscribed(), ValidationCompleted(7), ValidationCompleted(8)]


async def test_an_event_with_an_impossible_number_is_passed_over(
    serve: Callable[[list[list[str]]], Awaitable[str]],
) -> None:
    url = await serve([[ANSWER, notification(2**63 - 1, 2**63, 2**64 - 1, 8)]])
    assert await take(url, 3, NoWait()) == [Subscribed(), ValidationCompleted(2**63 - 1), ValidationCompleted(8)]


async def test_nobody_there_is_tried_with_growing_waits() -> None:
    pace = NoWait()

    async def watch() -> None:
        async for _ in watch_events("ws://127.0.0.1:9", get_dialect(), pace=pace):
            pass

    task = asyncio.create_task(watch())
    await asyncio.wait_for(pace.waited_enough.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pace.slept[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_a_machine_without_threads_is_waited_out(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    class Full(ThreadPoolExecutor):
        is_full = True

        def submit(self, *arguments: Any, **options: Any) -> Any:
            if self.is_full:
                self.is_full = False
                raise RuntimeError("can't start new thread")
            return super().submit(*arguments, **options)

    url = await serve([[ANSWER]])
    pace = NoWait()
    asyncio.get_running_loop().set_default_executor(Full())
    assert await take(url.replace("127.0.0.1", "localhost"), 1, pace) == [Subscribed()]
    assert pace.slept == [0.5]


async def test_a_refused_subscription_is_tried_again(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    refusal = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found"}})
    url = await serve([[refusal, notification(1)], [ANSWER, notification(2)]])
    pace = NoWait()
    assert await take(url, 2, pace) == [Subscribed(), ValidationCompleted(2)]
    assert pace.slept == [0.5]


async def test_a_silent_connection_is_given_up() -> None:
    """The server accepts the handshake and then sends nothing, not even pongs, as behind a broken NAT."""
    connections: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.splitlines() if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pace = NoWait(enough=2)

    async def watch() -> None:
        async for _ in watch_events(f"ws://127.0.0.1:{port}", get_dialect(), pace=pace, ping_seconds=0.02):
            pass

    task = asyncio.create_task(watch())

    await asyncio.wait_for(pace.waited_enough.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for writer in connections:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_slots_that_stop_are_the_end_of_a_connection_that_still_answers_pings() -> None:
    """A subscription can end while the connection to a load balancer stays open."""
    subscribed: list[str] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        subscribed.extend([json.loads((await websocket.receive()).data)["method"] for _ in range(2)])
        await websocket.send_str(ANSWER)
        await websocket.send_str(SLOT)
        async for _ in websocket:
            pass
        return websocket

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found: list[object] = []
    watching = watch_events(
        f"ws://127.0.0.1:{runner.addresses[0][1]}", get_dialect(), pace=NoWait(), ping_seconds=0.05, silence_seconds=0.2
    )
    async for item in watching:
        found.append(item)
        if len(found) == 3:
            break
    await watching.aclose()  # type: ignore[attr-defined]  # it is an async generator
    await runner.cleanup()
    assert found == [Subscribed(), Disconnected(), Subscribed()]
    assert subscribed == ["logsSubscribe", "slotSubscribe"] * 2


async def test_the_next_address_stands_in(serve: Callable[[list[list[str]]], Awaitable[str]]) -> None:
    url = await serve([[ANSWER, notification(1)]])
    found: list[object] = []
    watching = watch_events(["ws://127.0.0.1:9", url], get_dialect(), pace=NoWait())
    async for item in watching:
        found.append(item)
        if len(found) == 2:
            break
    await watching.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert found == [Subscribed(), ValidationCompleted(1)]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/?api-key=secret", "127.0.0.1:8900", ""])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="not a ws or wss URL") as caught:
        await take(url, 1, NoWait())
    assert "secret" not in str(caught.value)
