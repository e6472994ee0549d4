"""Sending transactions: which are rejected and how, which land, how often, and at what cost."""

from __future__ import annotations

import base64
from typing import Any

import base58
import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialects import get_dialect
from tests.localnet.rpc.conftest import LAMPORTS, Rpc, encoded

FEE = 5000
CONFIRMED = {"commitment": "confirmed"}


async def balance(rpc: Rpc, address: Pubkey) -> int:
    return int((await rpc.call("getBalance", str(address), CONFIRMED))["value"])


def memo(size: int) -> Instruction:
    """Return an instruction of a program that does not exist, with this much data."""
    return Instruction(Pubkey.default(), bytes(size), [])


def padded(rpc: Rpc, size: int) -> VersionedTransaction:
    """Return a transaction of exactly this many bytes."""
    data = size - len(bytes(rpc.signed([memo(1000)]))) + 1000
    transaction = rpc.signed([memo(data)])
    assert len(bytes(transaction)) == size
    return transaction


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("encoding", ["base64", "base58"])
async def test_a_transfer(rpc: Rpc, encoding: str, legacy: bool) -> None:
    to = Pubkey.new_unique()
    transaction = rpc.pay(to, legacy=legacy)
    text = encoded(transaction) if encoding == "base64" else base58.b58encode(bytes(transaction)).decode()
    options = [] if encoding == "base58" else [{"encoding": encoding, "maxRetries": 3}]
    assert await rpc.call("sendTransaction", text, *options) == str(transaction.signatures[0])
    assert await balance(rpc, to) == 1_000_000
    assert await balance(rpc, rpc.payer.pubkey()) == LAMPORTS - 1_000_000 - FEE


async def test_the_largest_transaction_and_one_byte_more(rpc: Rpc) -> None:
    await rpc.send(padded(rpc, 1232), skipPreflight=True)
    error = await rpc.error("sendTransaction", encoded(padded(rpc, 1233)), {"encoding": "base64"})
    assert error["code"] == -32602
    assert "too large: 1233 bytes (max: 1232 bytes)" in error["message"]
    much = base64.b64encode(bytes(5000)).decode()
    error = await rpc.error("sendTransaction", much, {"encoding": "base64"})
    assert error["code"] == -32602
    assert "too large" in error["message"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"maxRetries": -1}, -32602),
        ({"maxRetries": "3"}, -32602),
        ({"preflightCommitment": "certain"}, -32602),
        ({"minContextSlot": 1 << 40}, -32016),
    ],
)
async def test_options_of_sending_that_cannot_be_met(rpc: Rpc, options: dict[str, Any], code: int) -> None:
    to = Pubkey.new_unique()
    error = await rpc.error("sendTransaction", encoded(rpc.pay(to)), {"encoding": "base64", **options})
    assert error["code"] == code
    assert await balance(rpc, to) == 0


@pytest.mark.parametrize("retries", [None, 0, 5])
async def test_no_number_of_retries_lands_twice(rpc: Rpc, retries: int | None) -> None:
    to = Pubkey.new_unique()
    await rpc.send(rpc.pay(to), maxRetries=retries)
    rpc.pass_slots(5)
    assert await balance(rpc, to) == 1_000_000


@pytest.mark.parametrize("skip", [False, True])
async def test_a_signature_of_another(rpc: Rpc, skip: bool) -> None:
    good = rpc.pay(Pubkey.new_unique())
    forged = VersionedTransaction.populate(good.message, [Keypair().sign_message(b"something else")])
    options = {"encoding": "base64", "skipPreflight": skip}
    error = await rpc.error("sendTransaction", encoded(forged), options)
    assert error == {"code": -32003, "message": "Transaction signature verification failure"}
    unsigned = VersionedTransaction.populate(good.message, [Signature.default()])
    assert (await rpc.error("sendTransaction", encoded(unsigned), options))["code"] == -32003
    assert await balance(rpc, rpc.payer.pubkey()) == LAMPORTS


async def test_preflight_shows_why_it_would_fail(rpc: Rpc) -> None:
    dialect = get_dialect()
    payer = rpc.payer.pubkey()
    await rpc.send(rpc.signed([dialect.initialize(payer)]))
    create = dialect.create_round(0, creator=payer, model_cid="x" * 45, dataset="mnist", reward_amount=1)
    before = await balance(rpc, payer)
    error = await rpc.error("sendTransaction", encoded(rpc.signed([create])), {"encoding": "base64"})
    assert error["code"] == -32002
    assert error["message"] == (
        "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1770"
    )
    data = error["data"]
    assert data["err"] == {"InstructionError": [0, {"Custom": 6000}]}
    assert data["logs"][0] == f"Program {dialect.program_id} invoke [1]"
    assert any("Error Code: InvalidCid" in line for line in data["logs"])
    assert data["unitsConsumed"] > 0
    assert await balance(rpc, payer) == before


