"""WebSocket subscriptions in raw JSON-RPC: ids, commitment and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import base58
import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain.dialects import get_dialect
from tests.localnet.rpc.conftest import Rpc, encoded

ADDRESS = str(Pubkey.new_unique())
SIGNATURE = "1" * 64
CONFIRMED, FINALIZED = {"commitment": "confirmed"}, {"commitment": "finalized"}
KINDS = {
    "logs": ["all"],
    "account": [ADDRESS],
    "program": [ADDRESS],
    "signature": [SIGNATURE],
    "slot": [],
    "root": [],
}


class Socket:
    """A WebSocket connection."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self.websocket = websocket
        self._last = 0

    async def next(self) -> dict[str, Any]:
        """Return the next message of any kind."""
        return dict(await asyncio.wait_for(self.websocket.receive_json(), 10))

    async def answer(self, method: str, *params: Any) -> dict[str, Any]:
        """Return the next message, which must be the response to this request."""
        self._last += 1
        await self.websocket.send_json({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
        answer = await self.next()
        assert answer["id"] == self._last
        return answer

    async def subscribe(self, kind: str, *params: Any) -> int:
        return int((await self.answer(f"{kind}Subscribe", *params))["result"])

    async def notification(self) -> tuple[int, Any]:
        """Return the subscription id and the result of the next message, which must be a notification."""
        message = await self.next()
        assert message["method"].endswith("Notification"), message
        return message["params"]["subscription"], message["params"]["result"]


@pytest.fixture
async def socket(rpc: Rpc) -> AsyncIterator[Socket]:
    async with rpc.http.ws_connect(rpc.ws_url) as websocket:
        yield Socket(websocket)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_cancelled_once_and_by_its_own_method(socket: Socket, kind: str) -> None:
    number = await socket.subscribe(kind, *KINDS[kind])
    other = "slot" if kind == "root" else "root"
    for method, stranger in ((f"{other}Unsubscribe", number), (f"{kind}Unsubscribe", number + 1)):
        assert (await socket.answer(method, stranger))["error"]["code"] == -32602
    assert (await socket.answer(f"{kind}Unsubscribe", number))["result"] is True
    error = (await socket.answer(f"{kind}Unsubscribe", number))["error"]
    assert error == {"code": -32602, "message": "Invalid params: Invalid subscription id."}


async def test_nobody_cancels_anothers_subscription(rpc: Rpc, socket: Socket) -> None:
    mine = await socket.subscribe("slot")
    async with rpc.http.ws_connect(rpc.ws_url) as websocket:
        another = Socket(websocket)
        assert await another.subscribe("root") != mine
        assert (await another.answer("slotUnsubscribe", mine))["error"]["code"] == -32602
    rpc.pass_slots(1)
    assert (await socket.notification())[0] == mine


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("logs", []),
        ("logs", ["some"]),
        ("logs", [5]),
        ("logs", [{"mentions": []}]),
        ("logs", [{"mentions": [ADDRESS, ADDRESS]}]),
        ("logs", [{"mentions": ["nonsense"]}]),
        ("logs", ["all", {"commitment": "certain"}]),
        ("account", []),
        ("account", ["nonsense"]),
        ("account", [ADDRESS, {"encoding": "hex"}]),
        ("account", [ADDRESS, {"commitment": "certain"}]),
        ("program", ["nonsense"]),
        ("program", [ADDRESS, {"filters": [{"memcmp": {"offset": 0}}]}]),
        ("program", [ADDRESS, {"encoding": "hex"}]),
        ("signature", []),
        ("signature", [ADDRESS]),
        ("signature", [SIGNATURE, {"commitment": "certain"}]),
    ],
)
async def test_what_cannot_be_subscribed_to(socket: Socket, kind: str, params: list[Any]) -> None:
    assert (await socket.answer(f"{kind}Subscribe", *params))["error"]["code"] == -32602


async def test_json_rpc_errors_over_the_websocket(socket: Socket) -> None:
    assert (await socket.answer("voteSubscribe"))["error"] == {"code": -32601, "message": "Method not found"}
    await socket.websocket.send_str("{")
    answer = await socket.next()
    assert (answer["id"], answer["error"]["code"]) == (None, -32700)
    await socket.websocket.send_json({"jsonrpc": "2.0", "id": 1})
    assert (await socket.next())["error"]["code"] == -32600


async def test_a_keep_alive_is_not_answered(socket: Socket) -> None:
    await socket.websocket.send_json({"jsonrpc": "2.0", "method": "ping", "params": None})
    assert (await socket.answer("getHealth"))["result"] == "ok"


