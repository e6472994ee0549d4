"""The JSON-RPC layer: invalid requests, methods and parameters, and the form of their errors."""

from __future__ import annotations

from typing import Any

import pytest
from solders.pubkey import Pubkey

from tests.localnet.rpc.conftest import Rpc

ADDRESS = str(Pubkey.new_unique())


def request(method: str, *params: Any, identifier: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": list(params)}


@pytest.mark.parametrize("body", ["", "{", "\x00", b"\xff\xfe", "nonsense", "[" * 100_000])
async def test_what_is_no_json(rpc: Rpc, body: str | bytes) -> None:
    answer = await rpc.post(body)
    assert answer["error"] == {"code": -32700, "message": "Parse error"}
    assert answer["id"] is None


@pytest.mark.parametrize(
    "body",
    [
        1,
        "text",
        {},
        {"id": 1, "method": "getSlot"},
        {"jsonrpc": "1.0", "id": 1, "method": "getSlot"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "id": {}, "method": "getSlot"},
        [],
    ],
)
async def test_what_is_no_request(rpc: Rpc, body: Any) -> None:
    import json

    answer = await rpc.post(json.dumps(body))
    assert answer["error"]["code"] == -32600
    wanted = body["id"] if isinstance(body, dict) and isinstance(body.get("id"), int) else None
    assert answer["id"] == wanted


async def test_an_unknown_method(rpc: Rpc) -> None:
    assert await rpc.error("getNothing") == {"code": -32601, "message": "Method not found"}


async def test_params_that_are_no_array(rpc: Rpc) -> None:
    answer = await rpc.post({"jsonrpc": "2.0", "id": "x", "method": "getBalance", "params": {"address": ADDRESS}})
    assert answer["error"]["code"] == -32602
    assert answer["id"] == "x"


async def test_params_may_be_left_out(rpc: Rpc) -> None:
    assert await rpc.post({"jsonrpc": "2.0", "id": 1, "method": "getHealth"}) == {
        "jsonrpc": "2.0",
        "result": "ok",
        "id": 1,
    }


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("getBalance", []),
        ("getBalance", ["nonsense"]),
        ("getBalance", [5]),
        ("getBalance", [ADDRESS, "confirmed"]),
        ("getBalance", [ADDRESS, {"commitment": "certain"}]),
        ("getBalance", [ADDRESS, {"commitment": ["confirmed"]}]),
        ("getBalance", [ADDRESS, {"minContextSlot": -1}]),
        ("getAccountInfo", ["11111111111111111111111111111111", {"encoding": "utf8"}]),
        ("getAccountInfo", ["11111111111111111111111111111111", {"dataSlice": 5}]),
        ("getAccountInfo", ["11111111111111111111111111111111", {"dataSlice": {"offset": 0}}]),
        ("getMultipleAccounts", [ADDRESS]),
        ("getMultipleAccounts", [[ADDRESS] * 101]),
        ("getProgramAccounts", [ADDRESS, {"filters": {}, "encoding": "base64"}]),
        ("getProgramAccounts", [ADDRESS, {"filters": "no"}]),
        ("getProgramAccounts", [ADDRESS, {"filters": [{"dataSize": 1}] * 5}]),
        ("getProgramAccounts", [ADDRESS, {"filters": [{"dataSize": "1"}]}]),
        ("getProgramAccounts", [ADDRESS, {"filters": [{"memcmp": {"offset": 0, "bytes": "0"}}]}]),
        ("getProgramAccounts", [ADDRESS, {"filters": [{"memcmp": {"offset": 0, "bytes": ["x"]}}]}]),
        ("getProgramAccounts", [ADDRESS, {"filters": [{"memcmp": {"bytes": "1"}}]}]),
        ("getMinimumBalanceForRentExemption", [1 << 64]),
        ("getMinimumBalanceForRentExemption", [(1 << 64) - 1]),
        ("getMinimumBalanceForRentExemption", [True]),
        ("getMinimumBalanceForRentExemption", [1.5]),
        ("isBlockhashValid", ["nonsense"]),
        ("getBlockTime", ["1"]),
        ("getTransaction", ["nonsense"]),
        ("getTransaction", [ADDRESS]),
        ("getSignatureStatuses", ["nonsense"]),
        ("getSignatureStatuses", [["nonsense"]]),
        ("getSignatureStatuses", [["1" * 64] * 257]),
        ("getSignaturesForAddress", [ADDRESS, {"limit": 1001}]),
        ("getSignaturesForAddress", [ADDRESS, {"limit": 0}]),
        ("getFeeForMessage", ["nonsense"]),
        ("getFeeForMessage", [7]),
        ("requestAirdrop", [ADDRESS]),
        ("requestAirdrop", [ADDRESS, -1]),
        ("requestAirdrop", [ADDRESS, 1 << 64]),
        ("sendTransaction", []),
        ("sendTransaction", [5]),
        ("sendTransaction", ["", {"encoding": "base64"}]),
        ("sendTransaction", ["AQ==", {"encoding": "base64"}]),
        ("sendTransaction", ["AQ==", {"encoding": "hex"}]),
        ("sendTransaction", ["AQ==", {"encoding": ["base64"]}]),
        ("sendTransaction", ["0OIl"]),
        ("simulateTransaction", ["AQ==", {"encoding": "base64"}]),
        ("getRecentPrioritizationFees", [ADDRESS]),
        ("getLatestBlockhash", [{"commitment": "certain"}]),
    ],
)
async def test_parameters_of_the_wrong_kind(rpc: Rpc, method: str, params: list[Any]) -> None:
    error = await rpc.error(method, *params)
    assert error["code"] == -32602
    assert error["message"].startswith("Invalid params: ")


async def test_a_batch_is_answered_in_order(rpc: Rpc) -> None:
    slot = rpc.vm.advance()
    answer = await rpc.post(
        [
            request("getSlot", {"commitment": "confirmed"}, identifier=1),
            request("getNothing", identifier="b"),
            5,
            {"jsonrpc": "2.0", "method": "getSlot"},
            request("getHealth", identifier=None),
        ]
    )
    assert [entry["id"] for entry in answer] == [1, "b", None, None]
    assert answer[0]["result"] == slot
    assert [entry["error"]["code"] for entry in answer[1:3]] == [-32601, -32600]
    assert answer[3]["result"] == "ok"


async def test_a_notification_is_obeyed_and_not_answered(rpc: Rpc) -> None:
    airdrop = {"jsonrpc": "2.0", "method": "requestAirdrop", "params": [ADDRESS, 1_000_000_000]}
    assert await rpc.post(airdrop) is None
    assert await rpc.post([airdrop, {"jsonrpc": "2.0", "method": "getNothing"}]) is None
    assert (await rpc.call("getBalance", ADDRESS))["value"] == 2_000_000_000


async def test_a_slot_that_is_not_there_yet(rpc: Rpc) -> None:
    slot = rpc.vm.advance()
    error = await rpc.error("getBalance", ADDRESS, {"commitment": "confirmed", "minContextSlot": slot + 1})
    assert error["code"] == -32016
    assert error["data"] == {"contextSlot": slot}
    answer = await rpc.call("getBalance", ADDRESS, {"commitment": "confirmed", "minContextSlot": slot})
    assert answer["context"]["slot"] == slot
    error = await rpc.error("getBalance", ADDRESS, {"commitment": "finalized", "minContextSlot": slot})
    assert error["code"] == -32016
    rpc.pass_slots(1)
    await rpc.call("getBalance", ADDRESS, {"commitment": "confirmed", "minContextSlot": slot + 1})