async def test_preflight_of_a_payer_without_money(rpc: Rpc) -> None:
    rpc.payer = Keypair()
    error = await rpc.error("sendTransaction", encoded(rpc.pay(Pubkey.new_unique())), {"encoding": "base64"})
    assert error["code"] == -32002
    assert error["data"]["err"] == "AccountNotFound"
    assert error["data"]["logs"] == []


async def test_a_failure_that_was_sent_anyway_is_recorded_and_paid_for(rpc: Rpc) -> None:
    transaction = rpc.pay(Pubkey.new_unique(), LAMPORTS * 2)
    signature = await rpc.send(transaction, skipPreflight=True)
    failure = {"InstructionError": [0, {"Custom": 1}]}
    assert await balance(rpc, rpc.payer.pubkey()) == LAMPORTS - FEE
    (status,) = (await rpc.call("getSignatureStatuses", [signature]))["value"]
    assert status["err"] == failure
    assert status["status"] == {"Err": failure}
    landed = await rpc.call("getTransaction", signature, {**CONFIRMED, "maxSupportedTransactionVersion": 0})
    assert landed["meta"]["err"] == failure
    assert landed["meta"]["fee"] == FEE
    assert any("insufficient lamports" in line for line in landed["meta"]["logMessages"])


async def test_one_that_cannot_pay_leaves_no_trace(rpc: Rpc) -> None:
    rpc.payer = Keypair()
    signature = await rpc.send(rpc.pay(Pubkey.new_unique()), skipPreflight=True)
    assert (await rpc.call("getSignatureStatuses", [signature]))["value"] == [None]


@pytest.mark.parametrize(("slots", "lands"), [(149, True), (150, True), (151, False)])
async def test_a_blockhash_lives_150_slots(rpc: Rpc, slots: int, lands: bool) -> None:
    latest = (await rpc.call("getLatestBlockhash", CONFIRMED))["value"]
    assert latest["blockhash"] == str(rpc.blockhash())
    to = Pubkey.new_unique()
    transaction = rpc.pay(to)
    rpc.pass_slots(slots)
    height = await rpc.call("getBlockHeight", CONFIRMED)
    assert (height <= latest["lastValidBlockHeight"]) is lands
    assert (await rpc.call("isBlockhashValid", latest["blockhash"], CONFIRMED))["value"] is lands
    fee = await rpc.call("getFeeForMessage", message_of(transaction), CONFIRMED)
    assert fee["value"] == (FEE if lands else None)
    if not lands:
        error = await rpc.error("sendTransaction", encoded(transaction), {"encoding": "base64"})
        assert error["code"] == -32002
        assert error["message"] == "Transaction simulation failed: Blockhash not found"
        assert error["data"]["err"] == "BlockhashNotFound"
    await rpc.send(transaction, skipPreflight=True)
    assert await balance(rpc, to) == (1_000_000 if lands else 0)


async def test_a_blockhash_of_nowhere(rpc: Rpc) -> None:
    nowhere = str(Pubkey.new_unique())
    assert (await rpc.call("isBlockhashValid", nowhere, CONFIRMED))["value"] is False


