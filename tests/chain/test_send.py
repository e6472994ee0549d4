"""The effect of a transaction happens once, even if requests or answers get lost."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender, SendPolicy
from decloud_pl.chain.transaction_log import Attempt, MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.errors import (
    DecodeError,
    InsufficientFunds,
    JournalError,
    ProgramError,
    RpcUnavailable,
    TransactionExpired,
)

AMOUNT = 5_000_000
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


class Payment:
    """A transfer. The balance shows if it happened twice."""

    def __init__(self, rpc: RpcClient, wallet: Wallet, pace: Any, log: MemoryTransactionLog | None = None) -> None:
        self.rpc = rpc
        self.to = Pubkey.new_unique()
        self.log = log or MemoryTransactionLog()
        self.wallet = wallet
        self.pace = pace
        self.instruction = transfer(TransferParams(from_pubkey=wallet.address, to_pubkey=self.to, lamports=AMOUNT))

    async def landed(self) -> bool:
        return await self.rpc.balance(self.to) > 0

    async def send(self, **policy: Any) -> Any:
        return await self.sender(**policy).send([self.instruction], key="pay", landed=self.landed)

    def sender(self, **policy: Any) -> Sender:
        return Sender(self.rpc, self.wallet, get_dialect(), self.log, policy=SendPolicy(**policy), pace=self.pace)

    async def received(self) -> int:
        return await self.rpc.balance(self.to)


@pytest.fixture
def payment(rpc: RpcClient, wallet: Wallet, pace: Any) -> Payment:
    return Payment(rpc, wallet, pace)


async def test_lands_once_and_names_its_transaction(payment: Payment) -> None:
    receipt = await payment.send()
    assert await payment.received() == AMOUNT
    assert receipt.signature == payment.log.attempts("pay")[0].signature
    assert payment.log.attempts("pay")[0].outcome == "landed"
    again = await payment.send()
    assert again.signature == receipt.signature
    assert await payment.received() == AMOUNT


@pytest.mark.parametrize("fault", ["drop", "500", "429", "garbage"])
@pytest.mark.parametrize(
    "method",
    [
        "getBalance",
        "getLatestBlockhash",
        "simulateTransaction",
        "getRecentPrioritizationFees",
        "sendTransaction",
        "getEpochInfo",
        "getSignatureStatuses",
    ],
)
async def test_every_call_may_fail(payment: Payment, endpoint: Any, method: str, fault: str) -> None:
    # The transport itself retries once after a broken connection.
    endpoint.faults[method] = [fault, fault]
    if method == "getEpochInfo":
        endpoint.faults["sendTransaction"] = [
            "lose"
        ]  # the sender reads the height only if the transaction does not land at once
    await payment.send()
    assert await payment.received() == AMOUNT
    assert len(payment.log.attempts("pay")) == 1


async def test_bytes_that_got_lost_are_sent_again(payment: Payment, endpoint: Any) -> None:
    endpoint.faults["sendTransaction"] = ["lose", "lose", "lose"]
    await payment.send()
    assert endpoint.calls.count("sendTransaction") == 4
    assert len(payment.log.attempts("pay")) == 1
    assert await payment.received() == AMOUNT


@pytest.mark.slow
async def test_signs_anew_only_after_the_blockhash_has_run_out(payment: Payment, endpoint: Any) -> None:
    # 150 blocks of 0.4 s take 60 s, and the bytes are sent again every 2 s.
    endpoint.faults["sendTransaction"] = ["lose"] * 40
    await payment.send()
    first, second = payment.log.attempts("pay")
    assert (first.outcome, second.outcome) == ("expired", "landed")
    assert second.last_valid_block_height > first.last_valid_block_height + 150
    assert await payment.received() == AMOUNT


@pytest.mark.slow
async def test_gives_up_after_so_many_blockhashes(payment: Payment, endpoint: Any) -> None:
    endpoint.faults["sendTransaction"] = ["lose"] * 1000
    with pytest.raises(TransactionExpired):
        await payment.send(max_signings=2)
    assert [attempt.outcome for attempt in payment.log.attempts("pay")] == ["expired", "expired"]
    assert await payment.received() == 0


async def test_a_crash_after_signing_sends_the_same_bytes(
    payment: Payment, endpoint: Any, rpc: RpcClient, wallet: Wallet, pace: Any
) -> None:
    endpoint.faults["sendTransaction"] = ["lose"] * 1000
    # The endpoint disappears while the first process waits. For the log, this is the same as a crash.
    endpoint.faults["getSignatureStatuses"] = ["ok"] * 3 + ["500"] * 1000
    with pytest.raises(RpcUnavailable):
        await payment.send(retry_seconds=1)
    endpoint.faults.clear()
    receipt = await payment.send()
    attempts = payment.log.attempts("pay")
    assert len(attempts) == 1
    assert receipt.signature == attempts[0].signature
    assert await payment.received() == AMOUNT


async def test_a_crash_after_landing_finds_the_transaction(payment: Payment, endpoint: Any) -> None:
    endpoint.faults["getSignatureStatuses"] = ["500"] * 1000
    with pytest.raises(RpcUnavailable):
        await payment.send(retry_seconds=1)
    endpoint.faults.clear()
    receipt = await payment.send()
    assert receipt.signature == payment.log.attempts("pay")[0].signature
    assert await payment.received() == AMOUNT


async def test_an_effect_by_another_hand_is_a_receipt_without_signature(payment: Payment, endpoint: Any) -> None:
    endpoint.vm.airdrop(payment.to, AMOUNT)
    receipt = await payment.send()
    assert receipt.signature is None
    assert "sendTransaction" not in endpoint.calls


async def test_an_endpoint_that_stays_away_is_unavailable(payment: Payment, endpoint: Any, pace: Any) -> None:
    endpoint.faults["getBalance"] = ["429"] * 1000
    with pytest.raises(RpcUnavailable, match="HTTP 429"):
        await payment.send(retry_seconds=30)
    assert set(pace.slept) == {7}  # the seconds in Retry-After
    assert sum(pace.slept) <= 30


async def test_an_empty_wallet_is_told_so(rpc: RpcClient, pace: Any) -> None:
    payment = Payment(rpc, Wallet(Keypair()), pace)
    with pytest.raises(InsufficientFunds, match="Send some SOL"):
        await payment.send()


async def test_the_programs_refusal_is_typed(rpc: RpcClient, chain: ChainClient, wallet: Wallet, pace: Any) -> None:
    sender = Sender(rpc, wallet, get_dialect(), MemoryTransactionLog(), pace=pace)

    async def never() -> bool:
        return False

    with pytest.raises(ProgramError) as caught:
        await sender.send([get_dialect().join_round(0, trainer=wallet.address)], key="join:0", landed=never)
    assert caught.value.name == "AccountNotInitialized"
    assert await chain.counter() is None


async def test_a_second_join_is_success_when_the_account_is_ours(
    rpc: RpcClient, chain: ChainClient, wallet: Wallet, pace: Any
) -> None:
    dialect = get_dialect()
    sender = Sender(rpc, wallet, dialect, MemoryTransactionLog(), pace=pace)

    async def unknown() -> bool:
        return False

    async def joined() -> bool:
        return await chain.submission(0, wallet.address) is not None

    me = wallet.address
    create = dialect.create_round(0, creator=me, model_cid=CID, dataset="custom", reward_amount=10**9)
    for key, instruction in (
        ("initialize", dialect.initialize(me)),
        ("create", create),
        ("claim", dialect.claim_round(0, validator=me)),
        ("join", dialect.join_round(0, trainer=me)),
    ):
        await sender.send([instruction], key=key, landed=unknown)
    with pytest.raises(ProgramError, match="already exists"):
        await sender.send([dialect.join_round(0, trainer=me)], key="join again", landed=unknown)
    fresh = Sender(rpc, wallet, dialect, MemoryTransactionLog(), pace=pace)
    receipt = await fresh.send([dialect.join_round(0, trainer=me)], key="join", landed=joined)
    assert receipt.signature is None


async def test_asks_for_the_compute_units_it_needs_and_a_capped_fee(
    payment: Payment, endpoint: Any, wallet: Wallet
) -> None:
    plenty = [{"slot": 1, "prioritizationFee": 10**9}]
    endpoint.methods["getRecentPrioritizationFees"] = lambda _: plenty
    before = await payment.rpc.balance(wallet.address)
    await payment.send(fees=FeeLimits(max_priority_lamports=1000))
    fee = before - await payment.rpc.balance(wallet.address) - AMOUNT
    assert 5000 < fee <= 6000


async def test_after_an_expired_transaction_the_next_one_offers_a_higher_fee(payment: Payment, endpoint: Any) -> None:
    endpoint.methods["getRecentPrioritizationFees"] = lambda _: [{"slot": 1, "prioritizationFee": 0}]
    endpoint.faults["sendTransaction"] = ["lose"] * 13
    await payment.send(poll_seconds=5.0, fees=FeeLimits(max_priority_lamports=1000))
    first, second = payment.log.attempts("pay")
    assert (first.outcome, second.outcome) == ("expired", "landed")
    assert first.fee == 5000 < second.fee <= 6000


async def test_the_transaction_of_a_simulation_has_no_signature(payment: Payment, endpoint: Any) -> None:
    simulate, simulated = endpoint.methods["simulateTransaction"], []

    def recorded(params: list[Any]) -> Any:
        simulated.append(VersionedTransaction.from_bytes(base64.b64decode(params[0])))
        return simulate(params)

    endpoint.methods["simulateTransaction"] = recorded
    await payment.send()
    assert [one.signatures for one in simulated] == [[Signature.default()]]
    assert await payment.received() == AMOUNT


async def test_an_endpoint_without_priority_fees_is_good_enough(payment: Payment, endpoint: Any) -> None:
    del endpoint.methods["getRecentPrioritizationFees"]
    await payment.send()
    assert await payment.received() == AMOUNT


async def test_the_log_knows_what_a_transaction_costs(payment: Payment, endpoint: Any, wallet: Wallet) -> None:
    endpoint.methods["getRecentPrioritizationFees"] = lambda _: [{"slot": 1, "prioritizationFee": 123_456}]
    before = await payment.rpc.balance(wallet.address)
    await payment.send()
    attempt = payment.log.attempts("pay")[0]
    assert before - await payment.rpc.balance(wallet.address) == attempt.fee + AMOUNT
    assert attempt.fee > 5000


async def test_a_blockhash_that_would_never_expire_is_not_signed_with(payment: Payment, endpoint: Any) -> None:
    endpoint.faults["getLatestBlockhash"] = ["endless"]
    with pytest.raises(DecodeError, match="a blockhash that is valid for 4,611,"):
        await payment.send()
    assert payment.log.attempts("pay") == []
    await payment.send()
    assert await payment.received() == AMOUNT


async def test_asks_for_no_more_compute_units_than_allowed(payment: Payment, endpoint: Any) -> None:
    with pytest.raises(ProgramError, match="ComputationalBudgetExceeded"):
        await payment.send(fees=FeeLimits(max_compute_units=1))
    assert await payment.received() == 0


async def test_an_endpoint_that_lags_has_not_seen_the_last_chance(payment: Payment, endpoint: Any) -> None:
    """The height and the status come from two replicas, one of them behind. So the bytes may not have expired."""
    endpoint.faults["sendTransaction"] = ["drop", "drop"]
    statuses = endpoint.methods["getSignatureStatuses"]
    epoch = endpoint.methods["getEpochInfo"]
    lagging = [True] * 3

    def behind(params: list[Any]) -> Any:
        if lagging:
            lagging.pop()
            return {"context": {"slot": 1}, "value": [None]}
        return statuses(params)

    endpoint.methods["getSignatureStatuses"] = behind
    endpoint.methods["getEpochInfo"] = lambda params: {**epoch(params), "blockHeight": 10**6}
    receipt = await payment.send()
    assert [attempt.signature for attempt in payment.log.attempts("pay")] == [receipt.signature]
    assert await payment.received() == AMOUNT


async def test_where_the_chain_has_stopped_a_transaction_stays_pending(payment: Payment, endpoint: Any) -> None:
    epoch = endpoint.methods["getEpochInfo"]
    still, heights = epoch([]), itertools.count()
    # Two machines behind the endpoint stand at different heights.
    endpoint.methods["getEpochInfo"] = lambda _: {**still, "blockHeight": still["blockHeight"] + next(heights) % 2}
    endpoint.faults["sendTransaction"] = ["lose"] * 1000
    with pytest.raises(RpcUnavailable, match="The block height has not changed for 180 s"):
        await payment.send(poll_seconds=10.0)
    assert [attempt.outcome for attempt in payment.log.attempts("pay")] == ["pending"]
    endpoint.methods["getEpochInfo"] = epoch
    endpoint.faults.clear()
    receipt = await payment.send()
    assert receipt.signature != payment.log.attempts("pay")[0].signature  # its blockhash has expired meanwhile
    assert await payment.received() == AMOUNT


async def test_after_a_receipt_no_older_state_is_believed(payment: Payment, endpoint: Any) -> None:
    await payment.send()
    balance = endpoint.methods["getBalance"]
    endpoint.methods["getBalance"] = lambda params: {**balance(params), "context": {"slot": 1}}
    with pytest.raises(RpcUnavailable, match="lags behind the chain"):
        await payment.received()
    endpoint.methods["getBalance"] = balance
    assert await payment.received() == AMOUNT


async def test_processed_is_not_yet_landed(payment: Payment, endpoint: Any) -> None:
    """A fork may drop a processed transaction, so only a confirmed one is a success."""
    endpoint.faults["sendTransaction"] = ["lose"] * 2
    statuses = endpoint.methods["getSignatureStatuses"]
    shown: list[int] = []

    def on_a_fork(params: list[Any]) -> Any:
        answer = statuses(params)
        if len(shown) < 3:
            shown.append(1)
            entry = {"slot": 5, "confirmations": 0, "err": None, "status": {"Ok": None}}
            answer["value"] = [{**entry, "confirmationStatus": "processed"}]
        return answer

    endpoint.methods["getSignatureStatuses"] = on_a_fork
    receipt = await payment.send()
    assert len(shown) == 3
    assert await payment.received() == AMOUNT
    assert [attempt.signature for attempt in payment.log.attempts("pay")] == [receipt.signature]


async def test_a_failure_on_chain_is_final_and_the_next_call_signs_anew(
    payment: Payment, endpoint: Any, wallet: Wallet
) -> None:
    send = endpoint.methods["sendTransaction"]

    def after_the_money_has_gone(params: list[Any]) -> Any:
        endpoint.vm.set_account(wallet.address, Account(10_000, b"", Pubkey.default()))
        return send([params[0], {**params[1], "skipPreflight": True}])

    endpoint.methods["sendTransaction"] = after_the_money_has_gone
    with pytest.raises(InsufficientFunds):
        await payment.send()
    assert [attempt.outcome for attempt in payment.log.attempts("pay")] == ["failed"]
    endpoint.methods["sendTransaction"] = send
    endpoint.vm.airdrop(wallet.address, 10_000_000_000)
    endpoint.clock.advance(1)  # for a new blockhash; with the old one the bytes would be the same
    await payment.send()
    assert [attempt.outcome for attempt in payment.log.attempts("pay")] == ["failed", "landed"]
    assert await payment.received() == AMOUNT


async def test_accounts_that_lag_behind_do_not_make_it_pay_twice(payment: Payment, endpoint: Any) -> None:
    """After a crash, the log has a pending transaction that has landed, and a lagging replica does not show it yet."""
    endpoint.faults["getSignatureStatuses"] = ["500"] * 1000
    with pytest.raises(RpcUnavailable):
        await payment.send(retry_seconds=1)
    endpoint.faults.clear()
    balance = endpoint.methods["getBalance"]
    endpoint.methods["getBalance"] = lambda params: {**balance(params), "value": 0}
    receipt = await payment.send()
    endpoint.methods["getBalance"] = balance
    assert receipt.signature == payment.log.attempts("pay")[0].signature
    assert [attempt.outcome for attempt in payment.log.attempts("pay")] == ["landed"]
    assert await payment.received() == AMOUNT


async def test_what_runs_out_while_nobody_looks_is_signed_anew_once(payment: Payment, endpoint: Any) -> None:
    endpoint.faults["sendTransaction"] = ["lose"] * 1000
    endpoint.faults["getSignatureStatuses"] = ["500"] * 1000
    with pytest.raises(RpcUnavailable):
        await payment.send(retry_seconds=1)
    endpoint.faults.clear()
    endpoint.clock.advance(3600)
    await payment.send()
    assert [attempt.outcome for attempt in payment.log.attempts("pay")] == ["expired", "landed"]
    assert await payment.received() == AMOUNT


@pytest.mark.parametrize(("arrives", "outcome"), [("ok", "landed"), ("lose", "expired")])
async def test_what_nobody_sends_again_is_settled_once_its_outcome_is_certain(
    payment: Payment, endpoint: Any, arrives: str, outcome: str
) -> None:
    endpoint.faults["sendTransaction"] = [arrives] * 1000
    endpoint.faults["getSignatureStatuses"] = ["500"] * 1000
    with pytest.raises(RpcUnavailable):
        await payment.send(retry_seconds=1)
    endpoint.faults.clear()
    statuses = endpoint.methods["getSignatureStatuses"]
    endpoint.methods["getSignatureStatuses"] = lambda _: {"context": {"slot": 1}, "value": [None]}

    async def settled() -> str:
        await payment.sender().settle(["pay"])
        return payment.log.attempts("pay")[0].outcome

    assert await settled() == "pending"
    endpoint.clock.advance(3600)
    assert await settled() == "pending"  # the endpoint lags behind
    endpoint.methods["getSignatureStatuses"] = statuses
    assert await settled() == outcome
    calls = len(endpoint.calls)
    await payment.sender().settle(["pay"])
    assert len(endpoint.calls) == calls


async def test_nothing_is_sent_before_it_is_written_down(payment: Payment, endpoint: Any) -> None:
    class FullDisk(MemoryTransactionLog):
        def record(self, key: str, attempt: Attempt) -> None:
            raise JournalError("The disk is full.")

    payment.log = FullDisk()
    with pytest.raises(JournalError):
        await payment.send()
    assert "sendTransaction" not in endpoint.calls
