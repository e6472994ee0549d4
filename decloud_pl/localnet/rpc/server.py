"""The RPC server: HTTP on one port, WebSocket on the next port, as in Solana's own validator."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from typing import Any

from aiohttp import WSMsgType, web

from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.ledger import Executed
from decloud_pl.localnet.rpc.accounts import account_methods
from decloud_pl.localnet.rpc.cluster import cluster_methods
from decloud_pl.localnet.rpc.jsonrpc import answer
from decloud_pl.localnet.rpc.subscriptions import Subscriber
from decloud_pl.localnet.rpc.transactions import transaction_methods
from decloud_pl.localnet.vm import SLOT_SECONDS, Changed, Vm

HOST = "127.0.0.1"
"""The servers accept connections from this machine only."""
_MAX_REQUEST = 1 << 20
_PORT_TRIES = 50
_SLOWEST_CLIENT = 10_000
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}


class RpcServer:
    """Serves one chain while the context is open.

    Args:
        vm: the chain. Its slots advance while the server runs.
        port: the HTTP port. The WebSocket uses the next port. 0 means any two adjacent free ports.
        tick_seconds: seconds between updates of the chain's slot.

    Raises:
        LocalnetError: a port is in use.
    """

    def __init__(self, vm: Vm, *, port: int, tick_seconds: float = SLOT_SECONDS) -> None:
        self._vm = vm
        self._port = port
        self._tick_seconds = tick_seconds
        self._methods = {**cluster_methods(vm), **account_methods(vm), **transaction_methods(vm)}
        self._numbers = itertools.count(1)
        self._subscribers: set[Subscriber] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._runners: list[web.AppRunner] = []
        vm.listen(self._on_transaction)

    @property
    def rpc_url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{HOST}:{self._port + 1}"

    async def __aenter__(self) -> RpcServer:
        http_socket, ws_socket = _bind_pair(self._port)
        self._port = http_socket.getsockname()[1]
        http = web.Application(client_max_size=_MAX_REQUEST)
        http.router.add_post("/", self._on_request)
        http.router.add_get("/health", self._on_health)
        http.router.add_route("OPTIONS", "/", self._on_options)
        ws = web.Application()
        ws.router.add_get("/", self._on_websocket)
        for application, bound in ((http, http_socket), (ws, ws_socket)):
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
            await runner.setup()
            await web.SockSite(runner, bound).start()
            self._runners.append(runner)
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        for websocket in list(self._sockets):
            await websocket.close()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _tick(self) -> None:
        last = self._vm.slot
        while True:
            await asyncio.sleep(self._tick_seconds)
            slot = self._vm.advance()
            if slot != last:
                for subscriber in list(self._subscribers):
                    subscriber.on_slot(slot)
                last = slot

    async def _on_request(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except ConnectionResetError:
            return web.Response(status=400)  # the client disconnected; aiohttp would log a traceback otherwise
        reply = answer(body, self._methods)
        return web.Response(text=reply or "", content_type="application/json", headers=_CORS)

    async def _on_health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok", headers=_CORS)

    async def _on_options(self, _request: web.Request) -> web.Response:
        return web.Response(headers=_CORS)

    async def _on_websocket(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(max_msg_size=_MAX_REQUEST)
        await websocket.prepare(request)
        outbox: asyncio.Queue[str] = asyncio.Queue(_SLOWEST_CLIENT)

        def send(message: str) -> None:
            try:
                outbox.put_nowait(message)
            except asyncio.QueueFull:
                # A client that does not read must not fill this process's memory.
                if request.transport is not None:
                    request.transport.abort()

        subscriber = Subscriber(self._vm, send, self._numbers)
        methods = {**self._methods, **subscriber.methods()}
        self._subscribers.add(subscriber)
        self._sockets.add(websocket)
        writer = asyncio.create_task(_write(websocket, outbox))
        try:
            async for message in websocket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                if _is_keep_alive(message.data):
                    continue
                reply = answer(message.data, methods)
                if reply is not None:
                    send(reply)
                subscriber.flush()
        finally:
            self._subscribers.discard(subscriber)
            self._sockets.discard(websocket)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await writer
        return websocket

    def _on_transaction(self, executed: Executed, changed: Changed) -> None:
        for subscriber in list(self._subscribers):
            subscriber.on_transaction(executed, changed)


def _is_keep_alive(data: Any) -> bool:
    """Return whether a message is the keep-alive of web3.js: a "ping" without an id."""
    try:
        body = json.loads(data)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("method") == "ping" and body.get("id") is None


async def _write(websocket: web.WebSocketResponse, outbox: asyncio.Queue[str]) -> None:
    while True:
        await websocket.send_str(await outbox.get())


def _bind_pair(port: int) -> tuple[socket.socket, socket.socket]:
    """Return two listening sockets, on ``port`` and the next port. For port 0, use any two adjacent free ports."""
    for _ in range(_PORT_TRIES if port == 0 else 1):
        first = bind(port)
        try:
            return first, bind(first.getsockname()[1] + 1)
        except LocalnetError:
            first.close()
            if port != 0:
                raise
    raise LocalnetError("No two adjacent free ports were found.", fix="Choose a free port with --rpc-port.")


def bind(port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        LocalnetError: the port is in use, or invalid.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        # Before `listen`, another socket could bind the same port.
        bound.listen()
    except (OSError, OverflowError) as error:
        bound.close()
        raise LocalnetError(
            f"Port {port} on {HOST} cannot be used: {getattr(error, 'strerror', None) or error}.",
            fix="Choose another port with --rpc-port or --gateway-port (0 for any free port).",
        ) from error
    return bound