async def test_a_second_sending_has_no_second_effect(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    transaction = rpc.pay(to)
    first = await rpc.send(transaction)
    assert await rpc.send(transaction, skipPreflight=True) == first
    error = await rpc.error("sendTransaction", encoded(transaction), {"encoding": "base64"})
    assert error["code"] == -32002
    assert error["data"]["err"] == "AlreadyProcessed"
    assert await balance(rpc, to) == 1_000_000
    assert await balance(rpc, rpc.payer.pubkey()) == LAMPORTS - 1_000_000 - FEE
    assert [entry["signature"] for entry in await rpc.call("getSignaturesForAddress", str(to), CONFIRMED)] == [first]


async def test_finality_comes_after_32_slots(rpc: Rpc) -> None:
    signature = await rpc.send(rpc.pay(Pubkey.new_unique()))
    with_version = {"maxSupportedTransactionVersion": 0}
    rpc.pass_slots(31)
    (status,) = (await rpc.call("getSignatureStatuses", [signature]))["value"]
    assert (status["confirmationStatus"], status["confirmations"]) == ("confirmed", 31)
    assert await rpc.call("getTransaction", signature, with_version) is None
    assert await rpc.call("getTransaction", signature, {**with_version, **CONFIRMED}) is not None
    rpc.pass_slots(1)
    (status,) = (await rpc.call("getSignatureStatuses", [signature]))["value"]
    assert (status["confirmationStatus"], status["confirmations"]) == ("finalized", None)
    assert (await rpc.call("getTransaction", signature, with_version))["slot"] == status["slot"]
    slots = [await rpc.call("getSlot", {"commitment": name}) for name in ("processed", "confirmed", "finalized")]
    assert slots == [rpc.vm.slot, rpc.vm.slot, rpc.vm.slot - 32]


def message_of(transaction: VersionedTransaction) -> str:
    return base64.b64encode(to_bytes_versioned(transaction.message)).decode()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "budget",
    [
        [],
        [set_compute_unit_price(1_000_000)],
        [set_compute_unit_limit(12_345), set_compute_unit_price(777_777)],
    ],
)
async def test_the_fee_foretold_is_the_fee_taken(rpc: Rpc, budget: list[Instruction], legacy: bool) -> None:
    transaction = rpc.pay(Pubkey.new_unique(), before=budget, legacy=legacy)
    foretold = (await rpc.call("getFeeForMessage", message_of(transaction), CONFIRMED))["value"]
    await rpc.send(transaction)
    assert await balance(rpc, rpc.payer.pubkey()) == LAMPORTS - 1_000_000 - foretold


async def test_an_airdrop(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    signatures = [await rpc.call("requestAirdrop", str(to), 1_000_000_000) for _ in range(2)]
    assert len(set(signatures)) == 2
    assert await balance(rpc, to) == 2_000_000_000
    landed = await rpc.call("getTransaction", signatures[0], {**CONFIRMED, "maxSupportedTransactionVersion": 0})
    assert landed["meta"]["err"] is None


async def test_an_airdrop_of_more_than_there_is(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    error = await rpc.error("requestAirdrop", str(to), (1 << 64) - 1)
    assert error["code"] == -32600
    assert "faucet" in error["message"]
    assert await balance(rpc, to) == 0


async def test_a_simulation_changes_nothing(rpc: Rpc) -> None:
    to = Pubkey.new_unique()
    transaction = rpc.pay(to)
    unsigned = VersionedTransaction.populate(transaction.message, [Signature.default()])
    options = {
        "encoding": "base64",
        "accounts": {"encoding": "base64", "addresses": [str(to), str(Pubkey.new_unique())]},
        **CONFIRMED,
    }
    value = (await rpc.call("simulateTransaction", encoded(unsigned), options))["value"]
    assert value["err"] is None
    assert value["unitsConsumed"] > 0
    assert value["logs"][-1] == "Program 11111111111111111111111111111111 success"
    assert value["accounts"][0]["lamports"] == 1_000_000
    assert value["accounts"][1] is None
    assert await balance(rpc, to) == 0
    verified = await rpc.error("simulateTransaction", encoded(unsigned), {**options, "sigVerify": True})
    assert verified["code"] == -32003


async def test_a_simulation_with_an_old_blockhash(rpc: Rpc) -> None:
    transaction = rpc.pay(Pubkey.new_unique())
    rpc.pass_slots(200)
    options = {"encoding": "base64", **CONFIRMED}
    value = (await rpc.call("simulateTransaction", encoded(transaction), options))["value"]
    assert value["err"] == "BlockhashNotFound"
    options["replaceRecentBlockhash"] = True  # type: ignore[assignment]
    value = (await rpc.call("simulateTransaction", encoded(transaction), options))["value"]
    assert value["err"] is None
    assert value["replacementBlockhash"]["blockhash"] == str(rpc.blockhash())
    both = await rpc.error("simulateTransaction", encoded(transaction), {**options, "sigVerify": True})
    assert both["code"] == -32602


async def test_a_simulation_of_accounts_that_are_no_list(rpc: Rpc) -> None:
    options = {"encoding": "base64", "accounts": {"addresses": 5}}
    error = await rpc.error("simulateTransaction", encoded(rpc.pay(Pubkey.new_unique())), options)
    assert error["code"] == -32602