async def test_each_notification_waits_for_its_commitment(rpc: Rpc, socket: Socket) -> None:
    to = Pubkey.new_unique()
    transaction = rpc.pay(to)
    signature = str(transaction.signatures[0])
    system = str(Pubkey.default())
    subjects: dict[str, list[Any]] = {
        "logs": [{"mentions": [str(to)]}],
        "account": [str(to)],
        "program": [system],
        "signature": [signature],
    }
    at_once: list[int] = []
    later: list[int] = []
    for kind, subject in subjects.items():
        options = {"encoding": "base64"} if kind in ("account", "program") else {}
        later.append(await socket.subscribe(kind, *subject, {**options, **FINALIZED}))
        later.append(await socket.subscribe(kind, *subject, *([options] if options else [])))
        at_once.append(await socket.subscribe(kind, *subject, {**options, **CONFIRMED}))
        at_once.append(await socket.subscribe(kind, *subject, {**options, "commitment": "processed"}))
    slots = await socket.subscribe("slot")
    await rpc.send(transaction)
    landed = rpc.vm.slot

    async def heard(count: int) -> set[int]:
        found = [await socket.notification() for _ in range(count)]
        assert {result["context"]["slot"] for _, result in found} == {landed}
        return {number for number, _ in found}

    changed = 2  # the system program's accounts: the payer's and the receiver's
    assert await heard(2 * (3 + changed)) == set(at_once)
    rpc.pass_slots(31)
    assert (await socket.notification())[0] == slots
    late = await socket.subscribe("signature", signature, FINALIZED)
    rpc.pass_slots(1)
    assert await heard(2 * (3 + changed) + 1) == {*later, late}
    assert (await socket.notification())[0] == slots
    after = await socket.subscribe("signature", signature, FINALIZED)
    assert (await socket.notification())[0] == after


async def test_a_notification_that_became_unwanted_before_it_was_final(rpc: Rpc, socket: Socket) -> None:
    number = await socket.subscribe("logs", "all", FINALIZED)
    slots = await socket.subscribe("slot")
    await rpc.send(rpc.pay(Pubkey.new_unique()))
    assert (await socket.answer("logsUnsubscribe", number))["result"] is True
    rpc.pass_slots(32)
    assert (await socket.notification())[0] == slots


async def test_an_account_that_disappears(rpc: Rpc, socket: Socket) -> None:
    to, everything = Pubkey.new_unique(), rpc.vm.balance(rpc.payer.pubkey()) - 5000
    number = await socket.subscribe("account", str(rpc.payer.pubkey()), {"encoding": "base64", **CONFIRMED})
    await rpc.send(rpc.pay(to, everything))
    heard, result = await socket.notification()
    assert heard == number
    assert (result["value"]["lamports"], result["value"]["data"]) == (0, ["", "base64"])


async def test_base58_that_does_not_hold_the_data(rpc: Rpc, socket: Socket) -> None:
    dialect, payer = get_dialect(), rpc.payer.pubkey()
    await rpc.send(rpc.signed([dialect.initialize(payer)]))
    address = str(dialect.round_address(0))
    await socket.subscribe("account", address, CONFIRMED)
    await socket.subscribe("account", address, {"encoding": "base58", **CONFIRMED})
    slice_of = {"encoding": "base58", "dataSlice": {"offset": 16, "length": 32}, **CONFIRMED}
    await socket.subscribe("account", address, slice_of)
    create = dialect.create_round(0, creator=payer, model_cid="b" * 59, dataset="mnist", reward_amount=9)
    await rpc.send(rpc.signed([create]))
    too_large = "error: data too large for bs58 encoding"
    shown = [(await socket.notification())[1]["value"]["data"] for _ in range(3)]
    assert shown == [too_large, [too_large, "base58"], [base58.b58encode(bytes(payer)).decode(), "base58"]]


async def test_a_transaction_sent_over_the_websocket_is_answered_and_told_of(rpc: Rpc, socket: Socket) -> None:
    transaction = rpc.pay(Pubkey.new_unique())
    number = await socket.subscribe("signature", str(transaction.signatures[0]), CONFIRMED)
    request = {"jsonrpc": "2.0", "id": "x", "method": "sendTransaction"}
    await socket.websocket.send_str(
        json.dumps({**request, "params": [encoded(transaction), {"encoding": "base64"}]}),
    )
    messages = [await socket.next() for _ in range(2)]
    assert {message.get("id") for message in messages} == {"x", None}
    assert [message["params"]["subscription"] for message in messages if "params" in message] == [number]
