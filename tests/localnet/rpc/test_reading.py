"""Accounts and history: filters, slices, encodings, order and pages."""

from __future__ import annotations

import base64
from typing import Any

import base58
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialect import NetworkDialect
from decloud_pl.chain.dialects import get_dialect
from tests.localnet.rpc.conftest import Rpc, encoded

CONFIRMED = {"commitment": "confirmed"}
MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


async def post_rounds(rpc: Rpc, count: int) -> NetworkDialect:
    """Create the rounds 0 to count - 1; the payer creates each."""
    dialect = get_dialect()
    payer = rpc.payer.pubkey()
    await rpc.send(rpc.signed([dialect.initialize(payer)]))
    for number in range(count):
        create = dialect.create_round(number, creator=payer, model_cid=MODEL_CID, dataset="mnist", reward_amount=9)
        await rpc.send(rpc.signed([create]))
    return dialect


async def test_program_accounts_by_size_and_content(rpc: Rpc) -> None:
    dialect = await post_rounds(rpc, 3)
    program = str(dialect.program_id)
    everything = await rpc.call("getProgramAccounts", program, {"encoding": "base64"})
    assert {entry["pubkey"] for entry in everything} == {
        str(dialect.round_counter_address()),
        *(str(dialect.round_address(number)) for number in range(3)),
    }
    sizes = {len(base64.b64decode(entry["account"]["data"][0])) for entry in everything}
    assert len(sizes) == 2
    second = base58.b58encode((1).to_bytes(8, "little")).decode()
    in_base64 = base64.b64encode((1).to_bytes(8, "little")).decode()
    for compare in (
        {"offset": 8, "bytes": second},
        {"offset": 8, "bytes": second, "encoding": "base58"},
        {"offset": 8, "bytes": in_base64, "encoding": "base64"},
        {"offset": 8, "bytes": [1, 0, 0, 0, 0, 0, 0, 0]},
    ):
        filters = [{"dataSize": max(sizes)}, {"memcmp": compare}]
        options = {"encoding": "base64", "filters": filters, "withContext": True, **CONFIRMED}
        found = await rpc.call("getProgramAccounts", program, options)
        assert found["context"]["slot"] == rpc.vm.slot
        assert [entry["pubkey"] for entry in found["value"]] == [str(dialect.round_address(1))]
        data, encoding = found["value"][0]["account"]["data"]
        assert encoding == "base64"
        assert get_dialect().decode_round(base64.b64decode(data)).creator == rpc.payer.pubkey()
    nothing = {"encoding": "base64", "filters": [{"memcmp": {"offset": 10_000, "bytes": second}}]}
    assert await rpc.call("getProgramAccounts", program, nothing) == []
    assert await rpc.call("getProgramAccounts", str(Pubkey.new_unique())) == []


async def test_a_slice_of_the_data(rpc: Rpc) -> None:
    dialect = await post_rounds(rpc, 1)
    address = str(dialect.round_address(0))
    whole = (await rpc.call("getAccountInfo", address, {"encoding": "base64"}))["value"]
    data = base64.b64decode(whole["data"][0])
    assert whole["space"] == len(data)
    assert whole["owner"] == str(dialect.program_id)
    cut = {"encoding": "base64", "dataSlice": {"offset": 16, "length": 32}}
    part = (await rpc.call("getAccountInfo", address, cut))["value"]
    assert base64.b64decode(part["data"][0]) == bytes(rpc.payer.pubkey()) == data[16:48]
    assert part["space"] == len(data)
    past = {"encoding": "base64", "dataSlice": {"offset": 10_000, "length": 32}}
    assert (await rpc.call("getAccountInfo", address, past))["value"]["data"] == ["", "base64"]


async def test_base58_holds_128_bytes(rpc: Rpc) -> None:
    dialect = await post_rounds(rpc, 1)
    address = str(dialect.round_address(0))
    for options in ({}, {"encoding": "base58"}):
        error = await rpc.error("getAccountInfo", address, options)
        assert error["code"] == -32600
        assert "please use Base64 encoding" in error["message"]
        error = await rpc.error("getProgramAccounts", str(dialect.program_id), options)
        assert error["code"] == -32600
    cut = {"encoding": "base58", "dataSlice": {"offset": 0, "length": 128}}
    data, encoding = (await rpc.call("getAccountInfo", address, cut))["value"]["data"]
    assert (len(base58.b58decode(data)), encoding) == (128, "base58")


async def test_accounts_that_are_not_there(rpc: Rpc) -> None:
    nobody, payer = str(Pubkey.new_unique()), str(rpc.payer.pubkey())
    assert (await rpc.call("getAccountInfo", nobody))["value"] is None
    assert (await rpc.call("getBalance", nobody))["value"] == 0
    several = (await rpc.call("getMultipleAccounts", [payer, nobody, payer]))["value"]
    assert [entry and entry["data"] for entry in several] == [["", "base64"], None, ["", "base64"]]
    assert (await rpc.call("getMultipleAccounts", []))["value"] == []


async def test_a_program_is_executable(rpc: Rpc) -> None:
    program = (await rpc.call("getAccountInfo", str(get_dialect().program_id), {"encoding": "base64"}))["value"]
    assert program["executable"] is True


async def sent(rpc: Rpc, to: Pubkey, count: int) -> list[str]:
    """Send transfers one slot apart; return their signatures, newest first."""
    found: list[str] = []
    for _ in range(count):
        found.insert(0, await rpc.send(rpc.pay(to)))
        rpc.pass_slots(1)
    return found


