"""A chain on a manual clock, served on loopback, and funded wallets."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialects import DEFAULT, get_dialect
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.program import shared_object
from decloud_pl.localnet.rpc.server import RpcServer
from decloud_pl.localnet.vm import SLOT_SECONDS, Vm

LAMPORTS = 10_000_000_000


@dataclass
class Rpc:
    """A client of the server under test that speaks raw JSON-RPC."""

    vm: Vm
    clock: ManualClock
    server: RpcServer
    http: aiohttp.ClientSession
    payer: Keypair = field(default_factory=Keypair)

    @property
    def url(self) -> str:
        return self.server.rpc_url

    @property
    def ws_url(self) -> str:
        return self.server.ws_url

    async def post(self, body: str | bytes | dict[str, Any] | list[Any]) -> Any:
        """Post any body; return the parsed response, None if it is empty."""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        async with self.http.post(self.url, data=data, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 200
            answer = await response.text()
        return json.loads(answer) if answer else None

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method and return its result."""
        answer = await self._request(method, params)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def error(self, method: str, *params: Any) -> dict[str, Any]:
        """Call a method that must fail and return its error."""
        answer = await self._request(method, params)
        assert "error" in answer, answer
        return dict(answer["error"])

    async def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        answer = await self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] == 7
        return dict(answer)

    def blockhash(self) -> Hash:
        return self.vm.blockhash(self.vm.advance())

    def pass_slots(self, count: int) -> None:
        self.clock.advance(count * SLOT_SECONDS + 1e-3)
        self.vm.advance()

    def pay(
        self, to: Pubkey, lamports: int = 1_000_000, *, before: Sequence[Instruction] = (), legacy: bool = False
    ) -> VersionedTransaction:
        """Return a signed transfer by the payer, preceded by other instructions."""
        give = transfer(TransferParams(from_pubkey=self.payer.pubkey(), to_pubkey=to, lamports=lamports))
        return self.signed([*before, give], legacy=legacy)

    def signed(self, instructions: Sequence[Instruction], *, legacy: bool = False) -> VersionedTransaction:
        payer, blockhash = self.payer.pubkey(), self.blockhash()
        message: Message | MessageV0
        if legacy:
            message = Message.new_with_blockhash(list(instructions), payer, blockhash)
        else:
            message = MessageV0.try_compile(payer, list(instructions), [], blockhash)
        return VersionedTransaction(message, [self.payer])

    async def send(self, transaction: VersionedTransaction, **config: Any) -> str:
        return str(await self.call("sendTransaction", encoded(transaction), {"encoding": "base64", **config}))


def encoded(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def vm(clock: ManualClock) -> Iterator[Vm]:
    chain = Vm(clock, {get_dialect().program_id: shared_object(DEFAULT)})
    yield chain
    chain.close()


@pytest.fixture
async def rpc(vm: Vm, clock: ManualClock) -> AsyncIterator[Rpc]:
    async with RpcServer(vm, port=0, tick_seconds=0.01) as server, aiohttp.ClientSession() as http:
        client = Rpc(vm, clock, server, http)
        vm.airdrop(client.payer.pubkey(), LAMPORTS)
        yield client
