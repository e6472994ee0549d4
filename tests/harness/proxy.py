"""A real HTTP and WebSocket proxy in front of an RPC endpoint, with configurable faults."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import aiohttp
from aiohttp import WSMsgType, web
from solders.transaction import VersionedTransaction

Kind = Literal[
    "lost",  # the request does not arrive, and the connection is closed
    "answer lost",  # the request takes effect, and the connection is closed
    "swallowed",  # the answer has the signature, but the transaction is never executed
    "twice",  # the request is executed twice
    "slow",  # the answer is late
    "held",  # the request arrives once the test sets `Fault.go`
    "half-open",  # the request takes effect, and the connection stays open without an answer
    "deaf",  # the request does not arrive, and the connection stays open without an answer
    "410",
    "429",
    "429 without a word",
    "500",
    "503",
    "garbage",
    "cut",  # the answer ends in the middle
    "stale",  # the first answer to this request is repeated
    "processed",  # statuses show each transaction as processed, as on a fork that is dropped later
    "unknown",  # statuses show no transactions
    "null",  # the account does not exist
]
RANDOM_KINDS: tuple[Kind, ...] = ("lost", "answer lost", "swallowed", "twice", "slow", "429", "500", "garbage", "cut")
Socket = Literal["ok", "refused", "silent", "cut", "twice", "half lost"]


@dataclass
class Fault:
    """A fault for the next ``times`` requests with one of ``methods``, or with any method if empty.

    If ``about`` is set, only requests about this address count.
    """

    kind: Kind
    methods: Sequence[str] = ()
    times: int = 1_000_000
    skip: int = 0
    about: str = ""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class FaultProxy:
    """Proxies one endpoint while the context is open.

    Attributes:
        faults: the faults to apply. The first that matches a request is used up.
        chance: the fraction of all other requests that get a fault of `RANDOM_KINDS`.
        socket: the fault of WebSocket connections.
        silent_after: the number of events before a ``silent`` socket stops sending.
        calls: the methods of the requests, in order.
    """

    upstream_http: str
    upstream_ws: str
    faults: list[Fault] = field(default_factory=list)
    chance: float = 0.0
    seed: int = 0
    socket: Socket = "ok"
    silent_after: int = 0
    calls: list[str] = field(default_factory=list)
    url: str = ""
    ws_url: str = ""

    async def __aenter__(self) -> FaultProxy:
        self._random = random.Random(self.seed)
        self._first: dict[str, bytes] = {}
        self._session = aiohttp.ClientSession()
        self._stuck = asyncio.Event()
        self._runners = []
        for handler, method in ((self._on_request, "POST"), (self._on_socket, "GET")):
            application = web.Application(client_max_size=1 << 22)
            application.router.add_route(method, "/", handler)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._runners.append(runner)
        self.url = f"http://127.0.0.1:{self._runners[0].addresses[0][1]}"
        self.ws_url = f"ws://127.0.0.1:{self._runners[1].addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stuck.set()
        for runner in self._runners:
            await runner.cleanup()
        await self._session.close()

    def _choose(self, method: str, body: bytes) -> Fault | None:
        for fault in self.faults:
            if fault.times and (not fault.methods or method in fault.methods) and fault.about.encode() in body:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                fault.began.set()
                return fault
        if self._random.random() < self.chance:
            kind = self._random.choice(RANDOM_KINDS)
            return None if kind == "swallowed" and method != "sendTransaction" else Fault(kind)
        return None

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = json.loads(body)
        method = str(call["method"])
        self.calls.append(method)
        fault = self._choose(method, body)
        kind = None if fault is None else fault.kind
        if kind in ("lost", "deaf", "410", "429", "429 without a word", "500", "503", "garbage", "swallowed"):
            return await self._without(kind, request, call)
        if fault is not None and kind == "held":
            await fault.go.wait()
        answer = await self._forward(body)
        if kind == "twice":
            await self._forward(body)
        elif kind == "slow":
            await asyncio.sleep(self._random.uniform(0.05, 0.3))
        elif kind == "half-open":
            await self._stuck.wait()
        elif kind == "answer lost":
            _abort(request)
        elif kind == "cut":
            return await _cut(request, answer)
        elif kind == "null":
            found = json.loads(answer)
            found["result"]["value"] = None
            answer = json.dumps(found).encode()
        elif kind in ("processed", "unknown") and method == "getSignatureStatuses":
            answer = _on_a_fork(answer, known=kind == "processed")
        key = json.dumps([method, call.get("params")])
        first = self._first.setdefault(key, answer)
        if kind == "stale":
            answer = json.dumps({**json.loads(first), "id": call["id"]}).encode()
        return web.Response(body=answer, content_type="application/json")

    async def _without(self, kind: Kind, request: web.Request, call: dict[str, Any]) -> web.StreamResponse:
        """Handle a request that does not reach the endpoint."""
        if kind == "lost":
            _abort(request)
        if kind == "deaf":
            await self._stuck.wait()
        if kind == "swallowed":
            wire = base64.b64decode(call["params"][0])
            signature = str(VersionedTransaction.from_bytes(wire).signatures[0])
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": signature})
        if kind == "garbage":
            return web.Response(text="<html>Sign in to the hotel's network</html>", content_type="text/html")
        if kind == "429":
            return web.Response(status=429, headers={"Retry-After": "0.2"})
        if kind == "410":
            return web.Response(status=410, text=f"{call['method']} is not part of this plan.")
        status = {"429 without a word": 429, "500": 500, "503": 503}.get(kind, 500)
        return web.Response(status=status, text="oh no")

    async def _forward(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.upstream_http, data=body, headers=headers) as answer:
            return await answer.read()

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        if self.socket == "refused":
            return web.Response(status=403, text="WebSockets are not allowed here")
        silent = self.socket == "silent"
        down = web.WebSocketResponse(autoping=not silent)
        await down.prepare(request)
        async with self._session.ws_connect(self.upstream_ws) as up:
            pumps = [asyncio.create_task(self._up(down, up)), asyncio.create_task(self._down(up, down))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        if not down.closed:
            await down.close()
        return down

    async def _up(self, down: web.WebSocketResponse, up: aiohttp.ClientWebSocketResponse[Any]) -> None:
        async for message in down:
            if message.type is WSMsgType.TEXT:
                await up.send_str(message.data)

    async def _down(self, up: aiohttp.ClientWebSocketResponse[Any], down: web.WebSocketResponse) -> None:
        events = 0
        async for message in up:
            if message.type is not WSMsgType.TEXT:
                continue
            is_event = "logsNotification" in message.data
            if self.socket == "silent" and events >= self.silent_after and "logsSubscribe" not in message.data:
                continue
            if self.socket == "half lost" and is_event and self._random.random() < 0.5:
                continue
            await down.send_str(message.data)
            if is_event:
                events += 1
                if self.socket == "twice":
                    await down.send_str(message.data)
                if self.socket == "cut":
                    return


def _abort(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def _cut(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(answer))})
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    _abort(request)
    return response


def _on_a_fork(answer: bytes, *, known: bool) -> bytes:
    body = json.loads(answer)
    entry = {"slot": 5, "confirmations": 0, "err": None, "status": {"Ok": None}, "confirmationStatus": "processed"}
    body["result"]["value"] = [entry if known else None for _ in body["result"]["value"]]
    return json.dumps(body).encode()