async def test_signatures_in_pages(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    newest_first = await sent(rpc, to, 5)

    async def page(**options: Any) -> list[str]:
        entries = await rpc.call("getSignaturesForAddress", str(to), {**CONFIRMED, **options})
        return [entry["signature"] for entry in entries]

    assert await page() == newest_first
    assert await page(limit=2) == newest_first[:2]
    assert await page(limit=2, before=newest_first[1]) == newest_first[2:4]
    assert await page(until=newest_first[3]) == newest_first[:3]
    assert await page(before=newest_first[0], until=newest_first[3], limit=1) == newest_first[1:2]
    assert await page(before=newest_first[4]) == []
    unknown = str(Keypair().sign_message(b""))
    assert await page(before=unknown) == []
    assert await page(until=unknown) == newest_first
    assert await rpc.call("getSignaturesForAddress", str(Pubkey.new_unique()), CONFIRMED) == []


async def test_signatures_within_a_slot_keep_their_order(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    oldest_first = [await rpc.send(rpc.pay(to, 1_000_000 + number)) for number in range(4)]
    entries = await rpc.call("getSignaturesForAddress", str(to), CONFIRMED)
    assert [entry["signature"] for entry in entries] == oldest_first[::-1]
    assert len({entry["slot"] for entry in entries}) == 1


async def test_a_page_of_finalized_signatures_is_full(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    old = await sent(rpc, to, 3)
    rpc.pass_slots(32)
    await sent(rpc, to, 3)
    entries = await rpc.call("getSignaturesForAddress", str(to), {"limit": 2})
    assert [entry["signature"] for entry in entries] == old[:2]
    assert {entry["confirmationStatus"] for entry in entries} == {"finalized"}


async def test_the_encodings_of_a_transaction(rpc: Rpc) -> None:
    dialect = await post_rounds(rpc, 1)
    transaction = rpc.signed(
        [dialect.create_round(1, creator=rpc.payer.pubkey(), model_cid=MODEL_CID, dataset="mnist", reward_amount=9)]
    )
    signature = await rpc.send(transaction)

    async def get(encoding: str | None) -> dict[str, Any]:
        options = {**CONFIRMED, "maxSupportedTransactionVersion": 0, "encoding": encoding}
        return dict(await rpc.call("getTransaction", signature, options))

    assert (await get("base64"))["transaction"] == [encoded(transaction), "base64"]
    in_base58 = base58.b58encode(bytes(transaction)).decode()
    assert (await get("base58"))["transaction"] == [in_base58, "base58"]
    keys = [str(key) for key in transaction.message.account_keys]
    plain = await get(None)
    assert plain == await get("json")
    assert plain["version"] == 0
    assert plain["blockTime"] == rpc.vm.unix_time
    message = plain["transaction"]["message"]
    assert message["accountKeys"] == keys
    assert message["instructions"][0]["programIdIndex"] == keys.index(str(dialect.program_id))
    inner = plain["meta"]["innerInstructions"][0]["instructions"][0]
    assert keys[inner["programIdIndex"]] == "11111111111111111111111111111111"
    parsed = await get("jsonParsed")
    message = parsed["transaction"]["message"]
    assert [entry["pubkey"] for entry in message["accountKeys"]] == keys
    assert message["accountKeys"][0] == {
        "pubkey": str(rpc.payer.pubkey()),
        "signer": True,
        "writable": True,
        "source": "transaction",
    }
    assert message["instructions"][0]["programId"] == str(dialect.program_id)
    named = parsed["meta"]["innerInstructions"][0]["instructions"][0]
    assert named["programId"] == "11111111111111111111111111111111"
    assert named["accounts"] == [keys[index] for index in inner["accounts"]]
    as_text = await rpc.call("getTransaction", await legacy(rpc), "base64")
    assert as_text is None  # the older form of the second parameter implies finalized commitment


async def legacy(rpc: Rpc) -> str:
    return await rpc.send(rpc.pay(Pubkey.new_unique(), legacy=True))


async def test_versions_of_transactions(rpc: Rpc) -> None:
    signature = await rpc.send(rpc.pay(Pubkey.new_unique()))
    error = await rpc.error("getTransaction", signature, CONFIRMED)
    assert error["code"] == -32015
    assert "Transaction version (0) is not supported" in error["message"]
    old = await legacy(rpc)
    without = await rpc.call("getTransaction", old, CONFIRMED)
    assert "version" not in without
    assert "addressTableLookups" not in without["transaction"]["message"]
    with_version = await rpc.call("getTransaction", old, {**CONFIRMED, "maxSupportedTransactionVersion": 0})
    assert with_version["version"] == "legacy"


@pytest.mark.parametrize("options", [{"commitment": "processed"}, {"encoding": "xml", "commitment": "confirmed"}])
async def test_what_cannot_be_asked_of_a_transaction(rpc: Rpc, options: dict[str, Any]) -> None:
    assert (await rpc.error("getTransaction", await legacy(rpc), options))["code"] == -32602


async def test_balances_of_a_transaction_add_up(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    transaction: VersionedTransaction = rpc.pay(to, legacy=True)
    landed = await rpc.call("getTransaction", await rpc.send(transaction), CONFIRMED)
    meta = landed["meta"]
    changes = [after - before for before, after in zip(meta["preBalances"], meta["postBalances"], strict=True)]
    assert changes[:2] == [-1_005_000, 1_000_000]
    assert meta["fee"] == 5000


async def test_block_times_follow_the_slots(rpc: Rpc) -> None:
    slot = await rpc.call("getSlot", CONFIRMED)
    then = await rpc.call("getBlockTime", slot)
    assert then == int(rpc.clock.now())
    error = await rpc.error("getBlockTime", slot + 10)
    assert error["code"] == -32004
    rpc.pass_slots(10)
    assert await rpc.call("getBlockTime", slot + 10) == then + 4
