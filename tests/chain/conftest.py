"""A real chain behind an RPC endpoint with configurable faults."""

from __future__ import annotations

import base64
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import DEFAULT, get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.wallet import Wallet
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.program import shared_object
from decloud_pl.localnet.rpc.accounts import account_methods
from decloud_pl.localnet.rpc.cluster import cluster_methods
from decloud_pl.localnet.rpc.jsonrpc import answer
from decloud_pl.localnet.rpc.transactions import transaction_methods
from decloud_pl.localnet.vm import Vm


@dataclass
class Endpoint:
    """An HTTP server for a chain.

    ``faults`` lists the results of the next calls of a method: ``drop`` (executed, but the answer is lost), ``lose``
    (accepted, but never executed), ``unfiltered`` (applies only the first filter), ``endless`` (a blockhash that never
    expires), ``410``, ``429``, ``500``, ``garbage`` or ``ok``.
    """

    vm: Vm
    clock: ManualClock
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    calls: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.methods = {
            **cluster_methods(self.vm),
            **account_methods(self.vm),
            **transaction_methods(self.vm),
        }

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = json.loads(body)
        method = call["method"]
        self.calls.append(method)
        fault = self.faults[method].pop(0) if self.faults[method] else "ok"
        if fault == "429":
            return web.Response(status=429, headers={"Retry-After": "7"})
        if fault == "410":
            return web.Response(status=410, text="getProgramAccounts is not part of this plan")
        if fault == "500":
            return web.Response(status=500, text="oh no")
        if fault == "garbage":
            return web.Response(text="<html>captive portal</html>")
        if fault == "lose":
            signature = self._signature(call)
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": signature})
        if fault == "unfiltered":
            options = call["params"][1]
            options["filters"] = options["filters"][:1]
            body = json.dumps(call).encode()
        reply = answer(body, self.methods)
        if fault == "endless":
            found = json.loads(reply or "")
            found["result"]["value"]["lastValidBlockHeight"] = 1 << 62
            reply = json.dumps(found)
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(text=reply, content_type="application/json")

    def _signature(self, call: dict[str, Any]) -> str:
        wire = base64.b64decode(call["params"][0])
        return str(VersionedTransaction.from_bytes(wire).signatures[0])


class FastPace:
    """A clock that advances only in sleeps, also that of the chain, so that no test waits."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._clock.advance(seconds)

    def jitter(self, seconds: float) -> float:
        return seconds


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    clock = ManualClock()
    vm = Vm(clock, {get_dialect().program_id: shared_object(DEFAULT)})
    found = Endpoint(vm, clock)
    application = web.Application()
    application.router.add_post("/", found.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()
    vm.close()


@pytest.fixture
async def rpc(endpoint: Endpoint, pace: FastPace) -> AsyncIterator[RpcClient]:
    client = RpcClient(endpoint.url, timeout=5, pace=pace)
    yield client
    await client.aclose()


@pytest.fixture
def chain(rpc: RpcClient) -> ChainClient:
    return ChainClient(rpc, get_dialect())


_SEEDS = itertools.count(1)


@pytest.fixture
def wallet(endpoint: Endpoint) -> Wallet:
    """A wallet with 10 SOL."""
    made = Wallet(Keypair.from_seed(next(_SEEDS).to_bytes(32, "little")))
    endpoint.vm.airdrop(made.address, 10_000_000_000)
    return made


@pytest.fixture
def pace(endpoint: Endpoint) -> FastPace:
    return FastPace(endpoint.clock)
