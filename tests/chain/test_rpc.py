"""For any answer of an endpoint, the caller gets a typed value or a typed error without a secret of the URL."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from solders.pubkey import Pubkey

from decloud_pl.chain import answers
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.errors import ChainError, ConfigError, RpcRejected, RpcUnavailable
from decloud_pl.localnet.rpc.jsonrpc import RpcError
from decloud_pl.retry import retry_after

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start an HTTP server with one handler and return its address."""
    runners: list[web.AppRunner] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        application = web.Application()
        application.router.add_post("/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def failure(url: str, *, patience: float = 5) -> ChainError:
    rpc = RpcClient(url, timeout=patience)
    try:
        with pytest.raises(ChainError) as caught:
            await rpc.balance(Pubkey.default())
        return caught.value
    finally:
        await rpc.aclose()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-32004, RpcUnavailable),
        (-32005, RpcUnavailable),
        (-32014, RpcUnavailable),
        (-32016, RpcUnavailable),
        (-32600, RpcRejected),
        (-32601, RpcRejected),
        (-32602, RpcRejected),
        (-32603, RpcUnavailable),
        (-32700, RpcRejected),
        (-32000, RpcRejected),  # solders has no class for this code and those below
        (-32429, RpcUnavailable),
        (429, RpcUnavailable),
    ],
)
async def test_error_objects(endpoint: Any, code: int, kind: type[ChainError]) -> None:
    def refuse(_: list[Any]) -> Any:
        raise RpcError(code, "No.", {"contextSlot": 1} if code in (-32005, -32016) else None)

    endpoint.methods["getBalance"] = refuse
    error = await failure(endpoint.url)
    assert type(error) is kind
    if isinstance(error, RpcRejected):
        assert error.code == code
    assert str(code) in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        "[]",
        "{}",
        "<html>",
        '{"jsonrpc":"2.0","id":0,"result":null}',
        '{"result":{"value":"many"}}',
        '{"jsonrpc":"2.0","id":0,"error":{"code":-32002,"message":"a preflight failure without its data"}}',
    ],
)
async def test_answers_that_are_none(serve: Serve, answer: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=answer, content_type="application/json")

    error = await failure(await serve(handle))
    assert isinstance(error, RpcUnavailable)
    assert "not JSON-RPC" in error.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, RpcRejected),
        (401, RpcRejected),
        (403, RpcRejected),
        (404, RpcRejected),
        (408, RpcUnavailable),
        (429, RpcUnavailable),
        (500, RpcUnavailable),
        (503, RpcUnavailable),
    ],
)
async def test_http_statuses(serve: Serve, status: int, kind: type[ChainError]) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "1.5", "Location": "http://127.0.0.1:9/"})

    error = await failure(await serve(handle) + "/v1/secret?api-key=secret")
    assert type(error) is kind
    assert f"HTTP {status}" in error.message
    assert "secret" not in str(error)
    if isinstance(error, RpcUnavailable):
        assert error.retry_after == 1.5


@pytest.mark.parametrize("status", [302, 404, 503])
async def test_the_body_of_what_is_no_answer_is_not_read(serve: Serve, status: int) -> None:
    sent = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status, headers={"Location": "/elsewhere"})
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))
            sent += 1 << 16

    assert f"HTTP {status}" in (await failure(await serve(handle))).message
    assert sent < 1 << 26  # the bytes in the buffers of the sockets


async def test_a_compressed_answer_is_refused_unread(serve: Serve) -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        body = gzip.compress(bytes(1 << 26))
        return web.Response(body=body, headers={"Content-Encoding": "gzip"}, content_type="application/json")

    error = await failure(await serve(handle))
    assert (type(error), asked) == (RpcUnavailable, ["identity"])
    assert "sends a compressed answer" in error.message


async def test_an_answer_without_end_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONGEST_ANSWER", 1 << 20)

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))

    error = await failure(await serve(handle), patience=60)
    assert isinstance(error, RpcUnavailable)
    assert "more than 1 MB in one answer" in error.message


async def test_silence_has_an_end(serve: Serve) -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    assert isinstance(await failure(await serve(handle), patience=0.05), RpcUnavailable)


async def test_an_answer_byte_by_byte_has_an_end(serve: Serve) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    assert isinstance(await failure(await serve(handle), patience=0.1), RpcUnavailable)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8899", "ftp://x", "http://", "http://[::1", "http://x:port", "http://x:99999", "htps://k:secret@x"],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="not an http or https URL") as caught:
        RpcClient(url)
    assert "secret" not in str(caught.value)


async def test_nobody_there() -> None:
    error = await failure("http://127.0.0.1:9", patience=2)
    assert isinstance(error, RpcUnavailable)
    assert "127.0.0.1:9 does not answer" in error.message


async def test_the_clock_is_the_chains(rpc: RpcClient, endpoint: Any) -> None:
    endpoint.clock.unix = 1_900_000_000.0
    assert await rpc.clock() == 1_900_000_000


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.25", 0.25),
        ("-3", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_in_all_its_forms(header: str, seconds: float | None) -> None:
    assert retry_after(header, now=lambda: 100) == seconds
